from __future__ import annotations

import datetime
import decimal
import enum
import uuid
from dataclasses import dataclass
from typing import Any, TypedDict

import msgspec
import pytest
from django.db import models
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy

from realtime.exceptions import Refused, Unencodable
from realtime.payloads import decoder, encode, encode_object


class Suit(models.TextChoices):
    HEARTS = "h", "Hearts"


class Place(msgspec.Struct):
    lat: float
    tags: list[str] = []


@dataclass
class Point:
    x: int


class Named(TypedDict):
    name: str


class Number(int):
    pass


class Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC), "2026-01-02T03:04:05Z"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (decimal.Decimal("1.50"), "1.50"),
        (gettext_lazy("Hello"), "Hello"),
        (mark_safe("<b>"), "<b>"),
        (Suit.HEARTS, "h"),
        (Number(7), 7),
        (Colour.RED, "red"),
        (Place(1.5, ["a"]), {"lat": 1.5, "tags": ["a"]}),
        (Point(1), {"x": 1}),
        ({"a"}, ["a"]),
        ((1, None), [1, None]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_django_is_made_of_can_be_sent(value: Any, expected: Any) -> None:
    assert msgspec.json.decode(encode_object({"key": value})) == {"key": expected}


@pytest.mark.parametrize(
    ("payload", "path"),
    [
        ({"author": {"avatar": object()}}, "author.avatar"),
        ({"rows": [1, {"cell": object()}]}, "rows[1].cell"),
        ({"a": Place(1.5, [object()])}, "a.tags[0]"),  # type: ignore[list-item]
        ({"name": "\ud800"}, "name"),
        ({"f": lambda: 1}, "f"),
    ],
)
def test_what_cannot_be_sent_is_named_by_its_key(payload: Any, path: str) -> None:
    with pytest.raises(Unencodable, match=f"^{path.replace('[', '.').replace(']', '.')} cannot be sent"):
        encode_object(payload)


def test_a_structure_that_holds_itself_is_unencodable() -> None:
    payload: dict[str, Any] = {}
    payload["self"] = payload
    with pytest.raises(Unencodable):
        encode(payload)


@pytest.mark.parametrize("payload", [[1], "text", 7, True])
def test_a_payload_must_be_an_object(payload: Any) -> None:
    with pytest.raises(Unencodable, match="must be a JSON object"):
        encode_object(payload)


def test_no_payload_is_an_empty_object() -> None:
    assert encode_object(None) == msgspec.Raw(b"{}")


@pytest.mark.parametrize(
    ("kind", "payload", "expected"),
    [
        (Any, "[1]", [1]),
        (dict, '{"a":1}', {"a": 1}),
        (Place, '{"lat":1}', Place(1.0)),
        (Point, '{"x":1}', Point(1)),
        (Named, '{"name":"ada"}', {"name": "ada"}),
    ],
    ids=["anything", "dict", "Struct", "dataclass", "TypedDict"],
)
def test_a_payload_becomes_what_the_handler_asks_for(kind: Any, payload: str, expected: Any) -> None:
    assert decoder(kind)(msgspec.Raw(payload.encode())) == expected


@pytest.mark.parametrize(
    ("kind", "payload", "detail"),
    [
        (Place, '{"lat":"x"}', "lat: expected float"),
        (Place, "{}", "lat: required"),
        (Place, '{"lat":1,"tags":[1]}', "tags[0]: expected str"),
        (Point, '{"x":null}', "x: expected int"),
        (Named, "{}", "name: required"),
        (dict, "[]", "expected object"),
        (Any, "1e999", "number out of range"),
        (bytes, '"aGk="', "expected a binary push"),
    ],
)
def test_what_does_not_fit_is_refused_in_the_clients_words(kind: Any, payload: str, detail: str) -> None:
    with pytest.raises(Refused) as caught:
        decoder(kind)(msgspec.Raw(payload.encode()))
    assert caught.value.response == {"reason": "bad payload", "detail": detail}
