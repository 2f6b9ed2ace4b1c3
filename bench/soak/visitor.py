"""Visitor: one client that comes, does what chance tells it, and comes back. Some of it is not polite."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable
from random import Random
from typing import Protocol

from bench.soak.client import TEXT, Client, Unaccepted, frame, handshake
from bench.soak.conversation import Answer, Conversation
from bench.soak.ledger import Fault, Ledger
from bench.soak.plan import Plan
from realtime.protocol.messages import CloseCode

PATIENCE = 20.0  # seconds for a reply, and for a socket to end that must: far more than phoenix.js waits (10)
MOST = 3  # topics of one client
TOO_BIG = b'["1","1","soak:1","new:message",{"fill":"%s"}]' % (b"x" * 70_000)  # see MAX_FRAME in settings
ONCE = 0.05  # of the topics that are joined are ones that nobody else joins


class Gone(Exception):
    """The socket is over."""


class Crowd(Protocol):
    """What a visitor needs of the process that it lives in."""

    plan: Plan
    ledger: Ledger
    gate: asyncio.Semaphore
    leaving: asyncio.Event
    hushed: bool


class Visitor:
    def __init__(self, name: str, crowd: Crowd) -> None:
        self.is_in = False  # its socket is open
        self._name = name
        self._crowd = crowd
        self._plan = crowd.plan
        self._ledger = crowd.ledger
        self._random = Random(f"{crowd.plan.seed}/{name}")
        self._sockets = 0

    async def live(self) -> None:
        """Come and go until all are to leave."""
        while not self._crowd.leaving.is_set():
            try:
                async with self._crowd.gate:
                    await self._connect()
            except (Unaccepted, OSError, TimeoutError) as error:
                self._note(Fault.UNCONNECTED, repr(error))
                await self._rest(1.0)
                continue
            try:
                await self._visit()
            except Gone:
                self._see_end()
            finally:
                self._client.drop()
                self.is_in = False
            await self._rest(self._random.uniform(0.1, 1.0))

    # The socket

    async def _connect(self) -> None:
        self._sockets += 1
        self._over: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._expected: set[int | None] = set()  # with what the server may close
        self._has_dropped = False
        self._talk = Conversation(f"{self._name}/{self._sockets}", self._ledger, self._send)
        port = self._random.choice(self._plan.ports)
        self._client = await Client.to(port, self._talk.hear, self._gone)
        self.is_in = True
        self._ledger.tally["connects"] += 1

    def _send(self, data: bytes) -> None:
        self._client.say(data)

    def _gone(self, code: int | None) -> None:
        self._talk.over()
        if not self._over.done():
            self._over.set_result(code)

    def _see_end(self) -> None:
        code = self._over.result()
        if self._has_dropped:
            self._ledger.tally["dropped"] += 1
        elif code in self._expected:
            self._ledger.tally["closed by the server"] += 1
        elif self._expected:
            self._note(Fault.UNCLOSED, f"with {code} instead of {words(self._expected)}")
        else:
            self._note(Fault.CLOSED, f"with {code}")

    async def _ends(self, *codes: int | None, patience: float = PATIENCE) -> None:
        """The server must end the socket, with one of those codes. Raises Gone."""
        self._expected = set(codes)
        await asyncio.wait([self._over], timeout=patience)
        if not self._over.done():
            self._note(Fault.UNCLOSED, f"after {patience:g} s, and should be with {words(codes)}")
            await self._drop()
        raise Gone

    async def _drop(self) -> None:
        """End the socket by an RST; what came until now is what was due."""
        self._talk.end()
        self._has_dropped = True
        self._client.drop()
        await self._over

    # A visit

    async def _visit(self) -> None:
        """Do what chance tells, until the socket is over. Raises Gone."""
        await self._join()
        while not self._crowd.leaving.is_set():
            await self._rest(min(self._random.uniform(0.5, 1.5) * self._plan.pace, self._plan.timeout / 3))
            if self._over.done():
                raise Gone
            if not self._crowd.hushed:
                await self._act()
            if time.monotonic() - self._talk.said_at > self._plan.timeout / 4:
                await self._answered(self._talk.beat())
        await self._part()

    async def _act(self) -> None:
        [act] = self._random.choices(ACTS, WEIGHTS)
        await act(self)
        if not self._talk.topics:  # whoever has left all comes back, as crowds would thin out
            await self._join()

    async def _join(self) -> None:
        topic = self._topic()
        if topic in self._talk.topics or len(self._talk.topics) >= MOST:
            await self._leave()
        elif (answer := await self._answered(self._talk.join(topic))).status != "ok":
            self._note(Fault.REFUSED, f"a join of {topic}: {answer.response}")

    async def _leave(self) -> None:
        if topic := self._joined():
            await self._answered(self._talk.leave(topic))

    async def _say(self) -> None:
        if topic := self._joined():
            for answer in [self._talk.say(topic) for _ in range(self._random.choice((1, 1, 1, 1, 1, 1, 1, 4)))]:
                await self._answered(answer)

    async def _rejoin(self) -> None:
        if topic := self._joined():
            await self._answered(self._talk.leave(topic))
            await self._answered(self._talk.join(topic))

    async def _join_twice(self) -> None:
        """Join a topic that is joined, sometimes twice at once: the last one counts."""
        if topic := self._joined():
            joins = [self._talk.join(topic) for _ in range(self._random.choice((1, 2)))]
            for answer in joins:
                await self._answered(answer)

    async def _say_and_leave(self) -> None:
        if topic := self._joined():
            said, left = self._talk.say(topic), self._talk.leave(topic)
            await self._answered(said)
            await self._answered(left)

    async def _say_and_join_again(self) -> None:
        if topic := self._joined():
            said, joined = self._talk.say(topic), self._talk.join(topic)
            await self._answered(said)
            await self._answered(joined)

    async def _count(self) -> None:
        """Ask a handler that runs in a thread."""
        if (topic := self._joined()) and (await self._answered(self._talk.ask(topic, "count"))).status != "ok":
            self._note(Fault.REFUSED, f"count in {topic}")

    # Ends

    async def _part(self) -> None:
        """Leave all topics and close, politely. Raises Gone."""
        for topic in list(self._talk.topics):
            await self._answered(self._talk.leave(topic))
        await self._until(lambda: not self._talk.unclosed, "phx_close")
        self._client.close()
        await self._ends(1000)

    async def _vanish(self) -> None:
        """End by an RST, sometimes with something just said or asked."""
        last = self._random.choice((self._talk.say, self._talk.leave, self._talk.join, None))
        if last and (topic := self._joined()):
            last(topic)
        await self._drop()
        raise Gone

    async def _fall_silent(self) -> None:
        """Read, and say nothing any more: no heartbeat."""
        await self._ends(CloseCode.SILENT, patience=self._plan.timeout + PATIENCE)

    async def _stop_reading(self) -> None:
        """Be half open: say nothing and read nothing, and see later how it has ended."""
        self._client.pause()
        self._talk.end()
        await self._rest(self._plan.timeout + 3.0)
        self._client.resume()
        # 1011: by uvicorn, whose ping was not answered; None: by an abort, as it could not say goodbye.
        await self._ends(CloseCode.SILENT, CloseCode.SLOW, 1011, None, patience=self._plan.timeout + PATIENCE)

    # Misbehaviour

    async def _misbehave(self) -> None:
        await self._random.choice(MISCHIEF)(self)

    async def _ask_for_the_impossible(self) -> None:
        topic = self._joined() or "soak:1"
        event, there, why = self._random.choice(
            (
                ("phx_join", "nowhere:1", "unmatched topic"),
                ("phx_join", "so ak:1", "unmatched topic"),
                ("new:message", "soak:never", "unmatched topic"),
                ("unheard:of", topic, "unknown event"),
                ("new:message", topic, "bad payload"),
            )
        )
        answer = await self._answered(self._talk.ask(there, event, {"n": "?"}))
        if (answer.status, answer.response.get("reason")) != ("error", why):
            self._note(Fault.REFUSED, f"{event} to {there} was answered {answer}")

    async def _crash(self) -> None:
        """Let the handler raise: the channel ends, and is joined again."""
        if topic := self._joined():
            account = self._talk.topics[topic]
            self._talk.ask(topic, "crash")
            await self._until(lambda: self._talk.topics.get(topic) is not account, "phx_error")
            await self._answered(self._talk.join(topic))

    async def _send_garbage(self) -> None:
        self._client.say(self._random.choice((b"[1,2", b"hello", b'{"topic":"soak:1"}', b"\xf0\x9f\x98\x80")))
        await self._ends(CloseCode.UNDECODABLE)

    async def _send_too_much(self) -> None:
        self._client.say(TOO_BIG)
        await self._ends(CloseCode.BIG)

    async def _break_the_frame(self) -> None:
        self._client.write(frame(TEXT | 0x40, b"a reserved bit"))
        await self._ends(1002)

    async def _knock(self) -> None:
        """Open sockets that come to nothing: a version that nobody speaks, half a request."""
        with contextlib.suppress(OSError, TimeoutError):
            try:
                await Client.to(self._plan.ports[0], lambda data: None, lambda code: None, version="9.9.9")
                self._note(Fault.REFUSED, "the version 9.9.9")
            except Unaccepted as refusal:
                if refusal.status != 403:
                    self._note(Fault.REFUSED, f"the version 9.9.9 was answered {refusal.status}")
            _, knocker = await asyncio.open_connection("127.0.0.1", self._plan.ports[-1])
            knocker.write(handshake(self._plan.ports[-1])[:60])
            knocker.close()

    # private

    def _topic(self) -> str:
        """Most topics are shared by many, some by few, and some are joined once and never again."""
        if self._random.random() < ONCE:
            return f"soak:once-{self._name}-{self._random.getrandbits(32):x}"
        return f"soak:{int(self._plan.topics * self._random.random() ** 1.5)}"

    def _joined(self) -> str | None:
        topics = [topic for topic, account in self._talk.topics.items() if account.ended is None]
        return self._random.choice(topics) if topics else None

    async def _answered(self, answer: asyncio.Future[Answer]) -> Answer:
        """Return the reply. Raises Gone."""
        await asyncio.wait([answer, self._over], timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        if answer.done() and not answer.cancelled():
            return answer.result()
        if not self._over.done():
            self._note(Fault.UNANSWERED, f"after {PATIENCE:g} s")
            await self._drop()
        raise Gone

    async def _until(self, true: Callable[[], bool], event: str) -> None:
        """Wait for an event of the server that makes it true. Raises Gone."""
        deadline = time.monotonic() + PATIENCE
        while not true():
            if self._over.done():
                raise Gone
            if time.monotonic() > deadline:
                self._note(Fault.UNANSWERED, f"no {event} after {PATIENCE:g} s")
                await self._drop()
                raise Gone
            await asyncio.sleep(0.02)

    async def _rest(self, seconds: float) -> None:
        """Sleep, but not when all are to leave."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._crowd.leaving.wait()

    def _note(self, fault: Fault, what: str) -> None:
        self._ledger.faults.note(fault, f"{what}, of {self._name}/{self._sockets}")


def words(codes: Iterable[int | None]) -> str:
    return " or ".join(str(code if code is None else int(code)) for code in codes)


Act = Callable[[Visitor], Awaitable[None]]

MISCHIEF: list[Act] = [
    Visitor._ask_for_the_impossible,
    Visitor._crash,
    Visitor._send_garbage,
    Visitor._send_too_much,
    Visitor._break_the_frame,
    Visitor._knock,
]
CHANCES: dict[Act, float] = {
    Visitor._say: 45,
    Visitor._join: 16,
    Visitor._leave: 8,
    Visitor._rejoin: 5,
    Visitor._join_twice: 4,
    Visitor._say_and_leave: 2,
    Visitor._say_and_join_again: 2,
    Visitor._count: 5,
    Visitor._vanish: 4,
    Visitor._part: 3,
    Visitor._fall_silent: 1,
    Visitor._stop_reading: 1,
    Visitor._misbehave: 4,
}
ACTS, WEIGHTS = list(CHANCES), list(CHANCES.values())
