"""The record of who is there, in a real engine: what the scripts write is what they tell, each change exactly once."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import msgspec
import pytest

from realtime.engine.keys import Keys
from realtime.engine.presences import DEAD, UNKNOWN, Loaded, Presences, Tracked, Untracked
from realtime.engine.registry import Batch, Registry
from realtime.engine.scripts import Script
from realtime.engine.scripts import script as packaged
from realtime.protocol.bus import unpack
from realtime.protocol.roster import Diff, Roster
from tests.registry.test_mutations import Edit, mutation

TOPIC = "t:{a}"
LONG = 1000.0  # seconds of grace that no test outlasts
NODES = ("web:1:a", "web:1:b", "web:2:c")


class Scene:
    """A topic with nodes in it, and what is published there."""

    def __init__(self, client: Any, keys: Keys, script: Callable[[str], Script] = packaged) -> None:
        self.client = client
        self.keys = keys
        self.place = keys.of(TOPIC)
        self.registry = Registry(keys, (0, 0), script)
        self.presences = Presences(keys, script)
        self.ops = itertools.count(1)
        self.diffs: list[tuple[int, Diff]] = []
        self.roster = Roster()
        self.bus = client.pubsub()
        self.bus.subscribe(keys.bus(TOPIC))
        assert self.bus.get_message(timeout=5)["type"] == "subscribe"
        for node in NODES:
            self.bear(node)

    def bear(self, node: str) -> None:
        for place in self.keys.partitions():
            self.registry.beat(place, node, is_new=True).run(self.client)
        assert self.registry.join(TOPIC, node, next(self.ops), 1).run(self.client)

    def track(self, node: str, *entries: tuple[str, str, Any], op: int | None = None) -> int:
        tracked = [Tracked(channel, key, msgspec.json.encode(meta)) for channel, key, meta in entries]
        op = next(self.ops) if op is None else op
        return self.presences.track(TOPIC, node, op, tracked).run(self.client)

    def untrack(self, *entries: tuple[str, str, str], grace: float = 0.0, op: int | None = None) -> int:
        ended = [Untracked(*entry, grace) for entry in entries]
        op = next(self.ops) if op is None else op
        return self.presences.untrack(TOPIC, op, ended).run(self.client)

    def load(self) -> Loaded:
        return self.presences.load(TOPIC).run(self.client)

    def present(self) -> dict[str, list[Any]]:
        """Return key -> metas without their refs."""
        return {key: [bare(meta) for meta in metas.values()] for key, metas in self.load().metas.items()}

    def hear(self) -> list[tuple[int, Diff]]:
        """Return the diffs that were published since this was last asked."""
        last = self.load().number
        heard = []
        while self.roster.number < last:
            message = self.bus.get_message(timeout=5)
            broadcast = unpack(TOPIC, message["data"])
            assert broadcast.event == "presence_diff"
            assert int(broadcast.mark or 0) == self.roster.number + 1
            heard.append((self.roster.number + 1, Diff.read(broadcast.payload)))
            self.roster.apply(*heard[-1])
        assert self.bus.get_message(timeout=0.0) is None
        self.diffs += heard
        return heard

    def heard(self) -> list[tuple[dict[str, list[Any]], dict[str, list[Any]]]]:
        """The same, as joins and leaves without refs."""
        return [(plain(diff.joins), plain(diff.leaves)) for _, diff in self.hear()]

    def reap(self, node: str, limit: int = 100, term: int = 1) -> Batch:
        known = int(self.client.zscore(self.place.nodes, node) or -1)
        return self.registry.reap(self.place, term, "leader", node, known, limit).run(self.client)

    def close(self) -> None:
        self.bus.close()


def bare(meta: bytes) -> Any:
    return {name: value for name, value in msgspec.json.decode(meta).items() if not name.startswith("phx_ref")}


def plain(side: dict[str, dict[str, bytes]]) -> dict[str, list[Any]]:
    return {key: [bare(meta) for meta in metas.values()] for key, metas in side.items()}


@pytest.fixture
def scene(client: Any, keys: Keys) -> Iterator[Scene]:
    scene = Scene(client, keys)
    yield scene
    scene.close()


A, B, C = NODES
KEYS = ("ada", "bob", "__proto__", "ada\x1f1")


def test_what_is_tracked_is_told_and_can_be_loaded(scene: Scene) -> None:
    assert scene.track(A, ("c1", "ada", {"n": 1}), ("c2", "bob", {})) == 1
    assert scene.heard() == [({"ada": [{"n": 1}], "bob": [{}]}, {})]
    assert scene.present() == {"ada": [{"n": 1}], "bob": [{}]}
    assert scene.load().metas == scene.diffs[0][1].joins
    assert scene.untrack((A, "c1", "ada")) == 2
    assert scene.heard() == [({}, {"ada": [{"n": 1}]})]


def test_what_has_not_changed_is_not_told(scene: Scene) -> None:
    scene.track(A, ("c1", "ada", {"n": 1}))
    before = scene.load()
    assert scene.track(A, ("c1", "ada", {"n": 1})) == 0
    assert scene.untrack((A, "c9", "ada"), (B, "c1", "ada"), (A, "c1", "bob")) == 0
    assert scene.load() == before
    assert len(scene.hear()) == 1


def test_a_command_that_was_overtaken_changes_nothing(scene: Scene) -> None:
    scene.track(A, ("c1", "ada", {"n": 1}), op=1)
    scene.track(A, ("c1", "ada", {"n": 3}), op=3)
    assert scene.track(A, ("c1", "ada", {"n": 2}), op=2) == 0
    assert scene.present() == {"ada": [{"n": 3}]}


@pytest.mark.parametrize("is_known", [True, False], ids=["declared dead", "unknown"])
def test_a_node_that_is_not_alive_tracks_nobody(is_known: bool, scene: Scene) -> None:
    if is_known:
        scene.client.zadd(scene.place.nodes, {A: -1})
    else:
        scene.client.zrem(scene.place.nodes, A)
    assert scene.track(A, ("c1", "ada", {})) == DEAD
    assert scene.present() == {}


def test_nobody_is_tracked_in_a_topic_that_does_not_exist(scene: Scene) -> None:
    call = scene.presences.track("nowhere", A, 1, [Tracked("c1", "ada", b"{}")])
    assert call.run(scene.client) == UNKNOWN
    assert not scene.client.exists(scene.keys.of("nowhere").presences("nowhere"))


def test_metas_travel_as_they_were_written(scene: Scene) -> None:
    meta = b'{"empty":{},"list":[],"large":9007199254740993,"small":1e-7,"text":"\\u2028\\"\\/"}'
    scene.presences.track(TOPIC, A, 1, [Tracked("c1", "ada", meta)]).run(scene.client)
    [(_, diff)] = scene.hear()
    [(ref, shown)] = diff.joins["ada"].items()
    assert shown == meta[:-1] + b',"phx_ref":"%b"}' % ref.encode()
    assert scene.load().metas["ada"] == {ref: shown}


# Fading


def test_what_fades_is_still_there_and_nothing_is_told(scene: Scene) -> None:
    scene.track(A, ("c1", "ada", {}))
    scene.hear()
    assert scene.untrack((A, "c1", "ada"), grace=LONG) == 0
    assert scene.present() == {"ada": [{}]}
    assert scene.hear() == []
    assert scene.untrack((A, "c1", "ada")) == 2
    assert scene.present() == {}
    assert scene.client.hgetall(scene.place.presences(TOPIC)).keys() == {b""}


def test_whoever_tracks_the_key_of_one_that_fades_takes_over(scene: Scene) -> None:
    scene.track(A, ("c1", "ada", {"n": 1}))
    before = scene.load()
    scene.untrack((A, "c1", "ada"), grace=LONG)
    assert scene.track(B, ("c2", "ada", {"n": 1})) == 0
    assert scene.load() == before
    assert scene.untrack((A, "c1", "ada")) == 0  # the time of grace is over, and the place is another's
    assert scene.load() == before
    assert scene.client.scard(scene.place.tracked(A)) == 0
    assert scene.untrack((B, "c2", "ada")) == 2


def test_one_that_takes_over_with_another_meta_is_an_update(scene: Scene) -> None:
    scene.track(A, ("c1", "ada", {"n": 1}))
    scene.untrack((A, "c1", "ada"), grace=LONG)
    assert scene.track(B, ("c2", "ada", {"n": 2})) == 2
    assert scene.heard()[1:] == [({"ada": [{"n": 2}]}, {"ada": [{"n": 1}]})]
    [meta] = scene.load().metas["ada"].values()
    assert msgspec.json.decode(meta)["phx_ref_prev"] == next(iter(scene.diffs[0][1].joins["ada"]))


def test_an_untrack_that_was_overtaken_changes_nothing(scene: Scene) -> None:
    scene.track(A, ("c1", "ada", {}), op=2)
    for grace in (0.0, LONG):
        assert scene.untrack((A, "c1", "ada"), grace=grace, op=1) == 0
    assert scene.track(B, ("c2", "ada", {})) == 2  # and takes nobody's place
    assert scene.present() == {"ada": [{}, {}]}


def test_who_fades_is_not_changed_by_what_was_told_before(scene: Scene) -> None:
    scene.track(A, ("c1", "ada", {"n": 1}), op=1)
    scene.untrack((A, "c1", "ada"), grace=LONG, op=3)
    assert scene.track(A, ("c1", "ada", {"n": 2}), op=2) == 0
    assert scene.track(B, ("c2", "ada", {"n": 1})) == 0
    assert scene.present() == {"ada": [{"n": 1}]}


def test_who_fades_and_is_tracked_again_by_its_channel_fades_no_more(scene: Scene) -> None:
    scene.track(A, ("c1", "ada", {}))
    scene.untrack((A, "c1", "ada"), grace=LONG)
    scene.track(A, ("c1", "ada", {}))
    assert scene.track(B, ("c2", "ada", {})) == 2
    assert not scene.client.exists(scene.place.fading(TOPIC))


@pytest.mark.parametrize("graces", [(LONG, 2 * LONG), (2 * LONG, LONG)], ids=["in their order", "in the other"])
def test_of_several_that_fade_the_next_to_go_is_taken_over(scene: Scene, graces: tuple[float, float]) -> None:
    scene.track(A, ("c1", "ada", {}), ("c2", "ada", {}))
    for channel, grace in zip(("c1", "c2"), graces, strict=True):
        scene.untrack((A, channel, "ada"), grace=grace)
    scene.track(B, ("d", "ada", {}))
    assert scene.untrack((A, "c1" if graces[0] < graces[1] else "c2", "ada")) == 0
    assert len(scene.present()["ada"]) == 2


def test_a_fade_that_is_told_twice_is_one(scene: Scene) -> None:
    scene.track(A, ("c1", "ada", {}))
    for _ in range(2):
        scene.untrack((A, "c1", "ada"), grace=LONG)
    assert scene.track(B, ("c2", "ada", {})) == 0
    assert scene.track(C, ("c3", "ada", {})) == 2
    assert scene.present() == {"ada": [{}, {}]}


def test_who_fades_under_another_key_is_not_taken_over(scene: Scene) -> None:
    scene.track(A, ("c1", "ada", {}), ("c1", "bob", {}))
    scene.untrack((A, "c1", "bob"), grace=LONG)
    assert scene.track(B, ("c2", "ada", {})) == 2
    assert scene.present() == {"ada": [{}, {}], "bob": [{}]}


def test_who_does_not_fade_is_not_taken_over(scene: Scene) -> None:
    scene.track(A, ("c1", "ada", {"n": 1}))
    scene.track(B, ("c2", "ada", {"n": 2}))
    assert scene.present() == {"ada": [{"n": 1}, {"n": 2}]}


# Nodes that end


def test_what_a_dead_node_has_tracked_leaves_exactly_once_in_batches(scene: Scene) -> None:
    scene.track(A, *((f"c{n}", f"k{n}", {"n": n}) for n in range(25)))
    scene.track(B, ("d", "k0", {"stays": True}))
    scene.hear()
    batches = [scene.reap(A, limit=10) for _ in range(4)]
    assert [batch.is_over for batch in batches] == [False, False, True, True]
    diffs = scene.heard()
    assert [len(leaves) for _, leaves in diffs] == [10, 10, 5]
    left = [(key, meta["n"]) for _, leaves in diffs for key, metas in leaves.items() for meta in metas]
    assert sorted(left) == sorted((f"k{n}", n) for n in range(25))
    assert scene.present() == {"k0": [{"stays": True}]}
    assert not scene.client.exists(scene.place.tracked(A))


def test_a_node_that_ends_leaves_those_who_fade_their_time(scene: Scene) -> None:
    scene.track(A, ("c1", "ada", {}), ("c2", "bob", {}), ("c3", "eve", {}))
    scene.untrack((A, "c1", "ada"), grace=LONG)
    scene.untrack((A, "c2", "bob"), grace=0.001)
    scene.registry.leave(TOPIC, A, next(scene.ops)).run(scene.client)
    scene.registry.retire(scene.place, A).run(scene.client)
    assert scene.client.zscore(scene.place.nodes, A) == -1  # so that somebody sees to them
    time.sleep(0.002)
    scene.hear()
    assert scene.reap(A) == Batch(topics=[])
    [(joins, leaves)] = scene.heard()
    assert (joins, leaves) == ({}, {"bob": [{}], "eve": [{}]})
    assert scene.present() == {"ada": [{}]}
    assert scene.reap(A) == Batch(topics=[], is_waiting=True)
    assert scene.track(B, ("d", "ada", {})) == 0
    assert scene.reap(A) == Batch(topics=[], is_over=True)
    assert scene.present() == {"ada": [{}]}


def test_a_leader_that_was_replaced_removes_nobody(scene: Scene) -> None:
    scene.track(A, ("c1", "ada", {}))
    assert scene.registry.govern(scene.place, 2, "another").run(scene.client) == ""
    assert scene.reap(A).newer == "2|another"
    assert scene.present() == {"ada": [{}]}


def test_a_topic_that_is_collected_or_deleted_keeps_nobody(scene: Scene) -> None:
    scene.track(A, ("c1", "ada", {}))
    scene.untrack((A, "c1", "ada"), grace=LONG)
    for node in NODES:
        scene.registry.leave(TOPIC, node, next(scene.ops)).run(scene.client)
    assert scene.registry.collect(scene.place, 1, "leader", 10).run(scene.client).topics == [TOPIC]
    assert scene.load() == Loaded(0, {})
    assert scene.untrack((A, "c1", "ada")) == 0
    names = (scene.place.presences(TOPIC), scene.place.fading(TOPIC), scene.place.tracked(A))
    assert not scene.client.exists(*names)


# A crowd

METER = """
local engine, bytes = redis, 0
local function weigh(value)
  for _, one in ipairs(type(value) == "table" and value or {value}) do
    bytes = bytes + #tostring(one)
  end
  return value
