"""ASGI applications to be served in the chat's place."""

from __future__ import annotations

import json
from collections.abc import MutableMapping
from typing import Any

from chatty.asgi import application as chat
from realtime import wire
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


async def wrapped(scope: Any, receive: Any, send: Any) -> None:
    """Serve the chat under a middleware that adds a space to every frame."""

    async def spaced(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "websocket.send":
            message = {**message, "text": f"{message['text']} "}
        await send(message)

    await chat(scope, receive, spaced)
