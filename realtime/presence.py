"""Presence: what an author says to know who is here."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async

from . import conf
from .attendance import Guest
from .engine.client import sync_client, translated
from .engine.presences import Loaded, Presences
from .exceptions import InvalidPresence
from .handlers import Channel
from .payloads import checked_topic, encode_object
from .protocol.roster import Metas, entries_of
from .replica import Fetch, fetched

KEY_BYTES = 255
META_BYTES = 1024
REFS = ("phx_ref", "phx_ref_prev")  # ours, in every meta that a client sees


class Presence:
    """Who is in a topic, everywhere in the cluster. One on a Channel class:

    class RoomChannel(Channel):
        presence = Presence()

        async def join(self, payload, room):
            await self.presence.track(self.user.pk, {"status": "online"})

    Each client gets a "presence_state" after its join (unless state=False), then a "presence_diff" for what changes, as
    the Presence of phoenix.js reads them. What a channel has tracked ends with it: at once if it leaves, is stopped or
    told to go, REALTIME["PRESENCE_GRACE"] seconds later when its socket is lost. Who comes back under the same key
    within that time has never been away.

    self.presence is a Tracker; RoomChannel.presence this object.
    """

    def __init__(self, *, state: bool = True) -> None:
        self.state = state

    # For authors to write

    def fetch(self, topic: str, entries: dict[str, Any]) -> Any:
        """Return the entries with more fields beside "metas": {"7": {"metas": [...], "name": "Ada"}}. Sync or async.

        It is called with many keys at a time: all of them when a server begins to hear the topic, then once for each
        diff, on every server. What it does to keys and "metas" is of no effect.
        """
        return entries

    # From outside

    @staticmethod
    def list_of(topic: str) -> dict[str, Any]:
        """Return who is in a topic, from any process and thread: {key: {"metas": [...], ...}}.

        What `fetch` adds is there if the project's router knows the topic. Raises InvalidTopic, EngineUnavailable.
        """
        metas, fetch = _asked(topic), _fetch_of(topic)
        return entries_of(metas, fetch and async_to_sync(fetched)(_ask, fetch, topic, metas))

    @staticmethod
    async def alist_of(topic: str) -> dict[str, Any]:
        """Return who is in a topic, without blocking the loop; see `list_of`."""
        metas, fetch = await asyncio.to_thread(_asked, topic), _fetch_of(topic)
        return entries_of(metas, await fetched(_ask, fetch, topic, metas))

    # For Channel and its actor

    is_presence = True

    @property
    def fetcher(self) -> Fetch | None:
        return None if type(self).fetch is Presence.fetch else self.fetch

    def __get__(self, channel: Channel | None, owner: type | None = None) -> Any:
        return self if channel is None else Tracker(channel._port.guest)


class Tracker:
    """What one channel says of who is here. All of it raises EngineUnavailable."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    async def track(self, key: object, meta: Any = None) -> None:
        """Let `key` be here, with what is to be known of it; what this channel tracks already is updated.

        key   text of 1 to 255 bytes, or what becomes such text, as a number does
        meta  a JSON object of at most 1024 bytes

        Several channels may track one key, as the tabs of one user: the entry then has a meta of each, in the order in
        which they were tracked. Raises InvalidPresence and Unencodable.
        """
        await self._guest.track(_checked_key(key), _checked_meta(meta))

    async def update(self, key: object, meta: Any) -> None:
        """Change what is known of a key that this channel tracks: to a meta, or to what a function makes of it.

        Raises NotTracked, InvalidPresence and Unencodable.
        """
        key = _checked_key(key)
        known = self._guest.meta(key)
        await self._guest.track(key, _checked_meta(meta(msgspec.json.decode(known)) if callable(meta) else meta))

    async def untrack(self, key: object = None) -> None:
        """Let `key` be here no more, as far as this channel goes; without a key, all that it tracks."""
        await self._guest.untrack(self._guest.keys if key is None else [str(key)])

    async def list(self) -> dict[str, Any]:
        """Return who is here, everywhere: {key: {"metas": [{..., "phx_ref": "..."}], ...}}."""
        return (await self._guest.read()).entries()

    async def get(self, key: object) -> dict[str, Any] | None:
        """Return the entry of one key, or None if nobody tracks it."""
        return (await self._guest.read()).entry(str(key))


# private


def _checked_key(key: object) -> str:
    text = str(key)
    try:
        size = len(text.encode())
    except UnicodeEncodeError:  # a lone surrogate
        size = 0
    if key is None or not 1 <= size <= KEY_BYTES:
        raise InvalidPresence(f"a key is text of 1 to {KEY_BYTES} bytes, not {key!r:.80}")
    return text


def _checked_meta(meta: Any) -> bytes:
    """Return a meta as JSON, without the refs: whoever changes what it has listed sends them back."""
    found = msgspec.json.decode(encode_object(meta))
    for ref in REFS:
        found.pop(ref, None)
    raw = msgspec.json.encode(found, order="sorted")  # so that the same meta is the same text
    if len(raw) > META_BYTES:
        raise InvalidPresence(
            f"a meta has at most {META_BYTES} bytes of JSON, not {len(raw):,}: what is long belongs into `fetch`"
        )
    return raw


async def _ask(function: Fetch, *args: Any) -> Any:
    return await (function if iscoroutinefunction(function) else sync_to_async(function))(*args)


def _asked(topic: str) -> dict[str, Metas]:
    with translated():
        loaded: Loaded = Presences(conf.keys()).load(checked_topic(topic)).run(sync_client(conf.engine()))
    return loaded.metas


def _fetch_of(topic: str) -> Fetch | None:
    match = conf.router().resolve(topic)
    presence = None if match is None else match.channel.presence_hook
    return None if presence is None else presence.fetcher
