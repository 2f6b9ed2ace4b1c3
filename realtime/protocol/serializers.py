"""Value to frame and back, one class per version of the protocol; and the form a broadcast has on the bus."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from ..exceptions import ProtocolError
from .messages import CLOSE, ERROR, REF_BYTES, REPLY, Broadcast, Frame, Message, Ref, Reply

_encode = msgspec.json.encode
_NULL = msgspec.Raw(b"null")


class Serializer(Protocol):
    """What a socket needs of a version: frames in, frames out."""

    def decode(self, frame: Frame) -> Message:
        """Return the message in `frame`. Raises ProtocolError when there is none."""

    def push(self, topic: str, event: str, payload: msgspec.Raw, join_ref: Ref) -> Frame: ...
    def reply(self, topic: Any, ref: Ref, join_ref: Ref, reply: Reply) -> Frame: ...
    def close(self, topic: str, join_ref: Ref, payload: dict[str, Any]) -> Frame: ...
    def error(self, topic: str, join_ref: Ref, payload: dict[str, Any]) -> Frame: ...
    def fastlane(self, broadcast: Broadcast) -> Frame: ...


class _Envelope(msgspec.Struct, array_like=True, frozen=True, gc=False):
    join_ref: msgspec.Raw
    ref: msgspec.Raw
    topic: Any
    event: str
    payload: msgspec.Raw


_envelope = msgspec.json.Decoder(_Envelope)


class V2:
    """Phoenix Channels V2: JSON arrays of [join_ref, ref, topic, event, payload]; more elements are ignored.

    Only the envelope is decoded here. Source: phoenix 167c46950, lib/phoenix/socket/serializers/v2_json_serializer.ex.
    """

    version = "2.0.0"

    def decode(self, frame: Frame) -> Message:
        if isinstance(frame, bytes):
            raise ProtocolError("binary frame")
        try:
            found = _envelope.decode(frame)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
            raise ProtocolError(f"undecodable frame: {error}") from None
        return Message(found.topic, found.event, found.payload, _ref(found.ref), _ref(found.join_ref))

    def push(self, topic: str, event: str, payload: msgspec.Raw, join_ref: Ref) -> Frame:
        return _text((join_ref, None, topic, event, payload))

    def reply(self, topic: Any, ref: Ref, join_ref: Ref, reply: Reply) -> Frame:
        return _text((join_ref, ref, topic, REPLY, {"status": reply.status, "response": reply.response}))

    def close(self, topic: str, join_ref: Ref, payload: dict[str, Any]) -> Frame:
        return _text((join_ref, join_ref, topic, CLOSE, payload))

    def error(self, topic: str, join_ref: Ref, payload: dict[str, Any]) -> Frame:
        return _text((join_ref, join_ref, topic, ERROR, payload))

    def fastlane(self, broadcast: Broadcast) -> Frame:
        """Return the frame that every listener of this version gets, with no join_ref in it."""
        return _text((None, None, broadcast.topic, broadcast.event, broadcast.payload))


def serializer_for(version: object) -> Serializer:
    """Return the serializer for a `vsn` parameter. Raises ProtocolError for one we do not speak.

    Source: phoenix 1.8.12 on the wire: "2.0.x" only, neither "2.0" nor "2.1.0".
    """
    major, _, patch = version.rpartition(".") if isinstance(version, str) else ("", "", "")
    if major == "2.0" and patch.isascii() and patch.isdigit():
        return V2_SERIALIZER
    raise ProtocolError(f"vsn {version!r:.20} is not 2.0.x")


V2_SERIALIZER: Serializer = V2()


# On the bus


class _Packed(msgspec.Struct, array_like=True, frozen=True, gc=False):
    event: str
    sender: str | None
    mark: str | None
    payload: msgspec.Raw


_packed = msgspec.json.Decoder(_Packed)


def pack(broadcast: Broadcast, mark: str | None = None) -> bytes:
    """Return what carries `broadcast` between nodes: [event, sender, mark, payload]; the channel is the topic."""
    return _encode((broadcast.event, broadcast.sender, mark, broadcast.payload))


def unpack(topic: str, data: bytes) -> Broadcast:
    """Return the broadcast in `data`. Raises ProtocolError: anyone who reaches the engine can publish."""
    try:
        found = _packed.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"undecodable broadcast: {error}") from None
    return Broadcast(topic, found.event, found.payload, found.sender, found.mark)


# private


def _text(values: tuple[Any, ...]) -> str:
    return _encode(values).decode()


def _ref(raw: msgspec.Raw) -> Ref:
    """Return `raw` cut loose from its frame, which would else stay in memory as long as the topic is joined."""
    if len(memoryview(raw)) > REF_BYTES:
        raise ProtocolError("a ref of more than 255 bytes")
    return None if raw == _NULL else raw.copy()
