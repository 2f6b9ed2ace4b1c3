"""Every verb of realtime.testing, in async tests and in sync ones, and what a test that fails says."""

from __future__ import annotations

import asyncio
import atexit
import gc
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from realtime import Channel, Misconfigured, Refused, Router, Socket, broadcast, channel, conf, handle_in, topics
from realtime.hub import _Topic
from realtime.node import Node
from realtime.testing import AsyncClientChannel, AsyncRealtimeClient, ClientChannel, RealtimeClient
from realtime.testing.inbox import Inbox
from tests import engines
from tests.testing.rooms import Room, router


@pytest.fixture(autouse=True)
def ended() -> Iterator[list[tuple[str, str]]]:
    yield Room.ended
    Room.ended.clear()


@pytest.fixture
async def room(async_realtime_client: AsyncRealtimeClient) -> AsyncClientChannel:
    socket = await async_realtime_client.connect(router=router)
    return await socket.join("t:a")


@pytest.fixture
def sync_room(realtime_client: RealtimeClient) -> ClientChannel:
    return realtime_client.connect(router=router).join("t:a")


def prefix() -> str:
    return conf.settings().PREFIX


def late(function: Callable[..., None]) -> Callable[..., None]:
    """Return what does the same a little later, as on a slow link."""
    return lambda *args: asyncio.get_running_loop().call_later(0.002, function, *args) and None


# Connect


async def test_a_socket_has_what_it_was_given(async_realtime_client: AsyncRealtimeClient) -> None:
    ada = SimpleNamespace(username="ada")
    params = {"token": "right", "deep": {"a": {"b": "c"}}}
    socket = await async_realtime_client.connect(user=ada, params=params, router=router)
    room = await socket.join("t:a", {"x": 1})
    assert room.response == {
        "name": "a",
        "user": "ada",
        "params": {"vsn": "2.0.0", **params},
        "asked": {"x": 1},
    }


async def test_the_handshake_has_what_a_browser_would_send(async_realtime_client: AsyncRealtimeClient) -> None:
    class Asking(Channel):
        async def join(self, payload: Any) -> Any:
            agent = dict(self.socket.scope["headers"])[b"user-agent"].decode()
            return {"agent": agent, "token": self.socket.auth_token, "user": str(self.user)}

    here = Router("/ws", [channel("asking", Asking)])
    headers = {"User-Agent": "test", "Origin": "http://testserver"}
    socket = await async_realtime_client.connect(headers=headers, auth_token="s3cr3t?>", router=here)
    room = await socket.join("asking")
    assert room.response == {"agent": "test", "token": "s3cr3t?>", "user": "AnonymousUser"}


def test_a_session_tells_the_user(db: None, client: Client, realtime_client: RealtimeClient) -> None:
    client.force_login(User.objects.create(username="ada"))
    room = realtime_client.connect(session=client.session, router=router).join("t:a")
    assert room.response["user"] == "ada"
    cookie = f"sessionid={client.session.session_key}"
    room = realtime_client.connect(headers={"cookie": cookie}, router=router).join("t:a")
    assert room.response["user"] == "ada"


@pytest.mark.django_db
async def test_without_a_router_it_is_the_projects(async_realtime_client: AsyncRealtimeClient) -> None:
    socket = await async_realtime_client.connect()
    await socket.join("rooms:lobby")


async def test_a_refused_connect_is_raised_with_its_reason(async_realtime_client: AsyncRealtimeClient) -> None:
    with pytest.raises(Refused, match="wrong token"):
        await async_realtime_client.connect(params={"token": "wrong"}, router=router)


async def test_a_handshake_refused_before_the_socket_class_is_raised_too(
    async_realtime_client: AsyncRealtimeClient,
) -> None:
    with pytest.raises(Refused, match="handshake"):
        await async_realtime_client.connect(headers={"origin": "https://evil.example"}, router=router)


