"""Message to frame and back, one class per version of the protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from ..exceptions import ProtocolError
from . import binary
from .messages import CLOSE, ERROR, REF_BYTES, REPLY, Broadcast, Frame, Message, Payload, Ref, Reply

_encode = msgspec.json.encode
_NULL = msgspec.Raw(b"null")


class Serializer(Protocol):
    """What a socket needs of a version: frames in, frames out. Those of REALTIME["SERIALIZERS"] are made so too.

    Payloads are JSON as it is written (msgspec.Raw) or bytes; refs are JSON or None. One serves very many sockets.
    """

    def decode(self, frame: Frame) -> Message:
        """Return the message in `frame`. Raises ProtocolError when there is none."""

    def push(self, topic: str, event: str, payload: Payload, join_ref: Ref) -> Frame:
        """Return what tells one client."""

    def reply(self, topic: Any, ref: Ref, join_ref: Ref, reply: Reply) -> Frame:
        """Return the answer to a ref; its response is a dict, JSON or bytes."""

    def close(self, topic: str, join_ref: Ref, payload: dict[str, Any]) -> Frame:
        """Return the phx_close of a channel that has ended."""

    def error(self, topic: str, join_ref: Ref, payload: dict[str, Any]) -> Frame:
        """Return the phx_error of one that crashed: the client is to join again."""

    def fastlane(self, broadcast: Broadcast) -> Frame:
        """Return the frame that every listener of this version gets, with no join_ref in it."""


class _Object(msgspec.Struct, frozen=True, gc=False):
    topic: Any
    event: str
    payload: msgspec.Raw
    ref: msgspec.Raw
    join_ref: msgspec.Raw = _NULL


_object = msgspec.json.Decoder(_Object)


class V1:
    """Phoenix Channels V1: JSON objects of topic, event, payload and ref, and no join_ref to a client.

    It has no binary frames: bytes become base64 in a text. Source: phoenix 167c46950,
    lib/phoenix/socket/serializers/v1_json_serializer.ex.
    """

    def decode(self, frame: Frame) -> Message:
        if isinstance(frame, bytes):
            raise ProtocolError("a binary frame, which V1 does not have")
        return _message(_object, frame)

    def push(self, topic: str, event: str, payload: Payload, join_ref: Ref) -> Frame:
        return self._text(topic, event, payload, None)

    def reply(self, topic: Any, ref: Ref, join_ref: Ref, reply: Reply) -> Frame:
        return self._text(topic, REPLY, {"status": reply.status, "response": reply.response}, ref)

    def close(self, topic: str, join_ref: Ref, payload: dict[str, Any]) -> Frame:
        return self._text(topic, CLOSE, payload, join_ref)

    def error(self, topic: str, join_ref: Ref, payload: dict[str, Any]) -> Frame:
        return self._text(topic, ERROR, payload, join_ref)

    def fastlane(self, broadcast: Broadcast) -> Frame:
        return self._text(broadcast.topic, broadcast.event, broadcast.payload, None)

    def _text(self, topic: Any, event: str, payload: Any, ref: Ref) -> str:
        return _encode({"topic": topic, "event": event, "payload": payload, "ref": ref}).decode()


class _Envelope(msgspec.Struct, array_like=True, frozen=True, gc=False):
    join_ref: msgspec.Raw
    ref: msgspec.Raw
    topic: Any
    event: str
    payload: msgspec.Raw


_envelope = msgspec.json.Decoder(_Envelope)


class V2:
    """Phoenix Channels V2: JSON arrays of [join_ref, ref, topic, event, payload], more elements are ignored; and binary
    frames for bytes.

    Only the envelope is decoded here. Source: phoenix 167c46950, lib/phoenix/socket/serializers/v2_json_serializer.ex.
    """

    def decode(self, frame: Frame) -> Message:
        return binary.decode(frame) if isinstance(frame, bytes) else _message(_envelope, frame)

    def push(self, topic: str, event: str, payload: Payload, join_ref: Ref) -> Frame:
        if isinstance(payload, bytes):
            return binary.push(topic, event, payload, join_ref)
        return self._text(join_ref, None, topic, event, payload)

    def reply(self, topic: Any, ref: Ref, join_ref: Ref, reply: Reply) -> Frame:
        if isinstance(reply.response, bytes):
            return binary.reply(topic, ref, join_ref, reply.status, reply.response)
        return self._text(join_ref, ref, topic, REPLY, {"status": reply.status, "response": reply.response})

    def close(self, topic: str, join_ref: Ref, payload: dict[str, Any]) -> Frame:
        return self._text(join_ref, join_ref, topic, CLOSE, payload)

    def error(self, topic: str, join_ref: Ref, payload: dict[str, Any]) -> Frame:
        return self._text(join_ref, join_ref, topic, ERROR, payload)

    def fastlane(self, broadcast: Broadcast) -> Frame:
        if isinstance(broadcast.payload, bytes):
            return binary.broadcast(broadcast.topic, broadcast.event, broadcast.payload)
        return self._text(None, None, broadcast.topic, broadcast.event, broadcast.payload)

    def _text(self, *values: Any) -> str:
        return _encode(values).decode()


class V2Text(V2):
    """V2 for what carries no binary frames to a client: bytes become base64 in a text, as in V1."""

    def push(self, topic: str, event: str, payload: Payload, join_ref: Ref) -> Frame:
        return self._text(join_ref, None, topic, event, payload)

    def reply(self, topic: Any, ref: Ref, join_ref: Ref, reply: Reply) -> Frame:
        return self._text(join_ref, ref, topic, REPLY, {"status": reply.status, "response": reply.response})

    def fastlane(self, broadcast: Broadcast) -> Frame:
        return self._text(None, None, broadcast.topic, broadcast.event, broadcast.payload)


SERIALIZERS: Mapping[str, Serializer] = {"1.0": V1(), "2.0": V2()}

_V2_TEXT = V2Text()


def as_text(serializer: Serializer) -> Serializer:
    """Return what says the same without binary frames, where we know of one; one for all, as the hub wants it."""
    return _V2_TEXT if type(serializer) is V2 else serializer


def serializer_for(version: object, serializers: Mapping[str, Serializer] = SERIALIZERS) -> Serializer:
    """Return the serializer for a `vsn` parameter, 1.0.0 where there is none. Raises ProtocolError.

    serializers  by the version's first two numbers: "2.0" speaks to "2.0.0" and "2.0.7", not to "2.1.0" nor to "2.0"
    Source: phoenix 1.8.12 on the wire.
    """
    major, _, patch = ("1.0.0" if version is None else version if isinstance(version, str) else "").rpartition(".")
    found = serializers.get(major)
    if found is None or not (patch.isascii() and patch.isdigit()):
        raise ProtocolError(f"vsn {version!r:.20} is none of {', '.join(f'{known}.x' for known in serializers)}")
    return found


# private


def _message(decoder: msgspec.json.Decoder[Any], frame: str) -> Message:
    try:
        found = decoder.decode(frame)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise ProtocolError(f"undecodable frame: {error}") from None
    ref = _ref(found.ref)
    # Those of a join are one, and are kept as long as it is joined.
    join_ref = ref if found.join_ref == found.ref else _ref(found.join_ref)
    return Message(found.topic, found.event, found.payload, ref, join_ref)


def _ref(raw: msgspec.Raw) -> Ref:
    """Return `raw` cut loose from its frame, which would else stay in memory as long as the topic is joined."""
    if len(memoryview(raw)) > REF_BYTES:
        raise ProtocolError("a ref of more than 255 bytes")
    return None if raw == _NULL else raw.copy()
