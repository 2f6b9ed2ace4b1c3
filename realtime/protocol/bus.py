"""The form that a broadcast has between nodes: JSON, and behind it the payload where that is bytes."""

from __future__ import annotations

import msgspec

from ..exceptions import ProtocolError
from . import binary
from .messages import Broadcast

_MARK = b"\0"  # no JSON begins with it
_SIZE = 4  # bytes, of the size of the JSON


class _Packed(msgspec.Struct, array_like=True, frozen=True, gc=False):
    event: str
    sender: str | None
    mark: str | None
    payload: msgspec.Raw


_packed = msgspec.json.Decoder(_Packed)


def pack(broadcast: Broadcast, mark: str | None = None) -> bytes:
    """Return what carries `broadcast`: [event, sender, mark, payload]; the channel is the topic."""
    payload = broadcast.payload
    if not isinstance(payload, bytes):
        return msgspec.json.encode((broadcast.event, broadcast.sender, mark, payload))
    head = msgspec.json.encode((broadcast.event, broadcast.sender, mark, None))
    return b"".join((_MARK, len(head).to_bytes(_SIZE, "big"), head, payload))


def unpack(topic: str, data: bytes) -> Broadcast:
    """Return the broadcast in `data`. Raises ProtocolError: anyone who reaches the engine can publish."""
    tail: bytes | None = None
    if data[:1] == _MARK:
        start = 1 + _SIZE
        end = start + int.from_bytes(data[1:start], "big")
        data, tail = data[start:end], data[end:]
    try:
        found = _packed.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"undecodable broadcast: {error}") from None
    if tail is not None and not binary.fits(found.event):
        raise ProtocolError("an event whose name no binary frame can carry")
    return Broadcast(topic, found.event, found.payload if tail is None else tail, found.sender, found.mark)
