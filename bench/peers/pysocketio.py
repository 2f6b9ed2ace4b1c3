"""python-socketio's rooms, with its Redis manager. No sessions, no users."""

from __future__ import annotations

import os
from typing import Any

import socketio

manager = socketio.AsyncRedisManager(os.environ["REDIS_URL"])
server = socketio.AsyncServer(async_mode="asgi", client_manager=manager, cors_allowed_origins="*")
application = socketio.ASGIApp(server)


@server.event
async def join(sid: str, data: dict[str, Any]) -> dict[str, str]:
    await server.enter_room(sid, data["topic"])
    return {"status": "ok"}


@server.event
async def message(sid: str, data: dict[str, Any]) -> None:
    await server.emit("new:message", data, room=data["topic"])


@server.event
async def echo(sid: str, data: dict[str, Any]) -> dict[str, Any]:
    return data
