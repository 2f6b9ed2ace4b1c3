"""Soak: starts servers, crowds and the speaker, gives the orders, and draws the account at the end."""

from __future__ import annotations

import argparse
import os
import platform
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

import msgspec
import redis

from bench.processes import Broken, Process, wait_until
from bench.soak.crowd import Report
from bench.soak.gauge import MIB, Reading, grown, is_empty, read
from bench.soak.ledger import Fault
from bench.soak.plan import GATHER, HUSH, LEAVE, ORDERS, Plan

STEP = 10.0  # seconds between two lines of progress
SPOKEN = 20.0  # broadcasts a second from outside
PATIENCE = 120.0  # for a crowd to come, and to go
SETTLE = 30.0  # seconds after which nothing may be left
COMPLAINTS = 20  # lines that a process printed and should not have, that are kept


def say(text: str = "") -> None:
    print(text, flush=True)


class Soak:
    """Its steps, in their order."""

    def __init__(self, asked: argparse.Namespace, client: redis.Redis, stack: ExitStack) -> None:
        self.broken: list[str] = []  # sentences
        self._asked = asked
        self._client = client
        self._stack = stack
        self._processes: dict[str, Process] = {}
        self._ports: list[int] = []
        self._reports: dict[int, Report] = {}
        self._complaints: list[str] = []
        self._warnings: Counter[str] = Counter()
        self._is_speaking = False
        self._readings: dict[str, Reading] = {}
        self._grown: list[str] = []
        self._began = time.monotonic()

    def run(self) -> None:
        asked = self._asked
        say(
            f"{asked.sockets:,} sockets in {asked.crowds} processes, {asked.servers} servers, "
            f"{asked.topics} topics and more, {asked.minutes:g} minutes; --seed {asked.seed}"
        )
        self._start()
        seconds = asked.minutes * 60
        self._soak("A first crowd comes and goes", min(60.0, seconds / 4))
        before = self._readings["before"] = self._settle(self._is_still)
        self._soak("The soak", seconds)
        after = self._readings["after"] = self._settle(lambda reading: not grown(before, reading))
        self._grown = grown(before, after)

    # Steps

    def _start(self) -> None:
        asked = self._asked
        for number in range(1, asked.servers + 1):
            port = free_port()
            self._process(f"server {number}", self.hear_server, "uvicorn", *uvicorn(port))
            self._ports.append(port)
        for number in range(asked.crowds):
            share = len(range(number, asked.sockets, asked.crowds))
            self._process(f"crowd {number}", self.hear_crowd, "bench.soak.crowd", self._plan(number, share))
        speaker = map(str, (asked.seed, asked.topics, min(SPOKEN, asked.sockets / 10)))
        self._process("speaker", self.hear_speaker, "bench.soak.speaker", *speaker)
        self._wait(lambda: self._is_speaking and self._all("ready"), "the processes to start")
        self._wait(lambda: all(map(accepts, self._ports)), "the servers to answer")

    def _plan(self, number: int, sockets: int) -> str:
        asked = self._asked
        plan = Plan(
            seed=asked.seed,
            number=number,
            sockets=sockets,
            ports=self._ports,
            topics=asked.topics,
            pace=asked.pace,
            late=asked.late,
            timeout=asked.timeout,
            strict=asked.strict,
        )
        return msgspec.json.encode(plan).decode()

    def _soak(self, what: str, seconds: float) -> None:
        """Let the crowds come, chat for so long, fall silent, and go."""
        say(f"\n{what}\n{'─' * len(what)}")
        self._order(GATHER)
        self._show_until(lambda: self._all("gathered"), "the crowds to come", PATIENCE)
        self._show_until(passed(seconds), "", seconds + STEP)
        self._order(HUSH)
        self._show_until(passed(self._asked.late), "", self._asked.late + STEP)
        self._order(LEAVE)
        self._show_until(lambda: self._all("left"), "the crowds to go", PATIENCE + self._asked.timeout)
        self._show()

    def _settle(self, is_flat: Callable[[Reading], bool]) -> Reading:
        """Read when nothing is left that may yet go, or when its time is over: then the comparison tells of it."""
        deadline = time.monotonic() + SETTLE
        while True:
            reading = self._read(full=True)
            if is_empty(reading) and is_flat(reading):
                return reading
            if time.monotonic() > deadline:
                if not is_empty(reading):
                    self.broken.append(f"{SETTLE:g} s after all had left, channels or topics were still there.")
                return reading
            self._check_processes()
            time.sleep(0.5)

    def _is_still(self, reading: Reading) -> bool:
        """Return whether there is no more of anything than there was half a second later."""
        time.sleep(0.5)
        return not grown(self._read(full=True), reading)

    # Processes

    def _process(self, name: str, tell: Callable[[str], None], *command: str) -> None:
        self._processes[name] = self._stack.enter_context(Process("-m", *command, tell=tell))

    def hear_server(self, line: str) -> None:
        level, _, rest = line.partition(" ")
        if level == "WARNING":
            self._warnings[rest] += 1
        else:
            self._complain(f"a server said: {line}")

    def hear_crowd(self, line: str) -> None:
        try:
            report = msgspec.json.decode(line, type=Report)
        except msgspec.DecodeError:
            self._complain(f"a crowd said: {line}")
        else:
            self._reports[report.number] = report

    def hear_speaker(self, line: str) -> None:
        if line == "ready":
            self._is_speaking = True
        else:
            self._complain(f"the speaker said: {line}")

    def _complain(self, line: str) -> None:
        if len(self._complaints) < COMPLAINTS:
            self._complaints.append(line)

    def _check_processes(self) -> None:
        for name, process in self._processes.items():
            if process.is_over:
                raise Broken(f"{name} has ended by itself")

    def _order(self, order: str) -> None:
        for report in self._reports.values():
            report.state = order  # until it has obeyed, and says so
        self._client.publish(ORDERS, order)

    def _all(self, state: str) -> bool:
        reports = list(self._reports.values())
        return len(reports) == self._asked.crowds and all(report.state == state for report in reports)

    def _wait(self, true: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
        def is_true() -> bool:
            self._check_processes()
            return true()

        wait_until(is_true, what, patience)

    # Progress

    def _show_until(self, true: Callable[[], bool], what: str, patience: float) -> None:
        deadline = time.monotonic() + patience
        while not true():
            if time.monotonic() > deadline:
                raise Broken(f"waited {patience:g} s for {what}")
            step = time.monotonic() + STEP
            while not true() and time.monotonic() < min(step, deadline):
                self._check_processes()
                time.sleep(0.1)
            if not true():
                self._show()

    def _show(self) -> None:
        reading, tally = self._read(), self._tally()
        faults = sum(self._faults().values())
        servers = reading.servers
        sockets = sum(report.sockets for report in self._reports.values())
        seconds = round(time.monotonic() - self._began)
        say(
            f"{seconds // 60:>4}:{seconds % 60:02}  {sockets:>6,} sockets"
            f"  {tally['joins']:>7,} joins  {tally['said']:>7,} said  {tally['heard']:>9,} heard  {faults:,} faults"
            f"  RSS {plus(server.rss // MIB for server in servers)} MiB  fds {plus(server.fds for server in servers)}"
            f"  tasks {plus(server.tasks for server in servers)}  keys {len(reading.engine.keys):,}"
        )

    def _read(self, *, full: bool = False) -> Reading:
        return read(self._ports, self._client, full=full)

    def _tally(self) -> Counter[str]:
        return sum((Counter(report.tally) for report in self._reports.values()), Counter())

    def _faults(self) -> Counter[str]:
        return sum((Counter(report.faults) for report in self._reports.values()), Counter())

    # The end

    def verdict(self) -> list[str]:
        """Return a sentence for each promise that was broken."""
        faults = [f"{count:,} {Fault[name].value}." for name, count in sorted(self._faults().items())]
        examples = [f"  {example}" for report in self._reports.values() for example in report.examples]
        leaks = [f"Not flat: {what}." for what in self._grown]
        complaints = [f"Unexpected: {line}" for line in self._complaints]
        return [*self.broken, *faults, *examples[:COMPLAINTS], *leaks, *complaints]

    def table(self) -> str:
        tally = self._tally()
        rows = [(what, f"{tally[what]:,}") for what in sorted(tally)]
        rows += [("faults", f"{sum(self._faults().values()):,}")]
        if "after" in self._readings:
            rows += [("", "after the first crowd → at the end"), *self._compared()]
        width = max(len(what) for what, _ in rows)
        return "\n".join(f"  {what:<{width}}  {seen}" for what, seen in rows)

    def _compared(self) -> list[tuple[str, str]]:
        before, after = self._readings["before"], self._readings["after"]
        rows = []
        for number, (then, now) in enumerate(zip(before.servers, after.servers, strict=True), 1):
            rows += [
                (f"server {number}: RSS, MiB", arrow(round(then.rss / MIB, 1), round(now.rss / MIB, 1))),
                (f"server {number}: Python objects", arrow(then.blocks, now.blocks)),
                (f"server {number}: heap, KiB", arrow(then.heap // 1024, now.heap // 1024)),
                (f"server {number}: tasks", arrow(then.tasks, now.tasks)),
                (f"server {number}: threads", arrow(then.threads, now.threads)),
                (f"server {number}: file descriptors", arrow(then.fds, now.fds)),
                (f"server {number}: of those to the engine", arrow(then.engine, now.engine)),
            ]
        then, now = before.engine, after.engine
        return [
            *rows,
            ("engine: keys", arrow(len(then.keys), len(now.keys))),
            ("engine: channels", arrow(len(then.channels), len(now.channels))),
            ("engine: clients", arrow(then.clients, now.clients)),
            ("engine: memory, KiB", arrow(then.memory // 1024, now.memory // 1024)),
        ]

    def results(self) -> dict[str, Any]:
        asked = {name: value for name, value in vars(self._asked).items() if name != "json"}  # a path of this machine
        return {
            "asked": asked,
            "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()},
            "tally": dict(self._tally()),
            "faults": dict(self._faults()),
            "verdict": self.verdict(),
            "warnings": dict(self._warnings.most_common(30)),
            "readings": self._readings,
        }


def uvicorn(port: int) -> list[str]:
    return ["--log-level", "warning", "--backlog", "4096", "--port", str(port), "bench.soak.asgi:application"]


def passed(seconds: float) -> Callable[[], bool]:
    """Return what tells whether so much time has passed from now on."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def plus(figures: Iterable[int]) -> str:
    return "+".join(f"{figure:,}" for figure in figures)


def arrow(before: float, after: float) -> str:
    return f"{before:,} → {after:,}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
