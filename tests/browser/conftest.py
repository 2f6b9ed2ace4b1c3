"""Which browser the browser tests drive, what to do where there is none, and the server behind the page."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests import engines
from tests.browser.cable import Cable
from tests.browser.visitor import Visitor
from tests.proxy import Proxy
from tests.servers import Server

NAMES = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
]
QUIET = [
    "--no-sandbox",  # as root there is none
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
]
MISSING = "chromium not found: `make browser` (apt-get install chromium), or name one with CHROMIUM=/path/to/it"


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """The browser that CHROMIUM names, else the first that is installed."""
    named = os.environ.get("CHROMIUM")
    path = next(filter(None, map(shutil.which, [named] if named else NAMES)), None)
    if path is None:
        pytest.skip(MISSING)
    return path


# A module has its own Playwright: while one is open its loop runs in this thread, where other tests want theirs.
@pytest.fixture(scope="module")
def browser(chromium_path: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def engine_url() -> Iterator[str]:
    """An engine of their own: the server stays until the end, and would stand for election in the tests of others."""
    with engines.of_the_tests() as url:
        yield url


@pytest.fixture(autouse=True)
def nothing_said(migrated: Path) -> None:
    """No test finds in the lobby what was said in one before it."""
    with closing(sqlite3.connect(migrated, timeout=20, isolation_level=None)) as connection:
        connection.execute("DELETE FROM chatty_message")


@pytest.fixture(scope="session")
def server(chromium_path: str, engine_url: str, migrated: Path) -> Iterator[Server]:
    with Server("runserver", REDIS_URL=engine_url, DJANGO_SETTINGS_MODULE="tests.browser.settings") as server:
        yield server


@pytest.fixture
def cable(server: Server) -> Iterator[Cable]:
    """A way to the server that can be cut."""
    with Cable(Proxy(("127.0.0.1", server.port))) as cable:
        yield cable


@pytest.fixture
def visit(browser: Browser, server: Server) -> Iterator[Callable[..., Visitor]]:
    """visit() opens a page in a browser context of its own. In the end no page may have complained."""
    visitors: list[Visitor] = []

    def visit(port: int = server.port, **context: Any) -> Visitor:
        visitor = Visitor(browser.new_context(**context), port)
        visitors.append(visitor)
        return visitor

    yield visit
    complaints = [complaint for visitor in visitors for complaint in visitor.complaints]
    for visitor in visitors:
        visitor.page.context.close()
    assert complaints == []


@pytest.fixture
def shots() -> Callable[[Visitor, str], None]:
    """shots(visitor, "name") saves a picture of the page where SCREENSHOTS names a folder, else does nothing."""
    folder = os.environ.get("SCREENSHOTS")

    def shoot(visitor: Visitor, name: str) -> None:
        if folder:
            visitor.page.screenshot(path=Path(folder) / f"{name}.png", animations="disabled")

    return shoot


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say it in words: a skip is one letter, and easily missed with -q."""
    if missed := [report for report in terminalreporter.stats.get("skipped", []) if MISSING in str(report.longrepr)]:
        terminalreporter.section("browser tests not run", yellow=True)
        terminalreporter.line(f"{len(missed)} not run. {MISSING}")
