"""Client: a lean WebSocket client, that can be as rude as it likes. The server's frames come whole, as uvicorn's do."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import socket
import struct
from collections.abc import Callable

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
PATIENCE = 30.0  # seconds that a handshake may take


class Unaccepted(Exception):
    """The handshake was answered with another status than 101, or not at all (0)."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def frame(opcode: int, data: bytes) -> bytes:
    """Return a client's frame: final, and masked."""
    size = len(data)
    if size < 126:
        head = struct.pack("!BB", 0x80 | opcode, 0x80 | size)
    elif size < 65536:
        head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, size)
    mask = os.urandom(4)
    key = (mask * (size // 4 + 1))[:size]
    masked = int.from_bytes(data, "big") ^ int.from_bytes(key, "big")
    return head + mask + masked.to_bytes(size, "big")


class Frames:
    """Cuts what a server sends into (opcode, data)."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        data = self._rest + data if self._rest else data
        found = []
        at = 0
        while span := _span(data, at):
            start, end = span
            found.append((data[at] & 0x0F, data[start:end]))
            at = end
        self._rest = data[at:]
        return found


def _span(data: bytes, at: int) -> tuple[int, int] | None:
    """Return where the payload of the frame at `at` begins and ends; None while it is not all there."""
    if len(data) < at + 2:
        return None
    size, start = data[at + 1], at + 2
    if size == 126:
        start += 2
    elif size == 127:
        start += 8
    if len(data) < start:
        return None
    if size > 125:
        size = int.from_bytes(data[at + 2 : start], "big")
    return (start, start + size) if len(data) >= start + size else None


class Client(asyncio.Protocol):
    """await Client.to(port, hear, gone)

    hear  is called with each text frame
    gone  is called once, with the code that the server has closed with; None where the connection just ended
    """

    def __init__(self, hear: Callable[[bytes], None], gone: Callable[[int | None], None]) -> None:
        self._hear = hear
        self._gone = gone
        self._accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._head: bytes | None = b""  # of the handshake's answer, until it is complete
        self._frames = Frames()
        self._code: int | None = None
        self._has_closed = False

    @classmethod
    async def to(
        cls, port: int, hear: Callable[[bytes], None], gone: Callable[[int | None], None], version: str = "2.0.0"
    ) -> Client:
        """Return when the server has accepted. Raises Unaccepted, OSError, TimeoutError."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE):
            _, client = await loop.create_connection(lambda: cls(hear, gone), "127.0.0.1", port)
            try:
                client.write(handshake(port, version))
                await client._accepted
            except BaseException:
                client._transport.abort()
                raise
        return client

    def say(self, data: bytes, opcode: int = TEXT) -> None:
        self.write(frame(opcode, data))

    def write(self, data: bytes) -> None:
        """Write bytes as they are."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """Say goodbye; the server then ends the connection."""
        if not self._has_closed:
            self._has_closed = True
            self.say(struct.pack("!H", 1000), CLOSE)

    def drop(self) -> None:
        """End with an RST, as a process that is killed with unread data does."""
        raw = self._transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def pause(self) -> None:
        """Read no more."""
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    # For the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            head, end, data = (self._head + data).partition(b"\r\n\r\n")
            if not end:
                self._head = head
                return
            self._head = None
            if not self._accepts(head):
                return
        for opcode, payload in self._frames.feed(data):
            self._receive(opcode, payload)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._accepted.done():
            self._accepted.set_exception(Unaccepted(0))
        elif not self._accepted.cancelled() and self._accepted.exception() is None:
            self._gone(self._code)

    # private

    def _accepts(self, head: bytes) -> bool:
        if self._accepted.done():  # it was given up
            return False
        status = int(head.split(b" ", 2)[1])
        if status != 101:
            self._accepted.set_exception(Unaccepted(status))
            return False
        self._accepted.set_result(None)
        return True

    def _receive(self, opcode: int, data: bytes) -> None:
        if opcode == TEXT:
            self._hear(data)
        elif opcode == PING:
            self.say(data, PONG)
        elif opcode == CLOSE:
            self._code = int.from_bytes(data[:2], "big") if data else 1005
            if not self._has_closed:
                self._has_closed = True
                self.say(data[:2], CLOSE)


def handshake(port: int, version: str = "2.0.0") -> bytes:
    """Return the request that opens a socket."""
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        f"GET /ws/websocket?vsn={version} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()
