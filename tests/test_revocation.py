"""A socket never outlives what let it in: its session, its user's password, account and permissions."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from django.contrib.auth import SESSION_KEY, get_user_model
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.core.exceptions import PermissionDenied
from django.test import Client, override_settings
from django.utils import timezone

from realtime import (
    Channel,
    Presence,
    Router,
    Socket,
    channel,
    conf,
    handle_in,
    permission_required,
    tokens,
    user_passes_test,
)
from realtime.engine.client import Engine
from realtime.guard import Guard, _found
from realtime.node import Node
from realtime.revocation import recheck
from tests.test_channels import OK
from tests.test_dismissal import heard
from tests.test_tokens import TokenSocket, offer
from tests.wire import PATIENCE, Wire

Connect = Callable[..., Awaitable[Wire]]
Act = Callable[..., Awaitable[Any]]
pytestmark = pytest.mark.django_db(transaction=True)

GONE = 4401


class Room(Channel):
    go: asyncio.Event
    handled: list[str] = []

    async def join(self, payload: Any, name: str) -> Any:
        return {"user": str(self.user)}

    @handle_in("slow")
    async def slow(self) -> None:
        Room.handled.append("slow")
        await Room.go.wait()

    @handle_in("next")
    async def next(self) -> None:
        Room.handled.append("next")


@permission_required("auth.view_group")
class Private(Room):
    pass


ROUTER = Router("/ws", [channel("t:<part:name>", Room), channel("private:<part:name>", Private)])


@pytest.fixture
def ada() -> User:
    Room.handled, Room.go = [], asyncio.Event()
    return User.objects.create_user("ada", password="one")


@pytest.fixture
def pages(ada: User) -> Client:
    """The browser of a user who is logged in."""
    client = Client()
    client.force_login(ada)
    return client


def cookie(pages: Client) -> list[tuple[bytes, bytes]]:
    return [(b"cookie", f"sessionid={pages.cookies['sessionid'].value}".encode())]


async def connected(connect: Connect, pages: Client, *topics: str, router: Router = ROUTER) -> Wire:
    wire: Wire = await connect(router, headers=cookie(pages))
    for topic in topics:
        await wire.join(topic)
    await heard(Node.current())
    return wire


def act(verb: Callable[..., Any], *args: Any, **kwargs: Any) -> Awaitable[Any]:
    """Do something where there is no loop, as a view does."""
    return asyncio.to_thread(verb, *args, **kwargs)


async def test_a_logout_ends_the_sockets_of_that_session_and_no_others(
    connect: Connect, pages: Client, ada: User
) -> None:
    other = Client()
    await act(other.force_login, ada)
    mine, others = await connected(connect, pages, "t:a"), await connected(connect, other, "t:a")
    await act(pages.logout)
    assert await mine.closed() == GONE
    await others.ping()


class Present(Channel):
    presence = Presence()

    async def join(self, payload: Any, name: str) -> None:
        await self.presence.track(self.user.pk)


PRESENT = Router("/ws", [channel("t:<part:name>", Present)])


@pytest.mark.parametrize("is_lost", [False, True], ids=["on an open socket", "after the page has gone"])
async def test_who_logs_out_is_not_here_any_more(
    connect: Connect, pages: Client, ada: User, settings: Any, is_lost: bool
) -> None:
    settings.REALTIME = {"PRESENCE_GRACE": 1000.0}
    mine = await connected(connect, pages, "t:a", router=PRESENT)
    watch = await connect(PRESENT, headers=cookie(await other_pages()))
    await watch.join("t:a")
    assert (await watch.receive())[4].keys() >= {str(ada.pk)}
    assert (await mine.receive())[3] == "presence_state"
    if is_lost:
        await mine.close()
        mine.was_closed()
    await act(pages.logout)
    while not (leaves := (await watch.receive())[4]["leaves"]):
        pass
    assert leaves.keys() == {str(ada.pk)}


async def other_pages() -> Client:
    client = Client()
    await act(client.force_login, await User.objects.acreate(username="eve"))
    return client


async def test_a_lost_socket_is_looked_at_no_longer_than_its_presence_fades(
    connect: Connect, pages: Client, settings: Any
) -> None:
    settings.REALTIME = {"PRESENCE_GRACE": 0.1}
    mine = await connected(connect, pages, "t:a", router=PRESENT)
    guard = Node.current().guard
    assert len(guard._members) == 1
    await mine.close()
    mine.was_closed()
    async with asyncio.timeout(PATIENCE):
        while guard._members:
            await asyncio.sleep(0.01)


async def test_a_logout_is_heard_although_the_session_goes_only_after_it(
    connect: Connect, pages: Client, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sessions in a cache tell nothing of their end, so the first look may come too early."""
    monkeypatch.setattr("realtime.guard.ONCE_MORE", 0.3)
    mine = await connected(connect, pages, "t:a")
    key = pages.cookies["sessionid"].value
    await act(recheck, session_key=key)
    await asyncio.sleep(0.25)
    await mine.ping()
    await act(Session.objects.filter(pk=key)._raw_delete, "default")
    assert await mine.closed() == GONE


