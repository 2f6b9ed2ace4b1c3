"""The same chat as a Channels consumer, as one writes it from the tutorial: JSON, and a group for each topic.

It has what realtime does by itself: origins are checked, the session's user is loaded, who is not logged in is refused.
"""

from __future__ import annotations

import os
from typing import Any

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bench.peers.rawchannels.settings")
django = get_asgi_application()

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402
from django.urls import path  # noqa: E402

urlpatterns: list[Any] = []


def group(topic: str) -> str:
    """Return the name of its group, in which no colon may stand."""
    return topic.replace(":", ".")


class ChatConsumer(AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        self.topics: set[str] = set()
        if self.scope["user"].is_authenticated:
            await self.accept()
        else:
            await self.close()

    async def disconnect(self, code: int) -> None:
        for topic in self.topics:
            await self.channel_layer.group_discard(group(topic), self.channel_name)

    async def receive_json(self, content: dict[str, Any]) -> None:
        match content:
            case {"type": "join", "topic": topic}:
                self.topics.add(topic)
                await self.channel_layer.group_add(group(topic), self.channel_name)
                await self.send_json({"type": "joined", "topic": topic})
            case {"type": "message", "topic": topic}:
                await self.channel_layer.group_send(group(topic), {**content, "type": "chat.message"})
            case {"type": "echo", "ref": ref, "content": text}:
                await self.send_json({"type": "echo", "ref": ref, "content": text})

    async def chat_message(self, event: dict[str, Any]) -> None:
        await self.send_json({**event, "type": "message"})


application = ProtocolTypeRouter(
    {
        "http": django,
        "websocket": AllowedHostsOriginValidator(
            AuthMiddlewareStack(URLRouter([path("ws", ChatConsumer.as_asgi())])),
        ),
    }
)
