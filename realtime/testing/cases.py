"""RealtimeMixin: the clients of Django's and unittest's TestCases."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any
from unittest import TestCase

from asgiref.sync import iscoroutinefunction

from .client import AsyncRealtimeClient
from .sync import RealtimeClient

if TYPE_CHECKING:
    _Base = TestCase
else:
    _Base = object


class RealtimeMixin(_Base):
    """Gives each test a client: `self.realtime_client`, and in `async def` tests `self.async_realtime_client`.

    class RoomTests(RealtimeMixin, TestCase):
        def test_the_lobby_is_open(self):
            self.realtime_client.connect().join("rooms:lobby")

    A setUp of your own calls super().setUp() first. Rights with TestCase and with TransactionTestCase.
    """

    _client: RealtimeClient | AsyncRealtimeClient | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._prepare()
        return super().__call__(*args, **kwargs)

    def debug(self) -> None:
        self._prepare()
        super().debug()

    def setUp(self) -> None:
        super().setUp()
        if self._client is None:
            self._client = self.enterContext(RealtimeClient())
        elif isinstance(self._client, AsyncRealtimeClient):
            self.addCleanup(self._client.release)
            self._client.isolate()

    @property
    def realtime_client(self) -> RealtimeClient:
        if not isinstance(self._client, RealtimeClient):
            raise AssertionError(_WHICH)
        return self._client

    @property
    def async_realtime_client(self) -> AsyncRealtimeClient:
        if not isinstance(self._client, AsyncRealtimeClient):
            raise AssertionError(_WHICH)
        return self._client

    # private

    def _prepare(self) -> None:
        """Open and close the client of an async test on the test's own loop, which no setUp or tearDown runs on."""
        test = getattr(self, self._testMethodName)
        if iscoroutinefunction(test):
            self._client = AsyncRealtimeClient()
            setattr(self, self._testMethodName, _inside(self._client, test))


_WHICH = (
    "self.realtime_client is for `def test_…`, self.async_realtime_client for `async def test_…`; "
    "a setUp of your own must call super().setUp() first"
)


def _inside(
    client: AsyncRealtimeClient, test: Callable[[], Coroutine[Any, Any, None]]
) -> Callable[[], Coroutine[Any, Any, None]]:
    @functools.wraps(test)
    async def run() -> None:
        async with client:
            await test()

    return run
