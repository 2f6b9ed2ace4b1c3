"""A crowd of sockets that lose their server all at once, and come back as browsers do.

async with Crowd(port, 2000, topics) as crowd:
    await crowd.inside()
    crowd.drop()
    await crowd.inside()
"""

from __future__ import annotations

import asyncio
import itertools
import json
import resource
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from types import TracebackType

from bench.soak.client import Client, Unaccepted
from tests.faults.ledger import EVENT
from tests.faults.nodes import until

TIMEOUT = 10.0  # of a connection and of a join, in phoenix.js and in ours
STABLE = 5.0  # seconds after which ours takes a connection for one that lasts
FILES = 10_000

Wait = Callable[[int, Random], float]


def as_ours(tries: int, random: Random) -> float:
    """Return the seconds before a try, 1 being the first. Source: static/realtime/backoff.js."""
    return random.uniform(0.05, min(10.0, 0.5 * 2 ** (tries - 1)))


def as_phoenix(tries: int, random: Random) -> float:
    """The same of phoenix.js, which knows no jitter. Source: phoenix 1.8.16, assets/js/phoenix/socket.js."""
    waits = (0.01, 0.05, 0.1, 0.15, 0.2, 0.25, 0.5, 1.0, 2.0)
    return waits[tries - 1] if tries <= len(waits) else 5.0


@contextmanager
def many_files() -> Iterator[None]:
    """Let this process, and those that it starts, hold as many sockets as the crowd has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Crowd:
    """Clients of one server, half of them as phoenix.js is and half as ours; each joins the topics that it is given.

    topics_of  number of a client -> its topics
    answers    how often joins were answered "ok", or a reason; "timeout" where no answer came in time
    lost       how many connections ended
    went       key -> how often a diff said that it has left
    """

    def __init__(self, port: int, count: int, topics_of: Callable[[int], list[str]]) -> None:
        self.port = port
        self.answers: Counter[str] = Counter()
        self.lost = 0
        self.went: Counter[str] = Counter()
        waits = itertools.cycle((as_ours, as_phoenix))
        self._visitors = [Visitor(self, number, topics_of(number), next(waits)) for number in range(count)]
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Crowd:
        self._tasks = [asyncio.create_task(visitor.stay()) for visitor in self._visitors]
        return self

    async def __aexit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for task in self._tasks:
            task.cancel()
        ends = await asyncio.gather(*self._tasks, return_exceptions=True)
        if failures := [end for end in ends if not isinstance(end, asyncio.CancelledError)]:
            raise AssertionError(f"{len(failures)} clients failed, the first with {failures[0]!r}")

    @property
    def keys(self) -> list[str]:
        return [visitor.key for visitor in self._visitors]

    async def inside(self) -> None:
        """Return when each of them has been answered for all of its topics."""
        await until(lambda: all(visitor.is_inside for visitor in self._visitors), "all to be let in")

    def drop(self) -> None:
        """Cut every connection off, without a word."""
        for visitor in self._visitors:
            visitor.drop()

    async def heard(self, number: int) -> None:
        """Return when each has heard it, as the last so far."""
        await until(lambda: all(visitor.heard[-1:] == [number] for visitor in self._visitors), "all to hear it")

    def accounts(self) -> set[tuple[int, ...]]:
        """Return what the clients have heard, in order: one account where all have heard the same."""
        return {tuple(visitor.heard) for visitor in self._visitors}


class Visitor:
    """One of the crowd."""

    def __init__(self, crowd: Crowd, number: int, topics: list[str], wait: Wait) -> None:
        self.key = f"visitor-{number}"
        self.heard: list[int] = []
        self.is_inside = False
        self._crowd = crowd
        self._topics = topics
        self._wait = wait
        self._random = Random(number)
        self._client: Client | None = None
        self._joining: dict[str, asyncio.Future[str]] = {}
        self._gone = asyncio.Event()

    def drop(self) -> None:
        if self._client is not None:
            self._client.drop()

    async def stay(self) -> None:
        """Connect and join, again and again, until cancelled."""
        time = asyncio.get_running_loop().time
        tries = 0
        try:
            while True:
                began = time()
                try:
                    await self._visit()
                except (OSError, Unaccepted, TimeoutError):
                    pass
                else:
                    is_stable = self._wait is as_phoenix or time() - began > STABLE
                    tries = 0 if is_stable else tries
                tries += 1
                await asyncio.sleep(self._wait(tries, self._random))
        finally:
            self.drop()

    async def _visit(self) -> None:
        """Return when the connection is lost. Raises OSError, Unaccepted, TimeoutError when there was none."""
        self._gone.clear()
        async with asyncio.timeout(TIMEOUT):
            client = await Client.to(self._crowd.port, self._hear, self._left)
        self._joining = {topic: asyncio.get_running_loop().create_future() for topic in self._topics}
        self._client = client
        for topic in self._topics:
            client.say(json.dumps(["1", "1", topic, "phx_join", {"keys": [self.key]}]).encode())
        try:
            async with asyncio.timeout(TIMEOUT):
                for answer in list(self._joining.values()):
                    self._crowd.answers[await answer] += 1
            self.is_inside = True
        except TimeoutError:
            self._crowd.answers["timeout"] += 1
        await self._gone.wait()

    def _hear(self, data: bytes) -> None:
        _, _, topic, event, payload = json.loads(data)
        if event == "phx_reply" and (answer := self._joining.pop(topic, None)):
            answer.set_result(payload["response"].get("reason", payload["status"]))
        elif event == "presence_diff":
            self._crowd.went.update(payload["leaves"].keys())
        elif event == EVENT:
            self.heard.append(payload["n"])

    def _left(self, code: int | None) -> None:
        self._client = None
        self.is_inside = False
        self._crowd.lost += 1
        self._gone.set()
