"""Topics that anyone may join; nothing is said in them."""

from __future__ import annotations

from typing import Any

from realtime import Channel, Router, channel


class OpenChannel(Channel):
    async def join(self, payload: dict[str, Any], name: str) -> None:
        pass


router = Router("/ws", [channel("open:<part:name>", OpenChannel)])