end
local redis = {call = function(...)
  weigh({...})
  return weigh(engine.call(...))
end}
"""


def metered(name: str) -> Script:
    """Return a script that returns how many bytes went between it and the data instead."""
    head, _, text = packaged(name).text.partition("\n")
    text, _, end = text.rpartition("\nreturn ")
    return Script(f"{head}\n{METER}{text}\nlocal done = {end}\nreturn bytes")


def test_what_an_entry_costs_the_engine_does_not_grow_with_the_tabs_of_its_key(scene: Scene) -> None:
    """One name for all who gave none is the key of thousands, and their server may end."""
    scene.presences = Presences(scene.keys, metered)
    tabs = [f"c{number}" for number in range(1000, 3000)]
    batches = [tabs[start : start + 100] for start in range(0, len(tabs), 100)]
    costs = {
        "track": [scene.track(A, *((tab, "anon", {}) for tab in some), op=1000) for some in batches],
        "fade": [scene.untrack(*((A, tab, "anon") for tab in some), grace=LONG, op=2000) for some in batches],
        "take over": [scene.track(B, *((tab, "anon", {}) for tab in some), op=3000) for some in batches[:10]],
        "go": [scene.untrack(*((A, tab, "anon") for tab in some), op=4000) for some in batches[10:]],
    }
    for what, found in costs.items():
        assert max(found) < 1.1 * min(found), what
    assert len(scene.present()["anon"]) == 1000


# Anything, in any order


class Model:
    """What there is to be: node, channel and key of those who are here, and of those who fade, the oldest first."""

    def __init__(self, scene: Scene, random: Random) -> None:
        self.scene = scene
        self.random = random
        self.nodes = list(NODES)
        self.names = list(NODES)  # all that there ever were
        self.here: list[tuple[str, str, str]] = []
        self.fading: list[tuple[str, str, str]] = []

    def track(self) -> None:
        """Several at once, which may take over from those who fade."""
        node, key = self.random.choice(self.nodes), self.random.choice(KEYS)
        new = [(node, f"c{next(self.scene.ops)}", key) for _ in range(self.random.randint(1, 3))]
        self.scene.track(node, *((channel, key, self._meta()) for _, channel, key in new))
        for one in new:
            if oldest := next((other for other in self.fading if other[2] == key), None):
                self.fading.remove(oldest)
            self.here.append(one)

    def update(self) -> None:
        node, channel, key = self.random.choice(self.here)
        self.scene.track(node, (channel, key, self._meta()))

    def lag(self) -> None:
        """A command comes after those that were told later."""
        node, channel, key = self.random.choice(self.here)
        self.scene.untrack((node, channel, key), op=1)
        self.scene.track(node, (channel, key, {"late": True}), op=1)
        assert {"late": True} not in self.scene.present()[key]

    def drop(self) -> None:
        self.scene.untrack(self._take(self.here))

    def fade(self) -> None:
        one = self._take(self.here)
        self.scene.untrack(one, grace=LONG + next(self.scene.ops))
        self.fading.append(one)

    def fall(self) -> None:
        """The time of grace of one is over; or the command comes again, long after."""
        self.scene.untrack(self._take(self.fading))

    def die(self) -> None:
        """A node dies, and takes another name."""
        number = self.random.randrange(len(self.nodes))
        name = self.nodes[number]
        fading = sum(one[0] == name for one in self.fading)
        while not self.scene.reap(name, limit=self.random.randint(1, 3)).is_over:
            if self.scene.client.scard(self.scene.place.tracked(name)) == fading:
                break
        self.here = [one for one in self.here if one[0] != name]
        self.nodes[number] = f"{name}+"
        self.names.append(f"{name}+")
        self.scene.bear(f"{name}+")

    def step(self) -> None:
        ways: list[Callable[[], None]] = [self.track] * 3 + [self.die]
        ways += [self.update, self.update, self.drop, self.fade, self.fade, self.lag] if self.here else []
        ways += [self.fall] if self.fading else []
        self.random.choice(ways)()

    def _take(self, some: list[tuple[str, str, str]]) -> tuple[str, str, str]:
        return some.pop(self.random.randrange(len(some)))

    def _meta(self) -> dict[str, int]:
        return {"n": self.random.randint(1, 2)}


def walk(scene: Scene, seed: int, steps: int) -> None:
    """Let anything happen, and see after each step that who hears the diffs knows what the record says."""
    model = Model(scene, Random(seed))
    for _ in range(steps):
        model.step()
        scene.hear()
        loaded = scene.load()
        assert scene.roster.entries() == Roster(loaded.number, loaded.metas).entries()
        expected = Counter(key for _, _, key in (*model.here, *model.fading))
        assert {key: len(metas) for key, metas in loaded.metas.items()} == expected
        tracked = [scene.presences.tracked(TOPIC, name, 0).run(scene.client)[1] for name in model.names]
        assert sum(map(len, tracked)) == expected.total()
    joined = Counter(ref for _, diff in scene.diffs for metas in diff.joins.values() for ref in metas)
    left = Counter(ref for _, diff in scene.diffs for metas in diff.leaves.values() for ref in metas)
    there = Counter(ref for metas in scene.load().metas.values() for ref in metas)
    assert joined == left + there  # each has come, and is there or has left
    assert set(joined.values()) == {1}  # once


@pytest.mark.parametrize("seed", range(8))
def test_who_hears_the_diffs_knows_what_the_record_says_whatever_happens(seed: int, scene: Scene) -> None:
    walk(scene, seed, 150)


MUTATIONS = [
    mutation("no takeover", "", Edit("track", "held = held or take_over(key)", "")),
    mutation(
        "a takeover is not told",
        "",
        Edit("track", "if known ~= meta then\n      last", "if not known then\n      last"),
    ),
    mutation("an update does not leave", "", Edit("track", "note(leaves, key, held)", "")),
    mutation("refs do not grow", "", Edit("track", "last = math.max(last + 1, at)", "last = 1")),
    mutation("what is tracked is not listed", "", Edit("track", 'redis.call("SADD", own,', "select(1,")),
    mutation("what fades leaves", "", Edit("untrack", "if grace == 0 then", "if true then")),
    mutation("what leaves is not told", "", Edit("untrack", "note(leaves, key, remove", "note({}, key, remove")),
    mutation("a late untrack counts", "", Edit("untrack", "not is_late(op, entry)", "true")),
    mutation("a late track counts", "", Edit("track", "not is_late(op, held)", "true")),
    mutation("what leaves stays listed", "", Edit("presences", 'redis.call("SREM", tracked .. node,', "select(1,")),
    mutation("what leaves still fades", "", Edit("presences", 'redis.call("ZREM", fading,', "select(1,")),
    mutation("what leaves is kept", "", Edit("presences", 'redis.call("HDEL", record, owner .. SEP .. key)', "")),
    mutation("diffs are not numbered", "", Edit("presences", 'text(number + 1) .. ":"', 'text(number) .. ":"')),
    mutation("reap takes who fades", "", Edit("reap", "if ms and ms > now() then", "if false then")),
    mutation("reap forgets who fades", "", Edit("reap", 'redis.call("SADD", own, member)', "")),
    mutation("reap tells nobody", "", Edit("reap", "note(leaves[topic], key, remove", "note({}, key, remove")),
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_script_without_one_step_is_found_out(mutation: Any, client: Any, keys: Keys) -> None:
    scene = Scene(client, keys, mutation.script())
    try:
        with pytest.raises((AssertionError, TypeError)) as broken:
            walk(scene, 0, 400)
    finally:
        scene.close()
    assert "lua" not in str(broken.value)  # but by what it did, not by an edit that fits nowhere
