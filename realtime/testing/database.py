"""What a test's transaction needs: hooks that run on its commits, and one connection for all who take part."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

logger = logging.getLogger("realtime.testing")


@contextmanager
def commits() -> Iterator[None]:
    """Run `on_commit` hooks at the commits of the code under test, although the test's transaction stays open.

    A TestCase, as pytest-django's `db`, opens transactions that it will roll back, so that nothing in it ever commits.
    Here whatever is left when only those are open counts as committed; what an inner block rolls back never runs. In
    a TransactionTestCase Django itself does all that.
    """
    earlier = {id(found): len(found.run_on_commit) for found in connections.all(initialized_only=True)}
    leave, on_commit = transaction.Atomic.__exit__, BaseDatabaseWrapper.on_commit

    def run_due(connection: Any) -> None:
        blocks = connection.atomic_blocks
        if not blocks or connection.needs_rollback or not all(block._from_testcase for block in blocks):
            return
        start = earlier.get(id(connection), 0)  # what setUpTestData left is not ours
        due = connection.run_on_commit[start:]
        del connection.run_on_commit[start:]
        for _, hook, robust in due:
            _run(hook, robust)

    def __exit__(self: Any, *error: Any) -> None:
        leave(self, *error)
        run_due(transaction.get_connection(self.using))

    def register(self: Any, *args: Any, **kwargs: Any) -> None:
        on_commit(self, *args, **kwargs)
        run_due(self)

    with (
        patch.object(transaction.Atomic, "__exit__", __exit__),
        patch.object(BaseDatabaseWrapper, "on_commit", register),
    ):
        yield


def _run(hook: Callable[[], Any], robust: bool) -> None:
    try:
        hook()
    except Exception:
        if not robust:
            raise
        logger.exception("an on_commit hook failed")


class Loan:
    """The database connections of the thread that makes this, lent to another one.

    pytest-asyncio runs a test in the thread whose connections `db` has put into a transaction, and asgiref the ORM of
    the test in another one. (Under Django's own TestCase both are the same, and there is nothing to lend.)
    """

    def __init__(self) -> None:
        self._connections: list[Any] = list(connections.all(initialized_only=True))
        self._instead_of: dict[str, Any] = {}
        self._lent: list[Any] = []

    def lend(self) -> None:
        """Call this in the other thread."""
        here = {found.alias: found for found in connections.all(initialized_only=True)}
        for connection in self._connections:
            if connection is not here.get(connection.alias):
                connection.inc_thread_sharing()
                self._instead_of[connection.alias] = here.get(connection.alias)
                self._lent.append(connection)
                connections[connection.alias] = connection

    def take_back(self) -> None:
        """Call this there too."""
        for connection in self._lent:
            before = self._instead_of[connection.alias]
            if before is None:
                del connections[connection.alias]
            else:
                connections[connection.alias] = before
            connection.dec_thread_sharing()
        self._lent.clear()
