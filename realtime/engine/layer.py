"""RedisChannelLayer: channels_redis' pub/sub layer with its holes closed; the bus of every topic."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, TypeVar

from channels_redis.pubsub import RedisPubSubChannelLayer, RedisPubSubLoopLayer
from channels_redis.utils import _wrap_close

from .client import Engine, caller, connector, translated
from .keys import Keys
from .scripts import Call
from .subscriptions import Listener, Subscriptions

logger = logging.getLogger("realtime.engine")

T = TypeVar("T")


class RedisChannelLayer(RedisPubSubChannelLayer):
    """A Django channel layer over pub/sub, for ordinary consumers and for realtime itself.

    CHANNEL_LAYERS = {"default": {"BACKEND": "realtime.engine.layer.RedisChannelLayer"}}

    Unlike channels_redis' own, a subscription has been confirmed by the engine when `group_add` returns, and a
    connection that was lost and made again is reported. CONFIG may hold `url` (the engine of the REALTIME setting
    otherwise), `prefix`, and channels_redis' `symmetric_encryption_keys` and `serializer_format`.
    """

    extensions = ("groups", "flush")

    def __init__(
        self, url: str | None = None, prefix: str | None = None, *, engine: Engine | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self._engine = Engine(url) if url else engine
        self._prefix = prefix

    async def subscribe(self, channel: str, listener: Listener) -> None:
        """Hear an engine's channel from now on. Raises EngineUnavailable."""
        await self._get_layer().shard.listen(channel, listener)

    async def confirmed(self, channel: str) -> None:
        """Return when a subscription is live, again after it was lost."""
        await self._get_layer().shard.confirmed(channel)

    async def unsubscribe(self, channel: str) -> None:
        await self._get_layer().shard.unsubscribe(channel)

    def put(self, channel: str, data: bytes) -> asyncio.Future[int]:
        """Publish in the order of these calls, without waiting; see Caller."""
        return self._get_layer().shard.put(channel, data)

    async def publish(self, channel: str, data: bytes) -> None:
        """Publish, and return when the engine has taken it. Raises EngineUnavailable."""
        await self._get_layer().shard.publish(channel, data)

    @property
    def is_open(self) -> bool:
        """Whether what is published now has a way to the engine, as far as is known."""
        return self._get_layer().shard.is_open

    async def call(self, call: Call[T], *, aside: bool = False) -> T:
        """Run a call beside what is published; `aside`, where no such crowd is before it. Raises EngineUnavailable."""
        return await self._get_layer().shard.call(call, aside=aside)

    async def aclose(self) -> None:
        """Close what the running loop has open."""
        if layer := self._layers.pop(asyncio.get_running_loop(), None):
            await layer.flush()

    def _get_layer(self) -> _LoopLayer:
        loop = asyncio.get_running_loop()
        if loop not in self._layers:
            engine, prefix = self._resolved()
            self._layers[loop] = _LoopLayer(engine, prefix, self)
            _wrap_close(self, loop)
        layer: _LoopLayer = self._layers[loop]
        return layer

    def _resolved(self) -> tuple[Engine, str]:
        if self._engine and self._prefix:
            return self._engine, self._prefix
        # Channels makes a layer from CHANNEL_LAYERS alone, so this is where one without a URL finds the setting.
        from ..conf import engine, settings

        return self._engine or engine(), self._prefix or Keys(settings().PREFIX).layer


class _LoopLayer(RedisPubSubLoopLayer):
    """What one loop has open."""

    def __init__(self, engine: Engine, prefix: str, channel_layer: RedisChannelLayer) -> None:
        self.prefix = prefix
        self.channel_layer = channel_layer
        self.channels: dict[str, asyncio.Queue[bytes]] = {}
        self.groups: dict[str, set[str]] = {}
        self.shard = _Shard(engine, self)
        self._shards = [self.shard]


class _Shard:
    """What channels_redis calls a shard: here the one connection that listens, and a few that publish."""

    def __init__(self, engine: Engine, layer: _LoopLayer) -> None:
        self._layer = layer
        self._caller = caller(engine)
        self._aside = caller(engine)  # for leases: whoever is late with one is held for dead
        self._subscriptions = Subscriptions(connector(engine))

    async def listen(self, channel: str, listener: Listener) -> None:
        await self._subscriptions.subscribe(channel, listener)

    async def subscribe(self, channel: str) -> None:
        await self.listen(channel, _Queues(self._layer, channel))

    async def confirmed(self, channel: str) -> None:
        await self._subscriptions.confirmed(channel)

    async def unsubscribe(self, channel: str) -> None:
        await self._subscriptions.unsubscribe(channel)

    async def publish(self, channel: str, data: bytes) -> None:
        with translated():
            await self.put(channel, data)

    @property
    def is_open(self) -> bool:
        return self._caller.is_open

    def put(self, channel: str, data: bytes) -> asyncio.Future[int]:
        return self._caller.call(Call(("PUBLISH", channel, data), int))

    async def call(self, call: Call[T], *, aside: bool = False) -> T:
        with translated():
            return await (self._aside if aside else self._caller).call(call)

    async def flush(self) -> None:
        await self._subscriptions.aclose()
        await self._caller.aclose()
        await self._aside.aclose()


class _Queues:
    """Listens for ordinary consumers: to one consumer's channel, or to a group of them."""

    def __init__(self, layer: _LoopLayer, channel: str) -> None:
        self._layer = layer
        self._channel = channel

    def message(self, data: bytes) -> None:
        names = [self._channel] if self._channel in self._layer.channels else self._layer.groups.get(self._channel, ())
        for name in names:
            if queue := self._layer.channels.get(name):
                queue.put_nowait(data)

    def gap(self) -> None:
        logger.warning("the engine was away: what was sent to %s meanwhile is lost", self._channel)
