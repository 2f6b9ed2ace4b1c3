"""How much a client may send."""

from __future__ import annotations

import math

NOISE = 1e-6  # of floats


class Allowance:
    """A bucket of tokens: `burst` messages at once, `rate` a second in the long run.

    It may be overdrawn by another `burst`; who goes on after that has not listened.
    """

    __slots__ = ("_at", "_burst", "_rate", "_tokens", "is_overdrawn")

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self._at = now
        self.is_overdrawn = False

    def spend(self, now: float) -> None:
        """Take one message into account."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate) - 1
        self._at = now
        self.is_overdrawn = self._tokens < -NOISE

    @property
    def is_exhausted(self) -> bool:
        return self._tokens < -self._burst

    @property
    def retry_after(self) -> float:
        """Seconds until the next message is served, rounded up: who comes a moment too early pays for it again."""
        hundredths = max(0.0, (1 - self._tokens) / self._rate * 100)
        return math.ceil(round(hundredths, 6)) / 100
