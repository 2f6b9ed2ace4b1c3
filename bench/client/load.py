"""The load client: many sockets to one server on this machine, and the figures of what they saw, as JSON.

    python -m bench.client.load fanout --port 9000 --pid 123 -n 1000 --seconds 4 [--window 16]

idle     opens the sockets and holds them for some seconds: how fast they were let in, the server's memory for each
fanout   the same, then one more socket sends to their topic: `--window` messages are under way, the next one follows
         when all have the oldest
listen   the same, but `--publisher`, another process, sends: see publisher.py
echo     each socket asks, and asks again once it is answered

Times run from when a message is sent (by its schedule, if it has one) until after the recv() that brought it.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import time
from collections import deque
from typing import Any

from bench.client.native import MARK_LENGTH, Role, Sockets, mark, now
from bench.client.processes import Tree, used
from bench.client.protocols import PROTOCOLS

OPENING = 150.0  # seconds until all sockets are ready, or no more are waited for
WARM = 50  # sockets that are opened and closed before anything is measured
WARM_MESSAGES = 10  # sent before, in at most
WARM_UP = 5.0  # seconds
LATE = 0.2  # seconds in which what comes twice may still come
DELIVERIES = 50_000_000  # that the books have room for


class Load:
    """The sockets of one run, and the server that they are connected to."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.protocol = PROTOCOLS[options.protocol]
        headers = [f"Cookie: {options.cookie}"] if options.cookie else []
        self.sockets = Sockets(
            options.port,
            max(options.n + 1, WARM),
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


# What is measured


def idle(load: Load) -> dict[str, Any]:
    return opening(load, Role.SUBSCRIBER)


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


def fanout(load: Load) -> dict[str, Any]:
    opened = opening(load, Role.SUBSCRIBER)
    number = load.options.n
    load.open(1, Role.PUBLISHER)
    publisher = Publisher(load, messages=DELIVERIES // number)
    load.sockets.expect(number, DELIVERIES // number)
    publisher.publish(seconds=WARM_UP, window=1, most=WARM_MESSAGES)
    load.sockets.forget_times()
    since, published = load.counts.delivered, publisher.published
    meter = Meter(load)
    rounds = publisher.publish(load.options.seconds, load.options.window)
    delivered = load.counts.delivered - since
    found = meter.read(delivered)
    seconds = max(1e-9, load.counts.last_delivery / 1e9 - meter.began)
    return {
        **opened,
        **found,
        "published": publisher.published - published,
        "delivered": delivered,
        "deliveries_per_s": round(delivered / seconds),
        "delivery_ms": load.sockets.times("delivery"),
        "last_ms": percentiles(rounds),  # from the publish until the last of them all has it
        **load.books(publisher.published * number),
    }


class Publisher:
    """The socket that sends to the topic of all others: the last one that was opened."""

    def __init__(self, load: Load, messages: int) -> None:
        self.published = 0
        self._load = load
        self._most = messages
        self._template = load.protocol.message(load.topic(0))
        self._padding = b"x" * (load.options.size - MARK_LENGTH)

    def publish(self, seconds: float, window: int, most: int | None = None) -> list[float]:
        """Keep `window` messages under way; return how long each took to the last. Ends early once one is lost."""
        last = self._most if most is None else self.published + most
        under_way: deque[tuple[int, float]] = deque()
        target = self._load.counts.delivered
        rounds = []
        deadline = now() + seconds
        while True:
            while len(under_way) < window and self.published < last and now() < deadline:
                target += self._load.options.n
                under_way.append((target, self._send()))
            if not under_way or not self._load.run_to(under_way[0][0]):
                return rounds
            seen = now()
            while under_way and self._load.counts.delivered >= under_way[0][0]:
                rounds.append(seen - under_way.popleft()[1])

    def _send(self) -> float:
        sent = now()
        content = mark(sent, self.published) + self._padding
        self._load.sockets.send(self._load.options.n, self._template.fill(b"%d" % (1000 + self.published), content))
        self.published += 1
        return sent


def listen(load: Load) -> dict[str, Any]:
    """Let another process publish, to the topics in turn."""
    options = load.options
    opened = opening(load, Role.SUBSCRIBER)
    load.sockets.expect(options.n, -(-options.messages // options.topics))
    expected = options.messages * options.n // options.topics
    with other_publisher(options) as publisher:
        meter = Meter(load)
        publisher.stdin.write("go\n")
        publisher.stdin.flush()
        while publisher.poll() is None:
            load.sockets.run(now() + 0.02)
        load.run_to(expected)
        found = meter.read(load.counts.delivered)
        told = json.loads(publisher.stdout.read())
    return {
        **opened,
        **found,
        **told,
        "published": options.messages,
        "delivered": load.counts.delivered,
        "delivery_ms": load.sockets.times("delivery"),
        **load.books(expected),
    }


def other_publisher(options: argparse.Namespace) -> subprocess.Popen[str]:
    """Start it, and wait until it is ready to go."""
    numbers = {"topics": options.topics, "messages": options.messages, "rate": options.rate, "size": options.size}
    command = [*shlex.split(options.publisher), *(f"--{name}={value}" for name, value in numbers.items())]
    publisher = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    if publisher.stdout.readline() != "ready\n":
        raise SystemExit("the publisher did not start")
    return publisher


def echo(load: Load) -> dict[str, Any]:
    opened = opening(load, Role.ECHO)
    template = load.protocol.echo(load.topic(0))
    ref, content = b"1" * 8, b"@" * MARK_LENGTH + b"x" * (load.options.size - MARK_LENGTH)
    frame = template.fill(ref, content)
    load.sockets.start_echo(frame, len(template.before), frame.index(content), load.protocol.answer)
    load.sockets.run(now() + 0.5)  # warm
    load.sockets.forget_times()
    before = load.counts.answered
    meter = Meter(load)
    load.sockets.run(now() + load.options.seconds)
    answered = load.counts.answered - before
    found = meter.read(answered)
    load.sockets.stop_echo()
    load.sockets.run(now() + LATE)
    return {
        **opened,
        **found,
        "answers": answered,
        "answers_per_s": round(answered / found["seconds"]),
        "answer_ms": load.sockets.times("echo"),
        "wrong_answers": load.counts.wrong_answers,
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


# The command

MODES = {"idle": idle, "fanout": fanout, "listen": listen, "echo": echo}


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pid", type=int, help="the server's, whose children count too")
    parser.add_argument("--engine-pid", type=int, help="counted apart")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="phoenix")
    parser.add_argument("--path", help="instead of the protocol's own")
    parser.add_argument("--cookie", help="that each socket sends: sessionid=…")
    parser.add_argument("--core", type=int, help="to run on")
    parser.add_argument("-n", type=int, default=1000, help="sockets")
    parser.add_argument("--topics", type=int, default=1, help="that the sockets are spread over")
    parser.add_argument("--joins", type=int, default=1, help="topics of each socket")
    parser.add_argument("--size", type=int, default=64, help="bytes of a message's content")
    parser.add_argument("--hold", type=float, default=0.5, help="seconds to be idle before anything else")
    parser.add_argument("--seconds", type=float, default=4.0, help="to measure for")
    parser.add_argument(
        "--patience", type=float, default=15.0, help="seconds without a delivery, then the rest is lost"
    )
    parser.add_argument("--window", type=int, default=1, help="fanout: messages under way")
    parser.add_argument("--publisher", help="listen: its command")
    parser.add_argument("--messages", type=int, default=1000, help="listen: all in all")
    parser.add_argument("--rate", type=float, default=100.0, help="listen: messages a second")
    return parser


def main() -> None:
    options = parser().parse_args()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    load = Load(options)
    try:
        print(json.dumps(MODES[options.mode](load)))
    finally:
        load.sockets.close()


if __name__ == "__main__":
    main()
