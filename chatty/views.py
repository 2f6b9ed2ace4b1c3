from typing import Any

from django.contrib.auth import login
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import UserCreationForm
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from chatty.forms import MemberForm, RoomForm
from chatty.models import Room
from chatty.routing import router
from realtime import InvalidTopic


def room(request: HttpRequest, room: str) -> HttpResponse:
    """Show a room; who may enter is for its channel to say."""
    try:
        topic = router.topic("room", room=room)
    except InvalidTopic as error:  # the longest address is longer than a topic
        raise Http404 from error
    return render(request, "chatty/room.html", {"room": room, "topic": topic, "mount": router.mount})


def sign_up(request: HttpRequest) -> HttpResponse:
    """Make an account, and log it in."""
    form = UserCreationForm(request.POST or None)
    if form.is_valid():
        login(request, form.save())
        return redirect("lobby")
    return render(request, "chatty/sign_up.html", {"form": form})


@login_required
def rooms(request: HttpRequest) -> HttpResponse:
    """List the private rooms of the user, and make one."""
    form = RoomForm(request.user, request.POST or None)
    if form.is_valid():
        return redirect("members", Room.objects.open(request.user, form.cleaned_data["name"]).slug)
    return render(request, "chatty/rooms.html", {"form": form, "rooms": request.user.rooms.all()})


@login_required
def members(request: HttpRequest, room: str) -> HttpResponse:
    """Let the owner of a room see its members, and add one; send others to the room, whether or not there is one."""
    found = Room.objects.filter(slug=room, owner=request.user).first()
    if found is None:
        return redirect("room", room)
    form = MemberForm(found, request.POST or None)
    if form.is_valid():
        found.members.add(form.cleaned_data["username"])
        return redirect("members", room)
    memberships = found.memberships.select_related("user").order_by("user__username")
    return render(request, "chatty/members.html", {"room": found, "form": form, "memberships": memberships})


@require_POST
@login_required
def remove_member(request: HttpRequest, room: str, user: int) -> HttpResponse:
    """Throw somebody out; the owner stays."""
    memberships = owned(request, room).memberships.exclude(user=request.user)
    get_object_or_404(memberships, user__pk=user).delete()  # not user=user: too large a number would be an error
    return redirect("members", room)


@require_POST
@login_required
def delete_room(request: HttpRequest, room: str) -> HttpResponse:
    owned(request, room).delete()
    return redirect("rooms")


def owned(request: HttpRequest, room: str) -> Any:
    """Return a room of the user; to others it is not there."""
    return get_object_or_404(Room, slug=room, owner=request.user)
