"""A probe: how fast a hub in Python can be under uvicorn. Phoenix frames, made once, written to the transports.

No Django, sessions, checks, engine or bounds: a floor, not a design.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import msgspec

Write = Callable[[bytes], None]


class Frame(msgspec.Struct, array_like=True):
    join_ref: str | None
    ref: str | None
    topic: str
    event: str
    payload: msgspec.Raw


decode = msgspec.json.Decoder(Frame).decode
encode = msgspec.json.Encoder().encode
topics: defaultdict[str, set[Write]] = defaultdict(set)


def framed(*message: Any) -> bytes:
    """Return a WebSocket text frame. RFC 6455, 5.2."""
    text = encode(message)
    size = bytes([len(text)]) if len(text) < 126 else b"\x7e" + len(text).to_bytes(2, "big")
    return b"\x81" + size + text


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    write = send.__self__.transport.write
    try:
        while (event := await receive())["type"] != "websocket.disconnect":
            hear(decode(event["text"]), write)
    finally:
        for writers in topics.values():
            writers.discard(write)


def hear(message: Frame, write: Write) -> None:
    if message.event == "new:message":
        data = framed(None, None, message.topic, message.event, message.payload)
        for each in topics[message.topic]:
            each(data)
        return
    if message.event == "phx_join":
        topics[message.topic].add(write)
    response = {"status": "ok", "response": message.payload}
    write(framed(message.join_ref, message.ref, message.topic, "phx_reply", response))
