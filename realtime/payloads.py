"""Payloads: what an author sends becomes JSON, what a client sent becomes what the handler asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import msgspec
from django.utils.functional import Promise

from .exceptions import InvalidEvent, InvalidTopic, Refused, Unencodable
from .protocol import binary
from .protocol.messages import RESERVED_PREFIX, TOPIC_BYTES, Payload, Reply, is_topic

BYTES = (bytes, bytearray, memoryview)

# Out


def checked_topic(topic: str) -> str:
    """Return `topic` if there may be one of that name. Raises InvalidTopic."""
    if not is_topic(topic):
        raise InvalidTopic(
            f"a topic is 1 to {TOPIC_BYTES} bytes of text without white space or control characters, not {topic!r:.80}"
        )
    return topic


def encode_event(event: str, payload: Any) -> Payload:
    """Return the payload of what an author sends: a JSON object, empty for None; or bytes, as they are.

    Raises InvalidEvent and Unencodable.
    """
    if not isinstance(event, str) or not event or event.startswith(RESERVED_PREFIX):
        raise InvalidEvent(
            f"an event is a name like 'new:message' and not one of the protocol's own, not {event!r:.80}"
        )
    if not isinstance(payload, BYTES):
        return encode_object(payload)
    if not binary.fits(event):
        raise InvalidEvent(f"with bytes an event has a name of at most {binary.NAME_BYTES} bytes, not {event!r:.80}")
    return bytes(payload)


def encode_reply(status: str, response: Any) -> Reply:
    """Return a reply that can travel: its response is JSON, or bytes, as they are. Raises Unencodable."""
    if not isinstance(response, BYTES):
        return Reply(status, encode(response))
    if not binary.fits(status):
        raise Unencodable(f"with bytes a status has at most {binary.NAME_BYTES} bytes, not {status!r:.80}")
    return Reply(status, bytes(response))


def encode(value: Any) -> msgspec.Raw:
    """Return `value` as JSON: what msgspec knows (datetimes, UUIDs, Decimals, Structs, …), and lazy strings.

    Raises Unencodable, naming the key that cannot travel.
    """
    try:
        return msgspec.Raw(msgspec.json.encode(value, enc_hook=_plain))
    except (TypeError, ValueError, RecursionError) as error:
        path, culprit = _culprit(value)
        raise Unencodable(f"{path} cannot be sent as JSON: {culprit!a:.80} ({type(culprit).__name__})") from error


def encode_object(value: Any) -> msgspec.Raw:
    """Return `value` as a JSON object; None is an empty one."""
    raw = encode({} if value is None else value)
    if bytes(memoryview(raw)[:1]) != b"{":
        raise Unencodable(
            f"a payload must be a JSON object (dict, Struct, dataclass, TypedDict) or bytes, not {value!r:.80}"
        )
    return raw


def _plain(value: Any) -> Any:
    """Return what msgspec can encode for what it cannot: lazy strings and subclasses of the plain types."""
    if isinstance(value, Promise):
        value = str(value)
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind.__str__(value) if kind is str else kind(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"cannot encode {type(value).__name__}")


def _culprit(value: Any, path: str = "", depth: int = 0) -> tuple[str, Any]:
    """Return the path and value of the innermost part that does not encode by itself."""
    for key, part in _parts(value) if depth < 50 else ():
        try:
            msgspec.json.encode({key: part} if isinstance(value, Mapping) else part, enc_hook=_plain)
        except (TypeError, ValueError, RecursionError):
            name = key if isinstance(key, str) and key.isprintable() else ascii(key)
            here = f"{path}[{key}]" if isinstance(key, int) else f"{path}.{name}" if path else name
            return _culprit(part, here, depth + 1)
    return path or "the payload", value


def _parts(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, msgspec.Struct):
        yield from ((name, getattr(value, name)) for name in value.__struct_fields__)
    elif is_dataclass(value):
        yield from ((field.name, getattr(value, field.name)) for field in fields(value))
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from enumerate(value)


# In


def decoder(kind: Any) -> Callable[[Payload], Any]:
    """Return what turns a client's payload into `kind`: Any, dict, bytes, or a type that msgspec converts.

    The function it returns raises Refused, so that a wrong payload is answered and the channel lives on.
    """
    if kind is bytes:
        return _take_bytes
    decode = msgspec.json.Decoder(kind).decode

    def convert(payload: Payload) -> Any:
        if isinstance(payload, bytes):
            if kind is Any:
                return payload
            raise Refused({"reason": "bad payload", "detail": "expected JSON, not a binary push"})
        try:
            return decode(payload)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise Refused({"reason": "bad payload", "detail": _detail(error)}) from None

    return convert


def _take_bytes(payload: Payload) -> Any:
    """Refuse JSON where the handler wants a binary push; msgspec would take any string for base64."""
    if isinstance(payload, bytes):
        return payload
    raise Refused({"reason": "bad payload", "detail": "expected a binary push"})


# What msgspec says: "Expected `str`, got `int` - at `$.content`", "Object missing required field `content`".
_SAID = re.compile(r"^(?P<what>.*?)(?:, got .*?)?(?: - at `(?P<path>.*)`)?$", re.DOTALL)
_MISSING = re.compile(r"^Object missing required field `(?P<field>[^`]*)`")


def _detail(error: Exception) -> str:
    """Return the error in a client's words: "content: expected str"."""
    found = _SAID.match(str(error))
    if not isinstance(error, msgspec.ValidationError) or not found:
        return "not decodable"
    what, path = found["what"], (found["path"] or "$").removeprefix("$").removeprefix(".")
    if missing := _MISSING.match(what):
        path, what = f"{path}.{missing['field']}".removeprefix("."), "required"
    what = what.replace("`", "")
    what = what[:1].lower() + what[1:]
    return f"{path}: {what}" if path else what
