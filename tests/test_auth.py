"""The users of sockets that connect together are those that each would have had alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from django.conf import settings as project
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.backends import AllowAllUsersModelBackend, ModelBackend
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from realtime.consumers.auth import load_user, load_users

pytestmark = pytest.mark.django_db

MODEL = "django.contrib.auth.backends.ModelBackend"
LENIENT = "django.contrib.auth.backends.AllowAllUsersModelBackend"
OWN = f"{__name__}.OwnBackend"


class OwnBackend(ModelBackend):
    def get_user(self, user_id: Any) -> Any:
        return User.objects.get(username="somebody")


def logged_in(user: User, backend: str = MODEL, **more: Any) -> str:
    """Return the cookie of a session that begins now."""
    session = import_module(project.SESSION_ENGINE).SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = backend
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.update(more)
    session.save()
    return f"sessionid={session.session_key}"


def scope(cookie: str) -> dict[str, Any]:
    return {"headers": [(b"cookie", cookie.encode())]}


def user(name: str = "ada", **fields: Any) -> User:
    return User.objects.get_or_create(username=name, defaults=fields)[0]


def nobody() -> str:
    return "sessionid=" + "z" * 32


def stranger() -> str:
    cookie = logged_in(user("gone"))
    user("gone").delete()
    return cookie


def expired() -> str:
    cookie = logged_in(user())
    Session.objects.filter(pk=cookie[10:]).update(expire_date=timezone.now() - timedelta(seconds=1))
    return cookie


def corrupt() -> str:
    cookie = logged_in(user())
    Session.objects.filter(pk=cookie[10:]).update(session_data="no session")
    return cookie


CASES: dict[str, Callable[[], str]] = {
    "logged in": lambda: logged_in(user()),
    "another": lambda: logged_in(user("bob")),
    "no cookie": lambda: "",
    "a session that is not there": nobody,
    "too short": lambda: "sessionid=short",
    "expired": expired,
    "corrupt": corrupt,
    "no user in it": lambda: logged_in(user(), **{SESSION_KEY: "7000"}),
    "a user who is deleted": stranger,
    "a user who is not active": lambda: logged_in(user("idle", is_active=False)),
    "the same for a backend that lets them": lambda: logged_in(user("idle", is_active=False), LENIENT),
    "another password": lambda: logged_in(user(), **{HASH_SESSION_KEY: "0" * 64}),
    "no hash": lambda: logged_in(user(), **{HASH_SESSION_KEY: ""}),
    "a backend that is not in use": lambda: logged_in(user(), "elsewhere.Backend"),
    "a backend of the project's own": lambda: logged_in(user(), OWN),
}


@pytest.fixture(autouse=True)
def backends(settings: Any) -> None:
    settings.AUTHENTICATION_BACKENDS = [MODEL, LENIENT, OWN]
    assert ModelBackend.get_user is AllowAllUsersModelBackend.get_user
    user("somebody")


@pytest.mark.parametrize(
    "engine", ["django.contrib.sessions.backends.db", "django.contrib.sessions.backends.cached_db"]
)
def test_each_of_a_crowd_is_who_it_is_alone(settings: Any, engine: str) -> None:
    settings.SESSION_ENGINE = engine
    cookies = [make() for make in CASES.values()]
    cache.clear()
    together, alone = [[scope(cookie) for cookie in cookies] for _ in range(2)]
    assert load_users(together) == [None] * len(CASES)
    for one in alone:
        load_user(one)
    for name, here, there in zip(CASES, together, alone, strict=True):
        assert (here["user"].pk, here["user"].is_authenticated) == (there["user"].pk, there["user"].is_authenticated), (
            name
        )
        assert dict(here["session"].items()) == dict(there["session"].items()), name
        assert here["session"].session_key == there["session"].session_key, name
    names = [one["user"].get_username() for one in together]
    assert [name for name in names if name] == ["ada", "bob", "idle", "somebody"]


def test_a_crowd_is_two_queries() -> None:
    scopes = [scope(logged_in(user(name))) for name in ("ada", "bob", "eve", "ada")]
    with CaptureQueriesContext(
        connection,
    ) as queries:
        load_users(scopes)
    assert len(queries) == 2
    assert [one["user"].get_username() for one in scopes] == ["ada", "bob", "eve", "ada"]
    assert scopes[0]["user"] is not scopes[3]["user"]  # each socket has its own


def test_a_crowd_of_strangers_is_one_query() -> None:
    scopes = [scope(f"sessionid={name * 32}") for name in "abc"]
    with CaptureQueriesContext(connection) as queries:
        load_users(scopes)
    assert len(queries) == 1
    assert all(isinstance(one["user"], AnonymousUser) for one in scopes)


def test_the_password_of_each_is_known_after_a_change_of_the_secret_key(settings: Any) -> None:
    cookies = [logged_in(user(name)) for name in ("ada", "bob")]
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another"
    scopes = [scope(cookie) for cookie in cookies]
    load_users(scopes)
    assert [one["user"].get_username() for one in scopes] == ["ada", "bob"]


def test_one_that_fails_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where what all have in common fails, each is asked for alone."""
    broken = logged_in(user("bob"))
    scopes = [scope(logged_in(user())), scope(broken), scope(logged_in(user("eve")))]
    plain = Session.objects.get

    def get(**wanted: Any) -> Any:
        if wanted["session_key"] == broken[10:]:
            raise LookupError("no")
        return plain(**wanted)

    monkeypatch.setattr(type(Session.objects), "filter", lambda *_, **__: 1 / 0)
    monkeypatch.setattr(type(Session.objects), "get", lambda _, **wanted: get(**wanted))
    faults = load_users(scopes)
    assert [type(fault) for fault in faults] == [type(None), LookupError, type(None)]
    assert [scopes[index]["user"].get_username() for index in (0, 2)] == ["ada", "eve"]


def test_what_a_middleware_has_put_there_stays() -> None:
    ada = user()
    scopes = [{"headers": [], "user": ada}, scope(logged_in(user("bob"))), {"headers": [], "session": {}}]
    load_users(scopes)
    assert scopes[0]["user"] is ada
    assert scopes[1]["user"].get_username() == "bob"
    assert isinstance(scopes[2]["user"], AnonymousUser)
