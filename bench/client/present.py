"""The load of presence: a topic fills with those who are present, then one more comes and goes before all of them.

What a diff costs is told beside what a broadcast costs to the same sockets in the same minute: they take turns.
"""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from bench.client.measuring import OPENING, Load, Meter, percentiles
from bench.client.native import MARK_LENGTH, Role, mark, now
from bench.client.protocols import Phoenix, Step

TOPIC = "people:0"
SLICES = 5  # of the filling
BLOCK = 10  # messages of one kind, before it is another's turn
PAUSE = 30e-6  # seconds for each socket, between two messages: a diff is not to wait for the one before
LATECOMERS = 10
AT_ONCE = 256  # handshakes under way while it fills, as after a restart
WARM_MESSAGES = 5


def presence(load: Load) -> dict[str, Any]:
    """Measure the filling, one more who is tracked, one who leaves, a broadcast, a list, a latecomer."""
    load.warm_up()
    crowd = Crowd(load)
    filled = crowd.fill()
    listed = ask(load.options.lister)
    kinds = crowd.compare()
    lost = sum(kind["lost"] for kind in kinds.values())
    return {
        "sockets": load.options.n,
        "ready": load.counts.ready,
        **filled,
        **listed,
        **kinds,
        "diff_in_broadcasts": round(kinds["track"]["cpu_us"] / max(1e-9, kinds["broadcast"]["cpu_us"]), 3),
        "state_ms": crowd.welcome(LATECOMERS),
        "lost": lost,
        "doubled": load.counts.doubled,
        "misordered": load.counts.misordered,
        "failures": load.counts.failures(),
    }


def ask(lister: str) -> dict[str, Any]:
    """Let another process list who is present: see lister.py."""
    done = subprocess.run([*shlex.split(lister), "--topic", TOPIC], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@dataclass
class Kind:
    """What was spent on the messages of one event; how long each took to the last of the sockets."""

    event: str
    expected: int = 0
    delivered: int = 0
    server_cpu: float = 0.0
    engine_cpu: float = 0.0
    rounds: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        each = max(1, self.delivered)
        return {
            "cpu_us": round(self.server_cpu / each * 1e6, 3),
            "engine_cpu_us": round(self.engine_cpu / each * 1e6, 3),
            "last_ms": percentiles(self.rounds),
            "delivered": self.delivered,
            "lost": self.expected - self.delivered,
        }


class Crowd:
    """Sockets that are present in one topic, each under a key of its own, and before them one that speaks to all."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._number = load.options.n
        self._phoenix = Phoenix()
        self._let_in(Role.PUBLISHER, [self._entrance("speaker", "phx_reply")])

    # Filling

    def fill(self) -> dict[str, Any]:
        """Let all in, slice by slice; it is over when each has heard of all."""
        load, number = self._load, self._number
        load.sockets.forget_times()
        whole = Meter(load)
        slices = []
        for first, past in bounds(number):
            meter = Meter(load)
            self._let_in(Role.SUBSCRIBER, [self._entrance(f"user:{i}", "phx_reply") for i in range(first, past)])
            self._say(Kind("new:message"), 1, past)  # whoever has it has all that came before it
            slices.append({"present": past, "cpu_us": meter.read(past - first)["cpu_us"]})
        found = whole.read(number)
        return {
            "joins_per_s": round(number / found["seconds"]),
            "join_cpu_us": found["cpu_us"],
            "join_engine_cpu_us": found["engine_cpu_us"],
            "join_ms": load.sockets.times("join"),
            "client_share": found["client_share"],
            "fill_s": found["seconds"],
            "fill_slices": slices,
        }

    def welcome(self, latecomers: int) -> dict[str, float]:
        """Let some more in, one after the other; return percentiles in ms from a join until it has the whole."""
        self._load.sockets.forget_times()
        for number in range(latecomers):
            self._let_in(Role.SUBSCRIBER, [self._entrance(f"late:{number}", "presence_state")])
            self._rest()
        return self._load.sockets.times("join")

    def _let_in(self, role: Role, entrances: Sequence[Step]) -> None:
        self._load.sockets.open(len(entrances), role, [[step] for step in entrances], OPENING, AT_ONCE)

    def _entrance(self, key: str, want: str) -> Step:
        return self._phoenix.join(1, TOPIC, {"key": key}, want)

    # One more

    def compare(self) -> dict[str, dict[str, Any]]:
        """Let one more come, one leave, and one speak, by turns."""
        self._say(Kind("new:message"), WARM_MESSAGES, self._number)
        kinds = {"track": Kind("enter"), "untrack": Kind("exit"), "broadcast": Kind("new:message")}
        for _ in range(max(1, self._load.options.deliveries // (BLOCK * self._number))):
            for kind in kinds.values():
                self._say(kind, BLOCK, self._number)
        return {name: kind.figures() for name, kind in kinds.items()}

    def _say(self, kind: Kind, messages: int, sockets: int) -> None:
        """Say so many, each when all sockets have the one before."""
        load, template = self._load, self._phoenix.message(TOPIC, kind.event)
        load.sockets.expect(1 + self._number, messages)
        since = due = load.counts.delivered
        meter = Meter(load)
        for number in range(messages):
            due += sockets
            began = now()
            load.sockets.send(0, template.fill(b"%d" % (1000 + number), self._content(number)))
            if not load.run_to(due):
                break
            kind.rounds.append(now() - began)
            self._rest()
        found = meter.read(1)
        kind.expected += due - since
        kind.delivered += load.counts.delivered - since
        kind.server_cpu += found["server_cpu"]
        kind.engine_cpu += found["engine_cpu_us"] / 1e6

    def _rest(self) -> None:
        self._load.sockets.run(now() + PAUSE * self._number)

    def _content(self, number: int) -> bytes:
        """Return what a message says, or the key of who comes and then goes: the same for the same number."""
        return mark(0.0, number) + b"x" * (self._load.options.size - MARK_LENGTH)


def bounds(number: int) -> list[tuple[int, int]]:
    """Return where each slice of the sockets begins and ends."""
    ends = [number * i // SLICES for i in range(SLICES + 1)]
    return [(first, past) for first, past in pairwise(ends) if past > first]
