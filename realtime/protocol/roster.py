"""Roster: who is in one topic, kept by diffs, and written as clients read it.

Source: phoenix 167c46950, lib/phoenix/presence.ex and assets/js/phoenix/presence.js.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw

from ..exceptions import ProtocolError
from .messages import PRESENCE_DIFF, Broadcast

# phx_ref -> meta, a JSON object that holds the phx_ref too; in the order in which they were tracked.
Metas: TypeAlias = dict[str, bytes]
# Key -> what else its entry holds: `,"user":{"name":"Ada"}`, or nothing.
More: TypeAlias = Mapping[str, bytes]


class _Entry(msgspec.Struct):
    metas: list[Raw]


class _Diff(msgspec.Struct):
    joins: dict[str, _Entry]
    leaves: dict[str, _Entry]


class _Meta(msgspec.Struct):
    phx_ref: str


_diff = msgspec.json.Decoder(_Diff)
_meta = msgspec.json.Decoder(_Meta)


class Diff(msgspec.Struct, frozen=True):
    """Metas that have come and gone, by key. A meta that has changed is in both, with another phx_ref."""

    joins: dict[str, Metas]
    leaves: dict[str, Metas]

    @classmethod
    def read(cls, payload: bytes | Raw) -> Diff:
        """Return the diff in the payload of a presence_diff. Raises ProtocolError."""
        try:
            found = _diff.decode(payload)
            return cls(_by_ref(found.joins), _by_ref(found.leaves))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ProtocolError(f"undecodable presence_diff: {error}") from None

    @property
    def keys(self) -> list[str]:
        return list(dict.fromkeys((*self.joins, *self.leaves)))

    def write(self, more: More) -> Raw:
        """Return it as the payload of a presence_diff, with what else the entries hold."""
        joins, leaves = _object(self.joins, more), _object(self.leaves, more)
        return Raw(b'{"joins":%b,"leaves":%b}' % (joins, leaves))


class Roster:
    """number  of the last diff that it knows of"""

    def __init__(self, number: int = 0, metas: Mapping[str, Metas] | None = None, more: More | None = None) -> None:
        self.number = number
        self._present: dict[str, _Present] = {}
        self._payload: Raw | None = None
        for key, own in (metas or {}).items():
            self._present[key] = _Present(own, (more or {}).get(key, b""))

    def __len__(self) -> int:
        """How many keys are present."""
        return len(self._present)

    def apply(self, number: int, diff: Diff, more: More | None = None) -> None:
        """Take the next diff, with what else entries hold from now on."""
        self.number = number
        self._payload = None
        for key, metas in diff.joins.items():
            self._present.setdefault(key, _Present({}, b"")).add(metas)
        for key, metas in diff.leaves.items():
            if (present := self._present.get(key)) is not None and not present.remove(metas):
                del self._present[key]
        for key, rest in (more or {}).items():
            if (present := self._present.get(key)) is not None:
                present.set_more(rest)

    def payload(self) -> Raw:
        """Return the payload of a presence_state; the same one until something changes."""
        if self._payload is None:
            members = [present.member(key) for key, present in self._present.items()]
            self._payload = Raw(b"{%b}" % b",".join(members))
        return self._payload

    def entries(self) -> dict[str, Any]:
        """Return key -> {"metas": [...], ...}, decoded."""
        return {key: present.entry() for key, present in self._present.items()}

    def more(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Return what else the entries of these keys hold."""
        return {key: present.more for key in keys if (present := self._present.get(key)) is not None}

    def entry(self, key: str) -> dict[str, Any] | None:
        present = self._present.get(key)
        return None if present is None else present.entry()


def diff_number(broadcast: Broadcast) -> int:
    """Return the number of a diff of the record, which is its mark; 0 for whatever else is said, be it of that name."""
    mark = broadcast.mark
    return int(mark) if broadcast.event == PRESENCE_DIFF and mark and mark.isdecimal() else 0


def entries_of(metas: Mapping[str, Metas], more: More | None = None) -> dict[str, Any]:
    """Return key -> {"metas": [...], ...}, decoded."""
    return {key: _Present(own, (more or {}).get(key, b"")).entry() for key, own in metas.items()}


class _Present:
    """One key: its metas, what else its entry holds, and how it is written, once that was asked for."""

    __slots__ = ("_member", "_metas", "more")

    def __init__(self, metas: Metas, more: bytes) -> None:
        self.more = more
        self._metas = metas
        self._member: bytes | None = None

    def add(self, metas: Metas) -> None:
        self._metas.update(metas)
        self._member = None

    def remove(self, metas: Iterable[str]) -> bool:
        """Return whether any meta is left."""
        for ref in metas:
            self._metas.pop(ref, None)
        self._member = None
        return bool(self._metas)

    def set_more(self, more: bytes) -> None:
        self.more = more
        self._member = None

    def member(self, key: str) -> bytes:
        """Return it as it stands in a JSON object of all."""
        if self._member is None:
            self._member = _member(key, self._metas, self.more)
        return self._member

    def entry(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode(_written(self._metas, self.more))
        return found


def _by_ref(entries: Mapping[str, _Entry]) -> dict[str, Metas]:
    # A copy of each, or the least of them would keep the whole message in memory.
    return {key: {_meta.decode(meta).phx_ref: bytes(meta) for meta in entry.metas} for key, entry in entries.items()}


def _object(metas: Mapping[str, Metas], more: More) -> bytes:
    return b"{%b}" % b",".join(_member(key, own, more.get(key, b"")) for key, own in metas.items())


def _member(key: str, metas: Metas, more: bytes) -> bytes:
    return b"%b:%b" % (msgspec.json.encode(key), _written(metas, more))


def _written(metas: Metas, more: bytes) -> bytes:
    return b'{"metas":[%b]%b}' % (b",".join(metas.values()), more)
