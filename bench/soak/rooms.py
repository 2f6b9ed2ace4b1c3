"""What is served to a soak: rooms that anyone may join, in which what is said is broadcast."""

from __future__ import annotations

import time

from bench.soak.plan import SAY, Words
from realtime import Channel, Router, channel, handle_in


class OnPurpose(Exception):
    """A crash that a client has asked for."""


class SoakChannel(Channel):
    async def join(self, payload: dict, name: str) -> None:
        pass

    @handle_in(SAY)
    async def say(self, words: Words) -> dict:
        await self.broadcast(SAY, words)
        return {}

    @handle_in("count")
    def count(self) -> dict:
        """In a thread, that it keeps for a moment."""
        time.sleep(0.01)
        return {"n": 1}

    @handle_in("crash")
    async def crash(self) -> None:
        raise OnPurpose

    async def terminate(self, reason: str) -> None:
        pass


router = Router("/ws", [channel("soak:<part:name>", SoakChannel)])
