"""Each file knows its room: imports point down, and the pure room stays pure."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import realtime

PACKAGE = Path(realtime.__file__).parent

FLOORS = [
    {"exceptions", "import_name", "tasks", "turn", "lanes", "echoes", "order", "mailbox", "forgotten"},
    {"protocol"},
    {"payloads", "answers", "logs", "handlers", "tokens", "socket", "routing", "importing", "shadows", "signatures"},
    {
        "engine",
        "framing",
        "wire",
        "intake",
        "outbox",
        "polled",
        "polls",
        "hub",
        "overheard",
        "membership",
        "warden",
        "silence",
        "announcements",
        "topicserver",
        "workers",
        "gathering",
        "guard",
        "rechecks",
        "wheel",
        "conf",
        "replica",
        "book",
        "attendance",
        "absence",
        "presence",
    },
    {"node", "actor", "connection", "publish", "topics", "lifetime", "dismissal", "revocation"},
    {
        "consumers",
        "asgi",
        "asgi_source",
        "static_files",
        "mount_page",
        "checks",
        "apps",
        "management",
        "templatetags",
        "testing",
        "testing_plugin",
        "__init__",
    },
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
IMPURE = {"django", "asyncio", "redis", "time", "channels", "asgiref", "threading"}

FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(path: Path) -> Iterator[str]:
    """Yield the dotted names that the file imports, ours as "realtime.room"."""
    package = ("realtime", *path.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *filter(None, [node.module])))
            yield from (f"{module}.{alias.name}" for alias in node.names) if module == "realtime" else (module,)


def rooms(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imported(path) if name.startswith("realtime.") and name.count(".") >= 1}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    if path.name == "layer.py":  # channels makes a layer from its own setting; see _resolved
        assert rooms(path) <= {"engine", "conf"}
        return
    for room in rooms(path) - {room_of(path)}:
        if room in FLOOR:  # else a public name, imported from the package itself
            assert FLOOR[room] <= FLOOR[room_of(path)], f"{path} must not import {room}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "protocol").glob("*.py")), ids=lambda path: path.name)
def test_the_protocol_is_pure(path: Path) -> None:
    assert not {name.split(".")[0] for name in imported(path)} & IMPURE


def test_every_room_has_a_floor() -> None:
    assert {room_of(path) for path in FILES} == FLOOR.keys()


def test_no_module_bears_the_name_of_a_public_function() -> None:
    functions = {name for name in realtime.__all__ if inspect.isfunction(getattr(realtime, name))}
    assert not functions & {path.stem for path in PACKAGE.glob("*.py")}
