"""Roster: who is in a topic, by the diffs that are heard."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from realtime.exceptions import ProtocolError
from realtime.protocol.roster import Diff, Roster, entries_of


def meta(ref: str, **more: Any) -> dict[str, Any]:
    return {**more, "phx_ref": ref}


def side(entries: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    return {key: {"metas": metas} for key, metas in entries.items()}


def diff(joins: dict[str, list[Any]] | None = None, leaves: dict[str, list[Any]] | None = None) -> Diff:
    return Diff.read(msgspec.json.encode({"joins": side(joins or {}), "leaves": side(leaves or {})}))


def roster(*diffs: Diff) -> Roster:
    found = Roster()
    for number, one in enumerate(diffs, 1):
        found.apply(number, one)
    return found


def test_a_new_roster_is_empty() -> None:
    assert Roster().payload() == msgspec.Raw(b"{}")
    assert Roster().number == 0
    assert Roster().entry("ada") is None


def test_metas_of_a_key_are_in_the_order_in_which_they_came() -> None:
    found = roster(diff({"ada": [meta("2", n=1)]}), diff({"ada": [meta("1", n=2), meta("3", n=3)]}))
    assert found.entries() == side({"ada": [meta("2", n=1), meta("1", n=2), meta("3", n=3)]})
    assert found.number == 2


def test_a_key_goes_with_its_last_meta() -> None:
    come = diff({"ada": [meta("1"), meta("2")], "bob": [meta("3")]})
    found = roster(come, diff(leaves={"ada": [meta("1")]}))
    assert found.entries() == side({"ada": [meta("2")], "bob": [meta("3")]})
    found.apply(3, diff(leaves={"ada": [meta("2")]}))
    assert found.entries() == side({"bob": [meta("3")]})
    assert len(found) == 1


def test_an_update_replaces_a_meta() -> None:
    found = roster(
        diff({"ada": [meta("1"), meta("2")]}), diff({"ada": [meta("3", phx_ref_prev="1")]}, {"ada": [meta("1")]})
    )
    assert found.entry("ada") == {"metas": [meta("2"), meta("3", phx_ref_prev="1")]}


def test_what_is_not_there_leaves_without_a_trace() -> None:
    found = roster(diff({"ada": [meta("1")]}), diff(leaves={"ada": [meta("9")], "bob": [meta("1")]}))
    assert found.entries() == side({"ada": [meta("1")]})


@pytest.mark.parametrize("key", ["__proto__", "constructor", "", '"', "\\", "\u2028", "é"])
def test_any_key_is_written_as_it_is(key: str) -> None:
    found = roster(diff({key: [meta("1")]}))
    assert msgspec.json.decode(found.payload()) == side({key: [meta("1")]})
    assert msgspec.json.decode(diff({key: [meta("1")]}).write({})) == {"joins": side({key: [meta("1")]}), "leaves": {}}


def test_the_payload_is_the_same_until_something_changes_and_then_right() -> None:
    found = roster(diff({"ada": [meta("1")]}))
    first = found.payload()
    assert found.payload() is first
    found.apply(2, diff({"bob": [meta("2")]}))
    assert msgspec.json.decode(found.payload()) == side({"ada": [meta("1")], "bob": [meta("2")]})
    found.apply(3, diff({"bob": [meta("3")]}))
    assert msgspec.json.decode(found.payload()) == side({"ada": [meta("1")], "bob": [meta("2"), meta("3")]})


def test_what_else_entries_hold_stands_beside_their_metas_until_it_is_replaced() -> None:
    found = Roster(7, {"ada": {"1": b'{"phx_ref":"1"}'}}, {"ada": b',"name":"Ada"'})
    assert found.payload() == msgspec.Raw(b'{"ada":{"metas":[{"phx_ref":"1"}],"name":"Ada"}}')
    found.apply(8, diff({"ada": [meta("2")], "bob": [meta("3")]}), {"ada": b',"name":"A."', "bob": b""})
    assert found.entry("ada") == {"metas": [meta("1"), meta("2")], "name": "A."}
    assert found.entry("bob") == {"metas": [meta("3")]}
    assert msgspec.json.decode(found.payload()) == found.entries()


def test_a_diff_is_written_with_what_else_its_entries_hold() -> None:
    one = diff({"ada": [meta("2")]}, {"ada": [meta("1")], "bob": [meta("3")]})
    assert one.write({"ada": b',"name":"Ada"'}) == msgspec.Raw(
        b'{"joins":{"ada":{"metas":[{"phx_ref":"2"}],"name":"Ada"}},'
        b'"leaves":{"ada":{"metas":[{"phx_ref":"1"}],"name":"Ada"},"bob":{"metas":[{"phx_ref":"3"}]}}}'
    )
    assert one.keys == ["ada", "bob"]


def test_entries_are_decoded_with_what_else_they_hold() -> None:
    assert entries_of({"ada": {"1": b'{"phx_ref":"1"}'}}, {"ada": b',"id":7'}) == {
        "ada": {"metas": [meta("1")], "id": 7}
    }


@pytest.mark.parametrize(
    "payload",
    [b"{}", b"[]", b'{"joins":{},"leaves":[]}', b'{"joins":{"a":{"metas":[{}]}},"leaves":{}}', b"\xff", b"[" * 10000],
    ids=["nothing", "a list", "leaves of another kind", "a meta without a ref", "no UTF-8", "very deep"],
)
def test_what_is_no_diff_is_refused(payload: bytes) -> None:
    with pytest.raises(ProtocolError, match="undecodable presence_diff"):
        Diff.read(payload)
