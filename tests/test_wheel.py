from __future__ import annotations

import asyncio
import time

import pytest

from realtime import wheel as room
from realtime.wheel import Wheel


class Member:
    def __init__(self) -> None:
        self.ticks: asyncio.Queue[float] = asyncio.Queue()

    def tick(self, now: float) -> None:
        self.ticks.put_nowait(now)

    async def drain(self) -> None:
        pass


async def test_every_member_is_shown_the_clock_again_and_again() -> None:
    wheel, members = Wheel(0.01), [Member(), Member()]
    for member in members:
        wheel.add(member)
    for member in members:
        first, second = [await asyncio.wait_for(member.ticks.get(), 5) for _ in range(2)]
        assert second > first
        wheel.discard(member)


async def test_a_member_that_left_is_left_alone() -> None:
    wheel, gone, there = Wheel(0.01), Member(), Member()
    wheel.add(gone)
    wheel.add(there)
    wheel.discard(gone)
    await asyncio.wait_for(there.ticks.get(), 5)
    assert gone.ticks.empty()
    wheel.discard(there)


async def test_no_timer_runs_for_nobody() -> None:
    wheel, member = Wheel(0.01), Member()
    wheel.add(member)
    wheel.discard(member)
    await asyncio.sleep(0.03)
    assert member.ticks.empty()
    assert wheel.members() == []


async def test_a_loop_that_was_held_up_is_told_of_and_blamed_on_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(room, "LATE", 0.05)
    wheel, member = Wheel(0.01), Member()
    wheel.add(member)
    await asyncio.sleep(0)
    time.sleep(0.1)
    await asyncio.sleep(0)
    assert member.ticks.empty()
    await asyncio.wait_for(member.ticks.get(), 5)
    wheel.discard(member)
    assert "something held up the event loop for 0." in caplog.text


async def test_a_member_that_fails_keeps_no_other_from_the_clock(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Member):
        def tick(self, now: float) -> None:
            raise TypeError

    wheel, members = Wheel(0.01), [Broken(), Member(), Broken(), Member()]
    for member in members:
        wheel.add(member)
    for member in members[1], members[3]:
        await asyncio.wait_for(member.ticks.get(), 5)
    for member in members:
        wheel.discard(member)
    assert "could not look at a socket" in caplog.text
