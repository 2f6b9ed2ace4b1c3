"""The chat's topics, and one kind more that anyone may join, so that a page can hold several."""

from chatty.routing import router as chat
from realtime import Channel, Router, channel


class NoteChannel(Channel):
    async def join(self, payload: object, note: str) -> None:
        pass

    async def after_join(self, payload: object) -> None:
        await self.push("welcome", self.params)


router = Router("/ws", [chat.routes, channel("notes:<part:note>", NoteChannel)], socket=chat.socket)
