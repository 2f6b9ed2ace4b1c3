"""Real servers as processes: runserver, daphne, uvicorn, serve, gunicorn, granian and hypercorn, each on its port."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).parents[1]
PATIENCE = 30.0
CHAT = "chatty.asgi:application"

COMMANDS = {
    "runserver": ["manage.py", "runserver", "--noreload", "127.0.0.1:{port}"],
    "daphne": ["-m", "daphne", "-b", "127.0.0.1", "-p", "{port}", "{application}"],
    # The loop is said, for else it is whichever is installed.
    "uvicorn": ["-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--loop", "asyncio", "{application}"],
    "serve": ["manage.py", "serve", "127.0.0.1:{port}"],
    "gunicorn": [
        *("-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--worker-class", "uvicorn_worker.UvicornWorker"),
        "{application}",
    ],
    "granian": ["-m", "granian", "--interface", "asgi", "--port", "{port}", "{application}"],
    "hypercorn": ["-m", "hypercorn", "--bind", "127.0.0.1:{port}", "{application}"],
}
TLS = {
    "daphne": [
        "-m",
        "daphne",
        "-e",
        "ssl:{port}:interface=127.0.0.1:privateKey={certificate}:certKey={certificate}",
        "{application}",
    ],
    "uvicorn": [*COMMANDS["uvicorn"], "--ssl-keyfile", "{certificate}", "--ssl-certfile", "{certificate}"],
}


class Server:
    """with Server("daphne") as server: …; it may be killed and started again on its port.

    options      more of its command line, as in Server("uvicorn", "--ws", "wsproto")
    certificate  a file with a key and its certificate, where it is to speak TLS
    application  what it serves, unless it is the chat; runserver serves that of the settings
    environment  more variables of its process, as in DJANGO_SETTINGS_MODULE="tests.e2e.settings"
    """

    def __init__(
        self, kind: str, *options: str, certificate: str = "", application: str = CHAT, **environment: str
    ) -> None:
        self.port = free_port()
        self._scheme = "wss" if certificate else "ws"
        command = [*(TLS if certificate else COMMANDS)[kind], *options]
        filled = {"port": self.port, "certificate": certificate, "application": application}
        self._environment = {**os.environ, "PYTHONUNBUFFERED": "1", **environment}
        self._command = [sys.executable, *(part.format_map(filled) for part in command)]
        self._process: subprocess.Popen[bytes] | None = None
        self._log = tempfile.TemporaryFile("a+b")  # noqa: SIM115  a pipe that nobody reads would hold the server up

    @property
    def socket_url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}/ws"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def trust(self) -> dict[str, Any]:
        """The options of a client that believes in whatever certificate the server has."""
        return {"ssl": trusting()} if self._scheme == "wss" else {}

    @property
    def log(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def __enter__(self) -> Server:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def start(self) -> None:
        """Return when it accepts connections."""
        self._process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        wait_until(self._is_up, "the server to answer")

    def kill(self) -> None:
        """End it as a crash would, with its workers."""
        self.stop(signal.SIGKILL, everybody=True)

    def stop(self, how: signal.Signals = signal.SIGTERM, *, everybody: bool = False) -> None:
        """Return when it has ended, and with it every process that it started.

        everybody  each of them gets the signal, as a terminal does it at Ctrl-C
        """
        process, self._process = self._process, None
        if process is None:
            return
        try:
            if process.poll() is None:
                (os.killpg if everybody else os.kill)(process.pid, how)
            process.wait(PATIENCE)
            wait_until(lambda: not session(process.pid), "the processes of the server to end", 5.0)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def close(self) -> None:
        """Stop it, and show what it printed beside a test that failed."""
        self.stop()
        print(self.log)
        self._log.close()

    def memory(self) -> int:
        """Return the resident size of its process in MiB."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") // 2**20

    def manage(self, *arguments: str) -> str:
        """Run a command of manage.py, in another process that shares no more than the engine with the server."""
        return manage(ROOT, self._environment, *arguments)

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the server ended:\n{self.log}"
        return accepts(self.port)


@contextmanager
def servers(*kinds: str, **environment: str) -> Iterator[list[Server]]:
    """Several servers on one engine, each a process of its own."""
    made = [Server(kind, **environment) for kind in kinds]
    try:
        for server in made:
            server.start()
        yield made
    finally:
        for server in made:
            server.close()


def manage(folder: Path, environment: dict[str, str], *arguments: str) -> str:
    """Run a command of the manage.py in `folder`, and return what it prints."""
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def session(leader: int) -> list[int]:
    """Return the processes that run in the session which this one has opened."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, _, belongs_to = (process / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(belongs_to) == leader and state != "Z":
                found.append(int(process.name))
    return found


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def wait_until(true: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    deadline = time.monotonic() + patience
    while not true():
        assert time.monotonic() < deadline, f"waited {patience:g} s for {what}"
        time.sleep(0.05)


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
