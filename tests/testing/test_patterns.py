from __future__ import annotations

import datetime
import uuid
from dataclasses import dataclass
from typing import Any
from unittest.mock import ANY

import msgspec
import pytest

from realtime.testing.patterns import mismatch


class Message(msgspec.Struct):
    content: str
    username: str = "anon"


@dataclass
class Point:
    x: int


ID = uuid.uuid4()


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        (..., {"a": 1}),
        (Any, {"a": 1}),
        (ANY, {"a": 1}),
        ({}, {"a": 1}),
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": {"b": [1, {"c": 2}]}}, {"a": {"b": [1, {"c": 2, "d": 3}]}}),
        ({"a": ...}, {"a": None}),
        ({"a": None}, {"a": None}),
        ({"a": int, "b": str}, {"a": 1, "b": "x"}),
        (lambda payload: payload["a"] > 0, {"a": 1}),
        ({"a": lambda a: a > 0}, {"a": 1}),
        (Message("hi"), {"content": "hi", "username": "anon", "id": 7}),
        (Point(1), {"x": 1}),
        ({"id": ID, "at": datetime.date(2026, 1, 2)}, {"id": str(ID), "at": "2026-01-02"}),
        ({"a": (1, 2)}, {"a": [1, 2]}),
    ],
)
def test_it_fits(pattern: Any, value: Any) -> None:
    assert mismatch(pattern, value) is None


@pytest.mark.parametrize(
    ("pattern", "value", "why"),
    [
        ({"a": 1}, {"a": 2}, "a: expected 1, got 2"),
        ({"a": 1}, {"b": 1}, "a is missing"),
        ({"a": {"b": 1}}, {"a": {}}, "a.b is missing"),
        ({"a": {"b": 1}}, {"a": 7}, "a: expected an object, got 7"),
        ({"a": 1}, [], "expected an object, got []"),
        ({"a": [1]}, {"a": [1, 2]}, "a: expected a list of 1, got [1, 2]"),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, "a[1].b: expected 2, got 3"),
        ({"a": int}, {"a": "1"}, "a: expected int, got '1'"),
        ({"a": None}, {"a": 0}, "a: expected None, got 0"),
        (lambda payload: payload["a"], {"b": 1}, "<lambda> raised KeyError('a') on {'b': 1}"),
        ({"a": str.isupper}, {"a": "x"}, "a: isupper says no to 'x'"),
        (Message("hi"), {"content": "ho", "username": "anon"}, "content: expected 'hi', got 'ho'"),
    ],
)
def test_it_says_why_it_does_not_fit(pattern: Any, value: Any, why: str) -> None:
    assert mismatch(pattern, value) == why


def test_what_is_wrong_in_a_pattern_itself_is_raised() -> None:
    with pytest.raises(NameError):
        mismatch(lambda payload: undefined_name, {})  # type: ignore[name-defined]  # noqa: F821
