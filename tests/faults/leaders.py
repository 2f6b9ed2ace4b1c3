"""Topic servers as processes, the engine as it is read back afterwards, and clocks that jump.

with candidates(2, judge.url) as found: leader, standby = elected(found); leader.pause()
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import pytest
import redis

from realtime.engine.keys import Keys
from realtime.engine.registry import Registry
from realtime.engine.scripts import Call
from tests import engines
from tests.servers import PATIENCE, ROOT, wait_until

T = TypeVar("T")
LEASE = 2.0  # seconds, as lead_settings has them where a test says nothing else
NODE_LEASE = 2.0
TAKEOVER = LEASE + 3  # a dead leader is replaced within
SLACK = 10.0  # for a machine that is busy
SETTINGS = "tests.faults.lead_settings"
AT_ONCE = 1000  # calls in one pipeline


# Topic servers


class Candidate:
    """A `manage.py topicserver` as a process of its own; it is ended for sure, also while it is paused.

    as_json      False: it writes for people, and `events` stay empty
    environment  more of it, as in TEST_LEASE="1"
    """

    def __init__(self, url: str, *, as_json: bool = True, **environment: str) -> None:
        command = [sys.executable, "manage.py", "topicserver", *(["--json"] if as_json else [])]
        self.lines: list[str] = []
        self.events: list[dict[str, Any]] = []
        self._as_json = as_json
        self._log = tempfile.TemporaryFile("a+b")  # noqa: SIM115  closed by close
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": SETTINGS, "REDIS_URL": url, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Candidate:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def log(self) -> str:
        """What it wrote to stderr: warnings, and tracebacks."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def heard(self, event: str) -> list[dict[str, Any]]:
        """Return all that it has told of one kind."""
        return [found for found in tuple(self.events) if found["event"] == event]

    def topics(self, event: str) -> list[str]:
        """Return the names that it has told in all events of one kind."""
        return [topic for found in self.heard(event) for topic in found["topics"]]

    def wait_for(self, event: str, patience: float = PATIENCE) -> dict[str, Any]:
        """Return the first event of a kind."""
        wait_until(lambda: self.is_up() and bool(self.heard(event)), f"{event!r}, heard {self.events}", patience)
        return self.heard(event)[0]

    def is_up(self) -> bool:
        assert self._process.poll() is None, f"the topic server ended:\n{self.log}"
        return True

    def pause(self) -> None:
        """Return when it does nothing any more; what it has sent before may still be on its way."""
        self._process.send_signal(signal.SIGSTOP)
        stat = Path(f"/proc/{self.pid}/stat")
        wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "the topic server to stop")

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def stop(self) -> None:
        """Ask it to end, and return when it has told all that it had to tell."""
        self._process.terminate()
        assert self._process.wait(PATIENCE) == 0, self.log
        self._reader.join()

    def close(self) -> None:
        """End it, and show what it printed beside a test that failed."""
        self.kill()
        assert self._process.stdout is not None
        self._process.stdout.close()
        print(f"topic server {self.pid}:", *(line[:300] for line in self.lines), self.log, sep="\n  ")
        self._log.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip("\n"))
            if self._as_json and line.endswith("\n"):  # else it was killed while it wrote
                self.events.append(json.loads(line))


@contextmanager
def candidates(count: int, url: str, **environment: str) -> Iterator[list[Candidate]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Candidate(url, **environment)) for _ in range(count)]


def elected(found: Sequence[Candidate]) -> list[Candidate]:
    """Return them, the leader first, once there is one and the others stand by."""
    wait_until(lambda: all(one.is_up() and one.events for one in found), "all topic servers to speak")
    found = sorted(found, key=lambda one: not one.heard("leading"))
    found[0].wait_for("leading")
    for other in found[1:]:
        other.wait_for("standby")
    return found


def told(found: Iterable[Candidate], event: str) -> Counter[str]:
    """Return how often each name was told, by all of them together."""
    return Counter(topic for one in found for topic in one.topics(event))


# The engine


