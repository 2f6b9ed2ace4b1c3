"""The table of features names tests that are there, and a reason where there are none."""

from __future__ import annotations

import pytest

from tests.features import comparison, excuse, exists, rows, unique, unshown

TABLE = rows()
REASONS = ("none: ", "none yet: ", "pending: ")


@pytest.mark.parametrize("name", TABLE)
def test_a_row_is_shown_by_tests_or_says_why_not(name: str) -> None:
    row = TABLE[name]
    if isinstance(row, str):
        assert row.startswith(REASONS)
        assert row.partition(": ")[2].strip()
    else:
        assert row
        assert [test for test in row if not exists(test)] == []


@pytest.mark.parametrize("name", TABLE)
def test_a_part_stands_beside_its_row(name: str) -> None:
    assert name.partition(": ")[0] in TABLE


def test_the_rows_that_no_test_shows_have_the_reasons() -> None:
    assert unshown({"shown": ["a"], "not": "none: why"}) == {"not": "none: why"}


def test_the_readme_says_of_each_row_that_no_test_shows_why() -> None:
    assert comparison() == {name: excuse(reason) for name, reason in unshown(TABLE).items()}


def test_no_row_stands_twice() -> None:
    with pytest.raises(ValueError, match="twice"):
        unique([("ping", ["a"]), ("ping", "none: why")])


@pytest.mark.parametrize(
    ("test", "there"),
    [
        ("tests/test_features.py::test_a_test_is_found_where_it_is_written", True),
        ("tests/test_features.py::test_that_nobody_wrote", False),
        ("tests/test_features.py::exists", False),
        ("tests/test_nowhere.py::test_a_test_is_found_where_it_is_written", False),
        ("tests/js/page.test.mjs::a hidden page keeps its connection", True),
        ("tests/js/page.test.mjs::a hidden page keeps", False),
    ],
)
def test_a_test_is_found_where_it_is_written(test: str, there: bool) -> None:
    assert exists(test) == there
