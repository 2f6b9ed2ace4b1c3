"""Wall clocks that jump by an hour, of the engine and of the processes: only due times may take note of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
import websockets

from realtime.engine import embedded
from tests import engines
from tests.e2e.client import Client
from tests.faults.leaders import (
    NODE_LEASE,
    SETTINGS,
    SLACK,
    TAKEOVER,
    Candidate,
    Clock,
    Judge,
    beating,
    candidates,
    elected,
)
from tests.servers import Server, wait_until

HOUR = 3600
MINUTE = 60
LONG_ENOUGH = NODE_LEASE + 1.2  # for a lease to be lost, and for a node to be declared dead by the next leader


@pytest.fixture
def clock(tmp_path: Path) -> Iterator[Clock]:
    with Clock(tmp_path) as clock:
        yield clock


@pytest.fixture
def judge(clock: Clock) -> Iterator[Judge]:
    """An engine of the test's own, whose clock is `clock`; a topic stays empty for two hours."""
    with ExitStack() as stack:
        with clock.preloaded():
            port = engines.port_of_our_own()
            server = stack.enter_context(engines.Server(str(embedded._binary()), port=port))
        wait_until(server.answers, "the server to answer")
        yield stack.enter_context(Judge(f"redis://127.0.0.1:{port}", (2 * HOUR, 2 * HOUR)))


def jump(clock: Clock, judge: Judge, hours: int) -> None:
    """Return when the engine's clock has jumped to so many hours from the true time."""
    clock.shift(hours)
    wait_until(lambda: abs(judge.client.time()[0] - time.time() - hours * HOUR) < MINUTE, "the clock to jump")


def elections(found: list[Candidate]) -> int:
    return sum(len(one.heard("leading")) for one in found)


async def test_when_the_engines_clock_jumps_nobody_is_removed_and_due_times_shift(clock: Clock, judge: Judge) -> None:
    """20: an hour ahead, back again, and back once more while the leader dies."""
    empty, full = [f"empty:{n}" for n in range(50)], [f"full:{n}" for n in range(100)]
    judge.create(empty)
    judge.enter("web:1:a", full)
    with (
        beating(judge, "web:1:a"),
        candidates(2, judge.url, TEST_COLLECT_AFTER=f"{2 * HOUR} {2 * HOUR}") as found,
        Server("uvicorn", DJANGO_SETTINGS_MODULE=SETTINGS, REDIS_URL=judge.url) as server,
    ):
        elected(found)
        async with Client(server.socket_url) as client:
            await client.join("lab:a")
            nodes = judge.nodes()
            assert len(nodes) == 2
            for hours, left in ((1, 1), (0, 2)):
                before = elections(found)
                jump(clock, judge, hours)
                await asyncio.sleep(LONG_ENOUGH)
                assert elections(found) <= before + 1
                due = judge.run(judge.registry.show("empty:0"))
                assert due is not None and due.due is not None
                assert abs(due.due - left * HOUR) < MINUTE
            leader, other = sorted(found, key=lambda one: f":{one.pid}:" not in judge.fence()[1])
            before = elections([other])
            leader.kill()
            jump(clock, judge, -1)
            assert judge.lease_left() > HOUR - MINUTE
            takes_over = lambda: elections([other]) > before  # noqa: E731
            await asyncio.to_thread(wait_until, takes_over, "a new leader", TAKEOVER + SLACK)
            await asyncio.sleep(LONG_ENOUGH)
            assert elections([other]) == before + 1
            await client.send("1", "2", "lab:a", "echo", {})
            assert [frame[3] for frame in client.frames] == ["phx_reply"]
            assert (await client.receive())[1] == "2"  # and nothing before it
            assert judge.nodes() == nodes
            assert judge.topics() == {*empty, *full, "lab:a"}
            assert (judge.collected(), judge.removed()) == (0, 0)
            assert judge.audit() == []


async def test_when_the_clocks_of_a_node_and_of_the_leader_jump_nothing_happens(tmp_path: Path) -> None:
    """21: by an hour, the one ahead and the other back, and then by two hours the other way round."""
    folders = [tmp_path / "node", tmp_path / "leader"]
    for folder in folders:
        folder.mkdir()
    with (
        Clock(folders[0]) as of_node,
        Clock(folders[1]) as of_leader,
        engines.one() as engine,
        Judge(engine.url) as judge,
        Candidate(engine.url, **of_leader.environment) as leader,
        Server("uvicorn", DJANGO_SETTINGS_MODULE=SETTINGS, REDIS_URL=engine.url, **of_node.environment) as server,
    ):
        leader.wait_for("leading")
        with Candidate(engine.url) as standby:
            standby.wait_for("standby")
            async with Client(server.socket_url) as client:
                await client.join("lab:a")
                nodes, fence = judge.nodes(), judge.fence()
                for hours in (1, -1):
                    of_node.shift(hours)
                    of_leader.shift(-hours)
                    await asyncio.sleep(LONG_ENOUGH)
                    assert abs(await date(server) - time.time() - hours * HOUR) < MINUTE
                    at = await asyncio.to_thread(collected_at, leader, judge, f"empty:{hours}")
                    assert abs(at - time.time() + hours * HOUR) < MINUTE, "the leader's clock has not jumped"
                await client.send("1", "2", "lab:a", "echo", {})
                assert (await client.receive())[1] == "2"  # and nothing before it
                assert (judge.nodes(), judge.fence(), judge.term()) == (nodes, fence, fence[0])
                assert judge.removed() == 0
                assert judge.audit() == []
            assert [found["event"] for found in standby.events] == ["standby"]
        assert [found["event"] for found in leader.events] == ["leading", "collected", "collected"]
        assert leader.log == ""


def collected_at(leader: Candidate, judge: Judge, topic: str) -> float:
    """Have a topic collected, and return the time that the leader believes it is."""
    judge.create([topic])
    wait_until(lambda: topic in leader.topics("collected"), "the topic to be collected")
    return float(leader.heard("collected")[-1]["at"])


async def date(server: Server) -> float:
    """Return the time that a server believes it is, as it greets a client."""
    async with websockets.connect(f"{server.socket_url}/websocket?vsn=2.0.0") as socket:
        assert socket.response is not None
        return parsedate_to_datetime(socket.response.headers["date"]).timestamp()