async def test_a_new_password_ends_the_sockets_of_its_user(connect: Connect, pages: Client, ada: User) -> None:
    bob = await User.objects.acreate(username="bob")
    his = Client()
    await act(his.force_login, bob)
    mine, others = await connected(connect, pages, "t:a"), await connected(connect, his, "t:a")
    ada.set_password("two")
    await act(ada.save)
    assert await mine.closed() == GONE
    await others.ping()


@pytest.mark.parametrize("how", ["deactivated", "deleted", "session deleted"])
async def test_what_django_tells_ends_a_socket(connect: Connect, pages: Client, ada: User, how: str) -> None:
    mine = await connected(connect, pages, "t:a")
    if how == "deactivated":
        ada.is_active = False
        await act(ada.save)
    elif how == "deleted":
        await act(ada.delete)
    else:
        session = await Session.objects.aget(pk=pages.cookies["sessionid"].value)
        await act(session.delete)
    assert await mine.closed() == GONE


async def look(connect: Connect) -> None:
    """Look at all sockets, as once in a while."""
    guard = Node.current().guard
    await guard._look(list(guard._members))


async def rechecked() -> None:
    """Return when the topics were looked at, too."""
    while Node.current().guard._rechecks._running:
        await asyncio.sleep(0)


@pytest.mark.parametrize("how", ["deactivated", "password", "session over", "deleted"])
async def test_what_nobody_tells_is_found_at_the_next_look(
    connect: Connect, pages: Client, ada: User, how: str
) -> None:
    mine = await connected(connect, pages, "t:a")
    users, sessions = User.objects.filter(pk=ada.pk), Session.objects.all()
    match how:
        case "deactivated":
            await users.aupdate(is_active=False)
        case "password":
            await users.aupdate(password="another")
        case "session over":
            await sessions.aupdate(expire_date=timezone.now() - timedelta(seconds=1))
        case "deleted":
            await act(users._raw_delete, "default")
    await mine.ping()
    await look(connect)
    assert await mine.closed() == GONE


async def test_looks_come_by_themselves(connect: Connect, pages: Client, ada: User) -> None:
    mine = await connected(connect, pages, "t:a")
    node = Node.current()
    guard = Guard(0.05)
    try:
        for member in node.guard._members:
            guard.add(member)
        await mine.ping()
        await User.objects.aupdate(is_active=False)
        assert await mine.closed() == GONE
    finally:
        await guard.aclose()


async def test_a_look_is_two_queries_for_any_number_of_sockets(
    connect: Connect, pages: Client, ada: User, django_assert_num_queries: Any
) -> None:
    for _ in range(5):
        await connected(connect, pages)
    guard = Node.current().guard
    members = list(guard._members)
    assert len(members) == 5

    def count() -> None:

        with django_assert_num_queries(2):
            users, sessions = _found(members)
        assert (len(users), len(sessions)) == (1, 1)

    await act(count)


