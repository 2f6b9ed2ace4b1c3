"""Calls: one command or one Lua script of ours, with its keys and what its answer means.

A call is made without a connection, so that the sync verbs and the nodes' loops share every one of them.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from redis.exceptions import NoScriptError

T = TypeVar("T")
FOLDER = Path(__file__).parent / "lua"
INCLUDE = re.compile(r"^--# include (\w+)\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Script:
    """text  Lua; its header names KEYS, ARGV and what it returns"""

    text: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha", hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest())


@functools.cache
def script(name: str) -> Script:
    """Return the script of lua/<name>.lua, with what it includes."""
    return Script(whole(name))


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """What to ask of the engine. Both ways to run it raise what redis-py raises.

    command  ("ZCARD", "{rt:0}:topics") or ("EVALSHA", sha, number of keys, keys..., arguments...)
    read     makes of the answer what the caller wants
    script   sent whole where the engine does not know its sha, after a restart or a SCRIPT FLUSH
    """

    command: tuple[str | bytes | int | float, ...]
    read: Callable[[Any], T]
    script: Script | None = None

    @classmethod
    def of(cls, script: Script, keys: tuple[str, ...], arguments: tuple[Any, ...], read: Callable[[Any], T]) -> Call[T]:
        return cls(("EVALSHA", script.sha, len(keys), *keys, *arguments), read, script)

    def run(self, client: Any) -> T:
        try:
            answer = client.execute_command(*self.command)
        except NoScriptError:
            answer = client.execute_command(*self.whole)
        return self.read(answer)

    async def arun(self, client: Any) -> T:
        try:
            answer = await client.execute_command(*self.command)
        except NoScriptError:
            answer = await client.execute_command(*self.whole)
        return self.read(answer)

    @property
    def whole(self) -> tuple[str | bytes | int | float, ...]:
        """The command with its script, for an engine that does not know it."""
        assert self.script is not None
        return ("EVAL", self.script.text, *self.command[2:])


def whole(name: str, edit: Callable[[str, str], str] = lambda name, text: text) -> str:
    """Return the text of a file, with what it includes in its place. `edit` may change each file's, by its name."""
    text = edit(name, (FOLDER / f"{name}.lua").read_text())
    return INCLUDE.sub(lambda found: whole(found[1], edit), text)
