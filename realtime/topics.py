"""The verbs for topics: what there is in the cluster, from any process of it.

    from realtime import topics
    topics.create("rooms:42"); topics.count(); topics.list(prefix="rooms:"); topics.subscribers("rooms:lobby")

Each has an async twin: acreate, aexists, acount, alist, asubscribers, adelete. All raise EngineUnavailable when the
engine is away, Misconfigured when none is set, and InvalidTopic for a name that no topic can have.
"""

from __future__ import annotations

import asyncio
import builtins
import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from . import conf
from .engine import election
from .engine.client import sync_client, translated
from .engine.election import Leader
from .engine.registry import Found, Listed, merged
from .engine.scripts import Call
from .exceptions import InvalidTopic, TopicInUse
from .payloads import checked_topic

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Subscribers:
    """Who listens to a topic.

    count  of sockets that have joined, in the whole cluster; the last joins and leaves may take a moment to show
    nodes  "web1:4242:9f3ac0de" -> how many of them are connected there
    """

    count: int
    nodes: Mapping[str, int]


def create(*names: str) -> int:
    """Create topics, and return how many are new; a join creates its topic by itself.

    One that nobody listens to is collected after a time (REALTIME["COLLECT_AFTER"]), which begins anew when it is
    created again. Raises EngineFull when the engine has no room.
    """
    return sum(ask(call) for call in conf.registry().create([checked_topic(name) for name in names]))


def exists(topic: str) -> bool:
    """Return whether there is such a topic."""
    return ask(conf.registry().exists(checked_topic(topic)))


def count(prefix: str = "") -> int:
    """Return how many topics there are, or how many begin with `prefix`."""
    _check_text(prefix)
    return sum(ask(call) for call in conf.registry().count(prefix))


def list(prefix: str = "", limit: int = 1000, after: str = "") -> builtins.list[str]:
    """Return the first topics in the order of their names; `after` the last of them comes the next page."""
    _check_text(prefix + after)
    if limit < 1:
        return []
    pages = [ask(call) for call in conf.registry().page(prefix, after, limit)]
    return builtins.list(heapq.merge(*pages, key=str.encode))[:limit]


def subscribers(topic: str) -> Subscribers:
    """Return who listens to a topic; nobody to one that does not exist."""
    found = show(topic)
    nodes = found.nodes if found else {}
    return Subscribers(sum(nodes.values()), nodes)


def delete(topic: str) -> bool:
    """Delete a topic with all its records, and return whether there was one. Raises TopicInUse if somebody listens."""
    gone = ask(conf.registry().delete(checked_topic(topic)))
    if gone < 0:
        raise TopicInUse(f"{topic!r} is not deleted, because somebody listens: see topics.subscribers({topic!r})")
    return bool(gone)


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidTopic(f"no topic begins with {text!r:.80}, which is not UTF-8") from error


# For manage.py topics


def show(topic: str) -> Found | None:
    """Return what is known of a topic, or None if there is none of that name."""
    return ask(conf.registry().show(checked_topic(topic)))


def nodes() -> builtins.list[Listed]:
    """Return the nodes of the cluster, the dead among them as long as they are in topics."""
    registry = conf.registry()
    found = [ask(registry.nodes(partition)) for partition in registry.keys.partitions()]
    return merged(found)


def leader() -> Leader | None:
    """Return who collects topics now."""
    return ask(election.leader(conf.keys()))


def ask(call: Call[T]) -> T:
    """Run a call on the project's engine, from any process and thread. Raises EngineUnavailable."""
    with translated():
        return call.run(sync_client(conf.engine()))


# The async twins, which do not block the loop


async def acreate(*names: str) -> int:
    """Create topics; see `create`."""
    return await asyncio.to_thread(create, *names)


async def aexists(topic: str) -> bool:
    """Return whether there is such a topic."""
    return await asyncio.to_thread(exists, topic)


async def acount(prefix: str = "") -> int:
    """Return how many topics there are, or how many begin with `prefix`."""
    return await asyncio.to_thread(count, prefix)


async def alist(prefix: str = "", limit: int = 1000, after: str = "") -> builtins.list[str]:
    """Return the first topics in the order of their names; see `list`."""
    return await asyncio.to_thread(list, prefix, limit, after)


async def asubscribers(topic: str) -> Subscribers:
    """Return who listens to a topic; see `subscribers`."""
    return await asyncio.to_thread(subscribers, topic)


async def adelete(topic: str) -> bool:
    """Delete a topic; see `delete`."""
    return await asyncio.to_thread(delete, topic)
