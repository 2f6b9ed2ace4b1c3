"""What the demonstration and the benches run: an engine of their own and real processes, ended for sure."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import redis

from realtime.announcements import (
    Collected,
    Demoted,
    Event,
    Evicts,
    Leaderless,
    Leading,
    Released,
    Removed,
    Standby,
    Waiting,
)
from realtime.engine import embedded, supervisor

E = TypeVar("E", bound=Event)

ROOT = Path(__file__).parents[1]
PATIENCE = 30.0
EVENTS = msgspec.json.Decoder(
    Leading | Standby | Demoted | Released | Collected | Removed | Leaderless | Waiting | Evicts
)


class Broken(Exception):
    """Something did not happen in time, or ended that should not have."""


# The engine


@contextmanager
def engine() -> Iterator[redis.Redis]:
    """The embedded Valkey in a folder of its own, which REDIS_URL names for every process from here on."""
    folder = Path(tempfile.mkdtemp(prefix="rt-"))
    try:
        url = embedded.ensure(folder, idle=5.0)
        os.environ["REDIS_URL"] = url
        with redis.Redis.from_url(url) as client:
            client.ping()  # and stay: the engine ends by itself after its last client
            yield client
    finally:
        _end_engine(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _end_engine(folder: Path) -> None:
    with contextlib.suppress(OSError, ValueError):
        os.kill(int((folder / supervisor.PID).read_text()), signal.SIGTERM)
    with (folder / supervisor.LOCK).open("a") as lock:  # held by the supervisor and by Valkey, until both are gone
        wait_until(lambda: _is_free(lock.fileno()), "the engine to end")


def _is_free(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


# Processes


class Process:
    """with Process("manage.py", "topicserver", tell=print): a Python process; `tell` is called in a thread, by lines.

    It is in a session of its own, so that Ctrl-C reaches it through us alone.
    """

    def __init__(self, *arguments: str, tell: Callable[[str], None]) -> None:
        self._process = _begun(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read, args=(tell,), daemon=True)
        self._reader.start()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *about: object) -> None:
        self.end()

    @property
    def is_over(self) -> bool:
        return self._process.poll() is not None

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Ask it to end, and see that it does."""
        if not self.is_over:
            self.resume()
            self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self.kill()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self, tell: Callable[[str], None]) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            tell(line.rstrip("\n"))


def _begun(command: list[str], **options: Any) -> subprocess.Popen[str]:
    """Begin a process that a Ctrl-C meanwhile does not leave behind: Popen returns none when it is interrupted."""
    global _is_beginning
    _is_beginning = True
    try:
        process = subprocess.Popen(command, **options)
    finally:
        _is_beginning = False
    if _was_interrupted:
        process.kill()
        process.wait()
        raise KeyboardInterrupt
    return process


_is_beginning = False
_was_interrupted = False


class TopicServer(Process):
    """`manage.py topicserver --json`, and what it tells.

    show  is called with what there is to read of it
    """

    def __init__(self, window: tuple[float, float], show: Callable[[str], None]) -> None:
        self.told: list[tuple[float, Event]] = []  # with the time it was heard, of time.monotonic()
        self._show = show
        bounds = (f"{seconds:g}" for seconds in window)
        super().__init__("manage.py", "topicserver", "--collect-after", *bounds, "--json", tell=self._hear)

    def wait_for(self, kind: type[E], since: float = 0.0, patience: float = PATIENCE) -> tuple[float, E]:
        """Return the first event of this kind that was heard since then, and when. Raises Broken."""
        found: list[tuple[float, E]] = []

        def is_told() -> bool:
            found.extend((at, event) for at, event in list(self.told) if isinstance(event, kind) and at >= since)
            if not found and self.is_over:
                raise Broken("the topic server has ended by itself")
            return bool(found)

        wait_until(is_told, f"a topic server to tell {kind.__name__.lower()!r}", patience)
        return found[0]

    @property
    def collected(self) -> list[str]:
        """Every name that it told to have collected."""
        return [name for _, event in list(self.told) if isinstance(event, Collected) for name in event.topics]

    def _hear(self, line: str) -> None:
        heard = time.monotonic()
        try:
            event = EVENTS.decode(line)
        except msgspec.DecodeError:  # a traceback, a warning
            self._show(line)
        else:
            self._show(str(event))
            self.told.append((heard, event))


def manage(*arguments: str) -> str:
    """Run a command of manage.py as a process, and return what it prints. Raises Broken."""
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise Broken(f"manage.py {arguments[0]} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


# Waiting


def wait_until(true: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """Raises Broken when it does not come true in time."""
    deadline = time.monotonic() + patience
    while not true():
        if time.monotonic() > deadline:
            raise Broken(f"waited {patience:g} s for {what}")
        time.sleep(0.01)


def end_on_signals() -> None:
    """Let the first Ctrl-C or SIGTERM raise KeyboardInterrupt; those that follow do not disturb the end."""

    def interrupt(*about: object) -> None:
        global _was_interrupted
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        _was_interrupted = True
        if not _is_beginning:  # else whoever begins it ends it first
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
