"""Whether users still meet what their topics require: who is asked when, and what becomes of tests that hang."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from realtime.rechecks import AT_ONCE, THREADS, Call, Rechecks


class Topic:
    """One that is asked about a test, and notes who was answered what."""

    def __init__(self, name: str, test: Callable[[Any], Any], answered: list[Any]) -> None:
        self._name = name
        self._test = test
        self._answered = answered

    async def recheck(self, call: Call) -> None:
        try:
            answer = await call(self._test, "ada")
        except Exception as error:
            answer = error
        self._answered.append((self._name, answer))

    def __str__(self) -> str:
        return f"Room on {self._name!r}"


class Scene:
    """Tests of an author's, most of which wait until they may go on."""

    def __init__(self) -> None:
        self.rechecks = Rechecks()
        self.answered: list[Any] = []
        self.go, self.thread = asyncio.Event(), threading.Event()
        self.running = self.most = 0

    def topic(self, name: str, test: Callable[[Any], Any] | None = None) -> Topic:
        return Topic(name, test or self.waits, self.answered)

    async def waits(self, user: Any) -> bool:
        self.running += 1
        self.most = max(self.most, self.running)
        await self.go.wait()
        self.running -= 1
        return True

    def blocks(self, user: Any) -> bool:
        self.thread.wait(10)
        return True

    async def settled(self) -> list[str]:
        async with asyncio.timeout(5):
            while self.rechecks._running:
                await asyncio.sleep(0)
        return [name for name, _ in self.answered]


async def passes(user: Any) -> bool:
    return True


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene()
    yield scene
    scene.thread.set()
    await scene.rechecks.aclose()


async def test_a_few_are_asked_at_once_and_everybody_in_the_end(scene: Scene) -> None:
    names = [str(number) for number in range(5 * AT_ONCE)]
    scene.rechecks.put([scene.topic(name) for name in names], is_urgent=False)
    while scene.running < AT_ONCE:
        await asyncio.sleep(0)
    scene.go.set()
    assert sorted(await scene.settled(), key=int) == names
    assert scene.most == AT_ONCE


async def test_the_urgent_ones_come_first(scene: Scene) -> None:
    some = [scene.topic(name) for name in "abc"]
    scene.rechecks.put([scene.topic("-") for _ in range(AT_ONCE)], is_urgent=False)
    scene.rechecks.put(some, is_urgent=False)
    scene.rechecks.put([scene.topic("now"), some[2]], is_urgent=True)
    scene.rechecks.put(some, is_urgent=False)
    scene.go.set()
    assert [name for name in await scene.settled() if name != "-"] == ["now", "c", "a", "b"]


async def test_who_waits_is_asked_once_however_often_somebody_looks(scene: Scene) -> None:
    some = [scene.topic(str(number)) for number in range(AT_ONCE + 2)]
    for _ in range(5):
        scene.rechecks.put(some[AT_ONCE:], is_urgent=False)
        scene.rechecks.put(some, is_urgent=False)
    scene.go.set()
    asked = await scene.settled()
    assert len(asked) < 2 * len(some)


async def test_whoever_comes_when_the_last_was_just_asked_is_asked_too(scene: Scene) -> None:
    scene.go.set()
    for number in range(3 * AT_ONCE):
        scene.rechecks.put([scene.topic(str(number))], is_urgent=False)
        for _ in range(number % 5):
            await asyncio.sleep(0)
    assert len(await scene.settled()) == 3 * AT_ONCE


@pytest.mark.parametrize("kind", ["waits", "blocks"])
async def test_a_test_that_hangs_is_given_up_and_ends_nothing(
    scene: Scene, kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("realtime.rechecks.PATIENCE", 0.05)
    hanging = [scene.topic(str(number), getattr(scene, kind)) for number in range(THREADS)]
    scene.rechecks.put([*hanging, scene.topic("a", passes)], is_urgent=False)
    assert sorted(await scene.settled()) == ["0", "1", "2", "3", "a"]
    assert all(answer is True for _, answer in scene.answered)
    scene.rechecks.put([], is_urgent=False)
    scene.rechecks.put([], is_urgent=False)
    assert caplog.messages == [
        "4 tests of whether somebody may stay took longer than 0.05 s and were given up, that of Room on '0' first"
    ]


async def test_the_patience_is_for_one_test_and_not_for_all(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.rechecks.PATIENCE", 0.5)
    monkeypatch.setattr("realtime.rechecks.AT_ONCE", 1)

    async def lasts(user: Any) -> str:
        await asyncio.sleep(0.05)
        return "answered"

    scene.rechecks.put([scene.topic(str(number), lasts) for number in range(12)], is_urgent=False)
    await scene.settled()
    assert [answer for _, answer in scene.answered] == ["answered"] * 12


async def test_what_a_test_raises_comes_through(scene: Scene) -> None:
    errors = [LookupError("no"), TimeoutError("its own")]

    def fails(error: Exception) -> Callable[[Any], bool]:
        def fail(user: Any) -> bool:
            raise error

        return fail

    scene.rechecks.put([scene.topic(str(error), fails(error)) for error in errors], is_urgent=False)
    await scene.settled()
    assert sorted(repr(answer) for _, answer in scene.answered) == sorted(map(repr, errors))


async def test_tests_that_wait_for_nothing_leave_the_loop_to_others(scene: Scene) -> None:
    many = 20 * AT_ONCE
    scene.rechecks.put([scene.topic(str(number), passes) for number in range(many)], is_urgent=False)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(scene.answered) < many
    assert len(await scene.settled()) == many
