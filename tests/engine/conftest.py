"""The other engines: a Redis of its own, and one server for what stands in front of one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import engines


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with engines.redis7() as engine:
        yield engine.url
