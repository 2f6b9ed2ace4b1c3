"""A project as a developer has it: the chat in a folder of its own, hence with an engine of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

from tests.servers import PATIENCE, ROOT, accepts, free_port, manage, wait_until


class Project:
    """with Project() as project: a copy of the chat, migrated.

    folder  of another one, to serve it a second time
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or copied()
        self._owns_folder = folder is None
        self.port = free_port()
        self._server: subprocess.Popen[bytes] | None = None
        # Appended to: readers and servers share its offset, and what a server prints must not land where one reads.
        self._terminal = tempfile.TemporaryFile("a+b")  # noqa: SIM115  closed by close

    def __enter__(self) -> Project:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def output(self) -> str:
        """All that the servers have printed."""
        self._terminal.seek(0)
        return self._terminal.read().decode(errors="replace")

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
            stdin=subprocess.DEVNULL,
            stdout=self._terminal,
            stderr=self._terminal,
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
        self._server.wait(PATIENCE)
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
        if self._owns_folder:
            for pid in self.engine_processes().values():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            shutil.rmtree(self.folder, ignore_errors=True)
        print(self.output)
        self._terminal.close()


def copied() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="rt-project-")).resolve()
    shutil.copy(ROOT / "manage.py", folder)
    for name in ("chatty", "static"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    manage(folder, environment(), "migrate", "--verbosity", "0")
    return folder


def environment() -> dict[str, str]:
    """The environment of a developer: no REDIS_URL, and nothing of this test run's."""
    ours = ("REDIS_URL", "DATABASE", "DJANGO_SETTINGS_MODULE")
    kept = {key: value for key, value in os.environ.items() if key not in ours}
    return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
