"""An empty engine for every test, and the two sizes of a project's registry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from realtime.engine.client import Engine, sync_client
from realtime.engine.keys import Keys


@pytest.fixture
def client(engine: str) -> Iterator[Any]:
    client = sync_client(Engine(engine))
    client.flushall()
    yield client
    client.flushall()


@pytest.fixture(params=[1, 16], ids=["one partition", "16 partitions"])
def keys(request: pytest.FixtureRequest) -> Keys:
    return Keys("rt", request.param)
