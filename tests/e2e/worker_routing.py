"""A channel that tells in which process it runs, and a page that takes an hour.

Whoever loads this uses the engine at once: under gunicorn --preload that is the process which forks the workers.
"""

from __future__ import annotations

import asyncio
import gc
import os
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from realtime import Channel, Router, channel, handle_in, topics

topics.create("worker")


class WorkerChannel(Channel):
    async def join(self, payload: Any) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "frozen": gc.get_freeze_count(),
            "loop": type(asyncio.get_running_loop()).__module__,
        }

    @handle_in("shout")
    async def shout(self, payload: dict[str, Any]) -> dict[str, Any]:
        await self.broadcast("shout", payload)
        return {}

    @handle_in("look")
    def look(self, payload: dict[str, Any]) -> dict[str, Any]:
        return {"exists": [topics.exists("worker"), topics.exists("nowhere")]}


router = Router("/ws", [channel("worker", WorkerChannel)])


async def forever(request: HttpRequest) -> HttpResponse:
    await asyncio.sleep(3600)
    return HttpResponse("at last")


urlpatterns = [path("", include("chatty.urls")), path("forever/", forever)]
