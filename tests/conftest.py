"""What every test may use: an engine of the tests' own, and sockets on it.

With REALTIME_NO_SKIP set, as .ci/run does, what is skipped has failed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from realtime import conf
from realtime.engine import embedded
from realtime.node import Node
from realtime.routing import Router
from tests.wire import Wire


@pytest.fixture(scope="session")
def engine_url() -> Iterator[str]:
    """A Valkey that only these tests use; it ends when its last client, the one held here, is gone."""
    folder = Path(tempfile.mkdtemp(prefix="rt-"))
    url = embedded.ensure(folder, idle=1.0)
    held = redis.Redis.from_url(url)
    held.ping()
    yield url
    held.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def engine(engine_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The engine of every test and of the processes it starts: never the one of a chat that runs beside."""
    monkeypatch.setenv("REDIS_URL", engine_url)
    conf.engine.cache_clear()
    yield engine_url
    conf.engine.cache_clear()


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., Any]]:
    """connect(router) opens a socket in this process; all of them are closed at the end, and nothing may be left."""
    wires: list[Wire] = []

    async def connect(router: Router, **options: Any) -> Wire:
        wire = await Wire.to(router, **options)
        wires.append(wire)
        return wire

    yield connect
    for wire in wires:
        await wire.close()
    if node := Node.running():
        await node.stop()


def forbid_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure that tells the reason; an expected failure is no skip."""
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("REALTIME_NO_SKIP"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"REALTIME_NO_SKIP is set, and this was skipped: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    forbid_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    forbid_skip(report)
    return report
