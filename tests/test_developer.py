"""What a developer is told: logs, errors that teach, and the client's console under DEBUG."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from asgiref.sync import async_to_sync

from realtime import Channel, Refused, Reply, handle_in
from realtime.logs import readable, show_under_runserver, without_secrets
from tests.test_channels import Open, routed
from tests.wire import Wire

Connect = Callable[..., Awaitable[Wire]]


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


# Wrong returns


class Wrong(Open):
    answer: Any = None

    @handle_in("event")
    async def event(self) -> Any:
        return self.answer


async def unawaited() -> None:
    pass


@pytest.mark.parametrize(
    ("make", "shown"),
    [
        (lambda: True, "True"),
        (lambda: ("ok", {}), r"('ok', {})"),
        (lambda: Refused("no"), "Refused('no')"),
        (lambda: Refused, "<class 'realtime.exceptions.Refused'>"),
        (unawaited, "<coroutine object unawaited"),
    ],
    ids=["bool", "tuple", "exception", "class", "coroutine"],
)
async def test_a_wrong_return_crashes_with_the_list_of_right_ones(
    connect: Connect, caplog: pytest.LogCaptureFixture, make: Callable[[], Any], shown: str
) -> None:
    class Room(Wrong):
        @property
        def answer(self) -> Any:  # type: ignore[override]
            return make()

    wire = await connect(routed(Room))
    await wire.join("t:a")
    await wire.send("1", "2", "t:a", "event", {})
    assert (await wire.receive())[3] == "phx_error"
    assert f"Wrong.event returned {shown}" in caplog.text
    assert (
        'None (no reply), bytes or a payload (dict, Struct, dataclass, list, text or number) for reply ok, Reply("'
        in caplog.text
    )


@pytest.mark.parametrize(
    "answer", [True, ("ok", {}), Reply("ok"), Refused("no")], ids=["bool", "tuple", "Reply", "exception"]
)
async def test_a_wrong_return_of_join_says_so_too(
    connect: Connect, caplog: pytest.LogCaptureFixture, answer: Any
) -> None:
    class Room(Channel):
        async def join(self, payload: Any, name: str) -> Any:
            return answer

    wire = await connect(routed(Room))
    await wire.send("1", "1", "t:a", "phx_join", {})
    assert (await wire.receive())[4]["response"]["reason"] == "join crashed"
    assert "Room.join returned" in caplog.text
    assert "for the join's response, or it raises Refused" in caplog.text


# Under DEBUG


class Clumsy(Open):
    @handle_in("push")
    async def push_it(self) -> Any:
        self.push("lost")
        return {}

    @handle_in("broadcast")
    async def broadcast_it(self) -> Any:
        self.broadcast("lost")
        return {}

    @handle_in("reply")
    async def reply_it(self) -> Any:
        self.reply(self.ref, {})
        return {}

    @handle_in("awaited")
    async def awaited(self) -> Any:
        await self.push("seen")
        task = asyncio.create_task(self.push("by a task"))
        await asyncio.gather(self.push("gathered"), task)
        self.assigns["task"] = asyncio.ensure_future(self.push("later"))
        return {}

    @handle_in("sync")
    def sync(self) -> Any:
        async_to_sync(self.push)("seen")
        return {}

    @handle_in("crash")
    async def crash(self) -> None:
        raise RuntimeError("the text of it")


@pytest.mark.parametrize("verb", ["push", "broadcast", "reply"])
async def test_a_forgotten_await_is_noticed(
    connect: Connect, settings: Any, caplog: pytest.LogCaptureFixture, verb: str
) -> None:
    settings.DEBUG = True
    wire = await connect(routed(Clumsy))
    await wire.join("t:a")
    await wire.send("1", "2", "t:a", verb, {})
    assert (await wire.receive())[3] == "phx_reply"
    assert errors(caplog) == [f"tests.test_developer.Clumsy.{verb}_it forgot an await: write `await self.{verb}(…)`"]


async def test_what_is_kept_to_be_awaited_later_is_no_mistake(
    connect: Connect, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Patient(Open):
        @handle_in("remind")
        async def remind(self) -> Any:
            self.assigns["task"] = asyncio.create_task(self.after(self.push("reminder")))
            return {}

        async def after(self, coroutine: Any) -> None:
            await asyncio.sleep(0.05)
            await coroutine

    settings.DEBUG = True
    wire = await connect(routed(Patient))
    await wire.join("t:a")
    await wire.send("1", "2", "t:a", "remind", {})
    assert [(await wire.receive())[3] for _ in range(2)] == ["phx_reply", "reminder"]
    assert errors(caplog) == []


@pytest.mark.parametrize("event", ["awaited", "sync"])
async def test_what_is_awaited_is_no_mistake(
    connect: Connect, settings: Any, caplog: pytest.LogCaptureFixture, event: str
) -> None:
    settings.DEBUG = True
    wire = await connect(routed(Clumsy))
    await wire.join("t:a")
    await wire.send("1", "2", "t:a", event, {})
    while (await wire.receive())[3] != "phx_reply":
        pass
    assert errors(caplog) == []


@pytest.mark.parametrize("debug", [True, False])
async def test_only_a_developer_is_shown_the_text_of_an_exception(connect: Connect, settings: Any, debug: bool) -> None:
    class Locked(Channel):
        async def join(self, payload: Any, name: str) -> None:
            raise LookupError("the text of it")

    settings.DEBUG = debug
    wire = await connect(routed(Clumsy))
    await wire.join("t:a")
    await wire.send("1", "2", "t:a", "crash", {})
    detail = {"detail": "RuntimeError: the text of it"} if debug else {}
    assert (await wire.receive())[4] == {"reason": "channel_crash", **detail}
    wire = await connect(routed(Locked))
    await wire.send("1", "1", "t:a", "phx_join", {})
    detail = {"detail": "LookupError: the text of it"} if debug else {}
    assert (await wire.receive())[4]["response"] == {"reason": "join crashed", **detail}


# Logs


class Chatty(Open):
    async def join(self, payload: Any, name: str) -> None:
        if name == "closed":
            raise Refused("unauthorized")


class Quiet(Chatty):
    log = False


async def visit(connect: Connect, handler: type[Channel]) -> None:
    wire = await connect(routed(handler), query="vsn=2.0.0&token=hunter2")
    await wire.join("t:a", {"name": "ada", "password": "hunter2"})
    await wire.send("2", "2", "t:closed", "phx_join", {})
    await wire.receive()
    await wire.send("1", "3", "t:a", "phx_leave", {})
    await wire.receive()
    await wire.receive()
    await wire.send("4", "4", "a\nmistake", "phx_join", {})
    await wire.receive()


async def test_each_connect_join_and_leave_is_one_line_without_secrets(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "realtime")
    await visit(connect, Chatty)
    assert [record.getMessage() for record in caplog.records] == [
        'CONNECTED /ws/websocket as anyone {"vsn":"2.0.0","token":"[filtered]"}',
        'JOINED t:a Chatty {"name":"ada","password":"[filtered]"}',
        'REFUSED t:closed Chatty {"reason":"unauthorized"}',
        "LEFT t:a Chatty left",
        'REFUSED "a\\nmistake" {"reason":"unmatched topic"}',
    ]


async def test_a_channel_may_keep_out_of_the_log(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "realtime.channel")
    await visit(connect, Quiet)
    assert caplog.records == []


@pytest.mark.parametrize(
    "key", ["password", "Token", "access-token", "SECRET_KEY", "Authorization", "sessionid", "apiKey"]
)
def test_what_sounds_secret_is_filtered_at_any_depth(key: str) -> None:
    assert without_secrets({"a": [{key: {"x": 1}}], "b": 2}) == {"a": [{key: "[filtered]"}], "b": 2}


def test_a_long_payload_is_cut_and_a_broken_one_named() -> None:
    assert len(readable({"text": "x" * 1000})) < 220
    assert readable(msgspec.Raw(b"1e999")) == "(unreadable)"


@pytest.fixture
def logger() -> Any:
    logger = logging.getLogger("realtime")
    before = (logger.level, logger.propagate, list(logger.handlers))
    yield logger
    logger.level, logger.propagate, logger.handlers = before


@pytest.mark.parametrize(("command", "shown"), [("runserver", True), ("shell", False), ("migrate", False)])
def test_only_runserver_shows_the_lines(
    monkeypatch: pytest.MonkeyPatch, logger: Any, command: str, shown: bool
) -> None:
    monkeypatch.setattr("sys.argv", ["manage.py", command])
    show_under_runserver()
    assert (logger.level == logging.INFO) is shown
    assert bool(logger.handlers) is shown


def test_a_project_that_configured_the_logger_keeps_its_way(monkeypatch: pytest.MonkeyPatch, logger: Any) -> None:
    monkeypatch.setattr("sys.argv", ["manage.py", "runserver"])
    logger.setLevel(logging.ERROR)
    show_under_runserver()
    assert (logger.level, logger.handlers) == (logging.ERROR, [])
