"""What the commands take: numbers that make sense, and names from a file."""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError
from pathlib import Path

from django.core.management.base import CommandError

DAY = 86400


def whole(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"must be a whole number, 1 or more, not {text!r}")
    return int(text)


def seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found <= DAY:
        raise ArgumentTypeError(f"must be a number of seconds, more than 0 and at most a day, not {text!r}")
    return found


def lines_of(file: str) -> list[str]:
    """Return what the lines of a file hold, or those of standard input for "-". Raises CommandError."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{file} cannot be read: {error}") from error
    return [line.strip() for line in text.splitlines() if line.strip()]
