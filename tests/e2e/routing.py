"""What the clients of other people are tried on."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from chatty.routing import UserSocket
from chatty.routing import router as chat
from realtime import Channel, Presence, Refused, Reply, Router, channel, handle_in, include


class LabChannel(Channel):
    """Joins unless told not to; says, does and breaks what it is asked to."""

    async def join(self, payload: Any, name: str) -> Any:
        if name == "closed":
            raise Refused("unauthorized")
        if name == "crash":
            raise RuntimeError("join")
        if name == "slow":
            await asyncio.sleep(payload["seconds"])
        return {"name": name}

    @handle_in("echo")
    async def echo(self, payload: Any) -> Reply:
        return Reply("ok", payload)

    @handle_in("refuse")
    async def refuse(self) -> None:
        raise Refused("no")

    @handle_in("shout")
    async def shout(self, payload: dict[str, Any]) -> Any:
        await self.broadcast("shout", payload)
        return {}

    @handle_in("shout:others")
    async def shout_others(self, payload: dict[str, Any]) -> Any:
        await self.broadcast_from("shout", payload)
        return {}

    @handle_in("whisper")
    async def whisper(self, payload: dict[str, Any]) -> None:
        await self.push("whisper", payload)

    @handle_in("bytes")
    async def take(self, payload: bytes) -> Any:
        return {"octets": list(payload)}

    @handle_in("bytes:echo")
    async def echo_bytes(self, payload: bytes) -> bytes:
        return payload

    @handle_in("bytes:shout")
    async def shout_bytes(self, payload: bytes) -> Any:
        await self.broadcast("shout", payload)
        return {}

    @handle_in("bytes:whisper")
    async def whisper_bytes(self, payload: bytes) -> None:
        await self.push("whisper", payload)

    @handle_in("slow")
    async def slow(self, payload: dict[str, Any]) -> Any:
        await asyncio.sleep(payload["seconds"])
        return payload

    @handle_in("later")
    async def later(self) -> None:
        self.assigns["unanswered"] = self.ref

    @handle_in("release")
    async def release(self, payload: Any) -> Any:
        await self.reply(self.assigns.pop("unanswered"), payload)
        return {}

    @handle_in("block")
    async def block(self, payload: dict[str, Any]) -> Any:
        time.sleep(payload["seconds"])
        return {}

    @handle_in("crash")
    async def crash(self) -> None:
        raise RuntimeError("crash")

    @handle_in("stop")
    async def stop_it(self) -> None:
        await self.stop("done")


class SupabaseChannel(Channel):
    """Broadcasts as the clients of Supabase know it: one event, and whether to hear oneself is said at the join."""

    async def join(self, payload: dict[str, Any], name: str) -> None:
        if name == "closed":
            raise Refused("unauthorized")
        self.assigns.update(payload["config"]["broadcast"])

    @handle_in("broadcast")
    async def say(self, payload: dict[str, Any]) -> Any:
        await (self.broadcast if self.assigns.get("self") else self.broadcast_from)("broadcast", payload)
        return {} if self.assigns.get("ack") else None

    @handle_in("echo")
    async def echo(self, payload: Any) -> Any:
        return Reply("ok", payload)

    @handle_in("refuse")
    async def refuse(self) -> None:
        raise Refused("no")

    @handle_in("crash")
    async def crash(self) -> None:
        raise RuntimeError("crash")


class HereChannel(LabChannel):
    """Tracks whom the client names, with a name beside the metas."""

    class Named(Presence):
        async def fetch(self, topic: str, entries: dict[str, Any]) -> dict[str, Any]:
            return {key: {**entry, "name": key.upper()} for key, entry in entries.items()}

    presence = Named()

    async def join(self, payload: Any, name: str) -> None:
        await self.presence.track(payload["key"], payload.get("meta"))

    @handle_in("update")
    async def update(self, payload: dict[str, Any]) -> Any:
        await self.presence.update(payload["key"], payload["meta"])
        return {}


LAB = [
    channel("lab:<part:name>", LabChannel),
    channel("here:<part:name>", HereChannel),
    channel("realtime:<part:name>", SupabaseChannel),
]
router = Router("/ws", [*LAB, include(chat.routes)], socket=UserSocket)