async def test_slow_handlers_of_others_hold_up_no_look(
    connect: Connect, pages: Client, ada: User, may: Permission, settings: Any
) -> None:
    settings.REALTIME = {**settings.REALTIME, "THREADS": 1}
    await act(ada.user_permissions.add, may)
    other = Client()
    await act(other.force_login, ada)
    mine, others = await connected(connect, pages, "private:a"), await connected(connect, other)
    held = threading.Event()
    busy = asyncio.create_task(Node.current().workers.call(held.wait, 30))
    try:
        await act(ada.user_permissions.remove, may)
        assert (await mine.receive())[3] == "phx_close"
        await act(other.logout)
        assert await others.closed() == GONE
    finally:
        held.set()
        await busy


async def test_no_handler_runs_any_more_what_was_received_included(connect: Connect, pages: Client, ada: User) -> None:
    mine = await connected(connect, pages, "t:a")
    for number, event in enumerate(["slow", "next", "next"]):
        await mine.send("1", str(number), "t:a", event, {})
    while Room.handled != ["slow"]:
        await asyncio.sleep(0)
    await act(pages.logout)
    assert await mine.closed() == GONE
    Room.go.set()
    await Node.current().idle()
    assert Room.handled == ["slow"]


# Permissions


@pytest.fixture
def may(ada: User) -> Iterator[Permission]:
    kind = ContentType.objects.get_for_model(Group)
    permission = Permission.objects.get(content_type=kind, codename="view_group")
    yield permission


@pytest.mark.parametrize("how", ["user", "group", "membership", "deleted", "next look"])
async def test_a_lost_permission_ends_the_topics_that_need_it(
    connect: Connect, pages: Client, ada: User, may: Permission, how: str
) -> None:
    group = await Group.objects.acreate(name="viewers")
    if how in ("user", "deleted", "next look"):
        await act(ada.user_permissions.add, may)
    else:
        await act(group.permissions.add, may)
        await act(ada.groups.add, group)
    mine = await connected(connect, pages, "private:a", "t:a")
    match how:
        case "user":
            await act(ada.user_permissions.remove, may)
        case "group":
            await act(group.permissions.clear)
        case "membership":
            await act(group.user_set.remove, ada)
        case "deleted":
            await act(may.delete)
        case "next look":
            await act(User.user_permissions.through.objects.all()._raw_delete, "default")
            await look(connect)
    assert await mine.receive() == ["1", "1", "private:a", "phx_close", {"reason": "forbidden"}]
    await mine.send("1", "2", "t:a", "phx_leave", {})
    assert await mine.receive() == ["1", "2", "t:a", "phx_reply", OK]


async def test_a_permission_lost_while_join_runs_ends_the_topic_soon_after_it(
    connect: Connect, pages: Client, ada: User, may: Permission
) -> None:
    entered = asyncio.Event()

    @permission_required("auth.view_group")
    class Slow(Channel):
        async def join(self, payload: Any, name: str) -> None:
            entered.set()
            await Room.go.wait()

    await act(ada.user_permissions.add, may)
    mine = await connected(connect, pages, router=Router("/ws", [channel("slow:<part:name>", Slow)]))
    await mine.send("1", "1", "slow:a", "phx_join", {})
    await entered.wait()
    await act(User.user_permissions.through.objects.all()._raw_delete, "default")
    await look(connect)
    await rechecked()
    Room.go.set()
    assert await mine.receive() == ["1", "1", "slow:a", "phx_reply", OK]
    assert await mine.receive() == ["1", "1", "slow:a", "phx_close", {"reason": "forbidden"}]


