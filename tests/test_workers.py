from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import SyncToAsync, async_to_sync, sync_to_async

from realtime.workers import Unwanted, Workers


@pytest.fixture
async def workers() -> Any:
    workers = Workers(2)
    yield workers
    workers.close()


def here() -> str:
    return threading.current_thread().name


async def test_all_blocking_code_of_one_handler_runs_in_one_thread(workers: Workers) -> None:
    async def handler() -> set[str]:
        return {await sync_to_async(here)() for _ in range(5)}

    names = await workers.call(handler)
    assert len(names) == 1
    assert names.pop().startswith("realtime")


async def test_handlers_block_side_by_side(workers: Workers) -> None:
    together = threading.Barrier(2)

    async def handler() -> int:
        return await sync_to_async(together.wait)(5)

    assert sorted(await asyncio.gather(workers.call(handler), workers.call(handler))) == [0, 1]


async def test_no_more_threads_than_asked_for_and_nobody_is_forgotten(workers: Workers) -> None:
    names = await asyncio.gather(*(workers.call(here) for _ in range(50)))
    assert len(set(names)) <= 2


async def test_a_handler_that_does_not_block_takes_no_thread(workers: Workers) -> None:
    held = threading.Event()
    busy = [asyncio.create_task(workers.call(held.wait, 5)) for _ in range(2)]
    await asyncio.sleep(0.01)

    async def handler() -> str:
        return "answered"

    assert await workers.call(handler) == "answered"
    held.set()
    await asyncio.gather(*busy)


async def test_a_handler_that_gives_up_waiting_for_a_thread_leaves_the_queue(workers: Workers) -> None:
    held = threading.Event()
    busy = [asyncio.create_task(workers.call(held.wait, 5)) for _ in range(2)]
    await asyncio.sleep(0.01)
    waiting = asyncio.create_task(workers.call(here))
    await asyncio.sleep(0.01)
    waiting.cancel()
    held.set()
    await asyncio.gather(*busy, waiting, return_exceptions=True)
    assert waiting.cancelled()
    assert (await workers.call(here)).startswith("realtime")


async def test_what_waits_for_a_thread_is_not_called_once_nobody_wants_it(workers: Workers) -> None:
    held, wanted = threading.Event(), [True]
    busy = [asyncio.create_task(workers.call(held.wait, 5)) for _ in range(2)]
    await asyncio.sleep(0.01)
    waiting = asyncio.create_task(workers.run(False, here, (), {}, lambda: wanted[0]))
    await asyncio.sleep(0.01)
    wanted[0] = False
    held.set()
    with pytest.raises(Unwanted):
        await waiting
    await asyncio.gather(*busy)
    wanted[0] = True
    assert (await workers.run(False, here, (), {}, lambda: wanted[0])).startswith("realtime")


async def test_a_sync_handler_may_call_async_code_on_the_loop(workers: Workers) -> None:
    loop = asyncio.get_running_loop()

    async def on_loop() -> bool:
        return asyncio.get_running_loop() is loop

    def handler() -> bool:
        return async_to_sync(on_loop)()

    assert await workers.call(handler)


async def test_a_task_that_outlives_its_handler_may_still_block(workers: Workers) -> None:
    tasks: list[asyncio.Task[str]] = []
    go = asyncio.Event()

    async def later() -> str:
        await go.wait()
        return await sync_to_async(here)()

    async def handler() -> None:
        await sync_to_async(here)()
        tasks.append(asyncio.create_task(later()))

    await workers.call(handler)
    go.set()
    assert (await tasks[0]).startswith("realtime")
    await asyncio.gather(*(workers.call(here) for _ in range(10)))  # its worker was given back


async def test_what_a_handler_raises_comes_through(workers: Workers) -> None:
    def handler() -> None:
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        await workers.call(handler)


async def test_nothing_of_a_handler_stays_in_memory(workers: Workers) -> None:
    before = set(SyncToAsync.context_to_thread_executor)  # holds them, lest one of another test go meanwhile
    await asyncio.gather(*(workers.call(here) for _ in range(20)))
    gc.collect()
    assert set(SyncToAsync.context_to_thread_executor) == before


async def test_what_outlives_a_handler_that_did_not_block_does_not_share_the_seat_of_the_next(workers: Workers) -> None:
    """An async handler takes no thread, and its place serves the next one; unless a task of it goes on."""
    go = asyncio.Event()
    tasks: list[asyncio.Task[None]] = []
    contexts: list[Any] = []

    async def later() -> None:
        await go.wait()

    async def handler() -> None:
        contexts.append(SyncToAsync.thread_sensitive_context.get())
        if len(contexts) == 3:
            tasks.append(asyncio.create_task(later()))

    for _ in range(4):
        await workers.call(handler)
    numbers = [id(context) for context in contexts]
    go.set()
    await asyncio.gather(*tasks)
    assert numbers[3] not in numbers[:3]


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    calls: list[str] = []
    monkeypatch.setattr("realtime.workers.close_old_connections", lambda: calls.append(here()))
    yield calls


async def test_database_connections_are_tended_in_their_own_thread(workers: Workers, closed: list[str]) -> None:
    name = await workers.call(here)
    while not closed:
        await asyncio.sleep(0.001)
    assert closed == [name]
