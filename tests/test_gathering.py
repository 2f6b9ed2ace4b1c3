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


async def test_each_gets_its_own_error_and_the_others_do_not(gathering: Gathering, asked: Asked) -> None:
    odd = [1, LookupError("no"), 2, SystemExit(3), StopIteration("odd"), 3]
    asked.go.clear()
    first = asyncio.ensure_future(gathering.call(asked, 0))
    await asyncio.sleep(0.001)
    crowd = asyncio.gather(*(gathering.call(asked, question) for question in odd), return_exceptions=True)
    await asyncio.sleep(0)
    asked.go.set()
    found = await crowd
    assert (await first, found[0], found[2], found[5]) == (0, 1, 2, 3)
    assert isinstance(found[1], LookupError)
    assert [type(found[index]) for index in (3, 4)] == [RuntimeError] * 2


@pytest.mark.parametrize("error", [LookupError("no"), SystemExit(3)])
async def test_a_question_that_breaks_the_asking_is_answered_and_does_not_end_it(
    gathering: Gathering, asked: Asked, error: BaseException
) -> None:
    def breaks(questions: Sequence[Any]) -> Sequence[Any]:
        raise error

    with pytest.raises((LookupError, RuntimeError)):
        await asyncio.wait_for(gathering.call(breaks, 1), 5)
    assert await asyncio.wait_for(gathering.call(asked, 1), 5) == 1


async def test_a_thread_that_hangs_holds_up_nobody_who_comes_later(gathering: Gathering, asked: Asked) -> None:
    stuck = Asked()
    first = asyncio.ensure_future(gathering.call(stuck, 1))
    await asyncio.sleep(0.001)
    assert await asyncio.wait_for(gathering.call(asked, 2), 5) == 2
    assert not first.done()
    stuck.go.set()
    assert await first == 1


async def test_who_is_gone_is_not_waited_for_and_holds_up_nobody(gathering: Gathering, asked: Asked) -> None:
    asked.go.clear()
    first = asyncio.ensure_future(gathering.call(asked, 1))
    second = asyncio.ensure_future(gathering.call(asked, 2))
    await asyncio.sleep(0.01)
    first.cancel()
    second.cancel()
    asked.go.set()
    assert await gathering.call(asked, 3) == 3
