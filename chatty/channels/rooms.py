from msgspec import Struct

from realtime import Channel, Refused, handle_in

ANONYMOUS = "anon"
NAME_LENGTH = 40
MESSAGE_LENGTH = 2000


class Entry(Struct):
    """What a client says when it joins."""

    username: str = ANONYMOUS


class Message(Struct):
    content: str
    username: str = ANONYMOUS


class RoomChannel(Channel):
    """A chat room; anyone may enter the lobby."""

    async def join(self, payload: Entry, room: str) -> None:
        if room != "lobby":
            raise Refused("unauthorized", retry=False)

    async def after_join(self, payload: Entry) -> None:
        await self.broadcast("user:entered", {"username": _name(payload.username)})

    @handle_in("new:message")
    async def new_message(self, message: Message) -> dict[str, str]:
        content = message.content.strip()
        if not content:
            raise Refused("blank message")
        if len(content) > MESSAGE_LENGTH:
            raise Refused(f"a message has at most {MESSAGE_LENGTH} characters")
        await self.broadcast("new:message", Message(content, _name(message.username)))
        return {}  # a reply, so that the page knows that nothing was lost


def _name(username: str) -> str:
    return username.strip()[:NAME_LENGTH] or ANONYMOUS
