from __future__ import annotations

import asyncio

import pytest

from realtime.outbox import Outbox
from realtime.protocol.messages import Frame


class Wire:
    """Writes to a list; `gate` is the peer that reads."""

    def __init__(self, max_messages: int = 10, max_bytes: int = 100) -> None:
        self.written: list[Frame] = []
        self.events: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.gone = False
        self.under_way = 0
        self.outbox = Outbox(
            self.write,
            wire=None,
            max_messages=max_messages,
            max_bytes=max_bytes,
            on_full=lambda: self.events.append("full"),
            on_lost=lambda: self.events.append("lost"),
        )

    async def write(self, frame: Frame) -> None:
        self.under_way += 1
        assert self.under_way == 1
        await self.gate.wait()
        self.under_way -= 1
        if self.gone:
            raise OSError("gone")
        self.written.append(frame)


async def test_frames_are_written_in_order_one_at_a_time() -> None:
    wire = Wire()
    wire.gate.clear()
    for number in range(5):
        wire.outbox.put(str(number))
    await asyncio.sleep(0)
    wire.gate.set()
    await wire.outbox.drained()
    assert wire.written == ["0", "1", "2", "3", "4"]


async def test_no_task_is_left_when_all_is_written() -> None:
    wire = Wire()
    before = asyncio.all_tasks()
    wire.outbox.put("x")
    await wire.outbox.drained()
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("frames", [["x"] * 12, ["y" * 60, "z" * 60, "z"]], ids=["messages", "bytes"])
async def test_a_full_outbox_says_so_once_and_takes_no_more(frames: list[str]) -> None:
    wire = Wire()
    wire.gate.clear()
    for frame in frames:
        wire.outbox.put(frame)
        await asyncio.sleep(0)
    wire.outbox.put("x")
    assert wire.events == ["full"]
    wire.gate.set()
    await asyncio.sleep(0.01)
    assert wire.written == []


async def test_a_peer_that_is_gone_is_told_once() -> None:
    wire = Wire()
    wire.gone = True
    wire.outbox.put("x")
    wire.outbox.put("y")
    await asyncio.sleep(0.01)
    wire.outbox.put("z")
    assert (wire.events, wire.written) == (["lost"], [])
