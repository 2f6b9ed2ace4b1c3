"""Guard: a socket ends with what let it in: its session, its user's password, account and permissions."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any, Protocol

from django.apps import apps
from django.conf import settings

from .tasks import end, spawn
from .tokens import stamp
from .workers import Workers

logger = logging.getLogger("realtime.socket")

GATHER = 0.2  # seconds in which what is to be looked at is gathered
ONCE_MORE = 1.0  # seconds
AT_ONCE = 500  # rows of one query


class Guarded(Protocol):
    """A socket, as far as its rights are concerned.

    user         as it was when it was let in
    session_key  of the session that it came with; None for one without
    stamp        what changes with the user's password
    """

    session_key: str | None
    stamp: str

    @property
    def user(self) -> Any: ...

    def revoke(self, why: str) -> None:
        """Close it; no handler runs from now on."""

    async def refresh(self, user: Any) -> None:
        """Take the user as it is now, and end the topics that it may be in no more."""


class Guard:
    """Looks at the sockets of a node again: all of them in `period` seconds, some as soon as somebody asks for that.

    Use it on one loop. A look is one query for the users and one for the sessions of all that it looks at.
    """

    def __init__(self, workers: Callable[[], Workers], period: float) -> None:
        self._workers = workers
        self._period = period
        self._members: set[Guarded] = set()
        self._asked: set[Guarded] = set()
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def add(self, member: Guarded) -> None:
        self._members.add(member)
        if self._task is None:
            self._task = spawn(self._run())

    def discard(self, member: Guarded) -> None:
        self._members.discard(member)
        self._asked.discard(member)

    def ask(self, user: str | None = None, session: str | None = None) -> None:
        """Look soon at the sockets of a user or of a (hashed) session; at all where both are None.

        At those of a session twice: who logs somebody out tells it before the session is gone.
        """
        self._ask(user, session)
        if session is not None:
            asyncio.get_running_loop().call_later(ONCE_MORE, self._ask, user, session)

    async def aclose(self) -> None:
        await end(self._task)

    # private

    def _ask(self, user: str | None, session: str | None) -> None:
        for member in self._members:
            if session is not None:
                fits = member.session_key is not None and hashed(member.session_key) == session
            else:
                fits = user is None or str(member.user.pk) == user
            if fits:
                self._asked.add(member)
        if self._asked:
            self._woken.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + self._period
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._woken.wait()
                    await asyncio.sleep(GATHER)
            self._woken.clear()
            if loop.time() >= due:
                due = loop.time() + self._period
                self._asked |= self._members
            chosen, self._asked = list(self._asked), set()
            try:
                await self._look(chosen)
            except Exception:  # the database is away, say: the next time
                logger.exception("could not look whether %d sockets may stay", len(chosen))

    async def _look(self, members: Sequence[Guarded]) -> None:
        for some in _batches(members, AT_ONCE):
            users, sessions = await self._workers().call(_found, some)
            for member in some:
                if member not in self._members:
                    continue  # it has gone meanwhile
                if reason := _complaint(member, users, sessions):
                    member.revoke(reason)
                else:
                    await member.refresh(users[member.user.pk])


def is_guarded(user: Any) -> bool:
    """Return whether there is anything to look at: it is a user of the project's, and not anybody."""
    if user is None or not apps.is_installed("django.contrib.auth"):
        return False
    from django.contrib.auth import get_user_model

    return isinstance(user, get_user_model()) and user.pk is not None


def hashed(session_key: str) -> str:
    """Return what tells sessions apart, and opens none."""
    return hashlib.sha256(session_key.encode()).hexdigest()[:32]


# private


def _complaint(member: Guarded, users: dict[Any, Any], sessions: set[str]) -> str | None:
    """Return why a socket may not stay, or None."""
    user = users.get(member.user.pk)
    if user is None or not user.is_active:
        return "the user was deactivated"
    if not hmac.compare_digest(stamp(user), member.stamp):
        return "the password was changed"
    if member.session_key is not None and member.session_key not in sessions:
        return "the session has ended"
    return None


def _found(members: Sequence[Guarded]) -> tuple[dict[Any, Any], set[str]]:
    """Return the users there are by primary key, and the keys of the sessions there are. Blocks."""
    from django.contrib.auth import get_user_model  # imports models, so only where they are installed

    keys = {member.user.pk for member in members}
    users = get_user_model()._default_manager.in_bulk(list(keys))
    return users, set(_living(sorted({key for member in members if (key := member.session_key) is not None})))


def _living(keys: list[str]) -> list[str]:
    if not keys or not apps.is_installed("django.contrib.sessions"):
        return keys
    store = import_module(settings.SESSION_ENGINE).SessionStore
    model = getattr(store, "get_model_class", lambda: None)()
    if model is None:  # sessions in a cache or in cookies
        return [key for key in keys if _is_living(store, key)]
    from django.utils import timezone

    rows = model._default_manager.filter(session_key__in=keys, expire_date__gt=timezone.now())
    return list(rows.values_list("session_key", flat=True))


def _is_living(store: Any, key: str) -> bool:
    return bool(store(key).items())  # one that is not there is empty


def _batches(items: Sequence[Guarded], size: int) -> Iterator[Sequence[Guarded]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
