"""Absence: what is kept of a socket that was lost while its presences fade. What would have closed it ends them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Protocol

from .attendance import Guest
from .guard import Guard, Guarded, is_guarded
from .rechecks import Conditional
from .warden import Member, Warden


class Lost(Member, Guarded, Protocol):
    """The socket that was lost."""


class Absence:
    """Stands in for a lost socket before guard and warden.

    Who logs out leaves the page, so its socket is mostly lost before anybody knows that it was to go.

    began  the loop's time when the socket was lost: what was told before, the socket itself has heard
    """

    __slots__ = (
        *("_guard", "_guests", "_is_dismissed", "_warden", "began", "id", "session_hash", "session_key", "stamp"),
        *("user", "user_key"),
    )

    def __init__(self, lost: Lost, guard: Guard, warden: Warden) -> None:
        self.id = lost.id
        self.user = lost.user
        self.user_key = lost.user_key
        self.session_key = lost.session_key
        self.session_hash = lost.session_hash
        self.stamp = lost.stamp
        self.began = asyncio.get_running_loop().time()
        self._guard = guard
        self._warden = warden
        self._guests: list[Guest] = []
        self._is_dismissed = False
        if is_guarded(self.user):
            guard.add(self)
        warden.add(self)

    def take(self, guest: Guest) -> None:
        """Look after a guest of the socket, which has ended."""
        if self._is_dismissed:
            guest.depart()
        else:
            self._guests.append(guest)

    def end(self) -> None:
        self._guard.discard(self)
        self._warden.discard(self)

    # For the warden and the guard

    def dismiss(self) -> None:
        self._is_dismissed = True
        for guest in self._guests:
            guest.depart()

    def expel(self, topic: str, reason: str) -> None:
        for guest in self._guests:
            if guest.topic == topic:
                guest.depart()

    def revoke(self, why: str) -> None:
        self.dismiss()

    def topics(self) -> Iterable[Conditional]:
        return ()
