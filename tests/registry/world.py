"""A small world on a real engine: nodes that come, sleep and go, and leaders that are replaced without noticing.

Nothing happens by itself. Every operation is a method, so that a random walk and Hypothesis can drive the same world,
and `check` then reads the engine's keys and holds them against what the nodes and leaders know. An operation that
breaks an invariant, or a check that finds one broken, raises an AssertionError that begins with its name: "I3 ...".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from realtime.engine import election
from realtime.engine.keys import Keys, Partition
from realtime.engine.registry import Batch, Registry
from realtime.engine.scripts import Call, Script
from realtime.engine.scripts import script as packaged

TOPICS = ("a", "b", "d", "rooms:é{2}")  # two in each of two partitions
NODES = range(3)
LEADERS = range(2)
INVARIANTS = ("I1", "I2", "I3", "I4", "I5", "I8")
AHEAD = 10**15  # a term that the clock has not reached: with it, terms come from the counter alone
LOOKS = 2  # how often a leader has to find the same sign of life before it declares a node dead


@dataclass
class Node:
    """told  topic -> the node's last word on it, "op:listeners"
    sent     its commands, under all its names, so that one can arrive late or twice
    """

    number: int
    incarnation: int = 0
    op: int = 0
    is_asleep: bool = False
    told: dict[str, str] = field(default_factory=dict)
    sent: list[Call[Any]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"node{self.number}.{self.incarnation}"


@dataclass
class Look:
    """What a leader remembers of a node: its last sign of life, how often it found that same one, and `beats`, how
    many there had been then, which no leader can know."""

    seen: int
    beats: int
    times: int = 1


@dataclass
class Leader:
    """term  the one it believes to lead with; 0 if it stands by
    looks    by the key of a partition's nodes and the name
    """

    holder: str
    term: int = 0
    looks: dict[tuple[str, str], Look] = field(default_factory=dict)


class World:
    """script      name -> Script; the packaged ones
    invariants  those that are held; a walk may look for the damage of one and overlook the way there
    """

    def __init__(
        self,
        client: Any,
        script: Callable[[str], Script] = packaged,
        invariants: tuple[str, ...] = INVARIANTS,
        partitions: int = 1,
    ) -> None:
        self.keys = Keys("world", partitions)
        self.client = client
        self.script = script
        self.invariants = invariants
        self.registry = Registry(self.keys, window=(0, 0), script=script)
        self.places = self.keys.partitions()
        self.leaders = [Leader(f"leader{number}") for number in LEADERS]
        self.granted = {AHEAD: "nobody"}
        self.acted: dict[str, tuple[int, str]] = {}  # partition -> term and holder of its last leader
        self.beats: Counter[tuple[str, str]] = Counter()
        client.flushall()
        client.set(self.keys.term, AHEAD)
        self.nodes = [Node(number) for number in NODES]
        for node in self.nodes:
            self._take_name(node)

    # Topics

    def create(self, *topics: str) -> None:
        for call in self.registry.create(topics):
            call.run(self.client)

    def delete(self, topic: str) -> None:
        self.registry.delete(topic).run(self.client)

    # Nodes

    def join(self, number: int, topic: str, listeners: int = 1) -> None:
        node = self.nodes[number]
        op = self._next_op(node)
        node.told[topic] = f"{op}:{listeners}"
        if not self._send(node, self.registry.join(topic, node.name, op, listeners)):
            self._come_back(node)

    def leave(self, number: int, topic: str) -> None:
        node = self.nodes[number]
        node.told.pop(topic, None)
        self._send(node, self.registry.leave(topic, node.name, self._next_op(node)))

    def report(self, number: int, listeners: int) -> None:
        node = self.nodes[number]
        op = self._next_op(node)
        node.told = dict.fromkeys(node.told, f"{op}:{listeners}")
        for call in self.registry.report(node.name, op, dict.fromkeys(node.told, listeners)):
            self._send(node, call)

    def report_unjoined(self, number: int, topic: str) -> None:
        """The node tells of a topic that it has just left."""
        node = self.nodes[number]
        if topic not in node.told:
            for call in self.registry.report(node.name, self._next_op(node), {topic: 1}):
                self._send(node, call)

    def late(self, number: int, back: int) -> None:
        """One of the node's last commands arrives once more, maybe of a name that it has given up."""
        node = self.nodes[number]
        if node.sent:
            node.sent[-1 - back % len(node.sent)].run(self.client)

    def beat(self, number: int) -> None:
        node = self.nodes[number]
        node.is_asleep = False
        self.wait()
        for place in self.places:
            if self.registry.beat(place, node.name).run(self.client) < 0:
                self._come_back(node)
                return
            self.beats[place.nodes, node.name] += 1

    def retire(self, number: int) -> None:
        """The node ends, with all that it holds, and another begins in its place."""
        node = self.nodes[number]
        node.told, node.is_asleep = {}, False
        for place in self.places:
            self.registry.retire(place, node.name).run(self.client)
        self._take_name(node)

    # Leaders

    def acquire(self, number: int) -> None:
        leader = self.leaders[number]
        call = election.acquire(self.keys, leader.holder, 600)
        own = self.script("acquire")
        found = replace(call, command=("EVALSHA", own.sha, *call.command[2:]), script=own).run(self.client)
        if found.holder != leader.holder:
            leader.term = 0
            return
        if self.granted.get(found.term) != leader.holder:
            newest = max(self.granted)
            self._hold("I8", found.term > newest, f"term {found.term} was granted after {newest}")
            self.granted[found.term] = leader.holder
            leader.looks.clear()
        leader.term = found.term

    def resign(self, number: int) -> None:
        leader = self.leaders[number]
        leader.term = 0
        election.release(self.keys, leader.holder).run(self.client)

    def lose_lease(self) -> None:
        """Its time is over, and the leader sleeps: it does not know."""
        self.client.delete(self.keys.lease)

    def share_term(self, number: int) -> None:
        """The engine lost the last term, and granted it again to this leader."""
        self.leaders[number].term = self.leaders[1 - number].term or self.leaders[number].term

    def govern(self, number: int) -> None:
        self._lead(number, lambda leader, place: self.registry.govern(place, leader.term, leader.holder))

    def collect(self, number: int, limit: int) -> None:
        self._lead(number, lambda leader, place: self.registry.collect(place, leader.term, leader.holder, limit))

    def look(self, number: int) -> None:
        leader = self.leaders[number]
        for place in self.places:
            for listed in self.registry.nodes(place).run(self.client):
                known = leader.looks.get((place.nodes, listed.name))
                if known and known.seen == listed.seen:
                    known.times += 1
                else:
                    beats = self.beats[place.nodes, listed.name]
                    leader.looks[place.nodes, listed.name] = Look(listed.seen, beats)

    def reap(self, number: int, limit: int) -> None:
        """Give back what the nodes hold that are silent or have ended: a batch of each."""
        leader = self.leaders[number]
        for (root, name), look in list(leader.looks.items()):
            if leader.term and (look.times >= LOOKS or look.seen == -1):
                self._reap(leader, next(place for place in self.places if place.nodes == root), name, look, limit)

    def doze(self, number: int, leader: int, limit: int) -> None:
        """The node is held up until the leader could declare it dead, or has begun to, if `limit` is not 0.

        It does nothing more before it wakes up, with a beat.
        """
        self.nodes[number].is_asleep = True
        for _ in range(LOOKS):
            self.look(leader)
        if limit:
            self.reap(leader, limit)

    def wait(self) -> None:
        """Wait for the engine's next millisecond: signs of life within one could not be told apart.

        Between two looks of a leader there are seconds.
        """
        first = now = self.client.time()
        while now[1] // 1000 == first[1] // 1000:
            now = self.client.time()

    # What must hold

    def check(self) -> None:
        pipe = self.client.pipeline(transaction=False)
        for place in self.places:
            pipe.zrange(place.topics, 0, -1)
            pipe.zrange(place.due, 0, -1)
            pipe.zrange(place.nodes, 0, -1, withscores=True)
            pipe.get(place.fence)
        for topic in TOPICS:
            pipe.hgetall(self.keys.of(topic).members(topic))
        found = pipe.execute()
        members = {topic: _decoded(answer) for topic, answer in zip(TOPICS, found[-len(TOPICS) :], strict=True)}
        for place, (topics, due, nodes, fence) in zip(self.places, _fours(found[: -len(TOPICS)]), strict=True):
            here = {topic: members[topic] for topic in TOPICS if self.keys.of(topic) == place}
            alive = {name.decode(): seen >= 0 for name, seen in nodes}
            self._check_topics(here, {name.decode() for name in topics}, {name.decode() for name in due})
            self._check_nodes(here, alive)
            self._check_held(place, here)
            acted = self.acted.get(place.root)
            expected = f"{acted[0]}|{acted[1]}".encode() if acted else None
            self._hold("I8", fence == expected, f"{fence} is in the fence, {expected} has acted")

    def _check_topics(self, here: dict[str, dict[str, str]], topics: set[str], due: set[str]) -> None:
        for topic, members in here.items():
            self._hold("I1", not members or topic in topics, f"{topic} has members and does not exist")
            self._hold("I2", not members or topic not in due, f"{topic} has members and is due")
            self._hold("I3", members or topic not in topics or topic in due, f"{topic} is empty and not due")
            self._hold("I3", topic in topics or topic not in due, f"{topic} is due and does not exist")

    def _check_nodes(self, here: dict[str, dict[str, str]], alive: dict[str, bool]) -> None:
        for node in self.nodes:
            if alive.get(node.name):
                for topic in node.told.keys() & here.keys():
                    word, found = node.told[topic], here[topic].get(node.name)
                    self._hold("I1", found == word, f"{topic} has {found} of {node.name}, which said {word}")
        for topic, members in here.items():
            for name in members:
                self._hold("I4", name in alive, f"{topic} has a member {name}, of which nothing is known")

    def _check_held(self, place: Partition, here: dict[str, dict[str, str]]) -> None:
        listed = [(name, topic) for topic, members in here.items() for name in members]
        pipe = self.client.pipeline(transaction=False)
        for name, topic in listed:
            pipe.sismember(place.held(name), topic)
        for (name, topic), is_held in zip(listed, pipe.execute(), strict=True):
            self._hold("I4", is_held, f"{name} is in {topic} and does not list it")

    def _hold(self, invariant: str, claim: Any, text: str) -> None:
        assert claim or invariant not in self.invariants, f"{invariant} {text}"

    # private

    def _next_op(self, node: Node) -> int:
        node.op += 1
        return node.op

    def _send(self, node: Node, call: Call[Any]) -> Any:
        node.sent.append(call)
        return call.run(self.client)

    def _come_back(self, node: Node) -> None:
        """Told to be dead, the node takes a new name and joins its topics again."""
        told = node.told
        self._take_name(node)
        for topic, word in told.items():
            op = self._next_op(node)
            node.told[topic] = f"{op}:{word.partition(':')[2]}"
            is_in = self._send(node, self.registry.join(topic, node.name, op, int(word.partition(":")[2])))
            self._hold("I5", is_in, f"{node.name} is dead at its birth")

    def _take_name(self, node: Node) -> None:
        node.incarnation += 1
        node.told = {}
        for place in self.places:
            self.registry.beat(place, node.name, is_new=True).run(self.client)

    def _lead(self, number: int, work: Callable[[Leader, Partition], Call[Any]]) -> None:
        leader = self.leaders[number]
        for place in self.places:
            if leader.term:
                answer = work(leader, place).run(self.client)
                self._note(leader, place, answer.newer if isinstance(answer, Batch) else answer)

    def _reap(self, leader: Leader, place: Partition, name: str, look: Look, limit: int) -> None:
        was_alive = (self.client.zscore(place.nodes, name) or -1) >= 0
        batch = self.registry.reap(place, leader.term, leader.holder, name, look.seen, limit).run(self.client)
        self._note(leader, place, batch.newer)
        if batch.newer or batch.is_alive:
            leader.looks.pop((place.nodes, name), None)
            return
        is_silent = self.beats[place.nodes, name] == look.beats
        self._hold("I5", is_silent or not was_alive, f"{name} was declared dead after it had beaten")
        if batch.is_over:
            del leader.looks[place.nodes, name]

    def _note(self, leader: Leader, place: Partition, newer: str) -> None:
        """Compare who has acted, or was overruled, with who has acted before."""
        own, acted = (leader.term, leader.holder), self.acted.get(place.root, (0, ""))
        leads = own[0] > acted[0] or own == acted
        if newer:
            self._hold("I8", not leads, f"{own} was overruled by {newer}, and {acted} has acted last")
            leader.term = 0
        else:
            self._hold("I8", leads, f"{own} has acted after {acted}")
            self.acted[place.root] = own