async def test_a_connect_that_crashes_is_no_refusal(async_realtime_client: AsyncRealtimeClient) -> None:
    with pytest.raises(AssertionError, match="connect crashed") as caught:
        await async_realtime_client.connect(params={"token": "broken"}, router=router)
    assert isinstance(caught.value.__cause__, RuntimeError)


async def test_what_is_wrong_in_an_authors_own_code_is_no_refusal(async_realtime_client: AsyncRealtimeClient) -> None:
    class Wrong(Socket):
        async def connect(self, params: dict[str, Any]) -> Any:
            return True

    class AsWrong(Channel):
        async def join(self, payload: Any) -> Any:
            return True

    with pytest.raises(AssertionError, match="connect returned True"):
        await async_realtime_client.connect(router=Router("/ws", [], socket=Wrong))
    socket = await async_realtime_client.connect(router=Router("/ws", [channel("wrong", AsWrong)]))
    with pytest.raises(AssertionError, match=r"join returned True"):
        await socket.join("wrong")


async def test_settings_may_be_overridden_in_the_middle(
    async_realtime_client: AsyncRealtimeClient, settings: Any
) -> None:
    before = prefix()
    settings.REALTIME = {"MAX_TOPICS": 1}
    assert prefix() == before
    socket = await async_realtime_client.connect(router=router)
    await socket.join("t:a")
    with pytest.raises(Refused, match="too many"):
        await socket.join("t:b")


# Join, leave, close


async def test_a_refused_join_is_raised_with_its_response(async_realtime_client: AsyncRealtimeClient) -> None:
    socket = await async_realtime_client.connect(router=router)
    with pytest.raises(Refused, match="closed") as caught:
        await socket.join("t:closed")
    assert caught.value.response == {"reason": "closed", "retry": False}
    with pytest.raises(Refused, match="unmatched topic"):
        await socket.join("nothing")
    await async_realtime_client.settle()  # nothing is waited for that is not joined


async def test_a_join_that_crashes_is_no_refusal(async_realtime_client: AsyncRealtimeClient) -> None:
    socket = await async_realtime_client.connect(router=router)
    with pytest.raises(AssertionError, match=r"join of t:broken crashed[\s\S]*the room is broken"):
        await socket.join("t:broken")


async def test_leave_returns_when_the_channel_has_terminated(
    room: AsyncClientChannel, ended: list[tuple[str, str]]
) -> None:
    await room.leave()
    assert ended == [("t:a", "left")]
    await room.leave()  # leaving twice is no error


async def test_close_returns_when_all_channels_have_terminated(
    room: AsyncClientChannel, ended: list[tuple[str, str]]
) -> None:
    await room.socket.join("t:b")
    await room.socket.close()
    assert sorted(ended) == [("t:a", "closed"), ("t:b", "closed")]
    with pytest.raises(AssertionError, match="Cannot send 'echo': the socket is closed"):
        await room.push("echo")


async def test_a_topic_joined_again_is_the_newer_one(room: AsyncClientChannel) -> None:
    again = await room.socket.join("t:a")
    await again.assert_push("welcome")
    await again.assert_reply(await again.push("echo", {"n": 1}), "ok", {"n": 1})
    await again.refute_push("welcome")  # that of the first join is not its own


async def test_many_joins_at_once(async_realtime_client: AsyncRealtimeClient) -> None:
    socket = await async_realtime_client.connect(router=router)
    rooms = await asyncio.gather(*(socket.join(f"t:{number}") for number in range(20)))
    for room in rooms:
        await room.assert_push("welcome", {"to": room.topic})


async def test_a_close_by_the_server_is_seen(room: AsyncClientChannel, settings: Any) -> None:
    settings.REALTIME = {"MAX_FRAME": 100}
    socket = await room.client.connect(router=router)
    other = await socket.join("t:a")
    await other.push("echo", {"long": "x" * 200})
    assert await socket.assert_closed(4009) == 4009
    with pytest.raises(AssertionError, match=r"with 4008: it was closed with 4009"):
        await socket.assert_closed(4008)
    room.client.patience = 0.05
    with pytest.raises(AssertionError, match="it is open"):
        await room.socket.assert_closed()


