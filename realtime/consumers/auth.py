"""Who connects: the user of the session whose cookie came with the handshake."""

from __future__ import annotations

import hashlib
import re
from collections.abc import MutableMapping, Sequence
from contextlib import suppress
from copy import deepcopy
from importlib import import_module
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.http.cookie import parse_cookie
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.utils.module_loading import import_string

from ..node import Node

IN_DATABASE = "django.contrib.sessions.backends.db"
SESSION_ID = re.compile("[a-z0-9]{32}")  # as Django makes them; of others a database may refuse the question


async def identify(scope: MutableMapping[str, Any], node: Node) -> None:
    """Put the session and its user into the scope, unless a middleware already has. Raises what that raises.

    Who come together are asked for in one thread. Whoever that leaves in doubt is asked for alone, for a backend of the
    project's own may be slow, or a database away: that holds up nobody else.
    """
    if may_be_gathered(scope) and await node.gathering.call(load_users, scope):
        return
    if "user" in scope or not has_session(scope):
        load_user(scope)  # asks nobody
    else:
        await node.workers.call(load_user, scope)


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


def load_users(scopes: Sequence[MutableMapping[str, Any]]) -> list[bool]:
    """The same in two queries for some that may be gathered. Return for each whether its user is known without a doubt.

    Asks no backend but Django's own.
    """
    with suppress(Exception):  # that the database is away, `load_user` will tell
        _load_sessions(scopes)
        _load_known_users(scopes)
    return ["user" in scope for scope in scopes]


def may_be_gathered(scope: MutableMapping[str, Any]) -> bool:
    """Return whether there is a session where `load_users` looks for it."""
    return (
        settings.SESSION_ENGINE == IN_DATABASE
        and "user" not in scope
        and "session" not in scope
        and SESSION_ID.fullmatch(_cookies(scope).get(settings.SESSION_COOKIE_NAME, "")) is not None
        and all(map(apps.is_installed, ("django.contrib.auth", "django.contrib.sessions")))
    )


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


def _load_sessions(scopes: Sequence[MutableMapping[str, Any]]) -> None:
    from django.contrib.sessions.backends.db import SessionStore

    ids = [_cookies(scope)[settings.SESSION_COOKIE_NAME] for scope in scopes]
    living = SessionStore.get_model_class().objects.filter(session_key__in=set(ids), expire_date__gt=timezone.now())
    found = dict(living.values_list("session_key", "session_data"))
    for scope, id in zip(scopes, ids, strict=True):
        session: Any = SessionStore(id if id in found else None)
        session._session_cache = session.decode(found[id]) if id in found else {}  # as its first reader would
        scope["session"] = session


def _load_known_users(scopes: Sequence[MutableMapping[str, Any]]) -> None:
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
    from django.contrib.auth.models import AnonymousUser

    model, backends = get_user_model(), _usual_backends()
    claimed = []
    for scope in scopes:
        session = scope["session"]
        if SESSION_KEY not in session:
            scope["user"] = AnonymousUser()
        elif (backend := backends.get(session.get(BACKEND_SESSION_KEY))) is not None:
            with suppress(ValidationError):  # a key of another model, from before
                claimed.append((scope, model._meta.pk.to_python(session[SESSION_KEY]), backend))
    users = model._default_manager.in_bulk({key for _, key, _ in claimed})
    given = set()
    for scope, key, backend in claimed:
        user, known = users.get(key), scope["session"].get(HASH_SESSION_KEY) or ""
        if (
            user is not None
            and backend.user_can_authenticate(user)
            and constant_time_compare(known, user.get_session_auth_hash())
        ):
            scope["user"] = deepcopy(user) if key in given else user  # each socket has its own
            given.add(key)


def _usual_backends() -> dict[str, Any]:
    """Return the backends whose `get_user` is Django's own, which asks for nothing but the user of that key."""
    from django.contrib.auth.backends import ModelBackend

    kinds = {path: import_string(path) for path in settings.AUTHENTICATION_BACKENDS}
    return {
        path: kind()
        for path, kind in kinds.items()
        if issubclass(kind, ModelBackend)
        and kind.get_user is ModelBackend.get_user
        and kind.user_can_authenticate.__module__ == ModelBackend.__module__
    }


def _cookies(scope: MutableMapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in scope.get("headers", ()):
        if name == b"cookie":
            found |= parse_cookie(value.decode("latin-1"))
    return found
