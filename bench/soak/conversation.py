"""Conversation: what a client says over one socket in Phoenix Channels V2, what it hears, and what it was promised."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

import msgspec

from bench.soak.ledger import Account, Fault, Ledger
from bench.soak.plan import SAY, Words
from realtime.protocol.messages import CLOSE, ERROR, HEARTBEAT, JOIN, LEAVE, REPLY, RESERVED_TOPIC


class Envelope(msgspec.Struct, array_like=True, gc=False):
    join_ref: str | None
    ref: str | None
    topic: str
    event: str
    payload: msgspec.Raw


class Answer(msgspec.Struct):
    status: str
    response: dict[str, Any]


_envelope = msgspec.json.Decoder(Envelope)
_words = msgspec.json.Decoder(Words)
_answer = msgspec.json.Decoder(Answer)
_encode = msgspec.json.encode


@dataclass(slots=True)
class Question:
    """What waits for a reply. number  of a message; 0 of anything else"""

    topic: str
    event: str
    answer: asyncio.Future[Answer]
    account: Account | None = None
    number: int = 0


class Conversation:
    """name  of the client
    send  takes each frame that it says
    """

    def __init__(
        self, name: str, ledger: Ledger, send: Callable[[bytes], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self.topics: dict[str, Account] = {}  # joined, or being left
        self.said_at = clock()
        self._ledger = ledger
        self._send = send
        self._clock = clock
        self._refs = map(str, count(1))
        self._questions: dict[str, Question] = {}
        self._closing: set[str] = set()  # join_refs whose phx_close is due, and nothing else
        self._ending: dict[str, Account] = {}  # topics that were left, until phx_close, or crashed, until the next join
        self._is_over = False

    # Saying

    def join(self, topic: str) -> asyncio.Future[Answer]:
        """Join, or join again: then nothing is due to the old channel from now on."""
        if topic in self.topics:
            self.topics[topic].end(self._clock())
        ref = next(self._refs)
        return self._ask(Question(topic, JOIN, _future()), ref, ref, {})

    def leave(self, topic: str) -> asyncio.Future[Answer]:
        account = self.topics[topic]
        account.end(self._clock())
        return self._ask(Question(topic, LEAVE, _future(), account), account.join_ref, next(self._refs), {})

    def say(self, topic: str) -> asyncio.Future[Answer]:
        """Say the next message in a topic that is joined."""
        account = self.topics[topic]
        number = account.say()
        words = Words(account.publisher, number, self._clock())
        question = Question(topic, SAY, _future(), account, number)
        return self._ask(question, account.join_ref, next(self._refs), words)

    def ask(self, topic: str, event: str, payload: Any = None) -> asyncio.Future[Answer]:
        """Send any event anywhere."""
        account = self.topics.get(topic)
        join_ref = account.join_ref if account else None
        return self._ask(Question(topic, event, _future()), join_ref, next(self._refs), payload or {})

    def beat(self) -> asyncio.Future[Answer]:
        return self.ask(RESERVED_TOPIC, HEARTBEAT)

    # Hearing

    def hear(self, data: bytes) -> None:
        """Take a frame of the server."""
        frame = _envelope.decode(data)
        if frame.join_ref in self._closing and frame.event != CLOSE:
            self._note(Fault.AFTERWARDS, f"{frame.event} of {frame.join_ref} in {frame.topic}")
        elif frame.event == REPLY:
            self._hear_reply(frame)
        elif frame.event == CLOSE:
            self._hear_close(frame)
        elif frame.event == ERROR:
            self._hear_error(frame)
        else:
            self._hear_broadcast(frame)

    def over(self) -> None:
        """The socket is gone: what was asked is not answered any more."""
        self._is_over = True
        now = self._clock()
        for account in (*self.topics.values(), *self._ending.values()):
            self._ledger.close(account, now)
        self.topics.clear()
        self._ending.clear()
        for question in self._questions.values():
            question.answer.cancel()
        self._questions.clear()

    def end(self) -> None:
        """Nothing is due from now on: it hears no more, or is about to end."""
        for account in self.topics.values():
            account.end(self._clock())

    @property
    def unclosed(self) -> set[str]:
        """The join_refs of channels that were left, and whose phx_close has not come."""
        return self._closing

    # private

    def _ask(self, question: Question, join_ref: str | None, ref: str, payload: Any) -> asyncio.Future[Answer]:
        if self._is_over:
            question.answer.cancel()
            return question.answer
        self._questions[ref] = question
        self.said_at = self._clock()
        self._send(_encode((join_ref, ref, question.topic, question.event, payload)))
        return question.answer

    def _hear_broadcast(self, frame: Envelope) -> None:
        words = _words.decode(frame.payload)
        if (account := self.topics.get(frame.topic)) is None:
            what = f"{words.publisher}'s message {words.number} in {frame.topic}"
            if (account := self._ending.get(frame.topic)) is None:
                self._note(Fault.FOREIGN, what)
                return
            self._ledger.straggled(f"{what}, for {self.name}")
        account.hear(words.publisher, words.number, self._clock())
        self._ledger.tally["heard"] += 1

    def _hear_reply(self, frame: Envelope) -> None:
        question = self._questions.pop(frame.ref or "", None)
        if question is None:
            self._note(Fault.UNASKED, f"{frame.ref} in {frame.topic}")
            return
        answer = _answer.decode(frame.payload)
        if question.event == JOIN and answer.status == "ok":
            self._joined(frame)
        elif question.event == LEAVE and question.account:
            self._left(question.topic, question.account)
        elif question.account:
            question.account.answered(question.number, ok=answer.status == "ok")
            self._ledger.tally["said"] += 1
        if not question.answer.done():
            question.answer.set_result(answer)

    def _joined(self, frame: Envelope) -> None:
        assert frame.join_ref is not None
        old = self.topics.get(frame.topic)
        if old is not None:
            self._left(frame.topic, old)
        self._forget(frame.topic)
        self.topics[frame.topic] = self._ledger.open(frame.topic, frame.join_ref, self._clock())
        self._ledger.tally["joins"] += 1

    def _left(self, topic: str, account: Account) -> None:
        if self.topics.get(topic) is account:
            self._ending[topic] = self.topics.pop(topic)
            self._closing.add(account.join_ref)

    def _forget(self, topic: str) -> None:
        """Nothing may come any more for the channel that has ended."""
        if account := self._ending.pop(topic, None):
            self._ledger.close(account, self._clock())

    def _hear_close(self, frame: Envelope) -> None:
        if frame.join_ref not in self._closing:
            self._note(Fault.AFTERWARDS, f"phx_close of {frame.join_ref} in {frame.topic}")
            return
        self._closing.discard(frame.join_ref)
        self._forget(frame.topic)

    def _hear_error(self, frame: Envelope) -> None:
        account = self.topics.get(frame.topic)
        if account is None or account.join_ref != frame.join_ref:
            self._note(Fault.AFTERWARDS, f"phx_error of {frame.join_ref} in {frame.topic}")
            return
        self._ledger.tally["crashes" if b"channel_crash" in bytes(frame.payload) else "gaps"] += 1
        account.end(self._clock(), told=True)
        self._ending[frame.topic] = self.topics.pop(frame.topic)

    def _note(self, fault: Fault, what: str) -> None:
        self._ledger.faults.note(fault, f"{what}, for {self.name}")


def _future() -> asyncio.Future[Answer]:
    return asyncio.get_running_loop().create_future()
