"""Handlers inside a test's transaction: they see its rows, what it commits is sent, what it rolls back is not."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import TestCase, TransactionTestCase, override_settings

from realtime import abroadcast, broadcast
from realtime.node import Node
from realtime.testing import AsyncRealtimeClient, RealtimeClient, RealtimeMixin
from realtime.workers import Unwanted
from tests.testing.rooms import router

both = pytest.mark.parametrize(
    "commits",
    [
        pytest.param("to a savepoint", marks=pytest.mark.django_db),
        pytest.param("for real", marks=pytest.mark.django_db(transaction=True)),
    ],
)


@both
def test_sync_tests_share_their_rows_with_the_handlers(realtime_client: RealtimeClient, commits: str) -> None:
    User.objects.create(username="ada")
    room = realtime_client.connect(router=router).join("books")
    assert room.response == {"users": 1}
    for event in ("names", "anames"):
        room.assert_reply(room.push(event), "ok", {"names": ["ada"]})
    for event, name in (("add", "bob"), ("aadd", "cyd")):
        room.assert_reply(room.push(event, {"name": name}))
        room.assert_broadcast("added", {"name": name})
    assert User.objects.filter(username__in=["bob", "cyd"]).count() == 2
    room.leave()
    assert User.objects.filter(username="ended: left").exists()


@both
async def test_async_tests_share_their_rows_with_the_handlers(
    async_realtime_client: AsyncRealtimeClient, commits: str
) -> None:
    await User.objects.acreate(username="ada")
    room = await (await async_realtime_client.connect(router=router)).join("books")
    assert room.response == {"users": 1}
    for event in ("names", "anames"):
        await room.assert_reply(await room.push(event), "ok", {"names": ["ada"]})
    for event, name in (("add", "bob"), ("aadd", "cyd")):
        await room.assert_reply(await room.push(event, {"name": name}))
        await room.assert_broadcast("added", {"name": name})
    assert await User.objects.filter(username__in=["bob", "cyd"]).acount() == 2
    await room.leave()
    assert await User.objects.filter(username="ended: left").aexists()


@pytest.fixture
def ada(db: None) -> User:
    return User.objects.create(username="ada")


async def test_async_tests_see_what_their_fixtures_made(ada: User, async_realtime_client: AsyncRealtimeClient) -> None:
    assert await User.objects.aget() == ada
    room = await (await async_realtime_client.connect(user=ada, router=router)).join("t:a")
    assert room.response["user"] == "ada"


async def test_the_look_at_who_may_stay_sees_it_too(ada: User, async_realtime_client: AsyncRealtimeClient) -> None:
    socket = await async_realtime_client.connect(user=ada, router=router)
    guard = Node.current().guard
    assert len(guard._members) == 1
    await guard._look(list(guard._members))
    room = await socket.join("t:a")
    assert room.response["user"] == "ada"


async def test_what_nobody_wants_any_more_is_no_crash(async_realtime_client: AsyncRealtimeClient) -> None:
    with pytest.raises(Unwanted):
        await Node.current().workers.run(False, print, (), {}, lambda: False)
    assert not async_realtime_client.crashes


def test_the_database_is_as_it_was_after_each_of_them(db: None) -> None:
    assert not User.objects.exists()


@pytest.fixture
def unopened(db: None) -> Iterator[AsyncRealtimeClient]:
    yield AsyncRealtimeClient()
    assert not connection.allow_thread_sharing


async def test_the_orm_of_async_tests_is_given_back(unopened: AsyncRealtimeClient) -> None:
    @sync_to_async
    def seen() -> tuple[Any, bool]:
        return connection.connection, connection.in_atomic_block

    before = await seen()
    assert not before[1]
    async with unopened:
        assert (await seen())[1]
    assert await seen() == before


# Commits


@both
def test_what_is_committed_is_sent_at_that_moment(realtime_client: RealtimeClient, commits: str) -> None:
    room = realtime_client.connect(router=router).join("t:a")
    broadcast("t:a", "bare", {"n": 1})
    room.assert_push("bare", {"n": 1})
    with transaction.atomic():
        broadcast("t:a", "outer")
        with transaction.atomic():
            broadcast("t:a", "inner")
        with transaction.atomic(savepoint=False):
            broadcast("t:a", "no savepoint")
        room.refute_broadcast("outer")
        room.refute_broadcast("inner")
    for event in ("outer", "inner", "no savepoint"):
        room.assert_push(event)


@both
def test_what_is_rolled_back_is_never_sent(realtime_client: RealtimeClient, commits: str) -> None:
    room = realtime_client.connect(router=router).join("t:a")
    with transaction.atomic():
        broadcast("t:a", "outer")
        with contextlib.suppress(ZeroDivisionError), transaction.atomic():
            broadcast("t:a", "inner")
            raise ZeroDivisionError
    with contextlib.suppress(ZeroDivisionError), transaction.atomic():
        broadcast("t:a", "rolled back")
        with transaction.atomic():
            broadcast("t:a", "rolled back")
        raise ZeroDivisionError
    room.refute_push("inner")
    room.refute_push("rolled back")
    room.assert_push("outer")


@pytest.mark.django_db
def test_what_is_doomed_is_not_sent(realtime_client: RealtimeClient) -> None:
    with contextlib.suppress(ZeroDivisionError), transaction.atomic(savepoint=False):
        broadcast("t:a", "doomed")
        raise ZeroDivisionError
    realtime_client.refute_broadcast("t:a", "doomed")


@both
def test_so_it_is_in_handlers(realtime_client: RealtimeClient, commits: str) -> None:
    room = realtime_client.connect(router=router).join("books")
    room.assert_reply(room.push("fail", {"name": "ada"}), "error", {"reason": "rolled back"})
    room.refute_broadcast("added")
    assert not User.objects.exists()
    room.assert_reply(room.push("add", {"name": "ada"}))
    room.assert_broadcast("added", {"name": "ada"})
    room.assert_push("done")


@both
async def test_so_it_is_in_async_tests(async_realtime_client: AsyncRealtimeClient, commits: str) -> None:
    room = await (await async_realtime_client.connect(router=router)).join("books")
    broadcast("books", "bare")
    await room.assert_push("bare")
    await abroadcast("books", "async")
    await room.assert_push("async")
    await room.assert_reply(await room.push("fail", {"name": "ada"}), "error")
    await room.refute_broadcast("added")


@both
def test_hooks_of_ones_own_run_too_each_once_and_in_order(realtime_client: RealtimeClient, commits: str) -> None:
    ran: list[str] = []
    with transaction.atomic():
        transaction.on_commit(lambda: ran.append("first"))
        transaction.on_commit(lambda: transaction.on_commit(lambda: ran.append("of the second")))
        transaction.on_commit(lambda: broadcast("t:a", "third"))
        assert ran == []
    assert ran == ["first", "of the second"]
    realtime_client.assert_broadcast("t:a", "third")
    realtime_client.refute_broadcast("t:a", "third")


@both
def test_a_hook_that_fails_fails_as_it_does_in_production(
    realtime_client: RealtimeClient, commits: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise LookupError("a hook")

    with pytest.raises(LookupError), transaction.atomic():
        transaction.on_commit(fail)
    with transaction.atomic():
        transaction.on_commit(fail, robust=True)
    assert "a hook" in caplog.text


def test_hooks_wait_as_ever_where_no_client_is(db: None) -> None:
    with RealtimeClient():
        pass
    ran: list[str] = []
    with transaction.atomic():
        transaction.on_commit(lambda: ran.append("ran"))
    assert ran == []


def test_handlers_run_in_the_thread_of_a_sync_test(realtime_client: RealtimeClient, db: None) -> None:
    """So that nothing in the database ever happens beside the test."""
    room = realtime_client.connect(router=router).join("books")
    threads: list[threading.Thread] = []
    with connection.execute_wrapper(
        lambda execute, *args: threads.append(threading.current_thread()) or execute(*args)
    ):
        room.assert_reply(room.push("anames"))
    assert set(threads) == {threading.current_thread()}


def test_async_code_beside_the_client_works_on(realtime_client: RealtimeClient, db: None) -> None:
    room = realtime_client.connect(router=router).join("books")

    async def beside() -> None:
        await User.objects.acreate(username="ada")
        await abroadcast("books", "async")

    async_to_sync(beside)()
    room.assert_push("async")
    assert User.objects.get().username == "ada"


def test_without_the_database_a_handler_that_wants_it_says_so(realtime_client: RealtimeClient) -> None:
    with pytest.raises(AssertionError, match="Database access not allowed"):
        realtime_client.connect(router=router).join("books")


# Django's own test cases


class Cases(RealtimeMixin):
    """What must hold in a TestCase and in a TransactionTestCase; Django's runner and pytest both run them."""

    def setUp(self) -> None:
        super().setUp()
        User.objects.create(username="ada")
        broadcast("books", "from setUp")

    def test_sync(self) -> None:
        room = self.realtime_client.connect(router=router).join("books")
        room.assert_reply(room.push("anames"), "ok", {"names": ["ada"]})
        room.assert_reply(room.push("add", {"name": "bob"}))
        room.assert_push("added", {"name": "bob"})
        self.assertEqual(User.objects.count(), 2)
        with transaction.atomic():
            broadcast("books", "inner")
            room.refute_broadcast("inner")
        room.assert_broadcast("inner")
        with self.assertRaisesRegex(AssertionError, "self.async_realtime_client for `async def"):
            _ = self.async_realtime_client

    async def test_async(self) -> None:
        await User.objects.acreate(username="bob")
        room = await (await self.async_realtime_client.connect(router=router)).join("books")
        for event in ("names", "anames"):
            await room.assert_reply(await room.push(event), "ok", {"names": ["ada", "bob"]})
        await room.assert_reply(await room.push("add", {"name": "cyd"}))
        await room.assert_broadcast("added", {"name": "cyd"})
        await room.assert_reply(await room.push("fail", {"name": "dan"}), "error")
        await room.refute_broadcast("added")
        broadcast("books", "bare")
        await room.assert_push("bare")
        self.assertEqual(await User.objects.acount(), 3)
        with self.assertRaisesRegex(AssertionError, "self.realtime_client is for"):
            _ = self.realtime_client

    @override_settings(REALTIME={"ROUTER": "tests.testing.rooms.router"})
    def test_with_a_setting_of_its_own(self) -> None:
        self.realtime_client.connect().join("books")


class InTestCase(Cases, TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        transaction.on_commit(lambda: cls.fail("what setUpTestData left is not the test's"))

    def test_callbacks_may_be_captured(self) -> None:
        room = self.realtime_client.connect(router=router).join("books")
        with self.captureOnCommitCallbacks(execute=True):
            broadcast("books", "captured")
        room.assert_push("captured")
        room.refute_push("captured")


class InTransactionTestCase(Cases, TransactionTestCase):
    pass