def walk(world: World, seed: int, steps: int) -> None:
    """Let anything happen, in an order that depends on the seed alone."""
    random = Random(seed)
    for _ in range(steps):
        way = random.choice(WAYS)
        node, leader, topic = random.choice(NODES), random.choice(LEADERS), random.choice(TOPICS)
        if world.nodes[node].is_asleep and way in OF_A_NODE:
            way = random.choice(("late", "beat", "beat", "nothing"))
        if not world.leaders[leader].term and way in OF_A_LEADER:
            way = "acquire"
        match way:
            case "join":
                world.join(node, topic, random.randint(1, 9))
            case "leave":
                world.leave(node, topic)
            case "report":
                world.report(node, random.randint(1, 9))
            case "report_unjoined":
                world.report_unjoined(node, topic)
            case "late":
                world.late(node, random.randint(0, 5))
            case "beat":
                world.beat(node)
            case "retire":
                world.retire(node)
            case "create":
                world.create(topic, random.choice(TOPICS))
            case "delete":
                world.delete(topic)
            case "lose_lease":
                world.lose_lease()
            case "collect":
                world.collect(leader, random.randint(1, 3))
            case "reap":
                world.reap(leader, random.randint(1, 2))
            case "doze":
                world.doze(node, leader, random.randint(0, 1))
            case "acquire" | "resign" | "share_term" | "govern" | "look":
                getattr(world, way)(leader)
        world.check()


# How often, in comparison
OF_A_NODE = {"join": 6, "leave": 4, "report": 2, "report_unjoined": 1, "late": 7, "beat": 3}
OF_A_LEADER = {"govern": 3, "collect": 3, "look": 1, "doze": 2, "reap": 4}
OF_ALL = {"retire": 1, "create": 2, "delete": 2, "acquire": 2, "lose_lease": 2, "resign": 1, "share_term": 1}
WAYS = [way for way, share in (OF_A_NODE | OF_A_LEADER | OF_ALL).items() for _ in range(share)]


def _decoded(answer: dict[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in answer.items()}


def _fours(found: list[Any]) -> list[list[Any]]:
    return [found[start : start + 4] for start in range(0, len(found), 4)]
