"""Web nodes and leaders as processes, guests on them, and the registry read back to judge both.

async with Cluster() as cluster:
    here, there = await cluster.serve("uvicorn", "daphne")
    guests = await cluster.guests(here, 20)
    await cluster.lead()
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
import websockets

from realtime import conf, topics
from realtime.engine import election
from realtime.engine.client import sync_client
from realtime.engine.registry import Listed
from tests import engines
from tests.faults.ledger import EVENT, Ledger
from tests.servers import ROOT, Server

PATIENCE = 30.0  # for what must come to pass by itself
PROMISE = 6.0  # seconds within which a join is answered, whatever has become of the engine
BEFORE_RETRY = 0.2  # before a join that was refused is tried again
SETTINGS = "tests.faults.node_settings"


async def until(true: Callable[[], Any], what: str, patience: float = PATIENCE) -> None:
    deadline = time.monotonic() + patience
    while not true():
        assert time.monotonic() < deadline, f"waited {patience:g} s for {what}"
        await asyncio.sleep(0.05)


@contextmanager
def engine_of_its_own(patch: pytest.MonkeyPatch, **options: Any) -> Iterator[engines.Engine]:
    """An engine for one test, which the verbs of this process and every process that it starts use."""
    with engines.one(**options) as engine:
        patch.setenv("REDIS_URL", engine.url)
        conf.engine.cache_clear()
        try:
            yield engine
        finally:
            sync_client(conf.engine()).close()
            conf.engine.cache_clear()


# Processes


class Web(Server):
    """A web node."""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def pause(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self.resume()  # or it would not hear that it is to end
        super().close()

    def files(self) -> int:
        """Return how many files and connections its process has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))


