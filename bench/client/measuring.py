"""What every load does: open the sockets, wait for what comes, and read what it took."""

from __future__ import annotations

import argparse
import time
from typing import Any

from bench.client.native import Role, Sockets, now
from bench.client.processes import Tree, used
from bench.client.protocols import PROTOCOLS

OPENING = 150.0  # seconds until all sockets are ready, or no more are waited for
WARM = 50  # sockets that are opened and closed before anything is measured
MORE = 32  # sockets at most that are no part of the crowd: who speaks to it, who comes late
LATE = 0.2  # seconds in which what comes twice may still come


class Load:
    """The sockets of one run, and the server that they are connected to."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.protocol = PROTOCOLS[options.protocol]
        headers = [f"Cookie: {options.cookie}"] if options.cookie else []
        self.sockets = Sockets(
            options.port,
            max(options.n + MORE, WARM),
            options.path or self.protocol.path,
            headers,
            heartbeat=self.protocol.heartbeat,
            engine_io=self.protocol.engine_io,
        )
        self.counts = self.sockets.counts
        self.server = Tree(options.pid) if options.pid else None
        self.engine = Tree(options.engine_pid) if options.engine_pid else None

    def open(self, number: int, role: Role) -> float:
        """Open sockets, the i-th in the topics from i on; return the seconds it took."""
        topics = self.options.topics
        scripts = [
            [
                *self.protocol.greeting,
                *(self.protocol.join(j + 1, self.topic(i + j)) for j in range(self.options.joins)),
            ]
            for i in range(min(topics, number))
        ]
        return self.sockets.open(number, role, scripts, OPENING)

    def topic(self, number: int) -> str:
        return f"room:{number % self.options.topics}"

    def warm_up(self) -> None:
        self.open(WARM, Role.SUBSCRIBER)
        self.sockets.close()
        time.sleep(0.5)  # the server notes that they are gone
        self.sockets.forget_times()

    def run_to(self, target: int) -> bool:
        """Run until so many deliveries are booked; return False when nothing more comes."""
        while self.counts.delivered < target:
            before = self.counts.delivered
            self.sockets.run(now() + self.options.patience, target)
            if self.counts.delivered == before:
                return False
        return True

    def books(self, expected: int) -> dict[str, Any]:
        """Return what was lost, came twice or in another order since the start, after waiting for what is late."""
        self.sockets.run(now() + LATE)
        return {
            "expected": expected,
            "lost": expected - self.counts.delivered,
            "doubled": self.counts.doubled,
            "misordered": self.counts.misordered,
            "failures": self.counts.failures(),
        }


class Meter:
    """What server, engine and client use from now on."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._server, self._engine = self._cpu()
        self._client = time.process_time()
        self.began = now()

    def read(self, events: int) -> dict[str, Any]:
        """Return the figures of so many deliveries or answers since then."""
        seconds = now() - self.began
        client = time.process_time() - self._client
        server, engine = self._cpu()
        each = used(self._server, server)
        spent = sum(each)
        return {
            "seconds": round(seconds, 3),
            "server_cpu": round(spent, 3),
            "server_cpu_of_each": [round(one, 3) for one in each],
            "server_share": round(spent / seconds, 3),
            "cpu_us": round(spent / max(1, events) * 1e6, 3),
            "engine_cpu_us": round(sum(used(self._engine, engine)) / max(1, events) * 1e6, 3),
            "client_share": round(client / seconds, 3),
        }

    def _cpu(self) -> tuple[dict[int, float], dict[int, float]]:
        load = self._load
        return (load.server.cpu() if load.server else {}), (load.engine.cpu() if load.engine else {})


def opening(load: Load, role: Role) -> dict[str, Any]:
    """Open the sockets and hold them."""
    load.warm_up()
    number, joins = load.options.n, load.options.joins
    before = load.server.resident() if load.server else 0
    meter = Meter(load)
    seconds = load.open(number, role)
    found = meter.read(number)
    load.sockets.run(now() + load.options.hold)
    after = load.server.resident() if load.server else 0
    return {
        "sockets": number,
        "ready": load.counts.ready,
        "connects_per_s": round(load.counts.ready / seconds),
        "connect_cpu_us": found["cpu_us"],
        "connect_client_share": found["client_share"],
        "joins": joins,
        "join_ms": load.sockets.times("join"),
        "resident_kib_per_socket": round((after - before) / max(1, load.counts.ready) / 1024, 2),
        "failures": load.counts.failures(),
    }


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Return the figures of some measurements, in ms, by nearest rank."""
    found = sorted(seconds)
    if not found:
        return {"count": 0}
    ranks = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    at = {name: found[max(0, -int(-share * len(found) // 1) - 1)] for name, share in ranks.items()}
    return {"count": len(found), **{name: round(value * 1000, 4) for name, value in at.items()}}
