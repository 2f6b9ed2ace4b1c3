"""The users of sockets that connect together are those that each would have had alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings as project
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.backends import AllowAllUsersModelBackend, ModelBackend
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models.signals import post_init
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from realtime.consumers.auth import has_session, identify, load_user, load_users, may_be_gathered
from realtime.gathering import Gathering
from realtime.workers import Workers

pytestmark = pytest.mark.django_db

MODEL = "django.contrib.auth.backends.ModelBackend"
LENIENT = "django.contrib.auth.backends.AllowAllUsersModelBackend"
OWN, TRUSTING, SLOW = (f"{__name__}.{name}Backend" for name in ("Own", "Trusting", "Slow"))
THREADS = 3


class OwnBackend(ModelBackend):
    def get_user(self, user_id: Any) -> Any:
        return User.objects.get(username="somebody")


class TrustingBackend(ModelBackend):
    def user_can_authenticate(self, user: Any) -> bool:
        return True


class SlowBackend(ModelBackend):
    """As one that asks a directory elsewhere, which does not answer."""

    go = threading.Event()

    def get_user(self, user_id: Any) -> Any:
        SlowBackend.go.wait(10)
        return super().get_user(user_id)


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


def let_in(scopes: list[dict[str, Any]]) -> list[BaseException | None]:
    """Do as `identify` does: together, then each who is left alone. Return what each has raised."""
    together = [one for one in scopes if may_be_gathered(one)]
    assert load_users(together) == ["user" in one for one in together]
    faults: list[BaseException | None] = [None] * len(scopes)
    for number, one in enumerate(scopes):
        try:
            load_user(one)
        except Exception as error:
            faults[number] = error
    return faults


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
    "one that lets everybody": lambda: logged_in(user("idle", is_active=False), TRUSTING),
}


@pytest.fixture(autouse=True)
def backends(settings: Any) -> None:
    settings.AUTHENTICATION_BACKENDS = [MODEL, LENIENT, OWN, TRUSTING, SLOW]
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
    assert let_in(together) == [None] * len(CASES)
    for one in alone:
        load_user(one)
    for name, here, there in zip(CASES, together, alone, strict=True):
        assert (here["user"].pk, here["user"].is_authenticated) == (there["user"].pk, there["user"].is_authenticated), (
            name
        )
        assert dict(here["session"].items()) == dict(there["session"].items()), name
        assert here["session"].session_key == there["session"].session_key, name
    names = [one["user"].get_username() for one in together]
    assert [name for name in names if name] == ["ada", "bob", "idle", "somebody", "idle"]


def test_a_crowd_is_two_queries() -> None:
    scopes = [scope(logged_in(user(name))) for name in ("ada", "bob", "eve", "ada")]
    with CaptureQueriesContext(connection) as queries:
        assert load_users(scopes) == [True] * 4
    assert len(queries) == 2
    assert [one["user"].get_username() for one in scopes] == ["ada", "bob", "eve", "ada"]
    assert scopes[0]["user"] is not scopes[3]["user"]  # each socket has its own


def test_a_crowd_of_strangers_is_one_query() -> None:
    scopes = [scope(f"sessionid={name * 32}") for name in "abc"]
    with CaptureQueriesContext(connection) as queries:
        assert load_users(scopes) == [True] * 3
    assert len(queries) == 1
    assert all(isinstance(one["user"], AnonymousUser) for one in scopes)


def test_the_password_of_each_is_known_after_a_change_of_the_secret_key(settings: Any) -> None:
    cookies = [logged_in(user(name)) for name in ("ada", "bob")]
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another"
    scopes = [scope(cookie) for cookie in cookies]
    let_in(scopes)
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
    faults = let_in(scopes)
    assert [type(fault) for fault in faults] == [type(None), LookupError, type(None)]
    assert [scopes[index]["user"].get_username() for index in (0, 2)] == ["ada", "eve"]


def test_what_a_middleware_has_put_there_stays() -> None:
    ada = user()
    cookie = logged_in(user("bob"))
    scopes = [{**scope(cookie), "user": ada}, scope(cookie), {**scope(cookie), "session": {}}]
    assert [may_be_gathered(one) for one in scopes] == [False, True, False]
    let_in(scopes)
    assert scopes[0]["user"] is ada
    assert scopes[1]["user"].get_username() == "bob"
    assert isinstance(scopes[2]["user"], AnonymousUser)


@pytest.mark.parametrize(("backend", "is_known"), [(MODEL, True), (LENIENT, True), (OWN, False), (TRUSTING, False)])
def test_no_code_of_a_backend_of_the_projects_own_runs_for_a_crowd(backend: str, is_known: bool) -> None:
    assert load_users([scope(logged_in(user(), backend))]) == [is_known]


def test_a_key_of_another_model_is_the_fault_of_its_session_alone() -> None:
    """As all the sessions of before have it, where a project's users have got UUIDs."""
    scopes = [scope(logged_in(user())), scope(logged_in(user(), **{SESSION_KEY: "no number"}))]
    assert load_users(scopes) == [True, False]
    with pytest.raises(ValidationError):
        load_user(scopes[1])


