"""Binary frames of V2, for payloads that are bytes.

One byte for the kind, one for the size of each name, the names in UTF-8, then the payload up to the end. What a client
calls a push has a ref, what a server calls one has none.
Source: phoenix 167c46950, lib/phoenix/socket/serializers/v2_json_serializer.ex.
"""

from __future__ import annotations

import msgspec

from ..exceptions import ProtocolError
from .messages import Message, Ref

PUSH, REPLY, BROADCAST = 0, 1, 2
NAME_BYTES = 255


def decode(frame: bytes) -> Message:
    """Return the push of a client in `frame`. Raises ProtocolError."""
    if not frame or frame[0] != PUSH:
        raise ProtocolError("a binary frame of a kind that no client sends")
    sizes, at = frame[1:5], 5
    names = []
    for size in sizes:
        names.append(frame[at : at + size])
        at += size
    if len(sizes) < 4 or at > len(frame):
        raise ProtocolError("a binary frame that is shorter than its header says")
    try:
        join_ref, ref, topic, event = (name.decode() for name in names)
    except UnicodeDecodeError:
        raise ProtocolError("a name in a binary frame that is not UTF-8") from None
    return Message(topic, event, frame[at:], _ref(ref), _ref(join_ref) if join_ref else None)


def push(topic: str, event: str, payload: bytes, join_ref: Ref) -> bytes:
    return _frame(PUSH, payload, _name(join_ref), topic, event)


def reply(topic: str, ref: Ref, join_ref: Ref, status: str, payload: bytes) -> bytes:
    return _frame(REPLY, payload, _name(join_ref), _name(ref), topic, status)


def broadcast(topic: str, event: str, payload: bytes) -> bytes:
    return _frame(BROADCAST, payload, topic, event)


def fits(name: str) -> bool:
    """Return whether a frame can carry an event or a status of this name."""
    return len(name.encode("utf-8", "surrogatepass")) <= NAME_BYTES


# private


def _frame(kind: int, payload: bytes, *names: str) -> bytes:
    encoded = [name.encode() for name in names]
    return b"".join((bytes((kind, *map(len, encoded))), *encoded, payload))


def _ref(text: str) -> Ref:
    return msgspec.Raw(msgspec.json.encode(text))


def _name(ref: Ref) -> str:
    """Return a ref as text; one that is none, a number say, as it is written."""
    if ref is None:
        return ""
    try:
        value = msgspec.json.decode(ref)
    except (msgspec.DecodeError, RecursionError):  # 1e999, say: whatever the client sends it gets back
        value = None
    return value if isinstance(value, str) else bytes(memoryview(ref)).decode()