async def test_who_joins_again_meanwhile_gains_nothing(
    connect: Connect, pages: Client, ada: User, may: Permission
) -> None:
    await act(ada.user_permissions.add, may)
    mine = await connected(connect, pages, "private:a")
    for number, event in enumerate(["slow", "next", "next"]):
        await mine.send("1", str(number), "private:a", event, {})
    await mine.send("9", "9", "private:a", "phx_join", {})
    while Room.handled != ["slow"]:
        await asyncio.sleep(0)
    await mine.ping()  # the new join was read
    await act(User.user_permissions.through.objects.all()._raw_delete, "default")
    await look(connect)
    await rechecked()
    Room.go.set()
    assert await mine.receive() == ["1", "1", "private:a", "phx_close", {"reason": "forbidden"}]
    assert (await mine.receive())[:4] == ["9", "9", "private:a", "phx_reply"]
    assert Room.handled == ["slow"]


async def test_only_topics_that_require_something_are_looked_at(
    connect: Connect, pages: Client, ada: User, may: Permission
) -> None:
    await act(ada.user_permissions.add, may)
    await connected(connect, pages, "private:a", "t:a")
    [member] = Node.current().guard._members
    assert [str(topic) for topic in member.topics()] == ["Private on 'private:a'"]


async def test_a_permission_that_cannot_be_looked_up_ends_nothing(
    connect: Connect, pages: Client, ada: User, may: Permission, monkeypatch: pytest.MonkeyPatch
) -> None:
    await act(ada.user_permissions.add, may)
    mine = await connected(connect, pages, "private:a")

    def fail(*args: Any) -> bool:
        raise LookupError

    monkeypatch.setattr(get_user_model(), "has_perms", fail)
    await look(connect)
    await mine.ping()


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
async def test_a_permission_test_that_hangs_holds_up_nobody_else(
    connect: Connect, pages: Client, ada: User, settings: Any, monkeypatch: pytest.MonkeyPatch, is_async: bool
) -> None:
    settings.REALTIME = {**settings.REALTIME, "THREADS": 1}
    monkeypatch.setattr("realtime.rechecks.THREADS", 1)
    asked: list[Any] = []
    held = threading.Event()

    async def hang(user: Any) -> bool:
        asked.append(user)
        if len(asked) > 1:
            await asyncio.Event().wait()
        return True

    def hang_in_a_thread(user: Any) -> bool:
        asked.append(user)
        return len(asked) == 1 or held.wait(30)

    @user_passes_test(hang if is_async else hang_in_a_thread)
    class Guarded(Channel):
        async def join(self, payload: Any, name: str) -> None:
            pass

        @handle_in("sync")
        def answer(self) -> Any:
            return {}

    router = Router("/ws", [channel("t:<part:name>", Guarded)])
    bob, his = await User.objects.acreate(username="bob"), Client()
    await act(his.force_login, bob)
    mine = await connected(connect, pages, "t:a", router=router)
    others = await connected(connect, his)
    await act(recheck, user=ada)
    while len(asked) < 2:
        await asyncio.sleep(0.01)
    try:
        await act(his.logout)
        assert await others.closed() == GONE
        await mine.send("1", "2", "t:a", "sync", {})
        assert await mine.receive() == ["1", "2", "t:a", "phx_reply", OK]
    finally:
        held.set()


async def test_a_test_that_raises_permission_denied_ends_a_topic_too(
    connect: Connect, pages: Client, ada: User
) -> None:
    allowed = [True]

    def test(user: Any) -> bool:
        if not allowed[0]:
            raise PermissionDenied
        return True

    router = Router("/ws", [channel("t:<part:name>", user_passes_test(test)(type("Tested", (Room,), {})))])
    mine = await connected(connect, pages, "t:a", router=router)
    allowed.clear()
    allowed.append(False)
    await look(connect)
    assert await mine.receive() == ["1", "1", "t:a", "phx_close", {"reason": "forbidden"}]


class Proxy(User):
    class Meta:
        proxy = True
        app_label = "auth"


