import hashlib
import secrets
from datetime import datetime
from typing import Annotated

from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from msgspec import Meta, Struct

from chatty.models import LOBBY, MESSAGE_LENGTH, NAME_LENGTH, Membership, Message, Room
from chatty.text import one_name, plain, shows
from realtime import Channel, Presence, Refused, handle_in, handle_info

ANONYMOUS = "anon"
ENTER_ANY = "chatty.enter_any_room"
PERMISSIONS = "django.contrib.auth.backends.ModelBackend"  # of several backends, the one whose tables say who has it

# What moderators hear when somebody's rights have changed. No route leads there, so no client can join it.
RIGHTS, RIGHTS_CHANGED = "moderators", "rights:changed"

Random = Annotated[str, Meta(min_length=16, max_length=64)]  # what a client has made up, and nobody could guess


class Entry(Struct):
    """What a client says when it joins.

    after   a message up to which it is sure to know all, or 0; who says one was here before, and is not announced
    secret  of a guest: who shows it again, after a reload say, is the same person
    """

    username: str = ANONYMOUS
    secret: Random | None = None
    after: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None


class Words(Struct):
    """What a client says.

    key  of this message: who sends it again, not knowing whether it arrived, has said it once. It counts for the
         account, or the guest with its secret, in this room.
    """

    content: str
    username: str = ANONYMOUS
    key: Random | None = None


class Typing(Struct):
    username: str = ANONYMOUS


class Speaker(Struct, frozen=True):
    """Who somebody is to the others: a guest has no account, whatever it calls itself.

    So nobody can pass for somebody with an account.
    """

    username: str
    guest: bool


class Said(Struct):
    """A message as all see it."""

    id: int
    username: str
    guest: bool
    content: str
    at: datetime

    @classmethod
    def of(cls, message: Message) -> "Said":
        return cls(message.pk, message.username, message.user_id is None, message.content, message.created)


class RoomChannel(Channel):
    """A chat room. Anyone may enter the lobby; a private room only its members and moderators."""

    presence = Presence()
    speaker: Speaker

    async def join(self, payload: Entry, room: str) -> None:
        if room != LOBBY and not await self._is_admitted(room):
            raise Refused("unauthorized", retry=False)  # the same for a room that is not there
        self.speaker = self._speaker(payload.username)
        self.assigns["key"] = self.user.pk if self.user.is_authenticated else _guest_key(payload.secret)
        await self.presence.track(self.assigns["key"], self.speaker)

    async def after_join(self, payload: Entry) -> None:
        """Send what was said before. The client hears the room by now, so that nothing falls between the two.

        Who only comes back is not announced: after a restart of the server that would be everybody.
        """
        messages, more = await sync_to_async(Message.objects.latest)(self._room, payload.after)
        await self.push("history", {"messages": [Said.of(message) for message in messages], "more": more})
        if payload.after is None:
            await self.broadcast("user:entered", self.speaker)

    @handle_in("new:message")
    async def new_message(self, words: Words) -> dict[str, str]:
        content = plain(words.content)
        if not shows(content):
            raise Refused("blank message")
        if len(content) > MESSAGE_LENGTH:
            raise Refused(f"a message has at most {MESSAGE_LENGTH} characters")
        await self._call(words.username)
        user = self.user if self.user.is_authenticated else None
        said = (self._room, user, self.speaker.username, content, self._message_key(words.key))
        message = await sync_to_async(Message.objects.say)(*said)
        await self.broadcast("new:message", Said.of(message))
        return {}  # a reply, so that the page knows that nothing was lost

    @handle_in("typing")
    async def typing(self, typing: Typing) -> None:
        """Tell the others. A broadcast, not a meta of the presence: that would be kept, and its end be told as well."""
        await self._call(typing.username)
        await self.broadcast_from("typing", self.speaker)

    @handle_info(RIGHTS_CHANGED)
    async def rights_changed(self) -> None:
        if not await self._is_admitted(self._room):
            await self.stop("no longer a moderator")

    # private

    @property
    def _room(self) -> str | None:
        """The slug of a private room; None in the lobby, as in Message."""
        room: str = self.params["room"]
        return None if room == LOBBY else room

    async def _is_admitted(self, room: str | None) -> bool:
        """Tell whether the user may be in a private room: one query for a member, and none for a guest."""
        if not self.user.is_authenticated:
            return False
        if await Membership.objects.filter(room=room, user=self.user.pk).aexists():
            return True
        if not await self._is_moderator(room):
            return False
        await self.subscribe(RIGHTS)
        return await self._is_moderator(room)  # it may have ended before we could hear of it

    async def _is_moderator(self, room: str | None) -> bool:
        """Ask the database anew, for the user of a socket remembers what it was allowed to.

        Superusers need the permission as well: who looks after accounts need not read what is private.
        """
        moderators = get_user_model().objects.with_perm(ENTER_ANY, include_superusers=False, backend=PERMISSIONS)
        return await moderators.filter(pk=self.user.pk).aexists() and await Room.objects.filter(pk=room).aexists()

    def _speaker(self, username: str) -> Speaker:
        if self.user.is_authenticated:
            return Speaker(self.user.get_username(), guest=False)  # whatever the client claims
        return Speaker(one_name(username, NAME_LENGTH) or ANONYMOUS, guest=True)

    async def _call(self, username: str) -> None:
        """Call a guest by the name that it gives itself now."""
        speaker = self._speaker(username)
        if speaker != self.speaker:
            self.speaker = speaker
            await self.presence.update(self.assigns["key"], speaker)

    def _message_key(self, key: str | None) -> str | None:
        """Return under which key a message is kept: a hash, for what others say must never be taken for it."""
        whole = f"{self.params['room']}\0{self.assigns['key']}\0{key}"
        return None if key is None else hashlib.sha256(whole.encode()).hexdigest()


def _guest_key(secret: str | None) -> str:
    """Return the key of a guest. All see it, so it is a hash: nobody can be the same guest without the secret."""
    return "guest-" + hashlib.sha256((secret or secrets.token_hex()).encode()).hexdigest()[:32]
