"""A chat as an author would write it: who is logged in may enter any room, and say something to all that are in it.

In "people:…" it is known who is there, too. All sockets are of one user here, so each says under which key it is there.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from realtime import Channel, Presence, Refused, Router, Socket, channel, handle_in


class Message(Struct):
    content: str
    username: str


class RoomChannel(Channel):
    async def join(self, payload: dict[str, Any], name: str) -> None:
        pass

    @handle_in("new:message")
    async def new_message(self, message: Message) -> None:
        await self.broadcast("new:message", message)

    @handle_in("echo")
    async def echo(self, payload: dict[str, Any]) -> dict[str, Any]:
        return payload


class PeopleChannel(RoomChannel):
    presence = Presence()

    async def join(self, payload: dict[str, Any], name: str) -> None:
        await self.presence.track(payload["key"], {"status": "online"})

    @handle_in("enter")
    async def enter(self, message: Message) -> None:
        await self.presence.track(message.content, {"status": "online"})

    @handle_in("exit")
    async def exit(self, message: Message) -> None:
        await self.presence.untrack(message.content)


class UserSocket(Socket):
    async def connect(self, params: dict[str, Any]) -> None:
        if not self.user.is_authenticated:
            raise Refused("login")

    def id(self) -> str | None:
        return f"users:{self.user.pk}"


router = Router(
    "/ws",
    [channel("room:<part:name>", RoomChannel), channel("people:<part:name>", PeopleChannel)],
    socket=UserSocket,
)
