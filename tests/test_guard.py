"""The look at who may stay: whom it waits for, and who waits for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from realtime.guard import Guard, hashed


class Member:
    """A socket of a session."""

    stamp = ""
    user = SimpleNamespace(pk=1)

    def __init__(self, session: str) -> None:
        self.session_key = session
        self.session_hash = hashed(session)
        self.user_key = session

    def revoke(self, why: str) -> None:
        raise AssertionError("it may stay")

    def topics(self) -> Sequence[Any]:
        return []


@pytest.fixture
async def guard(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Guard]:
    monkeypatch.setattr("realtime.guard._complaint", lambda *args: None)
    monkeypatch.setattr("realtime.guard.take_over", lambda *args: None)
    monkeypatch.setattr("realtime.guard.GATHER", 0.0)
    guard = Guard(1000.0)
    yield guard
    await guard.aclose()


async def test_who_is_asked_for_does_not_wait_until_all_were_looked_at(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go, looked = threading.Event(), threading.Event(), []

    def found(members: Sequence[Member]) -> Any:
        looked.extend(member.user_key for member in members)
        began.set()
        go.wait(10)
        return {1: None}, set()

    monkeypatch.setattr("realtime.guard._found", found)
    monkeypatch.setattr("realtime.guard.AT_ONCE", 1)
    guard._members = dict.fromkeys(map(Member, "cdeab"))  # type: ignore[assignment]  in this order
    look = asyncio.create_task(guard._look_at_all())
    await asyncio.to_thread(began.wait, 5)
    guard.ask(user="a")
    guard.ask(user="b")
    go.set()
    await look
    assert looked == list("cab") + list("deab")


async def test_its_threads_end_with_it(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []

    def note(*args: Any) -> Any:
        threads.append(threading.current_thread())
        return {}, set()

    class Topic:
        async def recheck(self, call: Any) -> None:
            await call(note, None)

    monkeypatch.setattr("realtime.guard._found", note)
    await guard._look([])
    guard._rechecks.put([Topic()], is_urgent=True)
    while len(threads) < 2:
        await asyncio.sleep(0)
    await guard.aclose()
    for thread in threads:
        await asyncio.to_thread(thread.join, 5)
    assert [thread.is_alive() for thread in threads] == [False, False]
