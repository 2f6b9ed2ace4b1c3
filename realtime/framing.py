"""Framing: a message as a WebSocket server writes it, and many of them as one write."""

from __future__ import annotations

import struct
from typing import Any

from .protocol.messages import Frame

# FIN and the opcode. No RSV bit: a message may go uncompressed even where permessage-deflate was negotiated.
TEXT, BINARY = 0x81, 0x82


def framed(frame: Frame) -> bytes:
    """Return `frame` as one whole, unmasked WebSocket frame. Sources: RFC 6455, 5.2; RFC 7692, 6."""
    first, data = (TEXT, frame.encode()) if isinstance(frame, str) else (BINARY, frame)
    length = len(data)
    if length < 126:
        return struct.pack("!BB", first, length) + data
    if length < 2**16:
        return struct.pack("!BBH", first, 126, length) + data
    return struct.pack("!BBQ", first, 127, length) + data


class Burst:
    """Frames that go together, to one socket or to very many.

    framed  all of them as they are written; made when it is first asked for
    sizes   bytes of each in there; likewise
    """

    __slots__ = ("framed", "frames", "sizes")

    framed: bytes
    sizes: list[int]

    def __init__(self, *frames: Frame) -> None:
        self.frames = frames

    def __getattr__(self, name: str) -> Any:
        frames = self.frames
        if name == "framed":
            self.framed = framed(frames[0]) if len(frames) == 1 else b"".join(map(framed, frames))
        elif name == "sizes":
            self.sizes = [len(self.framed)] if len(frames) == 1 else [len(framed(frame)) for frame in frames]
        else:
            raise AttributeError(name)
        return getattr(self, name)  # from now on found like any attribute: very many sockets ask
