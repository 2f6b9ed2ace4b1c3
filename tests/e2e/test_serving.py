"""A project as a developer runs it: runserver with its reloader and the embedded engine, stopped and killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.client import Client
from tests.servers import PATIENCE, ROOT, accepts, free_port, manage, wait_until


class Project:
    """A copy of the chat in a folder of its own, hence with an engine of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.output = ""
        self._server: subprocess.Popen[str] | None = None

    @property
    def socket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    def manage(self, *arguments: str) -> str:
        return manage(self.folder, environment(), *arguments)

    def serve(self) -> None:
        """Start runserver, with its reloader, as `make serve` does."""
        self._server = subprocess.Popen(
            [sys.executable, "manage.py", "runserver", f"127.0.0.1:{self.port}"],
            cwd=self.folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        wait_until(lambda: accepts(self.port), "runserver to answer")

    def interrupt(self) -> None:
        """Press Ctrl-C: every process of the terminal's group gets it."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        assert self._server is not None
        os.killpg(self._server.pid, how)
        self.output += self._server.communicate(timeout=PATIENCE)[0]
        self._server = None
        wait_until(lambda: not accepts(self.port), "runserver to end")

    def engine_processes(self) -> dict[str, int]:
        """Return pid by name of what runs in the engine's folder."""
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (process / "cwd").resolve() == self.folder / "var" / "engine":
                    command = (process / "cmdline").read_bytes()
                    if command:  # a zombie has none
                        found["valkey" if b"unixsocket" in command else "supervisor"] = int(process.name)
        return found

    def close(self) -> None:
        if self._server is not None:
            self.kill()
        for pid in self.engine_processes().values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def environment() -> dict[str, str]:
    """The environment of a developer: no REDIS_URL, and nothing of this test run's."""
    kept = {key: value for key, value in os.environ.items() if key not in ("REDIS_URL", "DJANGO_SETTINGS_MODULE")}
    return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}


@pytest.fixture
def project() -> Iterator[Project]:
    folder = Path(tempfile.mkdtemp(prefix="rt-project-")).resolve()
    shutil.copy(ROOT / "manage.py", folder)
    for name in ("chatty", "static"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    project = Project(folder)
    project.manage("migrate", "--verbosity", "0")
    yield project
    project.close()
    shutil.rmtree(folder, ignore_errors=True)


async def chats(project: Project) -> None:
    """Join the lobby, say something, hear it; then hear another process."""
    async with Client(project.socket_url) as client:
        await client.join("rooms:lobby")
        await client.send("1", "2", "rooms:lobby", "new:message", {"content": "hi", "username": "ada"})
        assert (await client.until("new:message"))[4] == {"content": "hi", "username": "ada"}
        await asyncio.to_thread(project.manage, "broadcast", "rooms:lobby", "from:outside", "{}")
        await client.until("from:outside")


async def test_it_is_stopped_and_started_and_leaves_nothing_running(project: Project) -> None:
    project.serve()
    await chats(project)
    first = project.engine_processes()
    assert first.keys() == {"valkey", "supervisor"}
    project.interrupt()
    project.serve()
    await chats(project)
    assert project.engine_processes() == first  # the engine outlives a restart
    project.kill()
    project.serve()
    await chats(project)
    project.interrupt()
    assert "Traceback" not in project.output
    assert "was destroyed" not in project.output
    wait_until(lambda: not project.engine_processes(), "the engine to end", patience=60.0)


@pytest.mark.parametrize("victim", ["valkey", "supervisor"])
async def test_an_engine_that_is_killed_comes_back_and_clients_are_told(project: Project, victim: str) -> None:
    project.serve()
    async with Client(project.socket_url) as client:
        await client.join("rooms:lobby")
        killed = project.engine_processes()
        os.kill(killed[victim], signal.SIGKILL)
        assert await client.until("phx_error") == ["1", "1", "rooms:lobby", "phx_error", {"reason": "resync"}]
        assert not set(project.engine_processes().values()) & set(killed.values())
        await client.join("rooms:lobby", ref="2")
        await asyncio.to_thread(project.manage, "broadcast", "rooms:lobby", "from:outside", "{}")
        await client.until("from:outside")
    project.interrupt()


async def test_a_second_process_keeps_the_engine_and_its_clients(project: Project) -> None:
    other = Project(project.folder)
    project.serve()
    other.serve()
    try:
        async with Client(other.socket_url) as client:
            await client.join("rooms:lobby")
            before = project.engine_processes()
            project.kill()
            await asyncio.to_thread(project.manage, "broadcast", "rooms:lobby", "from:outside", "{}")
            await client.until("from:outside")
            assert project.engine_processes() == before
            assert not any(frame[3] == "phx_error" for frame in client.frames)
            project.serve()
            await chats(project)
    finally:
        project.interrupt()
        other.interrupt()
