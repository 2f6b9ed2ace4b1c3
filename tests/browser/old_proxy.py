"""OldProxy: what stands before the servers of many a company, and lets no WebSocket through."""

from __future__ import annotations

import asyncio
import itertools
import re

from tests.proxy import Proxy

HOST = "127.0.0.1"
CONNECTION = re.compile(rb"^Connection: .*?$", re.MULTILINE | re.IGNORECASE)


class OldProxy(Proxy):
    """A proxy that knows no Upgrade, takes one request on a connection, and sends each to the next of its servers.

    Its `Connection: close` stands where the client had said "Upgrade", as that of nginx does unless it is told better.

    holds  whether it takes a handshake, and never says a word
    """

    def __init__(self, *ports: int, holds: bool = False) -> None:
        super().__init__((HOST, ports[0]))
        self._ports = itertools.cycle(ports)
        self._holds = holds

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(HOST, next(self._ports))

    def _asked(self, data: bytes) -> bytes:
        if self._holds and b"\r\nUpgrade: websocket\r\n" in data:
            return b""
        return CONNECTION.sub(b"Connection: close\r", data, count=1)
