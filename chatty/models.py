"""Private rooms and their members; what was said in them, and in the lobby."""

import random
from typing import Any

from django.conf import settings
from django.db import IntegrityError, models, transaction
from django.utils.crypto import get_random_string
from django.utils.text import slugify

LOBBY = "lobby"
NAME_LENGTH = 40
MESSAGE_LENGTH = 2000

# What is asked for at one moment may go past these two by as much.
ROOMS = 20  # of one owner
MEMBERS = 100  # of one room
HISTORY = 50  # messages that who comes in is sent
KEPT = 1000  # messages of a room; some more until the next time that the oldest are forgotten
FORGET_EVERY = 100  # messages, on the average


class RoomManager(models.Manager["Room"]):
    def open(self, owner: models.Model, name: str) -> "Room":
        """Make a room whose slug begins with `name`, with its owner as the first member.

        The end of the slug is random: were names taken or free, their being taken would tell strangers of rooms.
        """
        end = get_random_string(8, "abcdefghijkmnpqrstuvwxyz23456789")
        with transaction.atomic():
            room = self.create(slug=f"{slugify(name)[:NAME_LENGTH] or 'room'}-{end}", owner=owner)
            room.members.add(owner)
        return room


class Room(models.Model):
    """A private room. Its members may enter it, and whoever has the permission `chatty.enter_any_room`.

    The slug is in the name of the topic. It never changes, so it is the key, and whoever has a membership or a message
    knows the topic without a query. The lobby is none of these: it is open, and nobody's.
    """

    slug = models.SlugField(primary_key=True, max_length=60)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="owned_rooms")
    members = models.ManyToManyField(settings.AUTH_USER_MODEL, through="Membership", related_name="rooms")

    objects = RoomManager()

    class Meta:
        ordering = ["slug"]
        permissions = [("enter_any_room", "Can enter any room")]

    def __str__(self) -> str:
        return self.slug


class Membership(models.Model):
    """That a user may enter a room. When it is deleted the user is thrown out: see signals.py.

    It is made and deleted, never changed, for that would throw nobody out. (The `update()` of a queryset asks nobody,
    and would leave them inside.)
    """

    room = models.ForeignKey(Room, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="memberships")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["room", "user"], name="member_once")]

    def __str__(self) -> str:
        return f"{self.user_id} in {self.room_id}"

    def save(self, **kwargs: Any) -> None:
        if not self._state.adding:
            raise ValueError("a membership does not change: delete it, and make another one")
        super().save(**{**kwargs, "force_insert": True})


class MessageManager(models.Manager["Message"]):
    def say(
        self, room: str | None, user: models.Model | None, username: str, content: str, key: str | None = None
    ) -> "Message":
        """Save what was said, or return what has been said with that key.

        One query, as a rule; with a key it is a transaction. Now and then the oldest of that room are forgotten.
        """
        said = {"room_id": room, "user": user, "username": username, "content": content}
        message = self.create(**said) if key is None else self._once(key, said)
        if random.randrange(FORGET_EVERY) == 0:
            self.forget_oldest(room)
        return message

    def _once(self, key: str, said: dict[str, Any]) -> "Message":
        """Make the message first, for it is new nearly always; the database knows, whoever else says it just now."""
        try:
            with transaction.atomic():
                return self.create(**said, key=key)
        except IntegrityError:
            if (known := self.filter(key=key).first()) is None:
                raise  # the room or the account is no more
            return known

    def forget_oldest(self, room: str | None) -> None:
        """Leave a room the last KEPT messages."""
        for oldest_but in self.filter(room=room).order_by("-id").values_list("id", flat=True)[KEPT : KEPT + 1]:
            self.filter(room=room, id__lte=oldest_but).delete()

    def latest(self, room: str | None, after: int | None) -> tuple[list["Message"], bool]:
        """Return the last messages of a room, the oldest first, and whether there are more before them. One query.

        after  only those with a greater id
        """
        found = list(self.filter(room=room, id__gt=after or 0).order_by("-id")[: HISTORY + 1])
        return found[HISTORY - 1 :: -1] if len(found) > HISTORY else found[::-1], len(found) > HISTORY


class Message(models.Model):
    """What somebody said.

    room      None is the lobby
    user      whose account said it; None for a guest, and for an account that is no more
    username  the name it was said under
    key       once there is a message with a key, no other can have it; None if its client sent no key
    """

    # The index below has the room first, and serves it too.
    room = models.ForeignKey(Room, models.CASCADE, null=True, related_name="messages", db_index=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="messages")
    username = models.CharField(max_length=150)
    content = models.TextField(max_length=MESSAGE_LENGTH)
    created = models.DateTimeField(auto_now_add=True)
    key = models.CharField(max_length=64, null=True, blank=True, unique=True, editable=False)

    objects = MessageManager()

    class Meta:
        indexes = [models.Index(fields=["room", "id"], name="message_room_id")]

    def __str__(self) -> str:
        return f"{self.username}: {self.content:.40}"
