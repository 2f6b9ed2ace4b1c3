"""The calls of a loop on one connection to a real engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis

from realtime.engine import pipe as pipes
from realtime.engine.client import Engine, connector
from realtime.engine.pipe import Pipe
from realtime.engine.scripts import Call, Script
from tests import engines
from tests.servers import wait_until

KEY = "{rt:0}:pipe"
COUNT = Script("return redis.call('INCR', KEYS[1])")


@pytest.fixture(scope="module")
def server() -> Any:
    with engines.valkey() as engine:
        yield engine.servers[0]


@asynccontextmanager
async def opened(server: engines.Server, patience: float = 5.0) -> AsyncIterator[Pipe]:
    pipe = Pipe(connector(Engine(f"redis://127.0.0.1:{server.port}")), patience)
    try:
        yield pipe
    finally:
        await pipe.aclose()


@pytest.fixture
async def pipe(server: engines.Server) -> AsyncIterator[Pipe]:
    with server.client() as client:
        client.flushall()
    async with opened(server) as pipe:
        yield pipe


def asked(*command: str | int, read: Callable[[Any], Any] = lambda answer: answer) -> Call[Any]:
    return Call(command, read)


def count() -> Call[int]:
    return Call.of(COUNT, (KEY,), (), int)


async def test_answers_come_in_the_order_of_the_calls(pipe: Pipe) -> None:
    answers = [pipe.call(asked("INCR", KEY)) for _ in range(1000)]
    assert await asyncio.gather(*answers) == list(range(1, 1001))


async def test_the_calls_of_a_turn_share_one_write(pipe: Pipe, server: engines.Server) -> None:
    await pipe.call(asked("PING"))
    with server.client() as client:
        before = client.info("stats")["total_reads_processed"]
        await asyncio.gather(*(pipe.call(asked("INCR", KEY)) for _ in range(100)))
        reads = client.info("stats")["total_reads_processed"] - before
    assert reads <= 4  # one of ours, and those that ask for the number


async def test_a_refusal_is_of_its_call_alone(pipe: Pipe) -> None:
    first, wrong, last = (pipe.call(asked(*command)) for command in (("SET", KEY, "x"), ("INCR", KEY), ("GET", KEY)))
    assert (await first, await last) == (b"OK", b"x")
    with pytest.raises(redis.ResponseError, match="not an integer"):
        await wrong


async def test_what_reads_an_answer_may_fail(pipe: Pipe) -> None:
    with pytest.raises(ValueError):
        await pipe.call(asked("PING", read=int))
    assert await pipe.call(asked("PING")) == b"PONG"


async def test_an_unknown_script_is_sent_whole_and_only_that(pipe: Pipe, server: engines.Server) -> None:
    assert await asyncio.gather(*(pipe.call(count()) for _ in range(10))) == sorted(range(1, 11))
    with server.client() as client:
        client.script_flush()
    assert await pipe.call(count()) == 11


async def test_whoever_waits_no_longer_shifts_no_answer(pipe: Pipe) -> None:
    await pipe.call(asked("SET", KEY, "mine"))
    impatient = pipe.call(asked("PING"))
    mine = pipe.call(asked("GET", KEY))
    impatient.cancel()
    assert await mine == b"mine"


async def test_a_lost_connection_fails_what_waited_and_is_made_anew(pipe: Pipe, server: engines.Server) -> None:
    await pipe.call(asked("PING"))
    held = [pipe.call(asked("BLPOP", KEY, 5)), pipe.call(asked("INCR", KEY))]
    await asyncio.sleep(0.1)
    with server.client() as client:
        client.client_kill_filter(_type="normal", skipme=True)
    for error in await asyncio.gather(*held, return_exceptions=True):
        assert isinstance(error, redis.ConnectionError)
    assert not pipe.is_open
    assert await pipe.call(asked("INCR", KEY)) == 1  # nothing was asked twice
    assert pipe.is_open


async def test_an_engine_that_is_away_fails_every_call_at_once_and_comes_back() -> None:
    with engines.valkey() as engine:
        server = engine.servers[0]
        async with opened(server) as pipe:
            await pipe.call(asked("PING"))
            server.kill()
            began = time.monotonic()
            for _ in range(3):
                errors = await asyncio.gather(*(pipe.call(asked("PING")) for _ in range(20)), return_exceptions=True)
                assert all(isinstance(error, (redis.ConnectionError, OSError)) for error in errors)
            assert time.monotonic() - began < 3
            server.start()
            await asyncio.to_thread(wait_until, server.answers, "the engine")
            assert await pipe.call(asked("PING")) == b"PONG"


async def test_an_engine_that_is_silent_is_given_up_once_nothing_came_for_that_long(server: engines.Server) -> None:
    async with opened(server, patience=0.4) as pipe:
        await pipe.call(asked("PING"))
        with server.stalled():
            began = time.monotonic()
            late = [pipe.call(asked("PING")) for _ in range(10)]
            errors = await asyncio.gather(*late, return_exceptions=True)
            assert {str(error) for error in errors} == {"in time"}
            assert 0.4 <= time.monotonic() - began < 2
        assert await pipe.call(asked("PING")) == b"PONG"


async def test_a_slow_engine_that_answers_is_not_given_up(server: engines.Server) -> None:
    async with opened(server, patience=0.4) as pipe:
        slow = [pipe.call(asked("BLPOP", f"{{rt:0}}:none:{number}", 0.2)) for number in range(5)]
        assert await asyncio.gather(*slow) == [None] * 5


async def test_more_than_can_be_of_use_is_refused(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipes, "MOST", 10)
    errors = await asyncio.gather(*(pipe.call(asked("PING")) for _ in range(12)), return_exceptions=True)
    assert next(error for error in errors if error != b"PONG").args == ("10 calls wait for it",)
    assert errors.count(b"PONG") == 10


async def test_nothing_is_left_after_the_end(server: engines.Server) -> None:
    before = asyncio.all_tasks()
    async with opened(server) as pipe:
        held = pipe.call(asked("BLPOP", KEY, 5))
        await asyncio.sleep(0.1)
    with pytest.raises(redis.ConnectionError, match="closed"):
        await held
    assert asyncio.all_tasks() == before
    with server.client() as client:
        await asyncio.sleep(0.05)
        assert len(client.client_list(_type="normal")) == 1
