"""A probe: what the ASGI server itself costs. Phoenix' echo, through `send`, and nothing else."""

from __future__ import annotations

import json
from typing import Any


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] != "websocket.disconnect":
        join_ref, ref, topic, _, payload = json.loads(event["text"])
        answer = [join_ref, ref, topic, "phx_reply", {"status": "ok", "response": payload}]
        await send({"type": "websocket.send", "text": json.dumps(answer)})
