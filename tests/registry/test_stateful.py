"""Hypothesis looks for an order of events that breaks an invariant, and then for the shortest one."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.registry.world import LEADERS, NODES, TOPICS, World

BUDGET = settings(
    max_examples=180,
    stateful_step_count=50,
    deadline=None,
    derandomize=True,  # the same examples everywhere
    database=None,
    suppress_health_check=list(HealthCheck),
)

nodes = st.sampled_from(NODES)
leaders = st.sampled_from(LEADERS)
topics = st.sampled_from(TOPICS)
listeners = st.integers(1, 9)
limits = st.integers(1, 3)


class Events(RuleBasedStateMachine):
    """What may happen to the world. `client` is given to a subclass by the test."""

    client: Any

    @initialize(partitions=st.sampled_from([1, 2]))
    def begin(self, partitions: int) -> None:
        self.world = World(self.client, partitions=partitions)

    @rule(names=st.lists(topics, min_size=1, max_size=3))
    def create(self, names: list[str]) -> None:
        self.world.create(*names)

    @rule(topic=topics)
    def delete(self, topic: str) -> None:
        self.world.delete(topic)

    @rule(node=nodes, topic=topics, count=listeners)
    def join(self, node: int, topic: str, count: int) -> None:
        self.world.join(node, topic, count)

    @rule(node=nodes, topic=topics)
    def leave(self, node: int, topic: str) -> None:
        self.world.leave(node, topic)

    @rule(node=nodes, count=listeners)
    def report(self, node: int, count: int) -> None:
        self.world.report(node, count)

    @rule(node=nodes, topic=topics)
    def report_unjoined(self, node: int, topic: str) -> None:
        self.world.report_unjoined(node, topic)

    @rule(node=nodes, back=st.integers(0, 5))
    def late(self, node: int, back: int) -> None:
        self.world.late(node, back)

    @rule(node=nodes)
    def beat(self, node: int) -> None:
        self.world.beat(node)

    @rule(node=nodes)
    def retire(self, node: int) -> None:
        self.world.retire(node)

    @rule(leader=leaders)
    def acquire(self, leader: int) -> None:
        self.world.acquire(leader)

    @rule(leader=leaders)
    def resign(self, leader: int) -> None:
        self.world.resign(leader)

    @rule()
    def lose_lease(self) -> None:
        self.world.lose_lease()

    @rule(leader=leaders)
    def share_term(self, leader: int) -> None:
        self.world.share_term(leader)

    @rule(leader=leaders)
    def govern(self, leader: int) -> None:
        self.lead(leader)
        self.world.govern(leader)

    @rule(leader=leaders, limit=limits)
    def collect(self, leader: int, limit: int) -> None:
        self.lead(leader)
        self.world.collect(leader, limit)

    @rule(node=nodes, leader=leaders, limit=st.integers(0, 2))
    def doze(self, node: int, leader: int, limit: int) -> None:
        self.lead(leader)
        self.world.doze(node, leader, limit)

    @rule(leader=leaders, limit=limits)
    def reap(self, leader: int, limit: int) -> None:
        self.lead(leader)
        self.world.reap(leader, limit)

    def lead(self, leader: int) -> None:
        """Let the leader try to become one, or most of its rules would do nothing."""
        if not self.world.leaders[leader].term:
            self.world.acquire(leader)

    @invariant()
    def holds(self) -> None:
        self.world.check()


def test_nothing_that_may_happen_breaks_an_invariant(client: Any) -> None:
    run_state_machine_as_test(type("Events", (Events,), {"client": client}), settings=BUDGET)
