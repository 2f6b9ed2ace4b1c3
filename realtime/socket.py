"""Socket: one client connection, over which many topics travel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Socket:
    """One client connection. Subclass it to say who may connect, and to carry state to every channel.

    class UserSocket(Socket):
        async def connect(self, params):
            if not self.user.is_authenticated:
                raise Refused("login required")     # the handshake is answered 403

        def id(self):
            return f"users:{self.user.pk}"

    user        the user of the session, or an AnonymousUser, or None where Django's auth is not installed
    params      what the client appended to the URL, as nested dicts of strings; comes from a stranger
    assigns     a dict for your own use; every channel gets a copy at its join
    scope       the ASGI scope of the handshake
    auth_token  the token that the client offered beside the URL, or None
    """

    def __init__(self, scope: Mapping[str, Any], params: dict[str, Any]) -> None:
        self.scope = scope
        self.params = params
        self.user = scope.get("user")
        self.auth_token: str | None = None
        self.assigns: dict[str, Any] = {}

    def connect(self, params: dict[str, Any]) -> Any:
        """Let the client in by returning, or raise Refused. Sync or async."""

    def id(self) -> str | None:
        """Return a name for all sockets of one user, "users:7"; None is for sockets without one."""
        return None
