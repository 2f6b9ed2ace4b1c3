"""The fixtures `realtime_client` and `async_realtime_client`; pytest loads this by itself, so it loads nothing more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .testing.client import AsyncRealtimeClient
    from .testing.sync import RealtimeClient

async_fixture: Callable[..., Any]
try:
    from pytest_asyncio import fixture as async_fixture
except ImportError:  # anyio's plugin takes async fixtures as they are
    async_fixture = pytest.fixture


@pytest.fixture
def _realtime_database(request: pytest.FixtureRequest) -> None:
    """See to it that the test's transaction is there first, and outlives every channel."""
    for name in ("transactional_db", "db"):
        if name in request.fixturenames:
            request.getfixturevalue(name)


@pytest.fixture
def realtime_client(_realtime_database: None) -> Iterator[RealtimeClient]:
    """Opens sockets to the project's channels; see realtime.testing."""
    from .testing.sync import RealtimeClient

    with RealtimeClient() as client:
        yield client


@pytest.fixture
def _async_realtime_client(_realtime_database: None) -> AsyncRealtimeClient:
    """Made outside of the loop, where the connections of `db` can be seen."""
    from .testing.client import AsyncRealtimeClient

    return AsyncRealtimeClient()


@async_fixture
async def async_realtime_client(_async_realtime_client: AsyncRealtimeClient) -> AsyncIterator[AsyncRealtimeClient]:
    """Opens sockets to the project's channels, in async tests; see realtime.testing."""
    async with _async_realtime_client as client:
        yield client
