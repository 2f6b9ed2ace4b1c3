"""A Python client on a real socket: whole frames, nothing clever."""

from __future__ import annotations

import asyncio
import json
from types import TracebackType
from typing import Any

import websockets

PATIENCE = 10.0


class Client:
    """async with Client(server.socket_url) as client: …

    options  of websockets.connect
    """

    def __init__(self, url: str, **options: Any) -> None:
        self._url = f"{url}/websocket?vsn=2.0.0"
        self._options = options
        self.frames: list[list[Any]] = []

    async def __aenter__(self) -> Client:
        self._socket = await websockets.connect(self._url, max_queue=None, ping_interval=None, **self._options)
        return self

    async def __aexit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._socket.close()

    async def send(self, *frame: Any) -> None:
        await self._socket.send(json.dumps(frame))

    async def receive(self) -> list[Any]:
        frame: list[Any] = json.loads(await asyncio.wait_for(self._socket.recv(), PATIENCE))
        self.frames.append(frame)
        return frame

    async def join(self, topic: str, ref: str = "1") -> None:
        await self.send(ref, ref, topic, "phx_join", {})
        reply = await self.until("phx_reply")  # what comes before is of an earlier join
        assert reply[:4] == [ref, ref, topic, "phx_reply"], reply
        assert reply[4]["status"] == "ok", reply

    async def until(self, event: str) -> list[Any]:
        """Return the next frame of this event; what comes before it stays in `frames`."""
        while (frame := await self.receive())[3] != event:
            pass
        return frame

    async def closed(self) -> int | None:
        """Return the code that the server closes with."""
        try:
            while True:
                await asyncio.wait_for(self._socket.recv(), PATIENCE)
        except websockets.ConnectionClosed:
            return self._socket.close_code
