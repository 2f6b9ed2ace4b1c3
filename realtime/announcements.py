"""Announcements: what a topic server has to tell, in words for people and as JSON for programs."""

from __future__ import annotations

import logging
import time

import msgspec

from .engine.election import place

logger = logging.getLogger("realtime.topicserver")


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag=str.lower):
    """Something that happened to a topic server, in words and (msgspec.json.encode) as JSON."""

    at: float = msgspec.field(default_factory=time.time)


class Leading(Event, frozen=True):
    term: int
    holder: str

    def __str__(self) -> str:
        return f"leader, term {self.term}"


class Standby(Event, frozen=True):
    term: int
    holder: str
    since: float

    def __str__(self) -> str:
        return f"standby behind {place(self.holder)}, term {self.term} since {clock(self.since)}"


class Demoted(Event, frozen=True):
    """term  of the leader that has taken over"""

    term: int

    def __str__(self) -> str:
        return f"demoted by term {self.term}"


class Released(Event, frozen=True):
    term: int

    def __str__(self) -> str:
        return f"handed over, term {self.term} is at its end"


class Collected(Event, frozen=True):
    topics: list[str]

    def __str__(self) -> str:
        return f"collected {amount(len(self.topics), 'topic')}"


class Removed(Event, frozen=True):
    """A dead node was taken out of topics. is_over  it holds nothing more"""

    node: str
    topics: list[str]
    is_over: bool

    def __str__(self) -> str:
        rest = "" if self.is_over else ", more to come"
        return f"removed dead node {place(self.node)} from {amount(len(self.topics), 'topic')}{rest}"


class Leaderless(Event, frozen=True):
    seconds: float

    def __str__(self) -> str:
        return (
            f"no topic server for {self.seconds:.0f} s: empty topics and dead nodes stay "
            "until one leads (manage.py topicserver)"
        )


class Waiting(Event, frozen=True):
    reason: str

    def __str__(self) -> str:
        return f"waiting for the engine: {self.reason}"


class Evicts(Event, frozen=True):
    policy: str

    def __str__(self) -> str:
        return (
            f"the engine's maxmemory-policy is {self.policy}: once it is full it drops topics and members of topics. "
            "Set it to noeviction"
        )


def log_event(event: Event) -> None:
    """Write an event to the log: what somebody should see to as a warning."""
    urgent = isinstance(event, Demoted | Leaderless | Evicts | Waiting)
    logger.log(logging.WARNING if urgent else logging.INFO, "%s", event)


def amount(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def clock(seconds: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(seconds))
