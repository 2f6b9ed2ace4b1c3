"""Crashes: what authors' code raised, for a test to tell."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

LOGGERS = [logging.getLogger(f"realtime.{name}") for name in ("channel", "socket", "node")]


class Crashes(logging.Handler):
    """What was raised and contained. The log has more of it than the workers see: a wrong return value, say."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._found: list[BaseException] = []

    @contextmanager
    def watched(self) -> Iterator[None]:
        for logger in LOGGERS:
            logger.addHandler(self)
        try:
            yield
        finally:
            for logger in LOGGERS:
                logger.removeHandler(self)

    def add(self, error: BaseException) -> None:
        if not any(error is known for known in self._found):
            self._found.append(error)

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1]:
            self.add(record.exc_info[1])

    def take(self) -> BaseException | None:
        """Return the last one, and forget them all."""
        last = self._found[-1] if self._found else None
        self._found.clear()
        return last

    def __bool__(self) -> bool:
        return bool(self._found)