class TopicServer:
    """manage.py topicserver in a process of its own, and what it tells."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self._output = tempfile.TemporaryFile("a+b")  # noqa: SIM115  closed by close
        self._process = subprocess.Popen(
            [sys.executable, "manage.py", "topicserver", *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
        )

    @property
    def output(self) -> str:
        return os.pread(self._output.fileno(), 2**26, 0).decode(errors="replace")

    def told(self, event: str) -> list[dict[str, Any]]:
        """Return the events of one kind; only with --json."""
        lines = self.output.splitlines(keepends=True)
        found = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}\n")]
        return [each for each in found if each["event"] == event]

    @property
    def leads(self) -> bool:
        leader = topics.ask(election.leader(conf.keys()))
        return leader is not None and int(leader.holder.split(":")[1]) == self._process.pid

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        finally:
            self.kill()
            print(self.output)
            self._output.close()


class Cluster:
    """The processes and sockets of one test, on the engine of this process; all of them end with it."""

    def __init__(self, **settings: Any) -> None:
        self.ledger = Ledger()
        self._settings = settings
        self._sockets = AsyncExitStack()
        self._processes: list[Web | TopicServer] = []
        self._names = itertools.count(1)

    async def __aenter__(self) -> Cluster:
        return self

    async def __aexit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._sockets.aclose()
        closing = (asyncio.to_thread(process.close) for process in self._processes)
        for failure in await asyncio.gather(*closing, return_exceptions=True):
            if failure is not None:
                raise failure

    async def serve(self, *kinds: str, url: str = "") -> list[Web]:
        """Start web nodes side by side. url  of the engine, where they reach it by a proxy"""
        environment = self._environment(**({"REDIS_URL": url} if url else {}))
        made = [Web(kind, **environment) for kind in kinds]
        self._processes += made
        await asyncio.gather(*(asyncio.to_thread(web.start) for web in made))
        return made

    async def lead(self) -> TopicServer:
        """Start a topic server, and return when it leads."""
        server = self.topic_server("--json")
        await until(lambda: server.leads, "the topic server to lead")
        return server

    def topic_server(self, *arguments: str) -> TopicServer:
        server = TopicServer(*arguments, **self._environment())
        self._processes.append(server)
        return server

    async def guests(self, web: Web, count: int) -> list[Guest]:
        made = [Guest(f"guest-{next(self._names)}", web, self.ledger) for _ in range(count)]
        for guest in made:
            await self._sockets.enter_async_context(guest)
        return made

    def _environment(self, **more: str) -> dict[str, str]:
        return {"DJANGO_SETTINGS_MODULE": SETTINGS, "NODE_SETTINGS": json.dumps(self._settings), **more}


# Sockets


class Guest:
    """One socket that does as phoenix.js does: it joins again whatever it was told to, until it is let in.

    joined  topic -> ref of the join that opened it
    told    topic -> how often an error ended it
    closed  the code that the server has closed it with
    keys    whom it tracks where channels have presence
    came, went  topic -> key -> how often a diff said so
    """

    def __init__(self, name: str, web: Web, ledger: Ledger) -> None:
        self.name = name
        self.web = web
        self.keys: list[str] = []
        self.came: dict[str, Counter[str]] = {}
        self.went: dict[str, Counter[str]] = {}
        self.joined: dict[str, str] = {}
        self.told: Counter[str] = Counter()
        self.reasons: set[str] = set()
        self.closed: int | None = None
        self._ledger = ledger
        self._refs = map(str, itertools.count(1))
        self._joining: dict[str, str] = {}  # ref -> topic
        self._replies: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Guest:
        self._socket = await websockets.connect(
            f"{self.web.socket_url}/websocket?vsn=2.0.0", max_queue=None, ping_interval=None, compression=None
        )
        self._spawn(self._listen())
        return self

    async def __aexit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._socket.transport.abort()  # the server may sleep, and never answer a close

    async def join(self, topic: str) -> dict[str, Any]:
        """Ask once, and return the reply: status and response."""
        ref = next(self._refs)
        self._joining[ref] = topic
        return await self._ask(ref, ref, topic, "phx_join", {"keys": self.keys})

    async def enter(self, *names: str) -> None:
        """Join topics, a few at a time; all of them let it in."""
        for start in range(0, len(names), 10):
            replies = await asyncio.gather(*map(self.join, names[start : start + 10]))
            assert {reply["status"] for reply in replies} == {"ok"}, replies

    def insist(self, *names: str) -> None:
        """Ask for topics until it is let in, as phoenix.js does."""
        for topic in names:
            self._spawn(self._rejoin(topic))

    async def leave(self, topic: str) -> None:
        reply = await self._ask(self.joined[topic], next(self._refs), topic, "phx_leave", {})
        assert reply["status"] == "ok", reply
        del self.joined[topic]

    async def push(self, topic: str, event: str, payload: Any = None) -> dict[str, Any]:
        return await self._ask(self.joined[topic], next(self._refs), topic, event, payload or {})

    async def heartbeat(self) -> None:
        """Return when the server has answered."""
        reply = await self._ask(None, next(self._refs), "phoenix", "heartbeat", {})
        assert reply["status"] == "ok", reply

    def lose(self) -> None:
        """End the connection without a word."""
        self._socket.transport.abort()

    def heard(self, topic: str) -> list[int]:
        return self._ledger.account(self.name, topic).numbers()

    # private

    async def _ask(self, join_ref: str | None, ref: str, *rest: Any) -> dict[str, Any]:
        answered = self._replies[ref] = asyncio.get_running_loop().create_future()
        await self._socket.send(json.dumps([join_ref, ref, *rest]))
        return await asyncio.wait_for(answered, PATIENCE)

    async def _listen(self) -> None:
        try:
            async for frame in self._socket:
                self._take(*json.loads(frame))
        finally:
            self.closed = self._socket.close_code
            self.joined.clear()

    def _take(self, join_ref: str | None, ref: str | None, topic: str, event: str, payload: Any) -> None:
        match event:
            case "phx_reply":
                assert ref is not None
                if ref in self._joining and self._joining.pop(ref) and payload["status"] == "ok":
                    self.joined[topic] = ref
                    self._ledger.joined(self.name, topic)
                if not (answered := self._replies.pop(ref)).done():
                    answered.set_result(payload)
            case "phx_error" if self.joined.get(topic) == join_ref:
                self.told[topic] += 1
                self.reasons.add(payload["reason"])
                self._ledger.told(self.name, topic)
                del self.joined[topic]
                self.insist(topic)
            case "presence_diff":
                self.came.setdefault(topic, Counter()).update(_sizes(payload["joins"]))
                self.went.setdefault(topic, Counter()).update(_sizes(payload["leaves"]))
            case _ if event == EVENT:
                self._ledger.heard(self.name, topic, payload["n"])

    async def _rejoin(self, topic: str) -> None:
        while (await self.join(topic))["status"] != "ok":
            await asyncio.sleep(BEFORE_RETRY)

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _sizes(entries: dict[str, Any]) -> dict[str, int]:
    return {key: len(entry["metas"]) for key, entry in entries.items()}


async def answers(joins: Iterable[Awaitable[dict[str, Any]]]) -> set[str]:
    """Return "ok" or the reasons of the joins, which are answered in the time that is promised."""
    async with asyncio.timeout(PROMISE):
        replies = await asyncio.gather(*joins)
    return {reply["response"].get("reason", reply["status"]) for reply in replies}


# The registry, read back


def nodes() -> list[Listed]:
    [partition] = conf.keys().partitions()
    return topics.ask(conf.registry().nodes(partition))


def names_of(web: Web) -> list[str]:
    """Return the names under which the registry knows a node."""
    return [node.name for node in nodes() if process(node.name) == web.pid]


def process(name: str) -> int:
    return int(name.split(":")[1])


def removed() -> int:
    """Return how many members of dead nodes were removed, by the engine's own count."""
    [partition] = conf.keys().partitions()
    return topics.ask(conf.registry().ledger(partition))["removed"]