@pytest.mark.parametrize(
    ("cookie", "together"),
    [
        (f"sessionid={'z9' * 16}", True),
        ("", False),
        ("sessionid=", False),
        (f"sessionid={'z9' * 17}", False),
        (f'sessionid="{"z" * 31}\\000"', False),
        (f"sessionid={'Z' * 32}", False),
    ],
    ids=["Django's", "none", "empty", "too long", "with a NUL", "in capitals"],
)
def test_only_what_looks_as_the_keys_of_sessions_do_is_asked_for_with_others(cookie: str, together: bool) -> None:
    """Else one client could make the question of all fail: PostgreSQL takes no NUL."""
    assert may_be_gathered(scope(cookie)) == together


@pytest.mark.parametrize("app", ["django.contrib.auth", "django.contrib.sessions"])
def test_where_an_app_is_missing_nobody_is_asked_for_with_others(settings: Any, app: str) -> None:
    settings.INSTALLED_APPS = [one for one in settings.INSTALLED_APPS if one != app]
    assert not may_be_gathered(scope(f"sessionid={'z' * 32}"))


def test_what_belongs_to_a_user_is_shared_with_no_other_socket() -> None:
    """As a JSONField that a handler changes, or a tracker of changed fields that a package attaches in post_init."""

    def attach(instance: Any, **kwargs: Any) -> None:
        instance.itself, instance.prefs = instance, {}

    scopes = [scope(logged_in(user(name))) for name in ("ada", "ada", "bob", "ada")]
    post_init.connect(attach, sender=User)
    try:
        assert load_users(scopes) == [True] * 4
    finally:
        post_init.disconnect(attach, sender=User)
    users = [one["user"] for one in scopes]
    assert [one.itself is one for one in users] == [True] * 4
    assert len({id(one.prefs) for one in users}) == 4


# In threads


class Stage:
    """What `identify` needs of a node, and what it has asked for in threads."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.workers = Workers(THREADS)
        self.gathering = Gathering(self.workers, THREADS)
        call = self.workers.call

        async def counted(function: Any, *args: Any) -> Any:
            self.asked.append(function)
            return await call(function, *args)

        self.workers.call = counted  # type: ignore[method-assign]

    def identify(self, scopes: list[dict[str, Any]]) -> list[asyncio.Future[None]]:
        node: Any = SimpleNamespace(workers=self.workers, gathering=self.gathering)
        return [asyncio.ensure_future(identify(one, node)) for one in scopes]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    SlowBackend.go.clear()
    found = Stage()
    yield found
    SlowBackend.go.set()
    found.workers.close()


async def scopes_of(*makes: Callable[[], str]) -> list[dict[str, Any]]:
    def made() -> list[dict[str, Any]]:
        try:
            return [scope(make()) for make in makes]
        finally:
            connection.close()

    return await asyncio.to_thread(made)


in_threads = pytest.mark.django_db(transaction=True)


@in_threads
async def test_one_whose_backend_hangs_holds_up_nobody_who_comes_together_with_it(stage: Stage) -> None:
    known = CASES["logged in"]
    scopes = await scopes_of(known, known, lambda: logged_in(user("bob"), SLOW), known, known)
    answers = stage.identify(scopes)
    slow = answers.pop(2)
    await asyncio.wait_for(asyncio.gather(*answers), 5)
    assert not slow.done()
    SlowBackend.go.set()
    await slow
    assert [one["user"].get_username() for one in scopes] == ["ada", "ada", "bob", "ada", "ada"]
    assert stage.asked.count(load_user) == 1


@in_threads
async def test_a_crowd_takes_a_thread_once(stage: Stage) -> None:
    makes = [CASES["logged in"], CASES["another"], nobody, expired] * 3
    scopes = await scopes_of(*makes)
    stage.gathering._ended_at = asyncio.get_running_loop().time()  # they come after others
    await asyncio.gather(*stage.identify(scopes))
    assert stage.asked == [load_users]
    assert [one["user"].get_username() for one in scopes] == ["ada", "bob", "", ""] * 3


@in_threads
async def test_sessions_of_another_kind_are_asked_for_alone(stage: Stage, settings: Any) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"
    scopes = await scopes_of(CASES["logged in"], CASES["another"])
    await asyncio.gather(*stage.identify(scopes))
    assert stage.asked == [load_user] * 2
    assert [one["user"].get_username() for one in scopes] == ["ada", "bob"]


@in_threads
async def test_each_is_told_of_its_own_error(stage: Stage) -> None:
    makes = (CASES["logged in"], lambda: logged_in(user(), **{SESSION_KEY: "no number"}))
    scopes = await scopes_of(*makes)
    found = await asyncio.gather(*stage.identify(scopes), return_exceptions=True)
    assert [type(one) for one in found] == [type(None), ValidationError]


async def test_who_has_no_session_or_a_user_already_takes_no_thread(stage: Stage) -> None:
    ada = User(username="ada")
    scopes: list[dict[str, Any]] = [{"headers": []}, {"headers": [], "session": {}, "user": ada}]
    assert [has_session(one) for one in scopes] == [False, True]
    await asyncio.gather(*stage.identify(scopes))
    assert stage.asked == []
    assert isinstance(scopes[0]["user"], AnonymousUser)
    assert scopes[1]["user"] is ada
