"""The body of a POST: read with bounds of size and time, and taken apart into frames."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Any

from ..exceptions import BadRequest
from ..protocol.messages import Frame
from .handshake import URL_ALPHABET

NDJSON = "application/x-ndjson"
MOST_FRAMES = 100  # in one body, as phoenix.js sends at most
BODY_FRAMES = 4  # a body is at most as large as so many of the largest frames

TOO_LATE, TOO_LARGE, UNREADABLE, LEFT = 408, 413, 400, 499


async def read_body(receive: Callable[[], Awaitable[Any]], limit: int, patience: float) -> bytes:
    """Return the whole body. Raises BadRequest for more than `limit` bytes, or when it takes longer than `patience`."""
    body = bytearray()
    try:
        async with asyncio.timeout(patience):
            while True:
                event = await receive()
                if event["type"] == "http.disconnect":
                    raise BadRequest(LEFT, "the client has left")
                body += event.get("body", b"")
                if len(body) > limit:
                    raise BadRequest(TOO_LARGE, f"a body of more than {limit} bytes")
                if not event.get("more_body"):
                    return bytes(body)
    except TimeoutError:
        raise BadRequest(TOO_LATE, f"the body was not there in {patience:g} s") from None


def frames_of(body: bytes, content_type: str) -> list[Frame]:
    """Return the frames in a body, all or none. Raises BadRequest.

    NDJSON has one in a line: text where it begins as JSON does, else a binary frame in base64. Anything else is a text.
    Source: phoenix 167c46950, lib/phoenix/transports/long_poll.ex, which takes the first hundred and drops the rest.
    """
    try:
        if content_type.partition(";")[0].strip().lower() != NDJSON:
            return [body.decode()]
        lines = body.rstrip(b"\r\n").split(b"\n", MOST_FRAMES)  # one more than there may be is enough to know
        if len(lines) > MOST_FRAMES:
            raise BadRequest(TOO_LARGE, f"more than {MOST_FRAMES} frames in a body")
        return [_frame(line) for line in map(bytes.strip, lines) if line]
    except ValueError:
        raise BadRequest(UNREADABLE, "a body that is neither UTF-8 nor base64") from None


def _frame(line: bytes) -> Frame:
    if line[:1] in (b"[", b"{"):  # no base64 begins so
        return line.decode()
    text = line.decode("ascii").translate(URL_ALPHABET)
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
