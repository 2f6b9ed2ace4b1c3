"""Who connects: the user of the session whose cookie came with the handshake."""

from __future__ import annotations

import hashlib
from collections.abc import MutableMapping
from importlib import import_module
from typing import Any

from django.apps import apps
from django.conf import settings
from django.http import HttpRequest
from django.http.cookie import parse_cookie


def load_user(scope: MutableMapping[str, Any]) -> None:
    """Put the session and its user into the scope, unless a middleware already has. Blocks for two queries at most.

    The user is Django's own `get_user` of it, which honours SECRET_KEY_FALLBACKS: after a change of the key, channels'
    would end the session of a socket that comes back before a page does.
    """
    if "user" in scope or not apps.is_installed("django.contrib.auth"):
        return
    from django.contrib.auth import get_user  # imports models, so only where they are installed
    from django.contrib.auth.models import AnonymousUser

    if "session" not in scope and apps.is_installed("django.contrib.sessions"):
        store = import_module(settings.SESSION_ENGINE).SessionStore
        scope["session"] = store(_cookies(scope).get(settings.SESSION_COOKIE_NAME))
    if not has_session(scope):
        scope["user"] = AnonymousUser()
        return
    request = HttpRequest()
    request.session = _Snapshot(scope["session"].items() if "session" in scope else ())  # type: ignore[assignment]
    scope["user"] = get_user(request)


def has_session(scope: MutableMapping[str, Any]) -> bool:
    """Return whether there is a session to ask; without one nothing blocks."""
    return "session" in scope or settings.SESSION_COOKIE_NAME in _cookies(scope)


def holder(scope: MutableMapping[str, Any]) -> str:
    """Return a digest of the session that the cookie names, or "": it tells strangers apart, and asks no database."""
    cookie = _cookies(scope).get(settings.SESSION_COOKIE_NAME, "")
    if cookie and settings.SESSION_ENGINE.endswith("signed_cookies"):
        session = import_module(settings.SESSION_ENGINE).SessionStore(cookie)
        # Its cookie holds the whole session, and is another one whenever that changes.
        cookie = f"{session.get('_auth_user_id')} {session.get('_auth_user_hash')}"
    return hashlib.sha256(cookie.encode()).hexdigest() if cookie else ""


class _Snapshot(dict[str, Any]):
    """A session to read. What `get_user` would write back needs a response that could set a cookie."""

    def cycle_key(self) -> None:
        pass

    def flush(self) -> None:
        pass


def _cookies(scope: MutableMapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in scope.get("headers", ()):
        if name == b"cookie":
            found |= parse_cookie(value.decode("latin-1"))
    return found
