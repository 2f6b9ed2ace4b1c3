"""Socket: one client connection, over which many topics travel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asgiref.sync import sync_to_async

from . import tokens
from .exceptions import Refused


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
    known_as    what `id` has returned
    expires     when it is closed unless it was renewed, in seconds since the epoch; None for never
    """

    def __init__(self, scope: Mapping[str, Any], params: dict[str, Any]) -> None:
        self.scope = scope
        self.params = params
        self.user = scope.get("user")
        self.auth_token: str | None = None
        self.known_as: str | None = None
        self.expires: float | None = None
        self.assigns: dict[str, Any] = {}

    def connect(self, params: dict[str, Any]) -> Any:
        """Let the client in by returning, or raise Refused. Sync or async."""

    async def authenticate(self, token: str | None) -> None:
        """Let this be a socket of the user whom a token of `realtime.tokens` names, as long as that is good.

        Raises BadToken.
        """
        found = await sync_to_async(tokens.verify)(token)
        self.user, self.expires = found.user, found.expires

    async def renew(self, token: str) -> Any:
        """Take a newer token from a client that stays connected, or raise Refused. Sync or async; one at a time.

        By itself it takes those of `realtime.tokens`, where `authenticate` was called, of the same user.
        """
        if self.expires is None:
            raise Refused("nothing to renew")
        found = await sync_to_async(tokens.verify)(token)
        if found.user != self.user:
            raise Refused("another user's token")
        self.expires = max(self.expires, found.expires)

    def id(self) -> str | None:
        """Return a name for all sockets of one user, "users:7", by which `disconnect` closes them; None is for none."""
        return None