class Judge:
    """The registry of an engine of its own, read back without any topic server or node.

    with valkey() as engine, Judge(engine.url) as judge: …
    """

    def __init__(self, url: str, window: tuple[float, float] = (0.0, 0.0)) -> None:
        self.url = url
        self.client: redis.Redis = engines.raw(url)
        self.keys = Keys("rt")
        self.place = self.keys.partition(0)
        self.registry = Registry(self.keys, window)

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.client.close()

    # What there is

    def run(self, call: Call[T]) -> T:
        return call.run(self.client)

    def collected(self) -> int:
        return self.run(self.registry.ledger(self.place))["collected"]

    def removed(self) -> int:
        return self.run(self.registry.ledger(self.place))["removed"]

    def topics(self) -> set[str]:
        return set(_texts(self.client.zrange(self.place.topics, 0, -1)))

    def nodes(self) -> set[str]:
        """Return who is held for alive."""
        return {node.name for node in self.run(self.registry.nodes(self.place)) if node.seen >= 0}

    def fence(self) -> tuple[int, str]:
        """Return term and holder of the newest leader that has acted."""
        term, _, holder = self.client.get(self.place.fence).decode().partition("|")
        return int(term), holder

    def term(self) -> int:
        """Return the last term that was granted."""
        return int(self.client.get(self.keys.term))

    def lease_left(self) -> float:
        return self.client.pttl(self.keys.lease) / 1000

    def lose_lease(self) -> None:
        self.client.delete(self.keys.lease)

    def wake(self) -> None:
        """Have those who stand by look at the lease."""
        self.client.publish(self.keys.released, "")

    def settle(self) -> None:
        """Return when the engine has done what a process had sent before it was paused."""
        for _ in range(3):  # turns of the engine's loop: each reads whatever has arrived
            self.client.ping()

    # What there shall be

    def create(self, topics: Sequence[str]) -> None:
        self.run_all(self.registry.create(topics))

    def enter(self, node: str, topics: Iterable[str]) -> None:
        """Make a node known, and let it join."""
        self.run(self.registry.beat(self.place, node, is_new=True))
        self.run_all(self.registry.join(topic, node, 1, 1) for topic in topics)

    def run_all(self, calls: Iterable[Call[Any]]) -> None:
        calls = list(calls)
        for text in {call.script.text for call in calls if call.script}:
            self.client.script_load(text)
        for start in range(0, len(calls), AT_ONCE):
            with self.client.pipeline(transaction=False) as pipe:
                for call in calls[start : start + AT_ONCE]:
                    pipe.execute_command(*call.command)
                pipe.execute()

    # What must hold

    def audit(self) -> list[str]:
        """Return where the engine's keys break I1 to I4 (realtime/engine/registry.py), at rest."""
        place, broken = self.place, []
        topics, due = self.topics(), set(_texts(self.client.zrange(place.due, 0, -1)))
        known = {name.decode() for name in self.client.zrange(place.nodes, 0, -1)}
        alive = self.nodes()
        members = self._members()
        held = self._held()
        for topic, nodes in members.items():
            broken += [f"I1 {topic} has members and does not exist"] * (topic not in topics)
            broken += [f"I2 {topic} has members and is due"] * (topic in due)
            broken += [f"I4 {topic} has {node}, which is not known" for node in nodes - known]
            broken += [
                f"I4 {node} is in {topic} and does not list it" for node in nodes if topic not in held.get(node, ())
            ]
        for node in alive:
            lost = {topic for topic in held.get(node, ()) if node not in members.get(topic, ())}
            broken += [f"I1 {node} is not in {topic}" for topic in lost]
        broken += [f"I3 {topic} is empty and not due" for topic in topics - due - members.keys()]
        broken += [f"I3 {topic} is due and does not exist" for topic in due - topics]
        return broken

    def _members(self) -> dict[str, set[str]]:
        prefix = self.place.members("")
        found = self._scan(prefix, lambda pipe, key: pipe.hkeys(key))
        return {name: set(_texts(nodes)) for name, nodes in found.items()}

    def _held(self) -> dict[str, set[str]]:
        found = self._scan(self.place.held_prefix, lambda pipe, key: pipe.smembers(key))
        return {name: set(_texts(topics)) for name, topics in found.items()}

    def _scan(self, prefix: str, read: Any) -> dict[str, Any]:
        """Return what each key that begins so holds, by the rest of its name."""
        keys = _texts(self.client.scan_iter(prefix + "*", count=AT_ONCE))
        with self.client.pipeline(transaction=False) as pipe:
            for key in keys:
                read(pipe, key)
            return dict(zip((key.removeprefix(prefix) for key in keys), pipe.execute(), strict=True))


@contextmanager
def beating(judge: Judge, node: str) -> Iterator[None]:
    """Give signs of life for a node, which must never be declared dead."""
    ended = threading.Event()
    answers: list[int] = []

    def beat() -> None:
        with engines.raw(judge.url) as client:
            while not ended.wait(NODE_LEASE / 4):
                answers.append(judge.registry.beat(judge.place, node).run(client))

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    assert answers, "not one sign of life was given"
    assert -1 not in answers, f"{node} was declared dead"


def _texts(answer: Iterable[bytes]) -> list[str]:
    return [name.decode() for name in answer]


# Clocks


class Clock:
    """The wall clock of the processes that get its `environment`; the monotonic one stays as it is.

    with Clock(folder) as clock: leave it when they have ended.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.shift(0)
        self.environment = {
            "LD_PRELOAD": str(_library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",  # imports would read the clock's file at every file they look at
        }

    def __enter__(self) -> Clock:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        _clean()

    def shift(self, hours: int) -> None:
        """Let it jump to so many hours from the true time."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{hours * 3600:+d}\n")
        new.replace(self._file)  # whole: it is read all the time

    @contextmanager
    def preloaded(self) -> Iterator[None]:
        """Give the clock to the processes that are started meanwhile."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            yield


def _library() -> Path:
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    assert found, "install Debian's libfaketime: these tests need /usr/lib/*/faketime/libfaketimeMT.so.1"
    return found[0]


def _clean() -> None:
    """Remove what libfaketime leaves behind of processes that were killed."""
    for trace in Path("/dev/shm").glob("*faketime_s*_*"):
        pid = trace.name.rpartition("_")[2]
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            trace.unlink(missing_ok=True)
