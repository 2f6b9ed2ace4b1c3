from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from chatty.routing import router


def room(request: HttpRequest, room: str) -> HttpResponse:
    """Show a room; who may enter is for its channel to say."""
    topic = router.topic("room", room=room)
    return render(request, "chatty/room.html", {"room": room, "topic": topic, "mount": router.mount})
