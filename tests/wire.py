"""Wire: a socket in this process that sends and reads whole frames, through channels' own WebsocketCommunicator."""

from __future__ import annotations

import json
from typing import Any

from channels.testing import WebsocketCommunicator

from realtime.consumers.websocket import SocketConsumer
from realtime.routing import Router

PATIENCE = 5.0


class Wire:
    def __init__(self, communicator: WebsocketCommunicator) -> None:
        self.communicator = communicator
        self._closed = False

    @classmethod
    async def to(cls, router: Router, query: str = "vsn=2.0.0", **options: Any) -> Wire:
        communicator = WebsocketCommunicator(SocketConsumer.as_asgi(router=router), f"/ws/websocket?{query}", **options)
        connected, code = await communicator.connect(timeout=PATIENCE)
        assert connected, f"refused with {code}"
        return cls(communicator)

    async def send(self, *frame: Any) -> None:
        """Send one frame: join_ref, ref, topic, event, payload."""
        await self.communicator.send_to(text_data=json.dumps(frame))

    async def receive(self) -> list[Any]:
        frame = json.loads(await self.communicator.receive_from(timeout=PATIENCE))
        assert isinstance(frame, list)
        return frame

    async def join(self, topic: str, payload: Any = None, ref: str = "1") -> Any:
        """Join, and return the reply's response."""
        await self.send(ref, ref, topic, "phx_join", payload or {})
        reply = await self.receive()
        assert reply[:4] == [ref, ref, topic, "phx_reply"], reply
        assert reply[4]["status"] == "ok", reply
        return reply[4]["response"]

    async def ping(self) -> None:
        """Return once the server has read all that was sent before, and has nothing more to say to it."""
        await self.send(None, "ping", "phoenix", "heartbeat", {})
        assert await self.receive() == [None, "ping", "phoenix", "phx_reply", {"status": "ok", "response": {}}]

    async def closed(self) -> int:
        """Return the code that the server closes with."""
        output = await self.communicator.receive_output(timeout=PATIENCE)
        assert output["type"] == "websocket.close", output
        await self.hang_up(int(output["code"]))
        return int(output["code"])

    async def hang_up(self, code: int) -> None:
        """Say what a server says after it has closed."""
        await self.communicator.send_input({"type": "websocket.disconnect", "code": code})
        self.was_closed()

    def was_closed(self) -> None:
        """Take note that there is nothing left to close."""
        self._closed = True

    async def close(self) -> None:
        if not self._closed:
            await self.communicator.disconnect(timeout=PATIENCE)
