"""A WebSocket client of raw bytes, that can be as rude as it likes."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import socket
import struct
from typing import Any

PATIENCE = 15.0
TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10
RESERVED = 0x70


class Raw:
    """await Raw.to(port) has shaken hands; everything after that is by hand. Options are those of open_connection.

    head  what the server answered
    """

    head = b""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, port: int, *headers: bytes, **options: Any) -> Raw:
        raw = cls(*await asyncio.open_connection("127.0.0.1", port, **options))
        raw.writer.write(handshake(port, *headers))
        raw.head = await asyncio.wait_for(raw.reader.readuntil(b"\r\n\r\n"), PATIENCE)
        assert b" 101 " in raw.head, raw.head
        return raw

    def send(self, data: bytes, opcode: int = TEXT, *, final: bool = True, deflated: bool = False) -> None:
        """Send one frame, masked with zeros."""
        length = len(data)
        if length < 126:
            size = struct.pack("!B", 0x80 | length)
        elif length < 65536:
            size = struct.pack("!BH", 0x80 | 126, length)
        else:
            size = struct.pack("!BQ", 0x80 | 127, length)
        first = (0x80 if final else 0) | (0x40 if deflated else 0) | opcode
        self.writer.write(struct.pack("!B", first) + size + b"\0\0\0\0" + data)

    def say(self, *frame: Any) -> None:
        self.send(json.dumps(frame).encode())

    async def receive(self) -> tuple[int, bytes]:
        """Return opcode and data of the next frame."""
        first, data = await self.frame()
        return first & 0x0F, data

    async def to_the_end(self) -> list[tuple[int, bytes]]:
        """Return first byte and data of every frame that still comes; answer a close, and go on until the end."""
        frames: list[tuple[int, bytes]] = []
        try:
            while True:
                frames.append(await self.frame())
                if frames[-1][0] & 0x0F == CLOSE:
                    self.send(frames[-1][1], CLOSE)
        except asyncio.IncompleteReadError as end:
            assert end.partial == b"", f"half a frame: {end.partial!r:.80}"
        except ConnectionError:
            pass  # it has ended while we were still talking
        return frames

    async def frame(self) -> tuple[int, bytes]:
        """Return first byte and data of the next frame."""
        head = await asyncio.wait_for(self.reader.readexactly(1), PATIENCE)
        try:
            [length] = await self.reader.readexactly(1)
            assert length < 128, "a server does not mask"
            if length == 126:
                [length] = struct.unpack("!H", await self.reader.readexactly(2))
            elif length == 127:
                [length] = struct.unpack("!Q", await self.reader.readexactly(8))
            return head[0], await self.reader.readexactly(length)
        except asyncio.IncompleteReadError as end:
            raise asyncio.IncompleteReadError(head + end.partial, None) from end

    async def closed(self) -> int | None:
        """Return the code that the server closes with, None where the connection just ends."""
        try:
            while True:
                opcode, data = await self.receive()
                if opcode == CLOSE:
                    return int(struct.unpack("!H", data[:2])[0])
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def gone(self) -> None:
        """Return when nothing can be sent any more."""
        while True:
            try:
                self.say(None, "1", "phoenix", "heartbeat", {})
                await self.writer.drain()
            except ConnectionError:
                return
            await asyncio.sleep(0.1)

    def end(self) -> None:
        transport = self.writer.transport
        if self.writer.get_extra_info("ssl_object") is None:
            self.writer.close()
            if transport.get_write_buffer_size():
                transport.abort()  # it would wait for the server to read
            return
        # At once: a server that speaks TLS waits long for its peer to agree to the end.
        if (plain := self.writer.get_extra_info("socket")) is not None:
            with contextlib.suppress(OSError):
                plain.shutdown(socket.SHUT_RDWR)
        transport.abort()

    def reset(self) -> None:
        """End without a word: TCP tells the server that nobody is there any more."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


def handshake(port: int, *headers: bytes) -> bytes:
    """Return the request that opens a socket."""
    key = base64.b64encode(os.urandom(16)).decode()
    request = (
        f"GET /ws/websocket?vsn=2.0.0 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
    ).encode()
    return request + b"".join(header + b"\r\n" for header in headers) + b"\r\n"
