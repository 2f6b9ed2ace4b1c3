"""Guard: a socket ends with what let it in: its session, its user's password, account and permissions."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from typing import Any, Protocol

from django.apps import apps
from django.conf import settings

from .exceptions import ServerEnding
from .rechecks import Conditional, Rechecks
from .tasks import Tasks
from .tokens import stamp
from .workers import Workers

logger = logging.getLogger("realtime.socket")

GATHER = 0.2  # seconds in which what is to be looked at is gathered
ONCE_MORE = 1.0  # seconds
AT_ONCE = 500  # rows of one query


class Guarded(Protocol):
    """A socket, as far as its rights are concerned.

    user          whose it is; kept as it was last looked at
    user_key      its primary key, as text
    session_key   of the session that it came with; None for one without
    session_hash  the same, hashed
    stamp         what changes with the user's password
    """

    session_key: str | None
    session_hash: str
    stamp: str

    @property
    def user(self) -> Any: ...
    @property
    def user_key(self) -> str | None: ...

    def revoke(self, why: str) -> None:
        """Close it; no handler runs from now on."""

    def topics(self) -> Iterable[Conditional]:
        """Return those of its topics that require something of its user."""


class Guard:
    """Looks at the sockets of a node again: all of them in `period` seconds, some as soon as somebody asks for that.

    Use it on one loop. A look is one query for the users and one for the sessions of all that it looks at, in a thread
    of its own: neither handlers nor tests of the project's that are slow hold it up.
    """

    def __init__(self, period: float) -> None:
        self._workers = Workers(1)
        self._rechecks = Rechecks()
        self._period = period
        self._members: set[Guarded] = set()
        self._users: set[str | None] = set()  # whose sockets are to be looked at; None for everybody's
        self._sessions: set[str] = set()
        self._woken = asyncio.Event()
        self._tasks = Tasks()

    def employ(self, workers: Workers) -> None:
        """Let these do all that blocks, in place of its own."""
        self._workers = workers
        self._rechecks.employ(workers)

    def add(self, member: Guarded) -> None:
        self._members.add(member)
        if not self._tasks:
            self._tasks.spawn(self._run())

    def discard(self, member: Guarded) -> None:
        self._members.discard(member)

    def ask(self, user: str | None = None, session: str | None = None) -> None:
        """Look soon at the sockets of a user or of a (hashed) session; at all where both are None.

        At those of a session twice: who logs somebody out tells it before the session is gone.
        """
        self._ask(user, session)
        if session is not None:
            asyncio.get_running_loop().call_later(ONCE_MORE, self._ask, user, session)

    async def aclose(self) -> None:
        await self._tasks.aclose()
        await self._rechecks.aclose()
        self._workers.close()

    # private

    def _ask(self, user: str | None, session: str | None) -> None:
        if session is None:
            self._users.add(user)
        else:
            self._sessions.add(session)
        self._woken.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + self._period
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._woken.wait()
                    await asyncio.sleep(GATHER)
            try:
                await self._look_at_chosen()
                if loop.time() >= due:
                    due = loop.time() + self._period
                    await self._look_at_all()
            except ServerEnding:
                return
            except Exception:  # the database is away, say: the next time
                logger.exception("could not look whether sockets may stay")

    async def _look_at_chosen(self) -> None:
        self._woken.clear()
        for some in _batches(self._chosen(), AT_ONCE):
            await self._look(some, is_urgent=True)

    async def _look_at_all(self) -> None:
        for some in _batches(list(self._members), AT_ONCE):
            await self._look(some)
            if self._woken.is_set():
                await self._look_at_chosen()  # who waits for no more than that

    def _chosen(self) -> list[Guarded]:
        """Return whom somebody has asked for; all requests of a while take one walk over the sockets."""
        users, sessions = self._users, self._sessions
        self._users, self._sessions = set(), set()
        if None in users:
            return list(self._members)
        return [one for one in self._members if one.session_hash in sessions or one.user_key in users]

    async def _look(self, members: Sequence[Guarded], *, is_urgent: bool = False) -> None:
        users, sessions = await self._workers.call(_found, members)
        topics: list[Conditional] = []
        for member in members:
            if member not in self._members:
                continue  # it has gone meanwhile
            if reason := _complaint(member, users, sessions):
                member.revoke(reason)
            else:
                take_over(member.user, users[member.user.pk])
                topics += member.topics()
        self._rechecks.put(topics, is_urgent=is_urgent)  # apart: tests of the project's may be slow


def take_over(user: Any, fresh: Any) -> None:
    """Give a user the fields of a fresh one, and let it look up its permissions anew. It stays the same object."""
    known = vars(getattr(user, "_wrapped", user))  # channels' middleware gives a lazy one
    known.update({field.attname: getattr(fresh, field.attname) for field in fresh._meta.concrete_fields})
    for cached in [name for name in known if name.endswith("_perm_cache")]:
        del known[cached]


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
