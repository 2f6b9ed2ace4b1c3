"""The other engine: a Redis of its own, where one is installed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

MISSING = "redis-server not found: apt-get install redis-server"


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip(MISSING)
    with tempfile.TemporaryDirectory(prefix="rt-") as folder:
        path = Path(folder) / "redis.sock"
        options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--dir", folder]
        server = subprocess.Popen([binary, *options], stdout=subprocess.DEVNULL)
        url = f"unix://{path}"
        try:
            deadline = time.monotonic() + 20
            while not answers(url):
                assert time.monotonic() < deadline, "redis-server does not answer"
                time.sleep(0.05)
            yield url
        finally:
            server.terminate()
            server.wait(20)


def answers(url: str) -> bool:
    try:
        with redis.Redis.from_url(url) as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False
