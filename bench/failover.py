"""The topic servers' demonstration: leaders are killed and paused, and every topic is collected exactly once.

    make demo-failover, or python -m bench.failover [--quick]

Real processes on an engine of their own. It exits with 1 if a promise was broken, and leaves nothing running.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

import redis
import websockets.sync.client

from bench.processes import Broken, Process, TopicServer, end_on_signals, engine, manage, wait_until
from realtime import conf, topics
from realtime.announcements import Demoted, Leading, Standby

GRACE = 3.0  # seconds that a takeover may take beyond the lease
SOCKETS = 4  # that the listeners come through
HEARTBEAT = 20.0
COLOURS = {"server A": 36, "server B": 33, "server C": 35}


@dataclass(frozen=True)
class Scale:
    """empty, listened  topics without and with a listener; lease, window  seconds"""

    empty: int = 20_000
    listened: int = 200
    lease: float = 10.0
    window: tuple[float, float] = (10.0, 20.0)


QUICK = Scale(lease=2.0, window=(6.0, 9.0))  # a window begins after two processes have counted and created


# What the reader sees


def say(text: str = "") -> None:
    print(text, flush=True)


def heading(text: str) -> None:
    say(f"\n{text}\n{'─' * len(text)}")


def shown_as(name: str) -> Callable[[str], None]:
    """Return what prints a line of that server."""
    prefix = f"\033[{COLOURS[name]}m{name}\033[0m" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else name
    return lambda line: say(f"  {prefix} | {line}")


@dataclass
class Promises:
    """What was promised, and what was seen of it."""

    rows: list[tuple[str, str, bool]] = field(default_factory=list)

    def see(self, promised: str, seen: str, kept: bool) -> None:
        self.rows.append((promised, seen, kept))

    @property
    def kept(self) -> bool:
        return all(kept for _, _, kept in self.rows)

    def table(self) -> str:
        width = max(len(promised) for promised, _, _ in self.rows)
        return "\n".join(
            f"  {'kept  ' if kept else 'BROKEN'}  {what:<{width}}  {seen}" for what, seen, kept in self.rows
        )


# Listeners


class Listeners:
    """Clients of a server process that join topics, one listener each, and stay."""

    def __init__(self, port: int, names: list[str]) -> None:
        self._ended = threading.Event()
        self._stack = ExitStack()
        url = f"ws://127.0.0.1:{port}/ws/websocket?vsn=2.0.0"
        self._sockets = [self._stack.enter_context(websockets.sync.client.connect(url)) for _ in range(SOCKETS)]
        for number, connection in enumerate(self._sockets):
            mine = names[number::SOCKETS]
            for ref, name in enumerate(mine):
                connection.send(json.dumps([str(ref), str(ref), name, "phx_join", {}]))
            for _ in mine:
                _, _, name, event, payload = json.loads(connection.recv(10))
                if (event, payload["status"]) != ("phx_reply", "ok"):
                    raise Broken(f"{name} could not be joined: {payload}")
        self._heart = threading.Thread(target=self._beat)
        self._heart.start()

    def __enter__(self) -> Listeners:
        return self

    def __exit__(self, *about: object) -> None:
        self._ended.set()
        self._heart.join()
        self._stack.close()

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT):
            for connection in self._sockets:
                connection.send(json.dumps([None, "beat", "phoenix", "heartbeat", {}]))
                connection.recv(10)


def serve(stack: ExitStack) -> int:
    """Start uvicorn, and return its port when it accepts connections."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = ("-m", "uvicorn", "--log-level", "warning", "--port", str(port), "chatty.asgi:application")
    server = stack.enter_context(Process(*command, tell=lambda line: say(f"  uvicorn  | {line}")))

    def accepts() -> bool:
        if server.is_over:
            raise Broken("uvicorn has ended by itself")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_until(accepts, "uvicorn to answer")
    return port


# The demonstration


