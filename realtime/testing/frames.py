"""V2 frames as a client writes and reads them: binary ones for bytes."""

from __future__ import annotations

from typing import Any

import msgspec

from ..payloads import BYTES, encode
from ..protocol.binary import BROADCAST, PUSH
from ..protocol.binary import REPLY as BINARY_REPLY
from ..protocol.messages import REPLY

FIELDS = {PUSH: ("join_ref", "topic", "event"), BINARY_REPLY: ("join_ref", "ref", "topic", "status")}
FIELDS[BROADCAST] = ("topic", "event")


def frame(join_ref: str | None, ref: str, topic: str, event: str, payload: Any) -> str | bytes:
    """Return what a client sends."""
    if not isinstance(payload, BYTES):
        envelope = (join_ref, ref, topic, event, encode({} if payload is None else payload))
        return msgspec.json.encode(envelope).decode()
    names = [name.encode() for name in (join_ref or "", ref, topic, event)]
    return b"".join((bytes((PUSH, *map(len, names))), *names, bytes(payload)))


def parsed(frame: str | bytes) -> tuple[Any, Any, str, str, Any]:
    """Return join_ref, ref, topic, event and payload of what a server sends; a response may be bytes too."""
    if isinstance(frame, str):
        join_ref, ref, topic, event, payload = msgspec.json.decode(frame)
        return join_ref, ref, topic, event, payload
    fields = FIELDS[frame[0]]
    at = 1 + len(fields)
    found: dict[str, str] = {}
    for name, size in zip(fields, frame[1:at], strict=True):
        found[name] = frame[at : at + size].decode()
        at += size
    data = frame[at:]
    refs = found.get("join_ref") or None, found.get("ref") or None
    if "status" in found:
        return *refs, found["topic"], REPLY, {"status": found["status"], "response": data}
    return *refs, found["topic"], found["event"], data
