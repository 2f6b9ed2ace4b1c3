"""What is known of an error in the project's own code while it is imported: where it is, in few lines."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from traceback import StackSummary, TracebackException, extract_tb

import django

from .exceptions import Misconfigured

# Frames of these say how a module was imported, not what is wrong in it.
MACHINERY = tuple(str(Path(str(file)).parent) + os.sep for file in (__file__, django.__file__, importlib.__file__))


def summary(error: BaseException) -> str:
    """Return the error in one line: "SyntaxError: '(' was never closed (chatty/channels/rooms.py, line 12)"."""
    said = error.msg if isinstance(error, SyntaxError) else str(error)
    place = next(((file, line) for file, line in reversed([*_places(error)])), None)
    where = f" ({_short(place[0])}, line {place[1]})" if place else ""
    return f"{type(error).__name__}: {said}{where}"


def excerpt(error: Misconfigured) -> str:
    """Return the traceback of what `error` came from, with none but the project's own lines; "" if there is none."""
    if error.__cause__ is None:
        return ""
    told = TracebackException.from_exception(error.__cause__)
    told.stack = StackSummary.from_list([frame for frame in told.stack if _is_own(frame.filename)])
    return "".join(told.format(chain=False))


def files(error: Misconfigured) -> set[Path]:
    """Return the files that `error` came through: one of them holds what must be mended."""
    return {Path(file) for file, _ in _places(error.__cause__)} if error.__cause__ else set()


def _places(error: BaseException) -> Iterator[tuple[str, int]]:
    """Yield (file, line), innermost last."""
    for frame in extract_tb(error.__traceback__):
        if _is_own(frame.filename):
            yield frame.filename, frame.lineno or 0
    if isinstance(error, SyntaxError) and error.filename:
        yield error.filename, error.lineno or 0


def _is_own(file: str) -> bool:
    return not file.startswith(("<", *MACHINERY))


def _short(file: str) -> str:
    return os.path.relpath(file) if Path(file).is_relative_to(Path.cwd()) else file
