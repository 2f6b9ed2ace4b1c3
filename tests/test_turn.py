from __future__ import annotations

import asyncio

import pytest

from realtime.turn import Turn


async def test_what_is_put_off_is_done_in_order_once_all_that_is_ready_has_run() -> None:
    turn, done = Turn(), []
    asyncio.get_running_loop().call_soon(done.append, "ready")
    turn.put_off(lambda: done.append("first"))
    turn.put_off(lambda: done.append("second"))
    assert done == []
    await asyncio.sleep(0)
    assert done == ["ready", "first", "second"]


async def test_what_that_puts_off_in_turn_goes_with_it() -> None:
    turn, done = Turn(), []
    turn.put_off(lambda: turn.put_off(lambda: done.append("late")))
    await asyncio.sleep(0)
    assert done == ["late"]


async def test_there_is_another_turn_after_this_one() -> None:
    turn, done = Turn(), []
    for number in range(2):
        turn.put_off(lambda number=number: done.append(number))  # type: ignore[misc]
        await asyncio.sleep(0)
    assert done == [0, 1]


async def test_one_that_fails_does_not_hold_up_the_others(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError("not today")

    turn, done = Turn(), []
    turn.put_off(fail)
    turn.put_off(lambda: done.append("other"))
    await asyncio.sleep(0)
    assert done == ["other"]
    assert "RuntimeError: not today" in caplog.text
