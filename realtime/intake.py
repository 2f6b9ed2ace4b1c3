"""Intake: the frames that a server has read, taken from it at once, past its queue and the task that waits there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .protocol.messages import Frame


def divert(receive: Any, take: Callable[[Frame], None]) -> bool:
    """Let a server call `take`, which must not raise, with each frame as soon as it is read.

    Returns whether `receive` is the very one of a server that is known. All else still comes through it: what is no
    frame, and the frames of other servers and of middleware that wraps it.
    """
    protocol: Any = getattr(receive, "__self__", None)
    try:
        queue, is_paused = protocol.queue, protocol.read_paused
        waiting = [queue.get_nowait() for _ in range(queue.qsize())]
    except AttributeError:
        return False
    protocol.queue = diverted = _Diverted(queue, take)
    # It stops reading with each frame, until that is taken from its queue: here with none any more.
    protocol.read_paused = True
    if is_paused:
        protocol.transport.resume_reading()
    for event in waiting:
        diverted.put_nowait(event)
    return True


class _Diverted:
    """Stands for the queue of one of uvicorn's WebSocket protocols."""

    __slots__ = ("_put", "_take", "get")

    def __init__(self, queue: Any, take: Callable[[Frame], None]) -> None:
        self._put = queue.put_nowait
        self._take = take
        self.get = queue.get

    def put_nowait(self, event: dict[str, Any]) -> None:
        if event["type"] == "websocket.receive":
            self._take(frame_of(event))
        else:
            self._put(event)

    def empty(self) -> bool:
        return False  # or reading would be resumed that was never paused


def frame_of(event: Any) -> Frame:
    """Return what came with a websocket.receive."""
    text = event.get("text")
    return (event.get("bytes") or b"") if text is None else text
