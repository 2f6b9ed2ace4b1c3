from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from realtime.echoes import Echoes, Sent


@pytest.fixture
async def echoes() -> AsyncIterator[Echoes]:
    echoes = Echoes(0.05)
    yield echoes
    echoes.close()


def expected(echoes: Echoes, topic: str, mark: str) -> Sent:
    echoes.expect(topic, mark, sent := Sent())
    return sent


# One


async def test_whoever_waits_is_told_in_the_same_step_and_once() -> None:
    sent, told = Sent(), []
    sent.then(lambda: told.append("before"))
    sent.settle()
    sent.settle(OSError())
    sent.then(lambda: told.append("after"))
    assert (told, sent.error) == (["before", "after"], None)
    await sent


async def test_to_await_it_raises_what_kept_it_back() -> None:
    sent = Sent()
    waiting = asyncio.ensure_future(asyncio.wait_for(sent, 1))
    await asyncio.sleep(0)
    sent.settle(OSError("away"))
    for wait in (waiting, sent):
        with pytest.raises(OSError, match="away"):
            await wait


async def test_whoever_waits_may_be_gone() -> None:
    sent = Sent()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(sent, 0.01)
    sent.settle()


# All that a node waits for


async def test_each_is_known_by_its_topic_and_mark_and_taken_once(echoes: Echoes) -> None:
    first, second, other = (expected(echoes, *where) for where in (("a", "1"), ("a", "2"), ("b", "1")))
    assert [echoes.take(*where) for where in (("a", "1"), ("a", "1"), ("c", "1"))] == [first, None, None]
    assert [echoes.take(*where) for where in (("a", "2"), ("b", "1"))] == [second, other]
    assert echoes._awaited == {}


async def test_those_of_a_topic_that_is_not_heard_any_more_are_given_up(echoes: Echoes) -> None:
    first, other = expected(echoes, "a", "1"), expected(echoes, "b", "1")
    echoes.give_up("a")
    assert (first.is_done, other.is_done) == (True, False)


async def test_one_that_does_not_come_is_waited_for_its_time(echoes: Echoes) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await expected(echoes, "a", "1")
    assert loop.time() - began >= 0.05


async def test_no_timer_runs_once_nothing_is_awaited(echoes: Echoes) -> None:
    await expected(echoes, "a", "1")
    await asyncio.sleep(0.15)
    assert (echoes._timer, echoes._awaited) == (None, {})
    await expected(echoes, "a", "2")
