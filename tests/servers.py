"""Real servers as processes: runserver, daphne and uvicorn, each on a port of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).parents[1]
PATIENCE = 20.0

COMMANDS = {
    "runserver": ["manage.py", "runserver", "--noreload", "127.0.0.1:{port}"],
    "daphne": ["-m", "daphne", "-b", "127.0.0.1", "-p", "{port}", "chatty.asgi:application"],
    "uvicorn": ["-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", "chatty.asgi:application"],
}


class Server:
    """with Server("daphne") as server: …; it may be killed and started again on its port.

    environment  more variables of its process, as in DJANGO_SETTINGS_MODULE="tests.e2e.settings"
    """

    def __init__(self, kind: str, **environment: str) -> None:
        self.port = free_port()
        self.environment = environment
        self.log = ""
        self._command = [sys.executable, *(part.format(port=self.port) for part in COMMANDS[kind])]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def socket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
        if error is not None:
            print(self.log)

    def start(self) -> None:
        """Return when it accepts connections."""
        env = {**os.environ, "PYTHONUNBUFFERED": "1", **self.environment}
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
        os.set_blocking(self._process.stdout.fileno(), False)  # type: ignore[union-attr]
        deadline = time.monotonic() + PATIENCE
        while not accepts(self.port):
            assert self._process.poll() is None, f"{self._command} ended:\n{self._read()}"
            assert time.monotonic() < deadline, f"{self._command} does not answer:\n{self._read()}"
            time.sleep(0.05)

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it, and return its exit code."""
        return self._end(how)

    def _end(self, how: signal.Signals) -> int:
        if self._process is None:
            return 0
        process, self._process = self._process, None
        if process.poll() is None:
            process.send_signal(how)
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            self.log += _rest(process)
        return code

    def _read(self) -> str:
        assert self._process is not None
        self.log += _rest(self._process)
        return self.log


def _rest(process: subprocess.Popen[bytes]) -> str:
    """Return what the process has printed since last asked."""
    stream = process.stdout
    assert stream is not None
    text = (stream.read() or b"").decode(errors="replace")
    if process.poll() is not None:
        stream.close()
    return text


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
            server.stop()
