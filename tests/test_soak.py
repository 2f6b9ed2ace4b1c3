"""The soak: its judges can fail, a short one of it passes, and it leaves nothing running."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from django.utils.module_loading import import_string

from bench.soak.client import TEXT, Frames, frame
from bench.soak.conversation import Conversation
from bench.soak.crowd import Report
from bench.soak.gauge import ENGINE_MEMORY, HEAP, NONE, POOLED, RSS, Engine, Reading, Server, grown, is_empty
from bench.soak.ledger import Account, Fault, Ledger
from bench.soak.soak import Soak
from tests.servers import ROOT, wait_until
from tests.test_failover import MARK, running

TOPIC = "soak:1"
LATE = 1.0
NUMBERS = [1, 2, 3, 4, 5]  # "ada" says number n at n seconds, and the engine has it a tenth later


# The ledger


def opened(joined: float) -> tuple[Ledger, Account]:
    """An account that was opened at that time, in a book that is complete afterwards."""
    ledger = Ledger("test", LATE)
    account = ledger.open(TOPIC, "1", joined)
    for number in NUMBERS:
        ledger.published(TOPIC, "ada", number, float(number), number + 0.1)
    return ledger, account


def faults(ledger: Ledger, now: float = 100.0) -> dict[Fault, int]:
    ledger.look(now)
    return dict(ledger.faults.counts)


@pytest.mark.parametrize(
    ("joined", "heard", "found"),
    [
        pytest.param(0.5, [1, 2, 3, 4, 5], {}, id="all of it"),
        pytest.param(2.5, [3, 4, 5], {}, id="joined later"),
        pytest.param(2.5, [2, 3, 4, 5], {}, id="one that was sent before the reply was read"),
        pytest.param(2.5, [4, 5], {Fault.LOST: 1}, id="a hole at the beginning"),
        pytest.param(0.5, [1, 2, 4, 5], {Fault.LOST: 1}, id="a hole"),
        pytest.param(0.5, [1, 2, 3], {Fault.LOST: 2}, id="no end"),
        pytest.param(0.5, [], {Fault.LOST: 5}, id="nothing at all"),
        pytest.param(0.5, [1, 2, 2, 3, 4, 5], {Fault.TWICE: 1}, id="twice"),
        pytest.param(0.5, [1, 3, 2, 4, 5], {Fault.LOST: 1, Fault.DISORDER: 1}, id="out of order"),
        pytest.param(2.5, [3, 2, 4, 5], {Fault.DISORDER: 1}, id="an old one afterwards"),
        pytest.param(0.5, [1, 2, 3, 4, 5, 6], {Fault.NEVER: 1}, id="one that nobody has published"),
    ],
)
def test_what_was_heard_is_compared_with_the_engines_order(
    joined: float, heard: list[int], found: dict[Fault, int]
) -> None:
    ledger, account = opened(joined)
    for number in heard:
        account.hear("ada", number, number + 0.2)
    assert faults(ledger) == found


@pytest.mark.parametrize(
    ("heard", "ended", "told", "found"),
    [
        pytest.param([1, 2, 3], 3.5, False, {}, id="until it leaves"),
        pytest.param([1, 2], 3.5, False, {}, id="without one that was under way when it left"),
        pytest.param([1], 3.5, False, {Fault.LOST: 1}, id="without one that had the time to come"),
        pytest.param([1], 4.5, True, {}, id="until it is told of a gap"),
        pytest.param([1, 3], 4.5, True, {Fault.LOST: 1}, id="with a hole before it is told"),
    ],
)
def test_nothing_is_due_after_the_end(heard: list[int], ended: float, told: bool, found: dict[Fault, int]) -> None:
    ledger, account = opened(0.5)
    for number in heard:
        account.hear("ada", number, number + 0.2)
    account.end(ended, told=told)
    ledger.close(account, ended)
    assert faults(ledger) == found


def test_a_message_that_has_still_time_to_come_is_not_lost() -> None:
    ledger, account = opened(0.5)
    for number in NUMBERS[:4]:
        account.hear("ada", number, number + 0.2)
    assert faults(ledger, now=6.0) == {}
    assert faults(ledger, now=6.2) == {Fault.LOST: 1}


def test_a_publisher_is_published_in_its_order_without_a_hole() -> None:
    ledger, _ = opened(0.5)
    ledger.published(TOPIC, "ada", 7, 7.0, 7.1)
    ledger.published(TOPIC, "ada", 6, 6.0, 7.2)
    ledger.published(TOPIC, "bob", 1, 7.0, 7.3)
    assert ledger.faults.counts == {Fault.SKIPPED: 2}


def test_a_push_that_was_answered_and_not_published_is_lost() -> None:
    ledger, account = opened(10.0)
    account.hear(account.publisher, account.say(), 10.5)
    account.answered(1, ok=True)
    ledger.close(account, 11.0)
    assert faults(ledger) == {Fault.NEVER: 1, Fault.UNPUBLISHED: 1}


# The conversation


class Talk:
    """A conversation whose server is the test."""

    def __init__(self, **options: Any) -> None:
        self.ledger = Ledger("test", LATE, **options)
        self.said: list[list[Any]] = []
        self.talk = Conversation("ada", self.ledger, lambda data: self.said.append(json.loads(data)), lambda: 1.0)

    def hear(self, *frame: Any) -> None:
        self.talk.hear(json.dumps(frame).encode())

    def reply(self, status: str = "ok", said: int = -1) -> None:
        join_ref, ref, topic, *_ = self.said[said]
        self.hear(join_ref, ref, topic, "phx_reply", {"status": status, "response": {}})

    def broadcast(self, publisher: str = "bob", number: int = 1) -> None:
        self.hear(None, None, TOPIC, "new:message", {"from": publisher, "n": number, "at": 0.5})

    def join(self) -> None:
        self.talk.join(TOPIC)
        self.reply()

    def leave(self) -> None:
        self.talk.leave(TOPIC)
        self.reply()

    @property
    def faults(self) -> dict[Fault, int]:
        return dict(self.ledger.faults.counts)


async def test_a_message_of_a_topic_that_was_never_joined_is_foreign() -> None:
    talk = Talk()
    talk.broadcast()
    assert talk.faults == {Fault.FOREIGN: 1}


async def test_a_message_before_the_reply_to_the_join_is_foreign() -> None:
    talk = Talk()
    talk.talk.join(TOPIC)
    talk.broadcast()
    talk.reply()
    talk.broadcast(number=2)
    assert talk.faults == {Fault.FOREIGN: 1}


async def test_a_message_after_the_close_is_foreign_and_after_the_leaves_reply_a_straggler() -> None:
    talk = Talk(strict=True)
    talk.join()
    talk.leave()
    talk.broadcast(number=1)
    assert talk.faults == {Fault.STRAGGLER: 1}
    talk.hear("1", "1", TOPIC, "phx_close", {})
    talk.broadcast(number=2)
    assert talk.faults == {Fault.STRAGGLER: 1, Fault.FOREIGN: 1}


async def test_a_straggler_is_only_counted_where_it_is_not_strict() -> None:
    talk = Talk()
    talk.join()
    talk.leave()
    talk.broadcast()
    assert (talk.faults, talk.ledger.tally["stragglers"]) == ({}, 1)


@pytest.mark.parametrize("event", ["phx_reply", "phx_error", "phx_close", "phx_close twice"])
async def test_a_channel_that_has_ended_says_nothing_more(event: str) -> None:
    talk = Talk()
    talk.join()
    talk.leave()
    if event.startswith("phx_close"):
        talk.hear("1", "1", TOPIC, "phx_close", {})
    assert talk.faults == {}
    if event != "phx_close":
        talk.hear("1", "1", TOPIC, event.split()[0], {"status": "ok", "response": {}})
        assert talk.faults == {Fault.AFTERWARDS: 1}


async def test_a_push_is_answered_after_its_broadcast() -> None:
    talk = Talk()
    talk.join()
    publisher = talk.talk.topics[TOPIC].publisher
    talk.talk.say(TOPIC)
    talk.broadcast(publisher, 1)
    talk.reply()
    assert talk.faults == {}
    talk.talk.say(TOPIC)
    talk.reply()
    assert talk.faults == {Fault.EARLY: 1}


async def test_pushes_are_answered_in_their_order_and_once() -> None:
    talk = Talk()
    talk.join()
    publisher = talk.talk.topics[TOPIC].publisher
    for number in (1, 2):
        talk.talk.say(TOPIC)
        talk.broadcast(publisher, number)
    talk.reply(said=-1)
    assert talk.faults == {Fault.UNASKED: 1}
    talk.reply(said=-1)
    assert talk.faults == {Fault.UNASKED: 2}


async def test_a_push_that_is_refused_is_a_fault_unless_the_channel_has_crashed() -> None:
    talk = Talk()
    talk.join()
    talk.talk.say(TOPIC)
    talk.reply("error")
    assert talk.faults == {Fault.REFUSED: 1}
    talk.talk.say(TOPIC)
    talk.hear("1", "1", TOPIC, "phx_error", {"reason": "channel_crash"})
    talk.reply("error")
    assert talk.faults == {Fault.REFUSED: 1}


async def test_a_second_join_of_a_topic_ends_the_first() -> None:
    talk = Talk()
    talk.join()
    first = talk.talk.topics[TOPIC]
    talk.talk.join(TOPIC)
    talk.broadcast(number=1)
    talk.reply()
    talk.hear("1", "1", TOPIC, "phx_close", {})
    talk.broadcast(number=2)
    assert talk.talk.topics[TOPIC] is not first
    assert first.ended == 1.0
    assert talk.faults == {}


# The client


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_frames_of_any_size_are_cut_out_of_a_stream_of_any_pieces(size: int) -> None:
    data = bytes(number % 251 for number in range(size))
    masked = frame(TEXT, data)
    key = masked[-size - 4 : -size] if size else masked[-4:]
    unmasked = bytes(byte ^ key[n % 4] for n, byte in enumerate(masked[len(masked) - size :]))
    head = bytearray(masked[: len(masked) - size - 4])
    head[1] &= 0x7F  # as a server's
    stream = (bytes(head) + unmasked) * 2
    frames = Frames()
    assert [each for at in range(0, len(stream), 1000) for each in frames.feed(stream[at : at + 1000])] == [
        (TEXT, data)
    ] * 2


# The gauge


def reading() -> Reading:
    server = Server(
        rss=90_000_000,
        fds=30,
        threads=7,
        tasks=6,
        blocks=400_000,
        heap=20_000_000,
        engine=5,
        live={"realtime.hub.Hub": 1},
    )
    engine = Engine(clients=20, channels=["alarm"], patterns=1, keys=["{rt:0}:nodes"], memory=2_000_000)
    return Reading([server], engine)


def server_of(reading: Reading) -> Server:
    return reading.servers[0]


def engine_of(reading: Reading) -> Engine:
    return reading.engine


def changed(place: Callable[[Reading], Any], **values: Any) -> Reading:
    after = reading()
    for name, value in values.items():
        setattr(place(after), name, value)
    return after


def test_what_has_not_grown_is_flat() -> None:
    assert grown(reading(), reading()) == []
    assert grown(reading(), changed(server_of, rss=90_000_000 + RSS, fds=20)) == []
    pooled = changed(server_of, engine=5 + POOLED, fds=30 + POOLED)
    pooled.engine.clients += POOLED
    assert grown(reading(), pooled) == []


@pytest.mark.parametrize(
    ("after", "sentence"),
    [
        (changed(server_of, rss=90_000_001 + RSS), "bytes resident"),
        (changed(server_of, fds=31), "file descriptors"),
        (changed(server_of, threads=16), "16 threads, and 7 before"),
        (changed(server_of, tasks=7), "7 tasks, and 6 before"),
        (changed(server_of, blocks=410_000), "Python objects"),
        (changed(server_of, heap=20_000_001 + HEAP), "bytes in the heap"),
        (changed(server_of, live={"realtime.hub.Hub": 12}), "12 instances of realtime.hub.Hub, and 1 before"),
        (changed(server_of, live={"realtime.actor.Actor": 1}), "1 instances of realtime.actor.Actor, and 0 before"),
        (changed(engine_of, clients=21), "16 clients beside the servers', and 15 before"),
        (changed(engine_of, channels=["alarm", "{rt:0}:bus:soak:1"]), "1 channels that were not there before, as"),
        (changed(engine_of, patterns=2), "patterns"),
        (changed(engine_of, keys=["{rt:0}:nodes", "{rt:0}:topics"]), "keys that were not there before, as {rt:0}:top"),
        (changed(engine_of, memory=2_000_001 + ENGINE_MEMORY), "bytes of memory"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_leak_is_reported(after: Reading, sentence: str) -> None:
    [found] = grown(reading(), after)
    assert sentence in found


@pytest.mark.parametrize("kind", NONE)
def test_of_what_none_may_be_left_there_is_such_a_class(kind: str) -> None:
    assert isinstance(import_string(kind), type)


def test_a_topic_or_a_connection_that_is_left_is_not_empty() -> None:
    assert is_empty(reading())
    assert not is_empty(changed(engine_of, keys=["{rt:0}:topics"]))
    assert not is_empty(changed(server_of, live={"realtime.connection.Connection": 1}))


# All of it


def test_each_broken_promise_is_a_sentence() -> None:
    soak = Soak(argparse.Namespace(crowds=1), redis.Redis(), ExitStack())
    assert soak.verdict() == []
    report = Report(0, "left", 0, 0, tally={}, faults={"LOST": 2}, examples=["lost: ada's message 3"])
    soak.hear_crowd(msgspec.json.encode(report).decode())
    soak.hear_server("ERROR realtime.channel it broke")
    assert soak.verdict() == [
        "2 messages did not reach a client that had joined, and it was told of no gap.",
        "  lost: ada's message 3",
        "Unexpected: a server said: ERROR realtime.channel it broke",
    ]


def started(mark: str, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench.soak", "--sockets", "60", "--topics", "20", "--timeout", "3", *options]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", MARK: mark}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_a_short_soak_loses_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    mark, figures = secrets.token_hex(8), tmp_path / "soak.json"
    with started(mark, "--minutes", "0.1", "--late", "2", "--json", str(figures)) as process:
        said, _ = process.communicate(timeout=120)
    print(said)
    assert process.returncode == 0
    found = json.loads(figures.read_text())
    assert (found["verdict"], found["faults"]) == ([], {})
    assert {"joins", "said", "heard", "dropped", "crashes", "closed by the server"} <= found["tally"].keys()
    assert found["tally"]["heard"] > found["tally"]["said"] > 100
    assert not running(mark)


def test_ctrl_c_ends_a_soak_and_all_that_it_has_started(tmp_path: Path) -> None:
    mark = secrets.token_hex(8)
    with started(mark, "--json", str(tmp_path / "soak.json")) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "first crowd" in line:
                break
        assert len(running(mark)) >= 6  # itself, two servers, two crowds, the speaker
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    wait_until(lambda: not running(mark), "nothing to be left")
