"""An empty engine for every test, and the two sizes of a project's registry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from realtime.engine.keys import Keys


@pytest.fixture
def client(engine: str) -> Iterator[Any]:
    with redis.Redis.from_url(engine) as client:
        client.flushall()
        yield client
        client.flushall()


@pytest.fixture(params=[1, 16], ids=["one partition", "16 partitions"])
def keys(request: pytest.FixtureRequest) -> Keys:
    return Keys("rt", request.param)
