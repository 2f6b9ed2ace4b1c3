from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from realtime.gathering import MOST, PATIENCE, SHARE, Gathering
from realtime.workers import Workers

SIZE = 3


@pytest.fixture
async def gathering() -> Any:
    workers = Workers(SIZE)
    yield Gathering(workers, SIZE)
    workers.close()


class Asked:
    """What was asked together, and in how many threads at once. Answers a question with itself."""

    def __init__(self) -> None:
        self.batches: list[Sequence[Any]] = []
        self.most = 0
        self.go = threading.Event()
        self._running = 0
        self._lock = threading.Lock()

    def __call__(self, questions: Sequence[Any]) -> Sequence[Any]:
        with self._lock:
            self.batches.append(questions)
            self._running += 1
            self.most = max(self.most, self._running)
        self.go.wait(5)
        with self._lock:
            self._running -= 1
        return questions


@pytest.fixture
def asked() -> Any:
    found = Asked()
    found.go.set()
    yield found
    found.go.set()


async def test_one_alone_waits_for_nothing(gathering: Gathering, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.gathering.PATIENCE", 60)
    gathering._ended_at = -60
    assert await asyncio.wait_for(gathering.call(asked, 1), 5) == 1


async def test_who_comes_while_others_are_asked_shares_a_thread_and_gets_an_answer_of_its_own(
    gathering: Gathering, asked: Asked
) -> None:
    asked.go.clear()
    first = asyncio.ensure_future(gathering.call(asked, 0))
    await asyncio.sleep(0.001)
    others = [asyncio.ensure_future(gathering.call(asked, number)) for number in range(1, SHARE)]
    await asyncio.sleep(0.001)
    asked.go.set()
    assert await asyncio.gather(first, *others) == list(range(SHARE))
    assert asked.batches == [[0], list(range(1, SHARE))]


async def test_those_of_two_kinds_are_asked_apart(gathering: Gathering, asked: Asked) -> None:
    other = Asked()
    other.go.set()
    kinds = [asked, asked, other, asked] * 4
    assert await asyncio.gather(*(gathering.call(kind, number) for number, kind in enumerate(kinds))) == [*range(16)]
    assert all(number % 4 == 2 for batch in other.batches for number in batch)


async def test_where_many_wait_there_are_more_threads_and_never_too_many(gathering: Gathering, asked: Asked) -> None:
    asked.go.clear()
    crowd = [asyncio.ensure_future(gathering.call(asked, number)) for number in range(MOST * SIZE * 3)]
    await asyncio.sleep(0.05)
    asked.go.set()
    assert await asyncio.gather(*crowd) == list(range(MOST * SIZE * 3))
    assert asked.most == SIZE
    assert max(map(len, asked.batches)) == MOST


async def test_nobody_is_forgotten(gathering: Gathering, asked: Asked) -> None:
    for number in range(50):
        crowd = [gathering.call(asked, number) for number in range(number)]
        assert await asyncio.wait_for(asyncio.gather(*crowd), 5) == list(range(number))
        await asyncio.sleep(PATIENCE * (number % 3) / 2)


@pytest.mark.parametrize("error", [LookupError("no"), SystemExit(3)])
async def test_all_are_told_of_an_asking_that_fails_and_it_does_not_end_the_gathering(
    gathering: Gathering, asked: Asked, error: BaseException
) -> None:
    def breaks(questions: Sequence[Any]) -> Sequence[Any]:
        raise error

    crowd = [gathering.call(breaks, number) for number in range(SHARE)]
    found = await asyncio.wait_for(asyncio.gather(*crowd, return_exceptions=True), 5)
    assert {type(one) for one in found} == {LookupError if isinstance(error, LookupError) else RuntimeError}
    assert await asyncio.wait_for(gathering.call(asked, 1), 5) == 1


async def test_an_answer_too_few_is_an_error_for_those_left(gathering: Gathering, asked: Asked) -> None:
    def forgets(questions: Sequence[Any]) -> Sequence[Any]:
        return questions[:-1]

    gathering._ended_at = asyncio.get_running_loop().time()
    crowd = [gathering.call(forgets, number) for number in range(3)]
    *answers, fault = await asyncio.wait_for(asyncio.gather(*crowd, return_exceptions=True), 5)
    assert answers == [0, 1]
    assert isinstance(fault, ValueError)
    assert await asyncio.wait_for(gathering.call(asked, 1), 5) == 1


async def test_a_thread_that_hangs_holds_up_nobody_who_comes_later(gathering: Gathering, asked: Asked) -> None:
    stuck = Asked()
    first = asyncio.ensure_future(gathering.call(stuck, 1))
    await asyncio.sleep(0.001)
    assert await asyncio.wait_for(gathering.call(asked, 2), 5) == 2
    assert not first.done()
    stuck.go.set()
    assert await first == 1


async def test_who_goes_while_it_is_asked_for_holds_up_nobody(gathering: Gathering, asked: Asked) -> None:
    asked.go.clear()
    gathering._ended_at = asyncio.get_running_loop().time()
    gone, stays = [asyncio.ensure_future(gathering.call(asked, number)) for number in (1, 2)]
    while not asked.batches:
        await asyncio.sleep(0.001)
    gone.cancel()
    asked.go.set()
    assert await asyncio.wait_for(stays, 5) == 2
    assert asked.batches == [[1, 2]]
    assert await asyncio.wait_for(gathering.call(asked, 3), 5) == 3


async def test_who_is_gone_before_it_was_asked_for_is_not_asked_for(gathering: Gathering, asked: Asked) -> None:
    asked.go.clear()
    first = asyncio.ensure_future(gathering.call(asked, "first"))
    await asyncio.sleep(0)
    gone = [asyncio.ensure_future(gathering.call(asked, "gone")) for _ in range(3)]
    stays = asyncio.ensure_future(gathering.call(asked, "stays"))
    await asyncio.sleep(0)
    for one in gone:
        one.cancel()
    await asyncio.wait(gone)
    asked.go.set()
    assert await asyncio.gather(first, stays) == ["first", "stays"]
    assert asked.batches == [["first"], ["stays"]]


async def test_where_all_are_gone_nobody_is_asked_for(gathering: Gathering, asked: Asked) -> None:
    gathering._ended_at = asyncio.get_running_loop().time()
    gone = asyncio.ensure_future(gathering.call(asked, "gone"))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait([gone])
    await asyncio.sleep(2 * PATIENCE)
    assert (asked.batches, gathering._running) == ([], 0)
    assert await asyncio.wait_for(gathering.call(asked, 1), 5) == 1


async def test_a_loop_that_ends_begins_nothing_more_and_leaves_nobody_waiting(
    gathering: Gathering, asked: Asked
) -> None:
    """Else asyncio.run(), which cancels all tasks once, would leave some behind."""
    asked.go.clear()
    crowd = [asyncio.ensure_future(gathering.call(asked, number)) for number in range(MOST * (SIZE + 1))]
    me = asyncio.current_task()
    while not (asking := asyncio.all_tasks() - {me, *crowd}):
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    for task in asking:
        task.cancel()
    found = await asyncio.wait_for(asyncio.gather(*crowd, return_exceptions=True), 5)
    assert {type(one) for one in found} == {asyncio.CancelledError}
    assert asyncio.all_tasks() == {me}
    assert all(task.cancelled() for task in asking)
    assert gathering._running == 0
