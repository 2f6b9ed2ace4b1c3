"""Channels that do what the test helpers must cope with."""

from __future__ import annotations

import asyncio
from typing import Any

from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.db import transaction

from realtime import Channel, Refused, Router, Socket, broadcast, channel, handle_in


class Door(Socket):
    async def connect(self, params: dict[str, Any]) -> None:
        if params.get("token") == "wrong":
            raise Refused("wrong token")
        if params.get("token") == "broken":
            raise RuntimeError("the door is broken")


class Room(Channel):
    ended: list[tuple[str, str]] = []

    async def join(self, payload: Any, name: str) -> Any:
        if name == "closed":
            raise Refused("closed", retry=False)
        if name == "broken":
            raise RuntimeError("the room is broken")
        user = getattr(self.user, "username", None)
        return {"name": name, "user": user, "params": self.socket.params, "asked": payload}

    async def after_join(self, payload: Any) -> None:
        await self.push("welcome", {"to": self.topic})

    async def terminate(self, reason: str) -> None:
        Room.ended.append((self.topic, reason))

    @handle_in("echo")
    async def echo(self, payload: Any) -> Any:
        return payload

    @handle_in("silent")
    async def silent(self, payload: Any) -> None:
        pass

    @handle_in("shout")
    async def shout(self, payload: dict[str, Any]) -> None:
        await self.broadcast("shouted", payload)

    @handle_in("whisper")
    async def whisper(self, payload: dict[str, Any]) -> None:
        await self.broadcast_from("whispered", payload)

    @handle_in("announce")
    async def announce(self, payload: dict[str, Any]) -> None:
        await asyncio.sleep(0.005)
        broadcast(self.topic, "announced", payload)  # which waits for no listener, unlike self.broadcast

    @handle_in("flood")
    async def flood(self, payload: Any) -> None:
        for number in range(100):
            await self.push("drop", {"n": number})

    @handle_in("refuse")
    async def refuse(self, payload: Any) -> None:
        raise Refused("no")

    @handle_in("crash")
    async def crash(self, payload: Any) -> None:
        raise ZeroDivisionError("the channel is broken")

    @handle_in("stop")
    async def end(self, payload: Any) -> None:
        await self.stop("enough")


class Books(Channel):
    """Does all it does in the database."""

    def join(self, payload: Any) -> Any:
        return {"users": User.objects.count()}

    def terminate(self, reason: str) -> None:
        User.objects.create(username=f"ended: {reason}")

    @handle_in("names")
    def names(self, payload: Any) -> Any:
        return {"names": sorted(User.objects.values_list("username", flat=True))}

    @handle_in("anames")
    async def anames(self, payload: Any) -> Any:
        return {"names": sorted([name async for name in User.objects.values_list("username", flat=True)])}

    @handle_in("add")
    def add(self, payload: dict[str, Any]) -> Any:
        with transaction.atomic():
            User.objects.create(username=payload["name"])
            broadcast(self.topic, "added", payload)
        async_to_sync(self.push)("done", payload)
        return {}

    @handle_in("aadd")
    async def aadd(self, payload: dict[str, Any]) -> Any:
        await User.objects.acreate(username=payload["name"])
        broadcast(self.topic, "added", payload)
        return {}

    @handle_in("fail")
    def fail(self, payload: dict[str, Any]) -> Any:
        with transaction.atomic():
            User.objects.create(username=payload["name"])
            broadcast(self.topic, "added", payload)
            raise Refused("rolled back")


router = Router("/ws", [channel("t:<part:name>", Room), channel("books", Books)], socket=Door)
