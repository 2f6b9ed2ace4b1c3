"""What Phoenix has, row by row, and the tests that show it here.

    python -m tests.features      the rows that no test shows, and why

features.json maps the name of each row to the tests that show it ("tests/test_x.py::test_y", or
"tests/js/x.test.mjs::the name of the test"), or to the reason why there are none: "none: …", "pending: …". A part of a
row that is not there has a row of its own, "Row: part". The README's comparison tells of those without tests.
"""

from __future__ import annotations

import ast
import functools
import json
from pathlib import Path

ROOT = Path(__file__).parents[1]
TABLE = Path(__file__).with_name("features.json")
README = ROOT / "README.md"
HEADING = "\n### Beside Phoenix\n"

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

Row = str | list[str]


def rows() -> dict[str, Row]:
    """Raises ValueError where two rows have one name."""
    table: dict[str, Row] = json.loads(TABLE.read_text(), object_pairs_hook=unique)
    return table


def unique(pairs: list[tuple[str, Row]]) -> dict[str, Row]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError(f"a row stands twice in {TABLE.name}")
    return table


def unshown(table: dict[str, Row]) -> dict[str, str]:
    """Return the rows that no test shows, with their reasons."""
    return {name: row for name, row in table.items() if isinstance(row, str)}


def comparison() -> dict[str, str]:
    """Return what the README says of the features that are not there: name -> why."""
    section = README.read_text().partition(HEADING)[2].partition("\n#")[0]
    lines = [line.strip("| ").partition(" | ") for line in section.splitlines() if line.startswith("| ")]
    return {name: why for name, _, why in lines[1:]}  # below the titles


def excuse(reason: str) -> str:
    """Return a reason in the words of the README."""
    return reason.removeprefix("none: ").replace("none yet: ", "not yet: ")


def exists(test: str) -> bool:
    """Tell whether a test of this name is written where it says."""
    file, _, name = test.partition("::")
    path = ROOT / file
    return path.is_file() and name in (tests_in_python(path) if path.suffix == ".py" else tests_in_javascript(path))


@functools.cache
def tests_in_python(path: Path) -> set[str]:
    functions = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, FUNCTIONS))
    return {function.name for function in functions if function.name.startswith("test_")}


@functools.cache
def tests_in_javascript(path: Path) -> set[str]:
    """Return the first arguments of `test(`, placeholders as they are written."""
    calls = (line.strip().removeprefix("test(") for line in path.read_text().splitlines() if "test(" in line)
    return {call[1 : call.index(call[0], 1)] for call in calls if call[:1] in ('"', "`")}


if __name__ == "__main__":
    for name, reason in unshown(rows()).items():
        print(f"{name:<60} {reason}")
