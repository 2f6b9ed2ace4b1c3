"""Every guard in the scripts is there for a reason: without it, the world of world.py breaks an invariant.

A checker that cannot fail proves nothing, so each guard is taken out, by an edit of the Lua text, and the walks that
the scripts as they are survive must then end in the invariant that the guard keeps.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from realtime.engine.scripts import Script, whole
from realtime.engine.scripts import script as packaged
from tests.registry.world import INVARIANTS, World, walk

SEEDS = range(6)
STEPS = 400


@dataclass(frozen=True)
class Edit:
    """In lua/<file>.lua, `old` becomes `new`."""

    file: str
    old: str
    new: str

    def of(self, text: str) -> str:
        assert text.count(self.old) == 1, f"lua/{self.file}.lua has {text.count(self.old)} times: {self.old}"
        return text.replace(self.old, self.new)


@dataclass(frozen=True)
class Mutation:
    """name  what is no longer done
    breaks   the invariants of which one has to break; none if another guard makes up for it, which `name` tells
    holds    the invariants that the walk looks at
    """

    name: str
    edits: tuple[Edit, ...]
    breaks: tuple[str, ...]
    holds: tuple[str, ...] = INVARIANTS

    def script(self) -> Callable[[str], Script]:
        def edited(name: str, text: str) -> str:
            for edit in self.edits:
                text = edit.of(text) if edit.file == name else text
            return text

        return functools.cache(lambda name: Script(whole(name, edited)))


def mutation(name: str, breaks: str, *edits: Edit, holds: tuple[str, ...] = INVARIANTS) -> Mutation:
    return Mutation(name, edits, tuple(breaks.split()), holds)


# A topic with a new member stays due, and what is due is collected without a look at its members.
STILL_DUE = Edit("join", 'redis.call("ZREM", due, topic)', "")
UNSEEN = Edit("collect", 'redis.call("HLEN", members .. topic) == 0', "true")
# A topic is deleted under those who listen, and a leader finds that the topics of a dead node exist no more.
DELETED = Edit("delete", 'redis.call("HLEN", members) > 0', "false")
GONE = Edit("reap", 'and redis.call("ZSCORE", topics, topic)', "")

FENCED = "if newer then"
UNFENCED = "if false then"

MUTATIONS = [
    mutation(
        "join lets a dead or unknown node in",
        "I4",
        Edit("join", "not seen or tonumber(seen) < 0", "false"),
    ),
    mutation(
        "join lets an unknown node in",
        "I4",
        Edit("join", "not seen or tonumber(seen) < 0", "seen and tonumber(seen) < 0"),
    ),
    mutation(
        "join takes a command that was overtaken",
        "I1",
        Edit("join", 'tonumber(string.match(member, "^%d+")) > tonumber(op)', "false"),
    ),
    mutation(
        "join does not list the topic with the node",
        "I4",
        Edit("join", 'redis.call("SADD", held, topic)', ""),
    ),
    mutation(
        "join does not create the topic",
        "I1",
        Edit("join", 'redis.call("ZADD", topics, "NX", 0, topic) == 1', "false"),
    ),
    mutation("join leaves the topic due", "I2", STILL_DUE),
    mutation("join leaves the topic due: nobody loses it, for collect looks at members", "", STILL_DUE, holds=("I1",)),
    mutation("collect does not look at members: nobody loses a topic, for join has made it not due", "", UNSEEN),
    mutation("join leaves a topic due, and collect does not look at members", "I1", STILL_DUE, UNSEEN, holds=("I1",)),
    mutation(
        "collect leaves what it collects due",
        "I3",
        Edit("collect", 'redis.call("ZREM", due, topic)', ""),
    ),
    mutation(
        "leave does not make an empty topic due",
        "I3",
        Edit("leave", 'redis.call("ZADD", due, "NX", due_time(window, own_window, seed), topic)', ""),
    ),
    mutation(
        "leave makes a topic due that others are in",
        "I2",
        Edit("leave", 'redis.call("HLEN", members) == 0 and', ""),
    ),
    mutation(
        "leave makes a topic due that is gone",
        "I3",
        Edit("leave", 'and redis.call("ZSCORE", topics, topic)', ""),
    ),
    mutation(
        "leave takes a command that was overtaken",
        "I1",
        Edit("leave", 'tonumber(string.match(member, "^%d+")) > tonumber(op)', "false"),
    ),
    mutation(
        "report takes a command that was overtaken",
        "I1",
        Edit("report", 'and tonumber(string.match(member, "^%d+")) <= tonumber(op)', ""),
    ),
    mutation(
        "report creates members",
        "I1 I2 I4",
        Edit("report", "if member and", "if not member or"),
    ),
    mutation(
        "reap does not compare the last sign of life",
        "I5",
        Edit("reap", "tonumber(seen) ~= tonumber(known)", "false"),
    ),
    mutation(
        "reap does not mark the node first",
        "I1",
        Edit("reap", 'redis.call("ZADD", nodes, -1, node)', ""),
    ),
    mutation(
        "reap does not make an emptied topic due",
        "I3",
        Edit("reap", 'redis.call("ZADD", due, "NX", due_time(window, own_window, seed + i), topic)', ""),
    ),
    mutation(
        "reap makes a topic due that others are in",
        "I2",
        Edit("reap", 'redis.call("HLEN", members .. topic) == 0 and', ""),
    ),
    mutation("reap makes a topic due that is gone: there is none, for delete looks at members", "", GONE),
    mutation("delete does not look at members: reap does not make due what is gone", "", DELETED, holds=("I3",)),
    mutation("reap makes a topic due that is gone, and delete does not look", "I3", GONE, DELETED, holds=("I3",)),
    mutation(
        "reap forgets the node before it holds nothing",
        "I4",
        Edit("reap", 'redis.call("SCARD", held) == 0', "true"),
    ),
    mutation("reap without the fence", "I8", Edit("reap", FENCED, UNFENCED)),
    mutation("collect without the fence", "I8", Edit("collect", FENCED, UNFENCED)),
    mutation("govern without the fence", "I8", Edit("govern", FENCED, UNFENCED)),
    mutation(
        "the fence lets an older term pass",
        "I8",
        Edit("fence", "tonumber(term) < tonumber(seen_term)", "false"),
    ),
    mutation(
        "the fence lets another holder of the same term pass",
        "I8",
        Edit("fence", "seen_holder ~= holder and seen or nil", "nil"),
    ),
    mutation(
        "the fence does not keep the newest term",
        "I8",
        Edit("fence", 'redis.call("SET", key, term .. "|" .. holder)', ""),
    ),
    mutation(
        "acquire grants the last term again",
        "I8",
        Edit("acquire", 'tonumber(redis.call("GET", last_term) or "0") + 1', 'tonumber(redis.call("GET", last_term))'),
    ),
    mutation(
        "acquire takes the term from the clock alone, which may be set back",
        "I8",
        Edit("acquire", 'math.max(tonumber(redis.call("GET", last_term) or "0") + 1, at)', "at"),
    ),
    mutation(
        "beat brings a dead node back to life",
        "I1",
        Edit("beat", "seen and tonumber(seen) < 0 or", ""),
    ),
    mutation(
        "beat brings an unknown node back to life",
        "I1",
        Edit("beat", "or not seen and not is_new", ""),
    ),
    mutation(
        "retire forgets a node that still holds topics",
        "I4",
        Edit("retire", 'redis.call("SCARD", held) == 0', "true"),
    ),
    mutation(
        "create makes a topic due that somebody listens to",
        "I2",
        Edit("create", 'if is_new or redis.call("ZSCORE", due, topic) then', "do"),
    ),
    mutation(
        "create does not make a new topic due",
        "I3",
        Edit("create", "if is_new or", "if"),
    ),
    mutation("delete does not look at members", "I1", DELETED),
    mutation(
        "delete leaves the topic due",
        "I3",
        Edit("delete", 'redis.call("ZREM", due, topic)', ""),
    ),
]


def walks(
    client: Any, script: Callable[[str], Script], holds: tuple[str, ...] = INVARIANTS, seeds: range = SEEDS
) -> None:
    for seed in seeds:
        walk(World(client, script, holds, partitions=1 + seed % 2), seed, STEPS)


def test_the_scripts_as_they_are_survive_the_walks(client: Any) -> None:
    walks(client, packaged)


@pytest.mark.parametrize("mutation", [m for m in MUTATIONS if m.breaks], ids=lambda mutation: mutation.name)
def test_a_script_without_one_guard_breaks_an_invariant(client: Any, mutation: Mutation) -> None:
    with pytest.raises(AssertionError) as broken:
        walks(client, mutation.script(), mutation.holds)
    assert str(broken.value).startswith(mutation.breaks)


@pytest.mark.parametrize("mutation", [m for m in MUTATIONS if not m.breaks], ids=lambda mutation: mutation.name)
def test_a_guard_that_another_one_backs_up_is_not_missed(client: Any, mutation: Mutation) -> None:
    walks(client, mutation.script(), mutation.holds, SEEDS[:3])


# What no walk meets, as a story


def lose_the_last_term(client: Any, script: Callable[[str], Script]) -> None:
    world = World(client, script)
    world.granted = {0: "nobody"}
    client.delete(world.keys.term)
    world.acquire(0)
    client.delete(world.keys.term, world.keys.lease)
    world.wait()
    world.acquire(1)


def test_terms_survive_the_loss_of_the_last_one_because_the_clock_goes_on(client: Any) -> None:
    lose_the_last_term(client, packaged)
    counter_alone = mutation(
        "acquire takes the term from the counter alone", "I8", Edit("acquire", 'or "0") + 1, at)', 'or "0") + 1, 1)')
    )
    with pytest.raises(AssertionError, match=r"^I8"):
        lose_the_last_term(client, counter_alone.script())
