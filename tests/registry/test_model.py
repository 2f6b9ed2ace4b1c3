"""Every order of events there is, in a model: two leaders, two nodes, one topic, and whole scripts as steps.

The model has no engine and no clock, so it is small enough to be walked through completely. Leases end and nodes are
declared dead at any moment, whether there is a reason or not: nothing here rests on timing. It shows that our design
keeps its invariants whatever happens, and, variant by variant, what each part of the design is there for: without
it, the shortest way into trouble is found.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import pytest

NAMES = 2  # that one node takes in one story

UNKNOWN, ALIVE, DEAD = "unknown", "alive", "dead"


@dataclass(frozen=True)
class Design:
    """has_lanes  a node's next command on a topic waits for the answer to the one before
    has_ops       a command that was overtaken by a later one of its node is known as such
    """

    is_collected_at_once: bool = True
    has_fence: bool = True
    asks_for_the_node: bool = True
    has_lanes: bool = True
    has_ops: bool = True
    terms: int = 2  # granted in one story


class Command(NamedTuple):
    """On its way to the engine. A join that arrives before it has overtaken it."""

    kind: str
    name: int
    is_overtaken: bool = False


class Node(NamedTuple):
    """name     0, and 1 once it was told that 0 is dead
    listens  whether somebody listens at it
    flight   its commands on their way, in the order of their numbers
    """

    name: int = 0
    listens: bool = False
    flight: tuple[Command, ...] = ()


class Leader(NamedTuple):
    """has_looked  that it has found the topic empty, and is about to delete it"""

    term: int = 0
    has_looked: bool = False


class State(NamedTuple):
    """known   of each node, what the engine knows of each of its names
    members  (node, name)
    acted    the highest term that has acted: what the fence keeps
    """

    nodes: tuple[Node, ...] = (Node(), Node())
    known: tuple[tuple[str, ...], ...] = ((ALIVE, UNKNOWN), (ALIVE, UNKNOWN))
    members: frozenset[tuple[int, int]] = frozenset()
    exists: bool = False
    due: bool = False
    leaders: tuple[Leader, ...] = (Leader(), Leader())
    is_leased: bool = False
    term: int = 0
    acted: int = 0
    broken: str = ""


Step = tuple[str, State]


def put(values: tuple, place: int, value: object) -> tuple:
    return (*values[:place], value, *values[place + 1 :])


def node_steps(design: Design, state: State, number: int) -> Iterator[Step]:
    node = state.nodes[number]

    def became(**changes: object) -> tuple[Node, ...]:
        return put(state.nodes, number, node._replace(**changes))

    is_free = not node.flight or (not design.has_lanes and len(node.flight) < 2)
    if is_free:
        kind = "leave" if node.listens else "join"
        flight = (*node.flight, Command(kind, node.name))
        yield f"node {number} sends {kind}", state._replace(nodes=became(listens=not node.listens, flight=flight))
    for place, command in enumerate(node.flight):
        yield f"node {number}'s {command.kind} arrives", arrive(design, state, number, place)
    is_told = state.known[number][node.name] != ALIVE
    if is_told and not node.flight and node.name + 1 < NAMES:  # a beat, or a join, is answered "dead"
        known = put(state.known[number], node.name + 1, ALIVE)
        flight = (Command("join", node.name + 1),) if node.listens else ()
        yield (
            f"node {number} takes a new name",
            state._replace(nodes=became(name=node.name + 1, flight=flight), known=put(state.known, number, known)),
        )


def arrive(design: Design, state: State, number: int, place: int) -> State:
    """The script of a join or a leave, as a whole."""
    node = state.nodes[number]
    command, member = node.flight[place], (number, node.flight[place].name)
    earlier, later = node.flight[:place], node.flight[place + 1 :]
    if command.kind == "join":
        earlier = tuple(one._replace(is_overtaken=design.has_ops) for one in earlier)
    state = state._replace(nodes=put(state.nodes, number, node._replace(flight=earlier + later)))
    if command.is_overtaken and member in state.members:
        return state
    if command.kind == "join":
        if design.asks_for_the_node and state.known[number][command.name] != ALIVE:
            return state
        return state._replace(members=state.members | {member}, exists=True, due=False)
    members = state.members - {member}
    return state._replace(members=members, due=state.due or (state.exists and not members))


def leader_steps(design: Design, state: State, number: int) -> Iterator[Step]:
    leader = state.leaders[number]
    if not state.is_leased and state.term < design.terms:
        leaders = put(state.leaders, number, Leader(state.term + 1))
        yield f"leader {number} acquires", state._replace(leaders=leaders, term=state.term + 1, is_leased=True)
    if not leader.term or (design.has_fence and leader.term < state.acted):
        return  # it stands by, or all that it does is refused
    late = f"I8 term {leader.term} has acted after {state.acted}" if leader.term < state.acted else ""
    acting = state._replace(acted=max(state.acted, leader.term), broken=late)
    if design.is_collected_at_once:
        if state.due and not state.members:
            yield f"leader {number} collects", collected(acting)
    elif leader.has_looked:
        leaders = put(state.leaders, number, leader._replace(has_looked=False))
        yield f"leader {number} deletes what was empty", collected(acting._replace(leaders=leaders))
    elif state.due and not state.members:
        leaders = put(state.leaders, number, leader._replace(has_looked=True))
        yield f"leader {number} finds the topic empty", acting._replace(leaders=leaders)
    for node, names in enumerate(state.known):
        for name, known in enumerate(names):
            if known != UNKNOWN:
                yield f"leader {number} reaps node {node}", reaped(acting, node, name)


def collected(state: State) -> State:
    return state._replace(exists=False, due=False, members=frozenset())


def reaped(state: State, node: int, name: int) -> State:
    """Declare the node dead, as the first batch does; with the next one, give back what it holds, and forget it."""
    if state.known[node][name] == ALIVE:
        return state._replace(known=put(state.known, node, put(state.known[node], name, DEAD)))
    members = state.members - {(node, name)}
    known = put(state.known, node, put(state.known[node], name, UNKNOWN))
    return state._replace(members=members, known=known, due=state.due or (state.exists and not members))


def steps(design: Design, state: State) -> Iterator[Step]:
    if state.is_leased:
        yield "the lease ends", state._replace(is_leased=False)
    for number in range(2):
        yield from leader_steps(design, state, number)
        yield from node_steps(design, state, number)


def violation(state: State) -> str:
    """Return the invariant that is broken, or ""."""
    for number, node in enumerate(state.nodes):
        member = (number, node.name)
        if node.flight or state.known[number][node.name] != ALIVE:
            continue
        if node.listens and not (state.exists and member in state.members):
            return f"I1 node {number} lives and listens, and is no member"
        if not node.listens and member in state.members:
            return f"I3 node {number} keeps a topic that nobody listens to"
    if state.members and state.due:
        return "I2 the topic has members and is due"
    if state.exists and not state.members and not state.due:
        return "I3 the topic is empty and not due"
    for number, name in state.members:
        if state.known[number][name] == UNKNOWN:
            return f"I4 node {number} is a member under a name that nobody knows"
    return state.broken


def explore(design: Design, invariant: str = "") -> tuple[int, str, list[str]]:
    """Return how many states there are until the first violation, of that invariant alone if one is named, and the
    shortest way to it."""
    begin = State()
    ways: dict[State, tuple[State, str] | None] = {begin: None}
    queue = deque([begin])
    while queue:
        state = queue.popleft()
        if (found := violation(state)) and found.startswith(invariant):
            return len(ways), found, story(ways, state)
        for name, after in steps(design, state):
            if after not in ways:
                ways[after] = (state, name)
                queue.append(after)
    return len(ways), "", []


def story(ways: dict[State, tuple[State, str] | None], state: State) -> list[str]:
    names = []
    while way := ways[state]:
        state, name = way
        names.append(name)
    return names[::-1]


def test_our_design_breaks_nothing_in_any_order() -> None:
    states, found, way = explore(Design())
    assert (found, way) == ("", [])
    assert states > 10_000


@pytest.mark.parametrize(
    ("design", "broken", "last"),
    [
        (Design(is_collected_at_once=False), "I1", "leader 0 deletes what was empty"),
        (Design(has_fence=False), "I8", "leader 0 reaps node 0"),
        (Design(asks_for_the_node=False), "I4", "node 0's join arrives"),
        (Design(has_lanes=False), "I3", "node 0's join arrives"),
    ],
    ids=["collection checks, then deletes", "no fence", "join does not ask for the node", "no lanes"],
)
def test_a_design_that_lacks_one_part_breaks_an_invariant(design: Design, broken: str, last: str) -> None:
    _, found, way = explore(design)
    assert found.startswith(broken)
    assert way[-1] == last


def test_without_lanes_a_join_that_its_leave_has_overtaken_keeps_the_topic_for_ever() -> None:
    _, found, way = explore(Design(has_lanes=False))
    assert found == "I3 node 0 keeps a topic that nobody listens to"
    assert way == ["node 0 sends join", "node 0 sends leave", "node 0's leave arrives", "node 0's join arrives"]


def test_op_numbers_keep_a_listener_whose_leave_arrives_late() -> None:
    """Without leaders: with them, and without lanes, there would be more than a million states."""
    assert explore(Design(has_lanes=False, has_ops=False, terms=0), "I1")[1].startswith("I1")
    assert explore(Design(has_lanes=False, has_ops=True, terms=0), "I1")[1] == ""
