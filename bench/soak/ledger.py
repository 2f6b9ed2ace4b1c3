"""Ledger: what was published, against what each client was given; exact to the message.

The engine's own order of a topic is the book, read by a listener of ours that is on no server. Whatever a client hears
between the reply to its join and its leave is one piece of that order, without a hole, and begins no later than with
the first message that was sent after the reply was read. Times come in as numbers, of one clock for all processes of
the machine.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple


class Fault(Enum):
    """A promise that can be broken, as a sentence after the number of times."""

    LOST = "messages did not reach a client that had joined, and it was told of no gap"
    TWICE = "messages came twice"
    DISORDER = "messages came out of the order in which they were published"
    NEVER = "messages came that nobody has published"
    FOREIGN = "messages came for a topic that the client had not joined"
    SKIPPED = "messages were published out of the order in which their sender sent them"
    UNPUBLISHED = "pushes were answered ok, and were not published"
    EARLY = "pushes were answered before the broadcast that their handler made had come"
    UNANSWERED = "joins, pushes, leaves or heartbeats were not answered in time"
    UNASKED = "replies came to nothing that was asked"
    REFUSED = "requests that were in order were refused, or wrong ones were not"
    AFTERWARDS = "frames of a channel came after its end"
    STRAGGLER = "messages came between the reply to a leave, or phx_error, and the end of the channel"
    CLOSED = "sockets of clients that did nothing wrong were closed"
    UNCLOSED = "sockets that had to be closed were not, or with another code"
    UNCONNECTED = "connections were not accepted"


class Faults:
    """counts    how many of each kind
    examples  the first few of them, in words"""

    ENOUGH = 20

    def __init__(self) -> None:
        self.counts: Counter[Fault] = Counter()
        self.examples: list[str] = []

    def note(self, fault: Fault, example: str) -> None:
        self.counts[fault] += 1
        if len(self.examples) < self.ENOUGH:
            self.examples.append(f"{fault.name.lower()}: {example}")


class Said(NamedTuple):
    """sent, taken  when its publisher sent it, and when the engine gave it to us"""

    publisher: str
    number: int
    sent: float
    taken: float


@dataclass(slots=True)
class Order:
    """The messages of one topic, as the engine has published them."""

    topic: str
    said: list[Said] = field(default_factory=list)
    places: dict[tuple[str, int], int] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)  # number of each publisher


class Account:
    """What one client was given of one topic, from the reply to a join on.

    publisher  its name in what it says there itself
    late       seconds after which what has not come is lost
    """

    __slots__ = (
        "_answered",
        "_back",
        "_due",
        "_faults",
        "_heard",
        "_late",
        "_lost",
        "_order",
        "_published",
        "_said",
        "_since",
        "_start",
        "ended",
        "is_told",
        "join_ref",
        "joined",
        "publisher",
    )

    def __init__(
        self, order: Order, faults: Faults, *, publisher: str, join_ref: str, joined: float, late: float
    ) -> None:
        self._order = order
        self._faults = faults
        self._late = late
        self.publisher = publisher
        self.join_ref = join_ref
        self.joined = joined
        self.ended: float | None = None  # nothing that is published from then on is due
        self.is_told = False
        # Numbers of its own messages: the last that was sent, answered, answered ok, and heard.
        self._said = self._answered = self._published = self._back = 0
        self._heard: deque[tuple[str, int, float]] = deque()  # and not yet looked up
        self._start: int | None = None  # place of the first that was heard
        self._due = 0  # place of the next
        self._since = len(order.said)  # what the engine gave us before the reply was read was sent before it, too
        self._lost: set[int] = set()

    # The client

    def say(self) -> int:
        """Return the number of the next message of this client."""
        self._said += 1
        return self._said

    def hear(self, publisher: str, number: int, now: float) -> None:
        self._heard.append((publisher, number, now))
        if publisher == self.publisher:
            self._back = max(self._back, number)

    def answered(self, number: int, *, ok: bool) -> None:
        """Take note of the reply to a push: pushes to one topic are answered in their order."""
        if number != self._answered + 1:
            self._note(Fault.UNASKED, f"the reply to {number} after that to {self._answered}")
        self._answered = number
        if ok:
            self._published = number
        elif not self.is_told:
            self._note(Fault.REFUSED, f"its message {number}")
        if ok and self._back < number:
            self._note(Fault.EARLY, f"its message {number}")

    def end(self, now: float, *, told: bool = False) -> None:
        """Nothing more is due: it leaves, or it was told that it may have missed something."""
        if self.ended is None:
            self.ended = now
        self.is_told = self.is_told or told

    # The judge

    def check(self, now: float) -> None:
        """Look up what was heard, and see what should have come by now."""
        places = self._order.places
        while self._heard:
            publisher, number, heard = self._heard[0]
            place = places.get((publisher, number))
            if place is None and now - heard < self._late:
                return  # the server may have it before us
            self._heard.popleft()
            if place is None:
                self._note(Fault.NEVER, f"{publisher}'s message {number}")
            else:
                self._place(place)
        if not self.is_told:
            self._miss_before((now if self.ended is None else self.ended) - self._late)

    def settle(self, now: float) -> None:
        """Check what is left to check when nothing more can come."""
        self.check(now)
        for number in range(self._order.last.get(self.publisher, 0) + 1, self._published + 1):
            self._note(Fault.UNPUBLISHED, f"its message {number}")

    # private

    def _place(self, place: int) -> None:
        if self._start is None:
            self._miss(self._since, place)
            self._start = place
        elif place < self._due:
            is_late = place in self._lost or place < self._start
            self._note(Fault.DISORDER if is_late else Fault.TWICE, self._words(place))
            self._lost.discard(place)
            return
        else:
            self._miss(self._due, place)
        self._due = place + 1

    def _miss(self, start: int, end: int) -> None:
        """Those places did not come; before the first that did, what was sent before the reply was read is not due."""
        for place in range(start, end):
            if self._start is not None or self._order.said[place].sent > self.joined:
                self._lost.add(place)
                self._note(Fault.LOST, self._words(place))

    def _miss_before(self, time: float) -> None:
        said = self._order.said
        start = end = self._since if self._start is None else self._due
        while end < len(said) and said[end].taken < time:
            end += 1
        self._miss(start, end)
        if self._start is None:
            self._since = end
        else:
            self._due = end

    def _words(self, place: int) -> str:
        said = self._order.said[place]
        return f"{said.publisher}'s message {said.number}"

    def _note(self, fault: Fault, what: str) -> None:
        self._faults.note(fault, f"{what} in {self._order.topic}, for {self.publisher} who joined at {self.joined:.3f}")


class Ledger:
    """The book, and the accounts that are compared with it.

    name    begins the name of each publisher that it gives one to
    late    seconds after which what has not come is lost
    strict  whether a leave's reply must be the last but phx_close. Phoenix does not promise it: a broadcast bears no
            join_ref, goes past the channel's process, and may come between the two
    """

    def __init__(self, name: str, late: float, *, strict: bool = False) -> None:
        self.faults = Faults()
        self.tally: Counter[str] = Counter()  # what was done, to be shown
        self._name = name
        self._late = late
        self._strict = strict
        self._orders: dict[str, Order] = {}
        self._open: set[Account] = set()
        self._closed: deque[tuple[float, Account]] = deque()
        self._accounts = 0

    def published(self, topic: str, publisher: str, number: int, sent: float, now: float) -> None:
        """Take note of what the engine has published."""
        order = self._order(topic)
        last = order.last.get(publisher, 0)
        if number != last + 1:
            self.faults.note(Fault.SKIPPED, f"{publisher}'s message {number} in {topic} after {last}")
        if number > last:
            order.last[publisher] = number
        order.places.setdefault((publisher, number), len(order.said))
        order.said.append(Said(publisher, number, sent, now))

    def open(self, topic: str, join_ref: str, now: float) -> Account:
        """The reply to a join was read."""
        self._accounts += 1
        publisher = f"{self._name}.{self._accounts}"
        account = Account(
            self._order(topic), self.faults, publisher=publisher, join_ref=join_ref, joined=now, late=self._late
        )
        self._open.add(account)
        return account

    def close(self, account: Account, now: float) -> None:
        """Nothing can come any more; it is settled once the book is complete, too."""
        account.end(now)
        self._open.discard(account)
        self._closed.append((now, account))

    def straggled(self, what: str) -> None:
        """A message came after the reply to a leave, or after phx_error."""
        self.tally["stragglers"] += 1
        if self._strict:
            self.faults.note(Fault.STRAGGLER, what)

    def look(self, now: float) -> None:
        """Check the open accounts, and settle the closed ones whose time has come."""
        for account in self._open:
            account.check(now)
        while self._closed and self._closed[0][0] < now - self._late:
            self._closed.popleft()[1].settle(now)

    @property
    def joined(self) -> int:
        return len(self._open)

    @property
    def is_settled(self) -> bool:
        return not self._open and not self._closed

    def _order(self, topic: str) -> Order:
        if (order := self._orders.get(topic)) is None:
            order = self._orders[topic] = Order(topic)
        return order
