"""What every test may use: an engine of the tests' own, and sockets on it.

With REALTIME_NO_SKIP set, as .ci/run does, what is skipped has failed.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from realtime import conf
from realtime.engine.keys import Keys
from realtime.node import Node
from realtime.routing import Router
from tests import engines
from tests.servers import ROOT, manage
from tests.wire import Wire


@pytest.fixture(scope="session")
def engine_url() -> Iterator[str]:
    """An engine that only these tests use: the embedded one, or what REALTIME_TEST_ENGINE names."""
    with engines.of_the_tests() as url:
        yield url


@pytest.fixture(scope="session", autouse=True)
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The file that is the database of the processes that tests start: never the one of a chat that runs beside."""
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("database") / "db.sqlite3"
        patch.setenv("DATABASE", str(path))
        yield path


@pytest.fixture(scope="session")
def migrated(database: Path) -> Path:
    """The same, with its tables, for those whose processes need them."""
    manage(ROOT, {**os.environ, "DJANGO_SETTINGS_MODULE": "chatty.settings"}, "migrate", "--verbosity", "0")
    return database


@pytest.fixture(autouse=True)
def engine(engine_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The engine of every test and of the processes it starts: never the one of a chat that runs beside."""
    monkeypatch.setenv("REDIS_URL", engine_url)
    conf.engine.cache_clear()
    yield engine_url
    conf.engine.cache_clear()


@pytest.fixture
def empty_engine(engine: str) -> Iterator[str]:
    """An engine that holds nothing, and is left so."""
    engines.empty(engine)
    yield engine
    engines.empty(engine)


@pytest.fixture(params=[1, 16], ids=["one partition", "16 partitions"])
def partitions(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """The project's registry in both sizes, whatever its engine is."""
    count: int = request.param
    monkeypatch.setattr(conf, "keys", lambda: Keys(conf.settings().PREFIX, count))
    return count


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
