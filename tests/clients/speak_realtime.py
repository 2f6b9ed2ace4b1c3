"""python speak_realtime.py URL: have two clients of PyPI's `realtime` in a topic, and print as JSON what came of it.

It speaks V1. Its topics begin with "realtime:" always, and it knows one event of its application, "broadcast"; see the
lab's routing.py. What it receives is told in its log alone, and so is what does not fit the models it has of that.
"""

from __future__ import annotations

import ast
import asyncio
import json
import logging
import sys
from collections.abc import Callable
from typing import Any

from realtime import AsyncRealtimeChannel, AsyncRealtimeClient

PATIENCE = 20.0
LIMIT = 40.0  # of all
LOUD = {
    "config": {"broadcast": {"ack": True, "self": True}, "presence": {"key": "", "enabled": False}, "private": False}
}
LAST = {"last": True}


class Ear(logging.Handler):
    """Notes what the clients receive, and what they complain of."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.frames: list[Any] = []
        self.complaints: list[str] = []
        logger = logging.getLogger("realtime")
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        said = record.getMessage()
        if said.startswith("receive: "):
            self.frames.append(json.loads(ast.literal_eval(said.removeprefix("receive: "))))
        elif record.levelno >= logging.WARNING:
            self.complaints.append(said)


class Member:
    """A client, and what it hears in its topic."""

    def __init__(self, url: str) -> None:
        self.client = AsyncRealtimeClient(url)
        self.heard: list[Any] = []
        self.states: list[list[str]] = []

    async def enter(self, topic: str) -> AsyncRealtimeChannel:
        self.channel = self.client.channel(topic, LOUD)
        self.channel.on_broadcast("news", lambda payload: self.heard.append(payload["payload"]))
        return await self.channel.subscribe(self._note)

    def _note(self, state: Any, error: Exception | None) -> None:
        self.states.append([state.value, *([str(error)] if error else [])])

    async def push(self, event: str, payload: dict[str, Any]) -> str:
        """Return "ok", "error" or "timeout"; the client tells no more."""
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        push = await self.channel.push(event, payload)
        for status in ("ok", "error", "timeout"):
            push.receive(status, lambda *_, status=status: answer.set_result(status))
        return await asyncio.wait_for(answer, PATIENCE)

    async def say(self, payload: dict[str, Any]) -> None:
        await self.channel.send_broadcast("news", payload)


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.01)


async def converse(url: str) -> dict[str, Any]:
    ear = Ear()
    ada, bob = Member(url), Member(url)
    await bob.enter("closed")
    refused, bob.states = bob.states, []
    complaints, ear.complaints = ear.complaints, []  # of the refusal
    await bob.client.remove_channel(bob.channel)
    await ada.enter("a")
    await bob.enter("a")
    came: dict[str, Any] = {"join": ada.states[:], "refused": [refused[0], complaints]}
    came["replies"] = [await ada.push("echo", {}), await ada.push("refuse", {})]
    await ada.say({"text": "grüß dich, 世界 👋"})
    await ada.say(LAST)
    await until(lambda: LAST in ada.heard and LAST in bob.heard)
    came["heard"] = [ada.heard[:], bob.heard[:]]
    came["heartbeats"] = [frame["payload"] for frame in ear.frames if frame["topic"] == "phoenix"][:2]
    came["left"] = await leave(ada, bob, ear)
    came["complaints"] = ear.complaints
    await ada.client.close()
    await bob.client.close()
    return came


async def leave(who: Member, other: Member, ear: Ear) -> dict[str, Any]:
    """Return what the one who leaves is told, and how many broadcasts then reach both of them."""
    left = who.channel
    await who.enter("b")
    who.states.clear()
    await left.unsubscribe()
    await until(lambda: who.states)
    ear.frames.clear()
    await other.say({"number": 1})
    await other.push("echo", {})
    await who.push("echo", {})  # what was on its way is here by now
    return {"told": who.states, "reached": sum(frame["event"] == "broadcast" for frame in ear.frames)}


print(json.dumps(asyncio.run(asyncio.wait_for(converse(sys.argv[1]), LIMIT))))
