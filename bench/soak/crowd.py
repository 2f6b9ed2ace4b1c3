"""Crowd: a process full of visitors. It obeys the orders of the soak, and prints how it fares, an object a line.

python -m bench.soak.crowd PLAN
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
import time

import msgspec
import redis.asyncio

from bench.soak.ledger import Ledger
from bench.soak.plan import GATHER, HUSH, LEAVE, ORDERS, SAY, Plan, Words
from bench.soak.visitor import Visitor
from realtime.engine.keys import Keys

GATE = 40  # handshakes under way at once
TELL = 0.5  # seconds between two reports


class Report(msgspec.Struct):
    """state     "ready", "gathered", "left": what the last order has come to, so far
    sockets, joined  that are there now
    """

    number: int
    state: str
    sockets: int
    joined: int
    tally: dict[str, int]
    faults: dict[str, int]
    examples: list[str]


class Packed(msgspec.Struct, array_like=True):
    """What travels between nodes; see realtime.protocol.serializers.pack."""

    event: str
    sender: str | None
    mark: str | None
    payload: Words


class Crowd:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.ledger = Ledger(str(plan.number), plan.late, strict=plan.strict)
        self.gate = asyncio.Semaphore(GATE)
        self.leaving = asyncio.Event()
        self.hushed = False
        self._visitors: list[Visitor] = []
        self._lives: list[asyncio.Task[None]] = []
        self._came = 0
        self._state = "starting"
        self._parent = os.getppid()

    async def run(self, url: str) -> None:
        """Return when the process that has started this one is gone; it ends it before, usually."""
        async with redis.asyncio.Redis.from_url(url) as client, client.pubsub() as orders:
            await orders.subscribe(ORDERS)
            await orders.psubscribe(Keys("rt").every_bus)
            listening = asyncio.create_task(self._listen(orders))
            self._state = "ready"
            slept = 0.0
            while os.getppid() == self._parent and not listening.done():
                if slept < 2 * TELL:  # else much may have come that this process had no time to read
                    self.ledger.look(time.monotonic())
                self._tell()
                began = time.monotonic()
                await asyncio.sleep(TELL)
                slept = time.monotonic() - began
            listening.cancel()
            await listening

    async def _listen(self, pubsub: redis.asyncio.client.PubSub) -> None:
        unpack = msgspec.json.Decoder(Packed).decode
        async for message in pubsub.listen():
            if message["type"] == "pmessage":
                packed = unpack(message["data"])
                if packed.event == SAY:
                    words = packed.payload
                    topic = Keys.topic_of(message["channel"].decode())
                    self.ledger.published(topic, words.publisher, words.number, words.sent, time.monotonic())
            elif message["type"] == "message":
                self._obey(message["data"].decode())

    def _obey(self, order: str) -> None:
        if order == GATHER:
            self.leaving.clear()
            self.hushed = False
            self._state = "gathering"
            self._visitors = [Visitor(f"{self.plan.number}-{n}", self) for n in range(self.plan.sockets)]
            self._lives = [asyncio.create_task(visitor.live()) for visitor in self._visitors]
        elif order == HUSH:
            self.hushed = True
        elif order == LEAVE:
            self._state = "leaving"
            self.leaving.set()

    def _tell(self) -> None:
        for life in self._lives:
            if life.done() and (error := life.exception()):
                raise error
        there = sum(visitor.is_in for visitor in self._visitors)
        self._came = max(self._came, there)
        if self._state == "gathering" and there > 0.9 * self.plan.sockets:
            self._state = "gathered"
        elif self._state == "leaving" and all(life.done() for life in self._lives) and self.ledger.is_settled:
            self._state = "left"
        faults = {fault.name: count for fault, count in self.ledger.faults.counts.items()}
        report = Report(
            number=self.plan.number,
            state=self._state,
            sockets=there,
            joined=self.ledger.joined,
            tally=dict(self.ledger.tally),
            faults=faults,
            examples=self.ledger.faults.examples,
        )
        print(msgspec.json.encode(report).decode(), flush=True)


def main() -> None:
    gc.freeze()  # the ledger grows, and nothing in it goes in circles
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(Crowd(msgspec.json.decode(sys.argv[1], type=Plan)).run(os.environ["REDIS_URL"]))


if __name__ == "__main__":
    main()
