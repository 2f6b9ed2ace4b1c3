"""What is told to every node: a record of it, and the bell."""

from __future__ import annotations

from typing import Any

from .keys import Keys
from .scripts import Call, script

KEPT = 3600.0  # seconds
AT_MOST = 10_000  # commands, about

Id = tuple[int, int]  # ms of the engine's clock, and a number among those of the same one


def tell(keys: Keys, command: bytes) -> Call[Id]:
    """Write a command down, and tell whoever listens; its id."""
    arguments = (command, keys.commanded, int(KEPT * 1000), AT_MOST)
    return Call.of(script("command"), (keys.commands,), arguments, _id)


def last(keys: Keys) -> Call[Id]:
    """The id of the newest one; (0, 0) where there is none."""
    return Call(("XREVRANGE", keys.commands, "+", "-", "COUNT", 1), _last)


def since(keys: Keys, known: Id) -> Call[list[tuple[Id, bytes]]]:
    """All that came after the one that is known."""
    return Call(("XRANGE", keys.commands, f"({known[0]}-{known[1]}", "+"), _read)


# private


def _id(written: bytes) -> Id:
    ms, _, number = written.partition(b"-")
    return int(ms), int(number)


def _last(found: Any) -> Id:
    return _id(found[0][0]) if found else (0, 0)


def _read(found: Any) -> list[tuple[Id, bytes]]:
    # redis-py's own clients make a dict of the fields.
    return [(_id(written), fields[b"command"] if isinstance(fields, dict) else fields[1]) for written, fields in found]
