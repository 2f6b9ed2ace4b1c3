from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from realtime import intake


class Protocol:
    """What one of uvicorn's has for what it reads."""

    def __init__(self) -> None:
        self.queue: Any = asyncio.Queue()
        self.read_paused = False
        self.said: list[str] = []
        self.transport = SimpleNamespace(
            pause_reading=lambda: self.said.append("pause"), resume_reading=lambda: self.said.append("resume")
        )

    def read(self, event: dict[str, Any]) -> None:
        self.queue.put_nowait(event)
        if event["type"] == "websocket.receive" and not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    async def receive(self) -> Any:
        event = await self.queue.get()
        if self.read_paused and self.queue.empty():
            self.read_paused = False
            self.transport.resume_reading()
        return event


def text(said: str) -> dict[str, Any]:
    return {"type": "websocket.receive", "text": said}


GONE = {"type": "websocket.disconnect", "code": 1005}


async def test_frames_are_taken_at_once_and_reading_never_stops() -> None:
    protocol, taken = Protocol(), []
    assert intake.divert(protocol.receive, taken.append)
    protocol.read(text("a"))
    protocol.read({"type": "websocket.receive", "bytes": b"b"})
    assert taken == ["a", b"b"]
    protocol.read(GONE)
    assert await protocol.receive() == GONE
    assert protocol.said == []


async def test_what_had_come_before_is_taken_first_and_reading_goes_on() -> None:
    protocol, taken = Protocol(), []
    for event in (text("a"), text("b"), GONE):
        protocol.read(event)
    intake.divert(protocol.receive, taken.append)
    protocol.read(text("c"))
    assert taken == ["a", "b", "c"]
    assert protocol.said == ["pause", "resume"]
    assert await protocol.receive() == GONE


@pytest.mark.parametrize("odd", [None, SimpleNamespace(queue=None), SimpleNamespace(queue=asyncio.Queue)])
async def test_what_is_of_another_kind_is_left_alone(odd: Any) -> None:
    async def receive() -> Any:
        pass

    assert not intake.divert(receive if odd is None else SimpleNamespace(__self__=odd), [].append)


async def test_middleware_that_wraps_receive_still_sees_every_frame() -> None:
    protocol, taken = Protocol(), []

    async def wrapped() -> Any:
        return await protocol.receive()

    assert not intake.divert(wrapped, taken.append)
    protocol.read(text("a"))
    assert await wrapped() == text("a")


@pytest.mark.parametrize(
    ("event", "frame"),
    [
        ({"text": ""}, ""),
        ({"text": "a", "bytes": None}, "a"),
        ({"text": None, "bytes": b"a"}, b"a"),
        ({"bytes": None}, b""),
        ({}, b""),
    ],
)
def test_a_frame_is_text_or_bytes(event: dict[str, Any], frame: str | bytes) -> None:
    assert intake.frame_of(event) == frame
