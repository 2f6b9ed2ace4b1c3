"""Patterns: what a test expects of a payload, and the words for what came instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

import msgspec

from ..exceptions import Unencodable
from ..payloads import encode


def mismatch(pattern: Any, value: Any, path: str = "") -> str | None:
    """Return why a decoded payload does not fit, or None if it does.

    ...                      anything, and so do typing.Any and unittest.mock.ANY
    {"content": "hi"}        an object that has at least these keys, with values that fit in their turn
    [{"id": 1}, ...]         a list of as many items, each of which fits
    int                      an instance of that class
    lambda value: …          whatever this says yes to; `lambda p: p == {…}` leaves no key over
    Message("hi"), a date    what this becomes as JSON
    """
    where = f"{path}: " if path else ""
    if pattern is ... or pattern is Any:
        return None
    if isinstance(pattern, Mapping):
        return _object(pattern, value, path)
    if isinstance(pattern, list | tuple):
        return _list(pattern, value, path)
    if isinstance(pattern, type):
        return None if isinstance(value, pattern) else f"{where}expected {pattern.__name__}, got {value!r}"
    if isinstance(pattern, msgspec.Struct) or is_dataclass(pattern):
        return mismatch(_as_json(pattern), value, path)
    if callable(pattern):
        return _asked(pattern, value, where)
    fits = bool(pattern == value) or _as_json(pattern) == value
    return None if fits else f"{where}expected {pattern!r}, got {value!r}"


# private


def _object(pattern: Mapping[Any, Any], value: Any, path: str) -> str | None:
    if not isinstance(value, dict):
        return f"{path}: expected an object, got {value!r}".removeprefix(": ")
    for key, part in pattern.items():
        inner = f"{path}.{key}" if path else str(key)
        if key not in value:
            return f"{inner} is missing"
        if found := mismatch(part, value[key], inner):
            return found
    return None


def _list(pattern: Any, value: Any, path: str) -> str | None:
    if not isinstance(value, list) or len(value) != len(pattern):
        return f"{path}: expected a list of {len(pattern)}, got {value!r}".removeprefix(": ")
    parts = (mismatch(part, value[index], f"{path}[{index}]") for index, part in enumerate(pattern))
    return next(filter(None, parts), None)


def _asked(pattern: Any, value: Any, where: str) -> str | None:
    name = getattr(pattern, "__qualname__", repr(pattern)).rpartition(".")[2]
    try:
        return None if pattern(value) else f"{where}{name} says no to {value!r}"
    except (LookupError, TypeError, ValueError, AttributeError) as error:  # it asked for what is not there
        return f"{where}{name} raised {error!r} on {value!r}"


def _as_json(value: Any) -> Any:
    try:
        return msgspec.json.decode(encode(value))
    except Unencodable:
        return value
