"""Clients that all lose their server in one moment, and all want it back, in real processes.

The number is that of the table of faults in the reference. There is no history, so there are no reads of it that could
be coalesced: what comes back is connections, joins and who is present.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest

from realtime import Presence
from tests import engines
from tests.faults import nodes
from tests.faults.nodes import Cluster, engine_of_its_own, names_of, until
from tests.faults.storm import Crowd, many_files

COUNT = 2000
ALL = "field:all"
CAMPS = [f"camp:{number}" for number in range(100)]
GRACE = 20.0  # longer than it takes all of them to come back on a busy machine


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[engines.Engine]:
    """One for each test, so that counts are exact."""
    with many_files(), engine_of_its_own(monkeypatch) as engine:
        yield engine


async def hear_once(cluster: Cluster, crowd: Crowd) -> None:
    """Let all hear two messages, each once: what came twice would stand before the second."""
    numbers = tuple(cluster.ledger.publish(ALL) for _ in range(2))
    await crowd.heard(numbers[-1])
    assert crowd.accounts() == {numbers}


async def test_two_thousand_clients_of_a_killed_server_are_let_in_again_and_none_is_put_off() -> None:
    """26"""
    async with Cluster() as cluster:
        [web], _ = await asyncio.gather(cluster.serve("serve"), cluster.lead())
        async with Crowd(web.port, COUNT, lambda number: [ALL]) as crowd:
            await crowd.inside()
            [name] = names_of(web)
            web.kill()
            await until(lambda: crowd.lost == COUNT, "all to be lost")
            await asyncio.to_thread(web.start)
            await crowd.inside()
            assert crowd.answers == {"ok": 2 * COUNT}
            await until(lambda: not any(node.name == name for node in nodes.nodes()), "the dead node to be gone")
            await until(lambda: nodes.members() == {ALL: {web.pid: COUNT}}, "the registry to be true")
            await hear_once(cluster, crowd)
            assert crowd.lost == COUNT


async def test_two_thousand_who_are_cut_off_at_once_come_back_and_nobody_was_away() -> None:
    """26, with presence"""
    async with Cluster(PRESENCE_GRACE=GRACE) as cluster:
        [web] = await cluster.serve("serve")
        async with Crowd(web.port, COUNT, lambda number: [ALL, CAMPS[number % len(CAMPS)]]) as crowd:
            await crowd.inside()
            before = {topic: Presence.list_of(topic) for topic in CAMPS}
            assert Counter(key for entries in before.values() for key in entries) == Counter(crowd.keys)
            crowd.drop()
            await until(lambda: crowd.lost == COUNT, "all to be lost")
            await crowd.inside()
            assert crowd.answers == {"ok": 4 * COUNT}
            each = COUNT // len(CAMPS)
            everywhere = {ALL: {web.pid: COUNT}, **{topic: {web.pid: each} for topic in CAMPS}}
            await until(lambda: nodes.members() == everywhere, "those who were cut off to be gone")
            assert {topic: Presence.list_of(topic) for topic in CAMPS} == before
            assert nodes.fading(*CAMPS) == 0
            assert crowd.went == {}
            await hear_once(cluster, crowd)
            assert crowd.lost == COUNT
