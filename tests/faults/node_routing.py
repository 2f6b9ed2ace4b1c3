"""Topics that anybody may join, any number of them, and a look into the process that serves them."""

from __future__ import annotations

import asyncio
from typing import Any

from realtime import Channel, Presence, Router, channel, handle_in


class FieldChannel(Channel):
    async def join(self, payload: Any, name: str) -> None:
        pass

    @handle_in("shout")
    async def shout(self, payload: dict[str, Any]) -> Any:
        await self.broadcast("n", payload)
        return {}

    @handle_in("tasks")
    async def tasks(self) -> Any:
        return {"tasks": len(asyncio.all_tasks())}


class CampChannel(FieldChannel):
    """Tracks whom the client names."""

    presence = Presence()

    async def join(self, payload: Any, name: str) -> None:
        for key in payload.get("keys", ()):
            await self.presence.track(key, {"camp": name})


router = Router("/ws", [channel("field:<part:name>", FieldChannel), channel("camp:<part:name>", CampChannel)])
