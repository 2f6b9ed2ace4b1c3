"""ASGI applications to be served in the chat's place."""

from __future__ import annotations

import asyncio
import json
from collections.abc import MutableMapping
from typing import Any

from chatty.asgi import application as chat
from realtime import intake, wire
from realtime.framing import framed

MESSAGES = 400


async def alternating(scope: Any, receive: Any, send: Any) -> None:
    """Send numbered messages, the even ones through ASGI and the odd ones past it, once the client asks for them."""
    assert scope["type"] == "websocket"
    await receive()
    await send({"type": "websocket.accept"})
    lane = wire.find_lane(send)
    assert lane is not None
    await receive()
    for number in range(MESSAGES):
        text = json.dumps({"n": number, "fill": f"{number:05}" * number * 10})
        if number % 2:
            lane.write(framed(text))
        else:
            await send({"type": "websocket.send", "text": text})
    await receive()
    await send({"type": "websocket.close", "code": 4000})


async def diverting(scope: Any, receive: Any, send: Any) -> None:
    """Say whether frames are taken past `receive`, then send each back, and tell of a frame that came through it."""
    await receive()
    await send({"type": "websocket.accept"})
    back: asyncio.Queue[Any] = asyncio.Queue()
    back.put_nowait("diverted" if intake.divert(receive, back.put_nowait) else "not diverted")

    async def answer() -> None:
        while True:
            frame = await back.get()
            await send({"type": "websocket.send", "text" if isinstance(frame, str) else "bytes": frame})

    answering = asyncio.create_task(answer())
    while (event := await receive())["type"] != "websocket.disconnect":
        back.put_nowait("not diverted")
        back.put_nowait(intake.frame_of(event))
    answering.cancel()


async def wrapped(scope: Any, receive: Any, send: Any) -> None:
    """Serve the chat under a middleware that adds a space to every frame."""

    async def spaced(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "websocket.send":
            message = {**message, "text": f"{message['text']} "}
        await send(message)

    await chat(scope, receive, spaced)
