"""Tests of channels in Phoenix's words, through the whole stack: a socket, the project's router, a real engine.

    def test_everybody_hears(realtime_client, db):                      # pytest
        room = realtime_client.connect(user=ada).join("rooms:lobby")
        ref = room.push("new:message", {"content": "hi"})
        room.assert_reply(ref, "ok")
        room.assert_broadcast("new:message", {"content": "hi"})

    class RoomTests(RealtimeMixin, TestCase):                           # Django's and unittest's
        def test_everybody_hears(self):
            room = self.realtime_client.connect(user=ada).join("rooms:lobby")

The async twins are the fixture and attribute `async_realtime_client`, whose verbs are awaited. What a pattern may be
says `realtime.testing.patterns.mismatch`.
"""

from .cases import RealtimeMixin
from .client import AsyncRealtimeClient
from .sockets import AsyncClientChannel, AsyncClientSocket
from .sync import ClientChannel, ClientSocket, RealtimeClient

__all__ = [
    "AsyncClientChannel",
    "AsyncClientSocket",
    "AsyncRealtimeClient",
    "ClientChannel",
    "ClientSocket",
    "RealtimeClient",
    "RealtimeMixin",
]