def held(name: str) -> int:
    """Return how many topics the registry lists for a node, dead or alive."""
    [partition] = conf.keys().partitions()
    return int(sync_client(conf.engine()).scard(partition.held(name)))


def fading(*names: str) -> int:
    """Return how many entries of presence in these topics the engine keeps for those whose grace runs."""
    client, keys = sync_client(conf.engine()), conf.keys()
    return sum(client.zcard(keys.of(name).fading(name)) for name in names)


def members() -> dict[str, dict[int, int]]:
    """Return topic -> pid of a node -> how many listen there, of every topic that somebody is in."""
    found = {}
    for topic in topics.list(limit=100_000):
        listeners = topics.subscribers(topic).nodes
        if listeners:
            assert len({process(name) for name in listeners}) == len(listeners), f"two names of a node in {topic}"
            found[topic] = {process(name): count for name, count in listeners.items()}
    return found


def sockets(guests: Iterable[Guest]) -> dict[str, dict[int, int]]:
    """Return the same as `members`, as the sockets know it."""
    found: dict[str, Counter[int]] = {}
    for guest in guests:
        for topic in guest.joined:
            found.setdefault(topic, Counter())[guest.web.pid] += 1
    return {topic: dict(counts) for topic, counts in found.items()}


async def agreement(guests: Iterable[Guest], *, joined: int, others: Iterable[Guest] = ()) -> None:
    """Wait until each guest has `joined` topics and the registry says of all what is true: no ghost, nobody missing.

    And each node has one name, which is alive.
    """
    guests = list(guests)
    await until(lambda: all(len(guest.joined) == joined for guest in guests), "the guests to be let in again")
    guests += others
    with contextlib.suppress(AssertionError):
        await until(lambda: members() == sockets(guests) and _one_name_each(guests), "the registry to be true")
    assert members() == sockets(guests)
    assert _one_name_each(guests), nodes()


def _one_name_each(guests: list[Guest]) -> bool:
    pids = sorted(process(node.name) for node in nodes() if node.seen >= 0)
    return len(pids) == len(nodes()) and pids == sorted({guest.web.pid for guest in guests})


async def settled(cluster: Cluster, guests: Iterable[Guest]) -> None:
    """Publish to every topic until its last message is heard by all, then let the ledger be settled.

    More than once: a client may yet be told of the gap that the first fell into.
    """
    guests = list(guests)
    deadline = time.monotonic() + PATIENCE
    while not await _heard_by_all(guests, {topic: cluster.ledger.publish(topic) for topic in sockets(guests)}):
        assert time.monotonic() < deadline, "the guests do not hear what is published"
    cluster.ledger.settle()


async def _heard_by_all(guests: list[Guest], last: dict[str, int]) -> bool:
    try:
        await until(
            lambda: all(guest.heard(topic)[-1:] == [last[topic]] for guest in guests for topic in guest.joined),
            "the last message",
            1.0,
        )
    except AssertionError:
        return False
    return True
