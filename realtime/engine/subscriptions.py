"""One connection that listens to the engine's channels: confirmed, made again when lost, never silent about a gap."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import redis

from ..exceptions import EngineUnavailable
from ..tasks import end, spawn
from .client import TIMEOUT

logger = logging.getLogger("realtime.engine")

# A connection that said nothing for this long is asked for a sign of life, and given up after as long again.
QUIET = 15.0
LONGEST_PAUSE = 2.0
NAMES_PER_COMMAND = 500


class Bus(Protocol):
    """What others need of the one that has the subscriptions; see Subscriptions."""

    async def subscribe(self, channel: str, listener: Listener) -> None: ...
    async def unsubscribe(self, channel: str) -> None: ...
    async def confirmed(self, channel: str) -> None: ...


class Listener(Protocol):
    def message(self, data: bytes) -> None:
        """Take one message of the channel."""

    def gap(self) -> None:
        """Take note that messages of the channel may have been lost."""


@dataclass(slots=True)
class _Subscription:
    listener: Listener
    confirmed: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    was_lost: bool = False


class Subscriptions:
    """The channels that this process hears. Use it on one loop.

    connect  makes an unconnected connection of redis-py
    """

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._wanted: dict[str, _Subscription] = {}
        self._connection: Any = None
        self._reader: asyncio.Task[None] | None = None
        self._requests: list[tuple[str, str]] = []  # SUBSCRIBE or UNSUBSCRIBE, and the channel; of this turn
        self._sender: asyncio.Task[None] | None = None
        self._asked = False  # for a sign of life, and none has come since
        self._pings = 0  # that have not been answered: a message may come before the answer
        self._fault = ""  # why there is no connection
        self._was_open = False

    async def subscribe(self, channel: str, listener: Listener) -> None:
        """Return once the engine has confirmed: whatever is published after that is heard.

        Raises EngineUnavailable when it does not confirm in time; nothing is subscribed then.
        """
        subscription = self._wanted.get(channel)
        if subscription is None:
            subscription = self._wanted[channel] = _Subscription(listener)
            self._start()
            self._request("SUBSCRIBE", channel)
        subscription.listener = listener  # the one before may have been cancelled while it waited
        try:
            async with asyncio.timeout(TIMEOUT):
                await asyncio.shield(subscription.confirmed)
        except TimeoutError:
            await self.unsubscribe(channel)
            why = self._fault or "it did not confirm a subscription in time"
            raise EngineUnavailable(f"the engine does not answer: {why}") from None

    async def confirmed(self, channel: str) -> None:
        """Return when the engine has confirmed a subscription, again after it was lost."""
        if (subscription := self._wanted.get(channel)) and not subscription.confirmed.done():
            await asyncio.shield(subscription.confirmed)

    async def unsubscribe(self, channel: str) -> None:
        if self._wanted.pop(channel, None) is not None:
            self._request("UNSUBSCRIBE", channel)

    async def aclose(self) -> None:
        self._wanted.clear()
        reader, self._reader = self._reader, None
        await end(reader, self._sender)

    # private

    def _start(self) -> None:
        if self._reader is None or self._reader.done():
            self._reader = spawn(self._listen(), name="realtime bus")

    def _request(self, command: str, channel: str) -> None:
        self._requests.append((command, channel))
        if self._sender is None:
            self._sender = spawn(self._send())

    async def _send(self) -> None:
        """Send what is requested, if connected; whoever reads notices a failure, and asks for all that is wanted."""
        try:
            while self._requests:
                connection, requests = self._connection, self._requests
                self._requests = []
                if connection is not None and connection.is_connected:
                    await connection.send_packed_command(
                        connection.pack_commands(_grouped(requests)), check_health=False
                    )
        except (redis.RedisError, OSError, AttributeError):  # the last by redis-py, when it was closed meanwhile
            logger.debug("a subscription failed", exc_info=True)
        finally:
            self._sender = None

    async def _listen(self) -> None:
        failures = 0
        while True:
            try:
                await self._open()
                if failures:
                    logger.warning("the engine is back")
                failures, self._fault, self._was_open = 0, "", True
                await self._hear()
            except (redis.RedisError, OSError, EngineUnavailable) as error:
                if not failures:
                    logger.warning("lost the engine: %s" if self._was_open else "no engine: %s", error)
                failures += 1
                self._fault = str(error)
            except Exception:  # whatever it is, topics must not go deaf for it
                logger.exception("the bus broke")
                failures += 1
            finally:
                await self._close()
            await asyncio.sleep(random.uniform(0.5, 1.0) * min(LONGEST_PAUSE, 0.05 * 2**failures))

    async def _open(self) -> None:
        connection = self._connect()
        try:
            async with asyncio.timeout(TIMEOUT):
                await connection.connect()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._connection, self._asked, self._pings = connection, False, 0
        self._requests.clear()  # all that is wanted is asked for here
        commands = _grouped([("SUBSCRIBE", channel) for channel in self._wanted])
        await connection.send_packed_command(connection.pack_commands(commands), check_health=False)

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        for subscription in self._wanted.values():
            if subscription.confirmed.done():
                subscription.was_lost = True
                subscription.confirmed = asyncio.get_running_loop().create_future()
        if connection is not None:
            await connection.disconnect(nowait=True)

    async def _hear(self) -> None:
        """Read until the connection is lost, and ask for a sign of life where it is silent."""
        while True:
            with contextlib.suppress(TimeoutError):
                await self._hear_until_quiet()
            await self._ask()

    async def _hear_until_quiet(self) -> None:
        """Raises TimeoutError after a silence."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        async with asyncio.timeout_at(begun + QUIET) as limit:
            while True:
                reply = await self._read()
                self._asked = False
                if (now := loop.time()) - begun > QUIET / 10:  # not with every message, for it costs as much as that
                    begun = now
                    limit.reschedule(begun + QUIET)
                if isinstance(reply, list) and len(reply) == 3:
                    self._take(reply[0], reply[1].decode(), reply[2])
                else:
                    self._pings -= 1

    async def _read(self) -> Any:
        try:
            return await self._connection.read_response(disconnect_on_error=False)
        except redis.ResponseError as refusal:
            if not self._pings:
                raise
            return refusal  # of our PING, by an engine that cannot write to its disk, or is busy: it lives

    async def _ask(self) -> None:
        if self._asked:
            raise redis.ConnectionError("no sign of life from the engine")
        self._asked = True
        self._pings += 1
        await self._connection.send_command("PING", check_health=False)

    def _take(self, kind: bytes, channel: str, data: Any) -> None:
        subscription = self._wanted.get(channel)
        if subscription is None:
            return  # unsubscribed, with this still under way
        try:
            if kind == b"message":
                subscription.listener.message(data)
            elif kind == b"subscribe" and not subscription.confirmed.done():
                subscription.confirmed.set_result(None)
                if subscription.was_lost:
                    subscription.was_lost = False
                    subscription.listener.gap()
        except Exception:
            logger.exception("a listener of %r failed", channel)


def _grouped(requests: list[tuple[str, str]]) -> list[tuple[str, ...]]:
    """Return commands that ask for the same in the same order, with many channels each."""
    commands = []
    for command, group in itertools.groupby(requests, key=lambda request: request[0]):
        channels = [channel for _, channel in group]
        for start in range(0, len(channels), NAMES_PER_COMMAND):
            commands.append((command, *channels[start : start + NAMES_PER_COMMAND]))
    return commands
