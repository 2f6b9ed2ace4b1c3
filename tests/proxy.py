"""A small TCP proxy that stands between a client and a server, with a delay, a cut and a black hole."""

from __future__ import annotations

import asyncio
from types import TracebackType


class Proxy:
    """async with Proxy(target, delay=0.02) as proxy: connect to proxy.port.

    target  "/path/of.sock" or ("host", port)
    delay   seconds that every byte waits, each way
    slow    a word; what holds it waits five times as long
    """

    def __init__(self, target: str | tuple[str, int], delay: float = 0.0, slow: bytes = b"") -> None:
        self.target = target
        self.delay = delay
        self.slow = slow
        self.port = 0
        self._open = True
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._frozen: set[asyncio.StreamWriter] = set()
        self._asks_lost = self._answers_lost = False
        self._broken: set[asyncio.StreamWriter] = set()  # have lost something

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Close what is connected; new connections are let through."""
        for task in self._tasks:
            task.cancel()
        for writer in self._writers:
            writer.transport.abort()

    def freeze(self) -> None:
        """Swallow whatever comes over what is connected; new connections are let through."""
        self._frozen |= self._writers

    def swallow(self, *, answers_only: bool = False) -> None:
        """Swallow what is sent, or only what the target answers, until `heal`; connections are made as ever."""
        self._asks_lost, self._answers_lost = not answers_only, True

    def heal(self) -> None:
        """Let everything through; a connection that has lost something is closed, for TCP knows no holes."""
        self._asks_lost = self._answers_lost = False
        for writer in self._broken & self._writers:
            writer.transport.abort()
        self._broken.clear()

    def refuse(self) -> None:
        """Close what is connected and everything that connects from now on."""
        self._open = False
        self.cut()

    def admit(self) -> None:
        self._open = True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._open:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await self._reach()
        except OSError:  # nobody is there
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self._writers |= ends
        for source, sink, answers in ((reader, far_writer, False), (far_reader, writer, True)):
            task = asyncio.create_task(self._pump(source, sink, ends, answers))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the target."""
        if isinstance(self.target, str):
            return await asyncio.open_unix_connection(self.target)
        return await asyncio.open_connection(*self.target)

    def _asked(self, data: bytes) -> bytes:
        """Return what is passed on of what a client has sent at once."""
        return data

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, ends: set[asyncio.StreamWriter], answers: bool
    ) -> None:
        loop = asyncio.get_running_loop()
        try:
            while data := await source.read(65536):
                if sink in self._frozen:
                    continue
                if not answers:
                    data = self._asked(data)
                if self._answers_lost if answers else self._asks_lost:
                    self._broken |= ends
                    continue
                if self.delay:
                    times = 5 if self.slow and self.slow in data else 1
                    loop.call_later(times * self.delay, sink.write, data)
                else:
                    sink.write(data)
        except ConnectionError:
            pass
        finally:
            loop.call_later(self.delay, sink.close)
