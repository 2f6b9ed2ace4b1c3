from chatty.channels.rooms import RoomChannel
from realtime import Router, Socket, channel


class UserSocket(Socket):
    """Anyone may connect; a user who is logged in is known by name."""

    def id(self) -> str | None:
        return f"users:{self.user.pk}" if self.user.is_authenticated else None


router = Router("/ws", [channel("rooms:<part:room>", RoomChannel, name="room")], socket=UserSocket)