async def test_a_user_stays_the_object_that_connect_has_made_of_it(connect: Connect, pages: Client, ada: User) -> None:
    class Own(Socket):
        async def connect(self, params: dict[str, Any]) -> None:
            self.user = await Proxy.objects.aget(pk=self.user.pk)
            self.user.nick = "countess"

    wire = await connected(connect, pages, router=Router("/ws", [], socket=Own))
    await User.objects.aupdate(first_name="Ada")
    await look(connect)
    [member] = Node.current().guard._members
    assert (type(member.user), member.user.nick, member.user.first_name) == (Proxy, "countess", "Ada")
    user = await Proxy.objects.aget(pk=ada.pk)
    user.is_active = False
    await act(user.save)
    assert await wire.closed() == GONE


# What ends nothing


async def test_a_login_elsewhere_and_other_changes_of_a_user_end_nothing(
    connect: Connect, pages: Client, ada: User
) -> None:
    mine = await connected(connect, pages, "t:a")
    await act(Client().force_login, ada)
    ada.first_name = "Ada"
    await act(ada.save)
    await look(connect)
    await mine.ping()


async def test_a_database_that_is_away_ends_nothing_and_is_asked_again(
    connect: Connect, pages: Client, ada: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    mine = await connected(connect, pages, "t:a")
    guard = Node.current().guard
    with monkeypatch.context() as broken:

        def fail(members: Any) -> Any:
            raise OSError("no database")

        broken.setattr("realtime.guard._found", fail)
        guard.ask()
        while "could not look" not in caplog.text:
            await asyncio.sleep(0.01)
    await mine.ping()
    await User.objects.aupdate(is_active=False)
    guard.ask()
    assert await mine.closed() == GONE


async def test_sockets_of_nobody_are_not_looked_at(connect: Connect) -> None:
    wire = await connect(ROUTER)
    await wire.ping()
    assert not Node.current().guard._members


async def test_a_socket_that_is_gone_is_not_looked_at(connect: Connect, pages: Client, ada: User) -> None:
    mine = await connected(connect, pages, "t:a")
    await mine.close()
    mine.was_closed()
    await Node.current().idle()
    assert not Node.current().guard._members


# Other ways in


async def test_a_socket_with_a_token_ends_with_the_password_too(connect: Connect, ada: User) -> None:
    router = Router("/ws", [channel("t:<part:name>", Room)], socket=TokenSocket)
    wire = await connect(router, subprotocols=offer(tokens.sign(ada)))
    await wire.ping()
    await User.objects.aupdate(password="another")
    await look(connect)
    assert await wire.closed() == GONE


@override_settings(SESSION_ENGINE="django.contrib.sessions.backends.cache")
async def test_sessions_in_a_cache_are_looked_at_as_well(connect: Connect, ada: User) -> None:
    pages, other = Client(), Client()
    await act(pages.force_login, ada)
    await act(other.force_login, ada)
    mine, others = await connected(connect, pages, "t:a"), await connected(connect, other, "t:a")
    await act(pages.logout)
    assert await mine.closed() == GONE
    await look(connect)
    await others.ping()


async def test_a_user_that_an_author_makes_up_is_left_alone(connect: Connect, ada: User) -> None:
    class Own(Socket):
        async def connect(self, params: dict[str, Any]) -> None:
            self.user = object()

    wire = await connect(Router("/ws", [], socket=Own))
    await wire.ping()
    assert not Node.current().guard._members


# The telling


def test_an_engine_that_is_away_keeps_nobody_from_logging_out(
    pages: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    conf.engine.cache_clear()
    pages.logout()
    assert SESSION_KEY not in pages.session
    assert "not looked at before the next regular look" in caplog.text


def test_an_embedded_engine_is_not_started_to_be_told(
    ada: User, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(conf, "engine", lambda: Engine(folder=tmp_path))
        ada.save()
    assert list(tmp_path.iterdir()) == []


def test_a_session_key_does_not_travel(ada: User, pages: Client, engine: str) -> None:
    key = pages.cookies["sessionid"].value
    with redis.Redis.from_url(engine) as client:
        client.delete(conf.keys().commands)
        pages.logout()
        told = repr(client.xrange(conf.keys().commands))
    assert "Recheck" in told
    assert key not in told
