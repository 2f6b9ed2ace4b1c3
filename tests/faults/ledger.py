"""Ledger: what publishers were told is sent, against what clients were given; exact to the message.

A message that the engine took must reach everybody who was joined then, once and in order. Only a client that was told
to join again may miss some: what was sent between the last that it heard before and the reply to its rejoin.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from realtime import broadcast

EVENT = "n"


@dataclass
class Account:
    """What one client was given of one topic, in order: a number is a message, the rest are turns of its channel."""

    client: str
    topic: str
    entries: list[int | Told | Joined] = field(default_factory=list)

    def numbers(self) -> list[int]:
        return [entry for entry in self.entries if isinstance(entry, int)]


@dataclass(frozen=True)
class Told:
    """The client knows that it may have missed something."""


@dataclass(frozen=True)
class Joined:
    """accepted  how many messages of the topic had been taken when the reply was read"""

    accepted: int


@dataclass
class Verdict:
    """Of one account. `silent` and `wrong` must be empty.

    heard   how many came
    missed  numbers that the client knows it may have missed
    silent  numbers that it misses without having been told
    wrong   numbers that came twice, out of order, or were never sent
    """

    heard: int = 0
    missed: list[int] = field(default_factory=list)
    silent: list[int] = field(default_factory=list)
    wrong: list[int] = field(default_factory=list)


class Ledger:
    def __init__(self) -> None:
        self._accepted: dict[str, list[int]] = defaultdict(list)
        self._accounts: dict[tuple[str, str], Account] = {}
        self._last = 0

    # The publisher

    def publish(self, topic: str, fill: str = "") -> int:
        """Broadcast the next number to a topic, from outside of every node, and return it."""
        self._last += 1
        broadcast(topic, EVENT, {"n": self._last, "fill": fill})
        self._accepted[topic].append(self._last)
        return self._last

    def accepted(self, topic: str) -> list[int]:
        return self._accepted[topic]

    # The clients

    def account(self, client: str, topic: str) -> Account:
        return self._accounts.setdefault((client, topic), Account(client, topic))

    def heard(self, client: str, topic: str, number: int) -> None:
        self.account(client, topic).entries.append(number)

    def told(self, client: str, topic: str) -> None:
        self.account(client, topic).entries.append(Told())

    def joined(self, client: str, topic: str) -> None:
        self.account(client, topic).entries.append(Joined(len(self._accepted[topic])))

    # The judge

    def judge(self) -> dict[tuple[str, str], Verdict]:
        """Compare every account with what was accepted."""
        return {place: judge(account, self._accepted[account.topic]) for place, account in self._accounts.items()}

    def settle(self) -> list[Verdict]:
        """Return the verdicts; whoever missed a message in silence, or was given a wrong one, fails the test."""
        verdicts = self.judge()
        faults = {place: verdict for place, verdict in verdicts.items() if verdict.silent or verdict.wrong}
        assert not faults, faults
        for (_, topic), verdict in verdicts.items():
            assert verdict.heard + len(verdict.missed) == len(self._accepted[topic]), (topic, verdict)
        return list(verdicts.values())


def judge(account: Account, accepted: list[int]) -> Verdict:
    """Go through an account in the order in which the client was given it."""
    verdict = Verdict()
    place = {number: index for index, number in enumerate(accepted)}
    due = 0  # index of the message that must come next
    excused = 0  # messages before this index may be missing: the client was told
    is_told = True  # and has not joined since
    for entry in account.entries:
        match entry:
            case Told():
                is_told = True
            case Joined(accepted=before):
                excused, is_told = before, False
            case number if number not in place or place[number] < due:
                verdict.wrong.append(number)
            case number:
                _miss(verdict, accepted, due, place[number], place[number] if is_told else excused)
                due = place[number] + 1
                verdict.heard += 1
    _miss(verdict, accepted, due, len(accepted), len(accepted) if is_told else excused)
    return verdict


def _miss(verdict: Verdict, accepted: list[int], start: int, end: int, excused: int) -> None:
    for index in range(start, end):
        (verdict.missed if index < excused else verdict.silent).append(accepted[index])
