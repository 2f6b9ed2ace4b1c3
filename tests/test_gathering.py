from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from realtime.gathering import MOST, SHARE, Gathering
from realtime.workers import Workers

SIZE = 3


@pytest.fixture
async def gathering() -> Any:
    workers = Workers(SIZE)
    yield Gathering(workers, SIZE)
    workers.close()


def here() -> str:
    return threading.current_thread().name


async def test_calls_that_come_together_share_a_thread_and_each_gets_its_own_result(gathering: Gathering) -> None:
    def call(number: int) -> tuple[int, str]:
        return number, here()

    found = await asyncio.gather(*(gathering.call(call, number) for number in range(SHARE - 1)))
    assert [number for number, _ in found] == list(range(SHARE - 1))
    assert len({name for _, name in found}) == 1


async def test_where_many_wait_there_are_more_threads_and_never_too_many(gathering: Gathering) -> None:
    together = threading.Barrier(SIZE)  # which breaks, unless so many are there at once
    running, most = 0, 0
    lock = threading.Lock()

    def call() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        if not together.broken and together.n_waiting < SIZE:
            together.wait(5)
        with lock:
            running -= 1

    await asyncio.gather(*(gathering.call(call) for _ in range(SHARE * SIZE * 2)))
    assert most == SIZE


async def test_nobody_is_forgotten(gathering: Gathering) -> None:
    """More than one thread does in a row, and one more that comes as it ends."""
    assert len(await asyncio.gather(*(gathering.call(here) for _ in range(MOST * SIZE * 2)))) == MOST * SIZE * 2
    for _ in range(200):
        await asyncio.wait_for(gathering.call(here), 5)


async def test_each_gets_its_own_error_and_the_others_do_not(gathering: Gathering) -> None:
    def call(error: BaseException | None) -> str:
        if error:
            raise error
        return "well"

    errors = [None, LookupError("no"), None, SystemExit(3), StopIteration("odd"), None]
    found = await asyncio.gather(*(gathering.call(call, error) for error in errors), return_exceptions=True)
    assert [one for one in found if one == "well"] == ["well"] * 3
    assert isinstance(found[1], LookupError)
    assert [type(found[index]) for index in (3, 4)] == [RuntimeError] * 2


async def test_a_thread_is_not_kept_by_a_crowd(gathering: Gathering) -> None:
    """A handler that blocks gets one after at most MOST calls of a crowd."""
    crowd = [asyncio.ensure_future(gathering.call(here)) for _ in range(MOST * SIZE * 20)]
    await asyncio.sleep(0)
    await gathering._workers.call(here)
    assert not all(one.done() for one in crowd)
    await asyncio.gather(*crowd)


async def test_who_is_gone_is_not_waited_for_and_holds_up_nobody(gathering: Gathering) -> None:
    go = threading.Event()
    first = asyncio.ensure_future(gathering.call(go.wait, 5))
    second = asyncio.ensure_future(gathering.call(here))
    await asyncio.sleep(0.01)
    second.cancel()
    go.set()
    assert await first
    assert await gathering.call(here)