async def test_the_channels_of_a_closed_socket_terminate(
    async_realtime_client: AsyncRealtimeClient, settings: Any, ended: list[tuple[str, str]]
) -> None:
    settings.REALTIME = {"OUTBOX_MESSAGES": 10}
    room = await (await async_realtime_client.connect(router=router)).join("t:a")
    await room.push("flood")
    await room.socket.assert_closed(4008)
    while not ended:
        await asyncio.sleep(0.001)
    assert ended == [("t:a", "closed")]


# Replies


async def test_a_reply_is_found_whatever_comes_between(room: AsyncClientChannel) -> None:
    first, second = await room.push("echo", {"n": 1}), await room.push("echo", {"n": 2})
    assert await room.assert_reply(second, "ok", {"n": 2}) == {"n": 2}
    assert await room.assert_reply(first) == {"n": 1}
    await room.assert_reply(await room.push("refuse"), "error", {"reason": "no"})


async def test_a_wrong_reply_fails_at_once_and_says_why(room: AsyncClientChannel) -> None:
    ref = await room.push("echo", {"n": 1})
    with pytest.raises(AssertionError) as caught:
        await room.assert_reply(ref, "ok", {"n": 2})
    assert str(caught.value) == (
        "Expected a reply 'ok' like {'n': 2} to 'echo', got reply 'ok' to 'echo' {\"n\":1}\n    <- n: expected 2, got 1"
    )
    with pytest.raises(AssertionError, match=r"Expected a reply 'ok' to 'refuse', got reply 'error' to 'refuse'"):
        await room.assert_reply(await room.push("refuse"))


async def test_a_reply_that_never_comes_names_the_event(room: AsyncClientChannel) -> None:
    room.client.patience = 0.05
    with pytest.raises(AssertionError, match=r"Expected a reply to 'silent' \(ref 2\)"):
        await room.assert_reply(await room.push("silent"))


async def test_refute_reply(room: AsyncClientChannel) -> None:
    await room.refute_reply(await room.push("silent"))
    ref = await room.push("echo", {"n": 1})
    await room.refute_reply(ref, "error")
    await room.refute_reply(ref, "ok", {"n": 2})
    with pytest.raises(AssertionError, match="Expected no reply to 'echo', got reply 'ok'"):
        await room.refute_reply(ref)


# Pushes


async def test_a_push_is_taken_once(room: AsyncClientChannel) -> None:
    assert await room.assert_push("welcome") == {"to": "t:a"}
    await room.refute_push("welcome")


async def test_a_push_of_another_topic_is_not_ours(room: AsyncClientChannel) -> None:
    other = await room.socket.join("t:b")
    await other.push("shout", {"n": 1})
    await room.refute_push("shouted")
    await other.assert_push("shouted", {"n": 1})


async def test_refute_push_waits_for_handlers_broadcasts_and_all_sockets(room: AsyncClientChannel) -> None:
    speaker = await (await room.client.connect(router=router)).join("t:a")
    for number in range(20):
        await speaker.push("whisper", {"n": number})
        with pytest.raises(AssertionError, match="Expected no push 'whispered' on t:a, got push"):
            await room.refute_push("whispered")
        await speaker.refute_push("whispered")
        await room.assert_push("whispered", {"n": number})


async def test_refute_push_hears_what_handlers_broadcast_by_the_plain_verb(room: AsyncClientChannel) -> None:
    other = await (await room.client.connect(router=router)).join("t:a")
    for _ in range(20):
        await other.push("announce", {})
        with pytest.raises(AssertionError):
            await room.refute_push("announced")
        await room.assert_push("announced")


async def test_refute_push_does_not_wait_for_a_clock(room: AsyncClientChannel) -> None:
    began = asyncio.get_running_loop().time()
    for _ in range(20):
        await room.refute_push("never")
    assert asyncio.get_running_loop().time() - began < room.client.patience


