"""Who connects: the user of the session whose cookie came with the handshake."""

from __future__ import annotations

import hashlib
from collections.abc import MutableMapping, Sequence
from contextlib import suppress
from copy import copy
from importlib import import_module
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import close_old_connections
from django.http import HttpRequest
from django.http.cookie import parse_cookie
from django.utils import timezone
from django.utils.crypto import constant_time_compare


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


def load_users(scopes: Sequence[MutableMapping[str, Any]]) -> list[BaseException | None]:
    """The same for some that come together, in two queries for all of them where their sessions are in the database.

    Return for each None, or what it would have raised alone.
    """
    if len(scopes) > 1:
        with suppress(Exception):  # whose cookie is at fault, or that the database is away, shows below
            _prefetch(scopes)
    return [_fault(scope) for scope in scopes]


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


def _fault(scope: MutableMapping[str, Any]) -> BaseException | None:
    try:
        load_user(scope)
    except BaseException as error:
        close_old_connections()  # those that broke; the next one must not find them
        return error
    return None


def _prefetch(scopes: Sequence[MutableMapping[str, Any]]) -> None:
    """Put into the scopes what is there without a doubt, as one by one it would be. The rest is left to Django."""
    fresh = [scope for scope in scopes if "session" not in scope and "user" not in scope]
    if not all(map(apps.is_installed, ("django.contrib.auth", "django.contrib.sessions"))):
        return
    from django.contrib.sessions.backends.db import SessionStore

    if import_module(settings.SESSION_ENGINE).SessionStore is SessionStore:
        _prefetch_sessions(fresh, SessionStore)
        _prefetch_users(fresh)


def _prefetch_sessions(scopes: Sequence[MutableMapping[str, Any]], store: Any) -> None:
    cookies = [_cookies(scope).get(settings.SESSION_COOKIE_NAME) for scope in scopes]
    living = store.get_model_class().objects.filter(session_key__in=set(cookies), expire_date__gt=timezone.now())
    found = dict(living.values_list("session_key", "session_data"))
    for scope, cookie in zip(scopes, cookies, strict=True):
        session = scope["session"] = store(cookie if cookie in found else None)
        session._session_cache = session.decode(found[cookie]) if cookie in found else {}  # as its first reader would


def _prefetch_users(scopes: Sequence[MutableMapping[str, Any]]) -> None:
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model, load_backend
    from django.contrib.auth.backends import ModelBackend

    model = get_user_model()
    backends = ((path, load_backend(path)) for path in settings.AUTHENTICATION_BACKENDS)
    usual = {
        path: one
        for path, one in backends
        if isinstance(one, ModelBackend) and type(one).get_user is ModelBackend.get_user
    }
    logged_in = [scope for scope in scopes if scope["session"].get(BACKEND_SESSION_KEY) in usual]
    keys = [model._meta.pk.to_python(scope["session"][SESSION_KEY]) for scope in logged_in]
    users = model._default_manager.in_bulk(set(keys))
    for scope, key in zip(logged_in, keys, strict=True):
        session, user = scope["session"], users.get(key)
        if (
            user is not None
            and usual[session[BACKEND_SESSION_KEY]].user_can_authenticate(user)
            and constant_time_compare(session.get(HASH_SESSION_KEY) or "", user.get_session_auth_hash())
        ):
            scope["user"] = copy(user)  # each socket has its own


def _cookies(scope: MutableMapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in scope.get("headers", ()):
        if name == b"cookie":
            found |= parse_cookie(value.decode("latin-1"))
    return found
