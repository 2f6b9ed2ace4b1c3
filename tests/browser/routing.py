"""The chat's topics, and one kind more that anyone may join, so that a page can hold several."""

from typing import Any

from chatty.routing import router as chat
from realtime import Channel, Router, channel, handle_in


class NoteChannel(Channel):
    async def join(self, payload: object, note: str) -> None:
        pass

    async def after_join(self, payload: object) -> None:
        await self.push("welcome", self.params)

    @handle_in("say")
    async def say(self, payload: dict[str, Any]) -> dict[str, Any]:
        await self.broadcast("said", payload)
        return {"user": str(self.user)}


router = Router("/ws", [chat.routes, channel("notes:<part:note>", NoteChannel)], socket=chat.socket)
