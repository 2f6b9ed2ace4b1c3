"""Commands of manage.py as processes: run to their end, or watched while they run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from types import TracebackType

from tests.servers import PATIENCE, ROOT, wait_until


def run(*arguments: str, given: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; `given` is what it reads."""
    command = [sys.executable, "manage.py", *arguments]
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "chatty.settings", **environment}
    return subprocess.run(
        command, cwd=ROOT, env=env, input=given, capture_output=True, text=True, timeout=60, check=False
    )


class Command:
    """with Command("topicserver") as command: command.until("leader"); it is ended for sure."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self._arguments = arguments
        self._environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "chatty.settings", **environment}
        self._files = [tempfile.TemporaryFile("a+b") for _ in range(2)]  # noqa: SIM115  closed at the end
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Command:
        out, err = self._files
        self._process = subprocess.Popen(
            [sys.executable, "manage.py", *self._arguments],
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        print(self.output, self.errors)
        for file in self._files:
            file.close()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def output(self) -> str:
        return self._read(0)

    @property
    def errors(self) -> str:
        return self._read(1)

    @property
    def lines(self) -> list[str]:
        """What it has written, in whole lines."""
        return self.output.rpartition("\n")[0].splitlines()

    def until(self, text: str) -> None:
        """Return when it has written a line that holds this."""
        assert self._process is not None
        process = self._process

        def is_said() -> bool:
            if any(text in line for line in self.lines):
                return True
            assert process.poll() is None, f"it ended without {text!r}:\n{self.output}{self.errors}"
            return False

        wait_until(is_said, f"a line with {text!r}")

    def end(self, how: signal.Signals) -> int:
        """Send a signal, and return the exit code."""
        assert self._process is not None
        self._process.send_signal(how)
        return self._process.wait(PATIENCE)

    def _read(self, number: int) -> str:
        # Not by the file's own position: the process appends to it.
        file = self._files[number].fileno()
        return os.pread(file, os.fstat(file).st_size, 0).decode()