class Demonstration:
    """Its steps, in their order."""

    def __init__(self, scale: Scale, client: redis.Redis, stack: ExitStack) -> None:
        self.scale = scale
        self.promises = Promises()
        self._client = client
        self._stack = stack
        self._open = [f"open:{number}" for number in range(1, scale.listened + 1)]

    def run(self) -> None:
        self.elect()
        self.listen()
        self.create()
        self.kill_leader()
        self.collect_the_rest()
        self.pause_leader()
        self.resume_leader()

    def elect(self) -> None:
        heading("1. Two topic servers compete: one leads, one stands by")
        self.a = self._topic_server("server A")
        self.a.wait_for(Leading)
        self.b = self._topic_server("server B")
        self.b.wait_for(Standby)

    def listen(self) -> None:
        heading(f"2. Clients listen to {self.scale.listened} topics, through a server process")
        port = serve(self._stack)
        self._stack.enter_context(Listeners(port, self._open))
        say(f"  {SOCKETS} WebSockets have joined open:1 to open:{self.scale.listened}")

    def create(self) -> None:
        empty = self.scale.empty
        heading(f"3. Another process creates {empty:,} topics that nobody listens to, and another one counts")
        began = time.monotonic()
        created = self._shell(
            "import time; from realtime import topics; began = time.perf_counter(); "
            f"new = topics.create(*(f'empty:{{n}}' for n in range({empty}))); "
            "print(f'{new:,} topics created in {time.perf_counter() - began:.2f} s')"
        )
        say(f"  {created}; {time.monotonic() - began:.1f} s with the start of the process")
        self.promises.see(f"{empty:,} topics are created", created, created.startswith(f"{empty:,} topics"))
        self._count("before", empty + self.scale.listened)

    def kill_leader(self) -> None:
        heading("4. The leader is killed in the middle of its work")
        earliest, latest = self.scale.window
        say(f"  each empty topic is collected {earliest:g} to {latest:g} s after it was created")
        wait_until(lambda: self._ledger() >= self.scale.empty // 4, "a quarter to be collected", latest + 20)
        killed = time.monotonic()
        self.a.kill()
        self._before_kill = self._ledger()
        say(f"  killed server A (kill -9 {self.a.pid}), which had collected {self._before_kill:,} topics")
        heard, leading = self.b.wait_for(Leading, patience=self.scale.lease + GRACE + 20)
        seconds = heard - killed
        say(f"  new leader after {seconds:.1f} s: server B, term {leading.term}")
        self._see_takeover("after kill -9", seconds)

    def collect_the_rest(self) -> None:
        heading("5. The new leader collects the rest")
        self.c = self._topic_server("server C")
        left = self.scale.empty - self._before_kill
        wait_until(lambda: self._ledger() >= self.scale.empty, f"{left:,} topics to be collected", 60)
        wait_until(lambda: len(self.b.collected) >= left, "server B to tell of them", 10)
        self.c.wait_for(Standby)
        self._count("after", self.scale.listened)
        self._see_collected()

    def _see_collected(self) -> None:
        names = topics.list(limit=2 * self.scale.empty)
        empty = sum(name.startswith("empty:") for name in names)
        heard = [name for name in self._open if name in names and topics.subscribers(name).count == 1]
        told = Counter(self.a.collected + self.b.collected)
        twice = sum(count > 1 for count in told.values())
        ledger = self._ledger()
        see = self.promises.see
        see("topics without listeners go", f"{empty} of {self.scale.empty:,} left", not empty)
        see("topics with listeners stay", f"{len(heard)} of {len(self._open)} left", len(heard) == len(self._open))
        see("none is collected twice: the engine's ledger", f"{ledger:,} collected", ledger == self.scale.empty)
        see("none is collected twice: what the servers told", f"{len(told):,} names, {twice} twice", not twice)

    def pause_leader(self) -> None:
        heading("6. The leader is paused for longer than its lease")
        _, self._paused = self.b.wait_for(Leading)
        began = time.monotonic()
        self.b.pause()
        say(f"  paused server B (kill -STOP {self.b.pid}), term {self._paused.term}; it still believes to lead")
        heard, self._newer = self.c.wait_for(Leading, since=began, patience=self.scale.lease + GRACE + 20)
        say(f"  new leader after {heard - began:.1f} s: server C, term {self._newer.term}")
        self._see_takeover("after kill -STOP", heard - began)
        self._act_as_the_paused()

    def _act_as_the_paused(self) -> None:
        """Ask the engine for what the paused leader would do if it woke in the middle of its work."""
        registry = conf.registry()
        partition = registry.keys.partition(0)
        newer = f"{self._newer.term}|{self._newer.holder}"
        wait_until(lambda: self._client.get(partition.fence) == newer.encode(), "the new leader to act")
        answer = topics.ask(registry.collect(partition, self._paused.term, self._paused.holder, 300))
        refused = answer.newer == newer
        said = f"refused: term {self._newer.term} has acted" if refused else "taken"
        say(f"  a collection in the name of server B, term {self._paused.term}, is {said}")
        self.promises.see("the engine refuses what a replaced leader does", said, refused)

    def resume_leader(self) -> None:
        heading("7. The paused leader wakes up")
        began = time.monotonic()
        say(f"  resumed server B (kill -CONT {self.b.pid})")
        self.b.resume()
        _, demoted = self.b.wait_for(Demoted, since=began)
        self.b.wait_for(Standby, since=began)
        self.promises.see("a leader that wakes up steps down", str(demoted), demoted.term == self._newer.term)

    # private

    def _topic_server(self, name: str) -> TopicServer:
        server: TopicServer = self._stack.enter_context(TopicServer(self.scale.window, shown_as(name)))
        return server

    def _see_takeover(self, when: str, seconds: float) -> None:
        bound = self.scale.lease + GRACE
        what = f"another leads within {self.scale.lease:g} + {GRACE:g} s {when}"
        self.promises.see(what, f"{seconds:.1f} s", seconds <= bound)

    def _count(self, when: str, expected: int) -> None:
        say("  $ manage.py topics count")
        seen = int(manage("topics", "count"))
        say(f"  count {when}: {seen:,} topics")
        self.promises.see(f"count {when}: {expected:,} topics", f"{seen:,}", seen == expected)

    def _shell(self, code: str) -> str:
        """Run it in another process, and return the last line that it prints."""
        say(f'  $ manage.py shell -c "{code}"')
        return manage("shell", "-c", code).splitlines()[-1]

    def _ledger(self) -> int:
        """Return how many topics were ever collected."""
        registry = conf.registry()
        return topics.ask(registry.ledger(registry.keys.partition(0)))["collected"]


def demonstrate(scale: Scale) -> bool:
    """Run all of it, and return whether each promise was kept."""
    os.environ |= {"DJANGO_SETTINGS_MODULE": "bench.settings", "BENCH_LEASE": str(scale.lease)}
    began = time.monotonic()
    with engine() as client, ExitStack() as stack:
        demonstration = Demonstration(scale, client, stack)
        try:
            demonstration.run()
        except Broken as error:
            demonstration.promises.see("all goes on in time", str(error), False)
        heading("The end: a leader that is asked to end hands over at once")
    heading("What was promised, and what was seen")
    say(demonstration.promises.table())
    say(f"\n{time.monotonic() - began:.0f} s; nothing is left running")
    return demonstration.promises.kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="short leases and windows: half of the time")
    options = parser.parse_args()
    end_on_signals()
    try:
        return 0 if demonstrate(QUICK if options.quick else Scale()) else 1
    except KeyboardInterrupt:
        say("\ninterrupted; nothing is left running")
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
