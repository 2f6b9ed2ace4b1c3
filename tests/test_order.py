from __future__ import annotations

import asyncio

import pytest

from realtime.echoes import Sent
from realtime.order import Order


class Scene:
    def __init__(self) -> None:
        self.order = Order()
        self.said: list[str] = []

    def say(self, what: str) -> None:
        self.order.then(lambda: self.said.append(what))

    def broadcast(self) -> Sent:
        sent = Sent()
        self.order.after(sent)
        return sent


@pytest.fixture
async def scene() -> Scene:
    return Scene()


async def test_with_nothing_under_way_it_is_said_at_once(scene: Scene) -> None:
    scene.say("a")
    assert scene.said == ["a"]


async def test_what_follows_a_broadcast_waits_for_it_and_for_no_other(scene: Scene) -> None:
    first = scene.broadcast()
    scene.say("a")
    second = scene.broadcast()
    scene.say("b")
    assert (scene.said, len(scene.order)) == ([], 4)
    first.settle()
    assert scene.said == ["a"]
    second.settle()
    assert (scene.said, len(scene.order)) == (["a", "b"], 0)


async def test_a_broadcast_that_overtakes_another_lets_nothing_pass_it(scene: Scene) -> None:
    first, second = scene.broadcast(), scene.broadcast()
    scene.say("a")
    second.settle()
    assert scene.said == []
    first.settle()
    assert scene.said == ["a"]


async def test_what_failed_is_known_to_the_next_step_once(scene: Scene) -> None:
    faults: list[BaseException | None] = []
    for error in (OSError("away"), OSError("still away")):
        scene.broadcast().settle(error)
    for _ in range(2):
        scene.order.then(lambda: faults.append(scene.order.fault()))
    assert [str(fault) for fault in faults] == ["away", "None"]


async def test_whoever_ends_waits_until_all_is_said(scene: Scene) -> None:
    await scene.order.drained()
    sent = scene.broadcast()
    scene.say("a")
    drained = asyncio.create_task(scene.order.drained())
    await asyncio.sleep(0)
    assert not drained.done()
    sent.settle()
    await drained
    assert scene.said == ["a"]