@pytest.mark.parametrize(("limit", "size"), [("MESSAGE_BURST", 7), ("MAILBOX", 5)])
async def test_refute_push_is_exact_when_the_server_turns_messages_away(
    async_realtime_client: AsyncRealtimeClient, settings: Any, limit: str, size: int
) -> None:
    settings.REALTIME = {limit: size}
    room = await (await async_realtime_client.connect(router=router)).join("t:a")
    await room.push("announce", {})
    await asyncio.sleep(0.001)  # it is being handled when the others come
    for _ in range(5):
        await room.push("announce", {})
    for _ in range(6):
        with pytest.raises(AssertionError):
            await room.refute_push("announced")
        await room.assert_push("announced")
    await room.refute_push("announced")


async def test_refute_push_hears_what_plain_code_has_broadcast(
    room: AsyncClientChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realtime.node.ECHO", 0.0)
    monkeypatch.setattr(_Topic, "message", late(_Topic.message))
    for _ in range(20):
        broadcast("t:a", "news")
        with pytest.raises(AssertionError):
            await room.refute_push("news")
        await room.assert_push("news")


async def test_a_push_that_never_comes_lists_what_came_instead(room: AsyncClientChannel) -> None:
    room.client.patience = 0.05
    with pytest.raises(AssertionError) as caught:
        await room.assert_push("welcome", {"to": "t:b", "from": "me"})
    assert str(caught.value) == (
        "Expected a push 'welcome' like {'to': 't:b', 'from': 'me'} on t:a. Instead there came:\n"
        "    push 'welcome' {\"to\":\"t:a\"}   <- to: expected 't:b', got 't:a'"
    )
    await room.assert_push("welcome")
    with pytest.raises(AssertionError, match=r"Expected a push 'more' on t:a. Nothing came instead."):
        await room.assert_push("more")


async def test_nothing_is_waited_for_when_nothing_can_come(room: AsyncClientChannel) -> None:
    room.client.patience = 600.0
    await room.push("stop")
    with pytest.raises(
        AssertionError, match=r"but this topic is not joined any more. Instead there came:[\s\S]*enough"
    ):
        await room.assert_push("news")
    await room.assert_push("phx_close", {"reason": "enough"})


async def test_a_handler_that_does_not_return_is_named(async_realtime_client: AsyncRealtimeClient) -> None:
    go = asyncio.Event()  # an async test and its channels share a loop

    class Waiting(Channel):
        async def join(self, payload: Any) -> Any:
            pass

        @handle_in("wait")
        async def wait(self, payload: Any) -> None:
            await go.wait()

    socket = await async_realtime_client.connect(router=Router("/ws", [channel("waiting", Waiting)]))
    room = await socket.join("waiting")
    await room.push("wait")
    async_realtime_client.patience = 0.05
    with pytest.raises(AssertionError, match=r"A handler of waiting has not returned in 0.05 s"):
        await room.refute_push("never")
    async_realtime_client.patience = 5.0
    go.set()
    await room.refute_push("never")


# Broadcasts


async def test_a_broadcast_is_heard_whoever_has_joined(room: AsyncClientChannel) -> None:
    broadcast("t:nobody", "news", {"n": 1})
    assert await room.client.assert_broadcast("t:nobody", "news", {"n": 1}) == {"n": 1}
    await room.push("whisper", {"n": 2})
    await room.assert_broadcast("whispered", {"n": 2})
    await room.refute_push("whispered")
    await room.refute_broadcast("whispered")


async def test_refute_broadcast(room: AsyncClientChannel) -> None:
    await room.push("shout", {"n": 1})
    with pytest.raises(AssertionError, match="Expected no broadcast 'shouted' on t:a, got broadcast"):
        await room.refute_broadcast("shouted")
    await room.refute_broadcast("shouted", {"n": 2})
    await room.client.refute_broadcast("t:b", "shouted")


async def test_refute_broadcast_hears_what_plain_code_has_broadcast(
    async_realtime_client: AsyncRealtimeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Inbox, "put", late(Inbox.put))
    for number in range(50):
        broadcast("t:a", "news", {"n": number})
        with pytest.raises(AssertionError):
            await async_realtime_client.refute_broadcast("t:a", "news", {"n": number})


async def test_a_broadcast_that_never_comes_lists_what_came_instead(room: AsyncClientChannel) -> None:
    await room.push("shout", {"n": 1})
    await room.client.settle()
    room.client.patience = 0.05
    with pytest.raises(AssertionError) as caught:
        await room.assert_broadcast("shouted", {"n": 2})
    assert str(caught.value) == (
        "Expected a broadcast 'shouted' like {'n': 2} on t:a. Instead there came:\n"
        "    broadcast 'shouted' on t:a {\"n\":1}   <- n: expected 2, got 1"
    )


# Crashes


async def test_a_crash_is_told_by_whatever_fails(room: AsyncClientChannel) -> None:
    ref = await room.push("crash")
    room.client.patience = 0.5
    with pytest.raises(AssertionError, match=r"A channel crashed: ZeroDivisionError") as caught:
        await room.assert_reply(ref)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


async def test_a_crash_that_is_expected_is_fine(room: AsyncClientChannel) -> None:
    await room.push("crash")
    await room.assert_push("phx_error")


def test_a_crash_that_nobody_asked_for_fails_the_test() -> None:
    with pytest.raises(AssertionError, match="the test did not expect it") as caught, RealtimeClient() as client:
        client.connect(router=router).join("t:a").push("crash")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_it_does_not_hide_how_a_test_failed() -> None:
    with pytest.raises(LookupError), RealtimeClient() as client:
        client.connect(router=router).join("t:a").push("crash")
        raise LookupError


def test_a_crash_is_told_with_logging_disabled_too() -> None:
    logging.disable(logging.CRITICAL)
    try:
        with pytest.raises(AssertionError, match="the test did not expect it"), RealtimeClient() as client:
            client.connect(router=router).join("t:a").push("crash")
    finally:
        logging.disable(logging.NOTSET)


# The same in sync tests


def test_the_sync_verbs(
    sync_room: ClientChannel, realtime_client: RealtimeClient, ended: list[tuple[str, str]]
) -> None:
    assert sync_room.response["name"] == "a"
    assert sync_room.assert_push("welcome") == {"to": "t:a"}
    sync_room.refute_push("welcome")
    assert sync_room.assert_reply(sync_room.push("echo", {"n": 1}), "ok", {"n": 1}) == {"n": 1}
    sync_room.refute_reply(sync_room.push("silent"))
    sync_room.push("whisper", {"n": 2})
    assert sync_room.assert_broadcast("whispered") == {"n": 2}
    sync_room.refute_broadcast("whispered")
    broadcast("t:b", "news")
    realtime_client.settle()
    realtime_client.assert_broadcast("t:b", "news")
    realtime_client.refute_broadcast("t:b", "news")
    sync_room.leave()
    assert ended == [("t:a", "left")]
    socket = realtime_client.connect(router=router)
    socket.join("t:c")
    socket.close()
    assert ended[1:] == [("t:c", "closed")]


def test_sync_failures_say_the_same_from_a_short_traceback(
    sync_room: ClientChannel, realtime_client: RealtimeClient
) -> None:
    realtime_client.patience = 0.05
    with pytest.raises(AssertionError, match=r"Expected a push 'more' on t:a. Instead there came:\n    push 'welcome'"):
        sync_room.assert_push("more")
    with pytest.raises(Refused, match="closed"):
        sync_room.socket.join("t:closed")
    with pytest.raises(AssertionError, match="it is open"):
        sync_room.socket.assert_closed()


# Isolation, and nothing left


def test_two_tests_never_hear_each_other(realtime_client: RealtimeClient, engine: str) -> None:
    inside = prefix()
    assert re.fullmatch(r"rt-test-\w{16}", inside)
    room = realtime_client.connect(router=router).join("t:a")
    with RealtimeClient() as other:
        assert prefix() != inside
        broadcast("t:a", "news")
        other.assert_broadcast("t:a", "news")
    room.refute_push("news")
    room.refute_broadcast("news")
    assert prefix() == inside


def test_the_setting_is_what_it_was_afterwards() -> None:
    with RealtimeClient():
        pass
    assert prefix() == "rt"


def test_tests_may_embed_the_engine_with_debug_off(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    monkeypatch.delenv("REDIS_URL")
    monkeypatch.setattr(conf, "_debug", False)
    settings.DEBUG = False
    conf.engine.cache_clear()
    client = AsyncRealtimeClient()
    client.isolate()
    assert conf.engine().folder is not None
    client.release()
    with pytest.raises(Misconfigured):
        conf.engine()


@pytest.fixture
def connections(engine: str) -> Iterator[Callable[[], int]]:
    """connections() counts who is connected to the engine."""
    broadcast("t", "e")  # plain code keeps its connection
    with engines.nodes(engine) as nodes:
        yield lambda: sum(len(node.client_list()) for node in nodes)


def settled(count: Callable[[], int], to: int) -> bool:
    """Return whether the count comes down to `to`; the engine takes a moment to notice a close."""
    until = time.monotonic() + 5
    while count() > to and time.monotonic() < until:
        time.sleep(0.001)
    return count() == to


def test_nothing_is_left_of_a_sync_test(connections: Callable[[], int]) -> None:
    before, threads = connections(), threading.enumerate()
    with RealtimeClient() as client:
        client.connect(router=router).join("t:a")
        assert connections() > before
    assert threading.enumerate() == threads
    assert settled(connections, before)
    gc.collect()  # what is not closed would warn here


def test_nothing_is_left_for_the_end_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    registered: list[Any] = []
    monkeypatch.setattr(atexit, "register", lambda *args: registered.append(args))
    with RealtimeClient() as client:
        client.connect(router=router)
    assert registered == []


async def test_nothing_is_left_of_an_async_test(connections: Callable[[], int]) -> None:
    before, tasks = connections(), asyncio.all_tasks()
    async with AsyncRealtimeClient() as client:
        await (await client.connect(router=router)).join("t:a")
    assert asyncio.all_tasks() == tasks
    assert Node.running() is None
    assert settled(connections, before)
    gc.collect()


async def test_one_client_a_loop(async_realtime_client: AsyncRealtimeClient) -> None:
    with pytest.raises(RuntimeError, match="has a client already"):
        async with AsyncRealtimeClient():
            pass
    await async_realtime_client.connect(router=router)


async def test_a_client_of_another_loop_says_what_to_do(async_realtime_client: AsyncRealtimeClient) -> None:
    def elsewhere() -> None:
        asyncio.run(async_realtime_client.connect())  # type: ignore[arg-type]

    with pytest.raises(RuntimeError, match="same loop scope"):
        await asyncio.to_thread(elsewhere)


def test_an_engine_that_is_away_leaves_nothing_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "unix:///nowhere/at/all.sock")
    conf.engine.cache_clear()
    before = {thread.name for thread in threading.enumerate()}
    with pytest.raises(Exception, match="the engine does not answer"), RealtimeClient():
        pass
    assert {thread.name for thread in threading.enumerate()} <= before
    assert prefix() == "rt"


@pytest.mark.django_db
def test_nothing_of_a_test_stays_in_the_engine(engine: str) -> None:
    before = engines.keys(engine)
    with RealtimeClient() as client:
        room = client.connect().join("rooms:lobby")
        topics.create("a", "b")
        assert topics.subscribers("rooms:lobby").count == 1
        room.push("say", {})
        assert engines.keys(engine) > before
    assert engines.keys(engine) == before
