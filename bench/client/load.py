"""The load client: many sockets to one server on this machine, and the figures of what they saw, as JSON.

    python -m bench.client.load fanout --port 9000 --pid 123 -n 1000 --seconds 4 [--window 16]

idle     opens the sockets and holds them for some seconds: how fast they were let in, the server's memory for each
fanout   the same, then one more socket sends to their topic: `--window` messages are under way, the next one follows
         when all have the oldest
listen   the same, but `--publisher`, another process, sends: see publisher.py
echo     each socket asks, and asks again once it is answered
presence the sockets are present in a topic of its own, before which one more comes and goes: see present.py

Times run from when a message is sent (by its schedule, if it has one) until after the recv() that brought it.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
from collections import deque
from typing import Any

from bench.client.measuring import LATE, Load, Meter, opening, percentiles
from bench.client.native import MARK_LENGTH, Role, mark, now
from bench.client.present import presence
from bench.client.protocols import PROTOCOLS

WARM_MESSAGES = 10  # sent before, in at most
WARM_UP = 5.0  # seconds
DELIVERIES = 50_000_000  # that the books have room for


# What is measured


def idle(load: Load) -> dict[str, Any]:
    return opening(load, Role.SUBSCRIBER)


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


# The command

MODES = {"idle": idle, "fanout": fanout, "listen": listen, "echo": echo, "presence": presence}


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
    parser.add_argument("--lister", help="presence: its command")
    parser.add_argument("--deliveries", type=int, default=100_000, help="presence: of each kind, one block at least")
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
