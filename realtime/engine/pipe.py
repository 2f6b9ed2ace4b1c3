"""Pipe: the calls of a loop on one connection. Those of a turn are written together; answers come in their order."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import redis
from redis.exceptions import NoScriptError

from ..tasks import end, spawn
from .scripts import Call

logger = logging.getLogger("realtime.engine")

T = TypeVar("T")
MOST = 100_000  # calls that wait; an engine that is so far behind is of no use to one more


class Caller(Protocol):
    """What runs calls on an engine, from one loop."""

    def call(self, call: Call[T]) -> asyncio.Future[T]:
        """Ask, and return what will have the answer, or what redis-py raises.

        What is published to one channel is published in the order of these calls, whether or not anybody waits.
        """

    @property
    def is_open(self) -> bool:
        """Whether it is connected, as far as is known."""

    async def aclose(self) -> None: ...


class Pipe:
    """Many calls share one round trip, where a pool of connections would make one for each.

    connect   makes an unconnected connection of redis-py that does not limit the time of its reads
    patience  seconds without any answer after which the engine is held for gone, and all that wait with it

    An answer that was lost with its connection is an error: nothing is asked twice.
    """

    def __init__(self, connect: Callable[[], Any], patience: float) -> None:
        self._connect = connect
        self._patience = patience
        self._unsent: list[_Asked] = []
        self._sent: deque[_Asked] = deque()
        self._wake = asyncio.Event()
        self._connection: Any = None
        self._writer: asyncio.Task[None] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._loser: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._heard = 0.0

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    def call(self, call: Call[T]) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        asked = _Asked(call, call.command, loop.create_future(), loop.time())
        if len(self._sent) + len(self._unsent) >= MOST:
            asked.fail(redis.TimeoutError(f"{MOST:,} calls wait for it"))
        else:
            self._ask(asked)
        return asked.future

    async def aclose(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await end(self._writer, self._reader, self._loser)
        await self._lose(self._connection, redis.ConnectionError("closed"))
        self._give_up(redis.ConnectionError("closed"))

    # private

    def _ask(self, asked: _Asked) -> None:
        self._unsent.append(asked)
        self._wake.set()
        if self._writer is None:
            self._writer = spawn(self._write(), name="realtime calls")
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._patience, self._look)

    async def _write(self) -> None:
        while True:
            await self._wake.wait()  # so that what else is asked in this turn goes along
            self._wake.clear()
            try:
                connection = self._connection or await self._open()
                batch, self._unsent = self._unsent, []
                self._sent.extend(batch)
                commands = connection.pack_commands([asked.command for asked in batch])
                await connection.send_packed_command(commands, check_health=False)
            except Exception as error:  # redis-py raises its own, the system's, and AttributeError after a disconnect
                await self._lose(self._connection, error)
                self._give_up(error)

    async def _open(self) -> Any:
        connection = self._connect()
        try:
            async with asyncio.timeout(self._patience):
                await connection.connect()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._connection = connection
        self._reader = spawn(self._read(connection), name="realtime answers")
        return connection

    async def _read(self, connection: Any) -> None:
        try:
            while True:
                try:
                    answer = await connection.read_response(disconnect_on_error=False)
                except redis.ResponseError as refusal:
                    answer = refusal
                self._answered(answer)
        except Exception as error:
            await self._lose(connection, error)

    def _answered(self, answer: Any) -> None:
        self._heard = asyncio.get_running_loop().time()
        asked = self._sent.popleft()
        if isinstance(answer, NoScriptError) and asked.command is asked.call.command:
            self._ask(_Asked(asked.call, asked.call.whole, asked.future, self._heard))
        else:
            asked.answer(answer)

    async def _lose(self, connection: Any, error: Exception) -> None:
        """Part with a connection; what waits for an answer on it will not get one."""
        if connection is None or connection is not self._connection:
            return
        self._connection = None
        sent, self._sent = self._sent, deque()
        for asked in sent:
            asked.fail(error)
        await connection.disconnect(nowait=True)

    def _give_up(self, error: Exception) -> None:
        """Fail what could not be sent."""
        unsent, self._unsent = self._unsent, []
        for asked in unsent:
            asked.fail(error)

    def _look(self) -> None:
        """See that answers come as long as anybody waits for one."""
        self._timer = None
        waiting = self._sent or self._unsent
        if not waiting:
            return
        loop = asyncio.get_running_loop()
        due = max(waiting[0].at, self._heard) + self._patience
        if loop.time() >= due and self._sent:
            self._loser = spawn(self._lose(self._connection, redis.TimeoutError("in time")))
            due = loop.time() + self._patience
        self._timer = loop.call_at(due, self._look)


class _Asked:
    """One call under way.

    command  its own, or the whole script where the engine did not know its sha
    at       when it was asked, of the loop's time
    """

    __slots__ = ("at", "call", "command", "future")

    def __init__(self, call: Call[Any], command: tuple[Any, ...], future: asyncio.Future[Any], at: float) -> None:
        self.call = call
        self.command = command
        self.future = future
        self.at = at

    def answer(self, answer: Any) -> None:
        if self.future.done():  # whoever asked waits no longer
            return
        try:
            if isinstance(answer, Exception):
                raise answer
            self.future.set_result(self.call.read(answer))
        except Exception as error:
            self.future.set_exception(error)

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)
