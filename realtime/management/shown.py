"""What the commands show to people: tables, ages, and how far a long work is."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from django.core.management.base import OutputWrapper

SHORT = 2.0  # seconds that a work may take without a word
LIVELY = 0.1  # seconds between two looks at it on a terminal
NAMED = 10  # of many names
UNITS = ((60, 1, "s"), (3600, 60, "min"), (2 * 86400, 3600, "h"))


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield each row as a line, with its cells below those of the row before."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def age(seconds: float) -> str:
    """Return seconds as people say them: "12 s", "3 min", "2 h", "5 days". What is not whole is left out."""
    for limit, unit, word in UNITS:
        if seconds < limit:
            return f"{max(0, seconds) // unit:.0f} {word}"
    return f"{seconds // 86400:,.0f} days"


def some(names: Sequence[str]) -> str:
    """Return the first of these names, and how many there are beside: "a, b and 17 more"."""
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest:,} more" if rest > 0 else "")


class Progress:
    """Tells how far a work is: on one line of a terminal, that is gone at the end; elsewhere only when it is long.

    with Progress(self.stderr) as progress: progress.tell("created 500 of 20,000")
    """

    def __init__(self, stream: OutputWrapper) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._pause = LIVELY if self._is_terminal else SHORT
        self._at = time.monotonic() + self._pause

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self._is_terminal:
            self._write("")

    def tell(self, text: str) -> None:
        if time.monotonic() >= self._at:
            self._at = time.monotonic() + self._pause
            self._write(text)

    def _write(self, text: str) -> None:
        # `str` stands for no style: what a command writes there is red otherwise.
        if self._is_terminal:
            self._stream.write(f"\r\x1b[K{text}", str, ending="")
        else:
            self._stream.write(text, str)
        self._stream.flush()
