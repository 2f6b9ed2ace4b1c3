from chatty.channels.rooms import RoomChannel
from realtime import Router, Socket, channel


class UserSocket(Socket):
    """Anyone may connect; a user who is logged in is known by name."""

    def id(self) -> str | None:
        return socket_id(self.user.pk) if self.user.is_authenticated else None


def socket_id(user: int) -> str:
    """Return how the sockets of a user are named, "users:7", from the user's key."""
    return f"users:{user}"


router = Router("/ws", [channel("rooms:<part:room>", RoomChannel, name="room")], socket=UserSocket)
