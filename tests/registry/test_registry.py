"""Every question to the registry and every change of it, each on its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

import pytest
from redis.exceptions import OutOfMemoryError

from realtime.engine import election
from realtime.engine.client import Engine, caller
from realtime.engine.keys import RECORDS, Keys
from realtime.engine.registry import BATCH, Batch, Found, Listed, Registry
from realtime.engine.scripts import Call
from tests import engines

NAMES = ["a", "a:b", "a:b:c", "ab", "b", "Z", "é", "é:1", "ê", "日本", "😀", "{a}", "a}b{c"]


@pytest.fixture
def registry(keys: Keys) -> Registry:
    return Registry(keys, (60.0, 300.0))


@pytest.fixture
def hasty(keys: Keys) -> Registry:
    """Its topics may be collected as soon as they are empty."""
    return Registry(keys, (0.0, 0.0))


def total(client: Any, calls: Iterable[Call[int]]) -> int:
    return sum(call.run(client) for call in calls)


def bear(client: Any, registry: Registry, *nodes: str) -> None:
    for node in nodes:
        for partition in registry.keys.partitions():
            registry.beat(partition, node, is_new=True).run(client)


def join(client: Any, registry: Registry, topic: str, node: str, op: int = 1, listeners: int = 1) -> bool:
    return registry.join(topic, node, op, listeners).run(client)


def due(client: Any, registry: Registry, topic: str) -> float | None:
    return client.zscore(registry.keys.of(topic).due, topic)


def show(client: Any, registry: Registry, topic: str) -> Found:
    found = registry.show(topic).run(client)
    assert found is not None
    return found


def page(client: Any, registry: Registry, prefix: str = "", after: str = "", limit: int = 1000) -> list[str]:
    names = [name for call in registry.page(prefix, after, limit) for name in call.run(client)]
    return sorted(names, key=str.encode)


def collect(client: Any, registry: Registry, limit: int = 1000, term: int = 1) -> list[str]:
    calls = [registry.collect(partition, term, "leader", limit) for partition in registry.keys.partitions()]
    return sorted(topic for call in calls for topic in call.run(client).topics)


def seen(client: Any, registry: Registry, topic: str, node: str) -> int:
    listed = registry.nodes(registry.keys.of(topic)).run(client)
    return next(one.seen for one in listed if one.name == node)


def everything(client: Any) -> dict[bytes, Any]:
    return {key: client.dump(key) for key in client.scan_iter()}


def add_records(client: Any, keys: Keys, topic: str) -> None:
    """Whatever there may be of a topic beside its members."""
    for key in keys.of(topic).records(topic)[1:]:
        client.set(key, "something")


def has_records(client: Any, keys: Keys, topic: str) -> bool:
    return bool(client.exists(*keys.of(topic).records(topic)))


def next_ms(client: Any) -> None:
    """Wait until the engine's clock shows another millisecond."""
    first = now = client.time()
    while now[1] // 1000 == first[1] // 1000:
        now = client.time()


# Topics


def test_create_tells_how_many_are_new(client: Any, registry: Registry) -> None:
    assert total(client, registry.create(["a", "b", "a"])) == 2
    assert total(client, registry.create(["b", "c"])) == 1
    assert page(client, registry) == ["a", "b", "c"]


def test_create_of_nothing_asks_nothing(registry: Registry) -> None:
    assert registry.create([]) == []


DAY = 86400.0


@pytest.mark.parametrize(
    "window",
    [(60.0, 300.0), (0.0, 30 * DAY), (24 * DAY, 25 * DAY), (30 * DAY, 31 * DAY), (365 * DAY, 3650 * DAY)],
    ids=["minutes", "up to 30 days", "around 2^31 ms", "around 2^31.3 ms", "years"],
)
def test_a_new_topic_is_due_within_the_window(client: Any, keys: Keys, window: tuple[float, float]) -> None:
    registry = Registry(keys, window)
    topics = [f"t{number}" for number in range(200)]
    total(client, registry.create(topics))
    waits = {due(client, registry, topic) - float(client.hget(keys.of(topic).created, topic)) for topic in topics}
    slack = 10_000  # the script's own time
    assert window[0] * 1000 <= min(waits) and max(waits) <= window[1] * 1000 + slack
    assert len(waits) > 100  # jitter, so that they are not collected all at once


def test_a_window_without_width_has_no_jitter(client: Any, keys: Keys) -> None:
    registry = Registry(keys, (100.0, 100.0))
    total(client, registry.create(["a"]))
    assert 90 < show(client, registry, "a").due <= 100


def test_create_again_renews_the_time_of_an_empty_topic(client: Any, keys: Keys, registry: Registry) -> None:
    total(client, registry.create(["a"]))
    place = keys.of("a")
    born = client.hget(place.created, "a")
    client.zadd(place.due, {"a": 1})
    assert total(client, registry.create(["a"])) == 0
    assert show(client, registry, "a").due > 0
    assert client.hget(place.created, "a") == born


def test_create_again_leaves_a_topic_with_listeners_alone(client: Any, registry: Registry) -> None:
    bear(client, registry, "n")
    join(client, registry, "a", "n")
    before = everything(client)
    assert total(client, registry.create(["a"])) == 0
    assert everything(client) == before


def test_create_takes_more_than_a_script_can(client: Any, registry: Registry) -> None:
    topics = [f"rooms:{number}" for number in range(20_000)]
    assert total(client, registry.create(topics)) == 20_000
    assert total(client, registry.count()) == 20_000


def test_a_topic_exists_once_it_is_created(client: Any, registry: Registry) -> None:
    assert not registry.exists("é{1}").run(client)
    total(client, registry.create(["é{1}"]))
    assert registry.exists("é{1}").run(client)
    assert not registry.exists("é{1").run(client)


@pytest.mark.parametrize("prefix", ["", "a", "a:", "a:b", "é", "日", "😀", "{", "nothing", "a:b:c:d"])
def test_topics_are_counted_and_listed_by_prefix(client: Any, registry: Registry, prefix: str) -> None:
    total(client, registry.create(NAMES))
    expected = sorted((name for name in NAMES if name.startswith(prefix)), key=str.encode)
    assert page(client, registry, prefix) == expected
    assert total(client, registry.count(prefix)) == len(expected)


@pytest.mark.parametrize("prefix", ["", "a", "é"])
def test_pages_follow_one_another_in_the_order_of_bytes(client: Any, registry: Registry, prefix: str) -> None:
    total(client, registry.create(NAMES))
    found: list[str] = []
    while names := page(client, registry, prefix, after=found[-1] if found else "", limit=2)[:2]:
        found += names
    assert found == sorted((name for name in NAMES if name.startswith(prefix)), key=str.encode)


def test_a_page_starts_with_its_prefix_even_after_a_name_before_it(client: Any, registry: Registry) -> None:
    total(client, registry.create(["a", "b:1", "b:2", "c"]))
    assert page(client, registry, "b:", after="a") == ["b:1", "b:2"]
    assert page(client, registry, "b:", after="b:2") == []
    assert page(client, registry, "b:", after="c") == []


def test_a_page_is_no_longer_than_its_limit(client: Any, registry: Registry) -> None:
    total(client, registry.create([f"t{number:02}" for number in range(90)]))
    pages = [call.run(client) for call in registry.page("t", "", 3)]
    assert [len(names) for names in pages] == [3] * registry.keys.count
    assert all(names == sorted(names) for names in pages)


def test_show_tells_of_a_topic_what_there_is(client: Any, keys: Keys, registry: Registry) -> None:
    assert registry.show("a").run(client) is None
    bear(client, registry, "n", "host:1:ab")
    join(client, registry, "a", "n", listeners=3)
    join(client, registry, "a", "host:1:ab", listeners=4)
    now = client.time()[0] * 1000
    client.hset(keys.of("a").created, "a", now - 100_000)
    found = show(client, registry, "a")
    assert (found.due, found.nodes) == (None, {"n": 3, "host:1:ab": 4})
    assert 100 <= found.age < 200


def test_show_tells_when_an_empty_topic_may_be_collected(client: Any, keys: Keys, registry: Registry) -> None:
    total(client, registry.create(["a"]))
    assert 0 < show(client, registry, "a").due <= 300
    client.zadd(keys.of("a").due, {"a": client.time()[0] * 1000 - 5000})
    assert show(client, registry, "a").due <= -5
    assert show(client, registry, "a").nodes == {}


def test_delete_removes_a_topic_with_all_its_records(client: Any, keys: Keys, registry: Registry) -> None:
    assert len(keys.of("a").records("a")) == len(RECORDS)
    total(client, registry.create(["a", "b"]))
    add_records(client, keys, "a")
    add_records(client, keys, "b")
    assert registry.delete("a").run(client) == 1
    assert not has_records(client, keys, "a")
    assert has_records(client, keys, "b")
    assert page(client, registry) == ["b"]
    assert due(client, registry, "a") is None
    assert not client.hexists(keys.of("a").created, "a")


def test_delete_of_what_is_not_there_deletes_nothing(client: Any, registry: Registry) -> None:
    assert registry.delete("a").run(client) == 0


def test_delete_is_refused_while_somebody_listens(client: Any, registry: Registry) -> None:
    bear(client, registry, "n")
    join(client, registry, "a", "n")
    before = everything(client)
    assert registry.delete("a").run(client) == -1
    assert everything(client) == before


# Members


def test_join_creates_the_topic(client: Any, keys: Keys, registry: Registry) -> None:
    bear(client, registry, "n")
    assert join(client, registry, "é", "n", listeners=2)
    assert show(client, registry, "é").nodes == {"n": 2}
    assert client.hexists(keys.of("é").created, "é")
    assert client.smembers(keys.of("é").held("n")) == {"é".encode()}


def test_join_takes_an_empty_topic_as_it_is_and_keeps_it(client: Any, keys: Keys, registry: Registry) -> None:
    total(client, registry.create(["a"]))
    client.hset(keys.of("a").created, "a", 1)
    bear(client, registry, "n")
    assert join(client, registry, "a", "n")
    assert show(client, registry, "a").due is None
    assert client.hget(keys.of("a").created, "a") == b"1"


@pytest.mark.parametrize("is_dead", [False, True], ids=["unknown", "dead"])
def test_join_by_a_node_that_is_not_alive_changes_nothing(
    client: Any, keys: Keys, registry: Registry, is_dead: bool
) -> None:
    total(client, registry.create(["a"]))
    if is_dead:
        client.zadd(keys.of("a").nodes, {"n": -1})
    before = everything(client)
    assert not join(client, registry, "a", "n")
    assert not join(client, registry, "new", "n")
    assert everything(client) == before


def test_the_last_one_to_leave_makes_the_topic_due(client: Any, keys: Keys, registry: Registry) -> None:
    bear(client, registry, "n", "m")
    join(client, registry, "a", "n")
    join(client, registry, "a", "m")
    assert registry.leave("a", "n", 2).run(client)
    assert show(client, registry, "a").due is None
    assert registry.leave("a", "m", 2).run(client)
    assert 0 < show(client, registry, "a").due <= 300
    assert not client.exists(keys.of("a").held("n"), keys.of("a").held("m"))


def test_to_leave_once_more_does_not_prolong_a_topic(client: Any, keys: Keys, registry: Registry) -> None:
    total(client, registry.create(["a"]))
    client.zadd(keys.of("a").due, {"a": 1})
    assert not registry.leave("a", "n", 1).run(client)
    assert due(client, registry, "a") == 1


def test_to_leave_what_does_not_exist_changes_nothing(client: Any, registry: Registry) -> None:
    bear(client, registry, "n")
    before = everything(client)
    assert not registry.leave("a", "n", 1).run(client)
    assert everything(client) == before


def test_a_leave_that_was_overtaken_by_a_join_does_nothing(client: Any, registry: Registry) -> None:
    bear(client, registry, "n")
    join(client, registry, "a", "n", op=3)
    before = everything(client)
    assert not registry.leave("a", "n", 2).run(client)
    assert everything(client) == before


def test_a_join_that_was_overtaken_changes_nothing(client: Any, registry: Registry) -> None:
    bear(client, registry, "n")
    join(client, registry, "a", "n", op=9, listeners=5)
    before = everything(client)
    assert join(client, registry, "a", "n", op=8, listeners=1)
    assert everything(client) == before


def test_op_numbers_are_compared_as_numbers(client: Any, registry: Registry) -> None:
    bear(client, registry, "n")
    join(client, registry, "a", "n", op=9)
    join(client, registry, "a", "n", op=10, listeners=2)
    assert not registry.leave("a", "n", 9).run(client)
    assert show(client, registry, "a").nodes == {"n": 2}


def test_a_join_twice_is_a_join_once(client: Any, registry: Registry) -> None:
    bear(client, registry, "n")
    join(client, registry, "a", "n")
    before = everything(client)
    assert join(client, registry, "a", "n")
    assert everything(client) == before


def test_report_tells_how_many_listen(client: Any, registry: Registry) -> None:
    bear(client, registry, "n")
    topics = [f"t{number}" for number in range(2 * BATCH + 7)]
    for topic in topics:
        join(client, registry, topic, "n")
    calls = registry.report("n", 2, {topic: number for number, topic in enumerate(topics)})
    assert total(client, calls) == len(topics)
    assert [show(client, registry, topic).nodes["n"] for topic in topics] == list(range(len(topics)))


def test_report_never_makes_a_member(client: Any, registry: Registry) -> None:
    bear(client, registry, "n", "m")
    join(client, registry, "a", "n")
    total(client, registry.create(["b"]))
    before = everything(client)
    assert total(client, registry.report("m", 5, {"a": 1, "b": 2, "new": 3})) == 0
    assert everything(client) == before


def test_a_report_that_was_overtaken_changes_nothing(client: Any, registry: Registry) -> None:
    bear(client, registry, "n")
    join(client, registry, "a", "n", op=3, listeners=7)
    assert total(client, registry.report("n", 2, {"a": 1})) == 0
    assert show(client, registry, "a").nodes == {"n": 7}


def test_a_report_protects_a_member_from_what_it_overtook(client: Any, registry: Registry) -> None:
    bear(client, registry, "n")
    join(client, registry, "a", "n", op=1)
    assert total(client, registry.report("n", 3, {"a": 4})) == 1
    assert not registry.leave("a", "n", 2).run(client)
    assert show(client, registry, "a").nodes == {"n": 4}


# Nodes


def test_beat_tells_how_many_topics_a_node_holds(client: Any, keys: Keys, registry: Registry) -> None:
    place = keys.of("a")
    assert registry.beat(place, "n", is_new=True).run(client) == 0
    join(client, registry, "a", "n")
    assert registry.beat(place, "n").run(client) == 1


def test_beat_is_a_new_sign_of_life(client: Any, keys: Keys, registry: Registry) -> None:
    bear(client, registry, "n")
    first = seen(client, registry, "a", "n")
    next_ms(client)
    registry.beat(keys.of("a"), "n").run(client)
    assert seen(client, registry, "a", "n") > first


def test_a_node_that_nobody_knows_cannot_beat_itself_alive(client: Any, keys: Keys, registry: Registry) -> None:
    assert registry.beat(keys.of("a"), "n").run(client) == -1
    assert everything(client) == {}


@pytest.mark.parametrize("is_new", [False, True])
def test_a_dead_node_cannot_beat_itself_alive(client: Any, keys: Keys, registry: Registry, is_new: bool) -> None:
    client.zadd(keys.of("a").nodes, {"n": -1})
    assert registry.beat(keys.of("a"), "n", is_new=is_new).run(client) == -1
    assert seen(client, registry, "a", "n") == -1


def test_a_node_can_list_what_it_holds(client: Any, registry: Registry) -> None:
    bear(client, registry, "n")
    topics = {f"é{number}" for number in range(BATCH + 100)}
    for topic in topics:
        join(client, registry, topic, "n")
    found = set()
    for partition in registry.keys.partitions():
        cursor, names = registry.held(partition, "n", 0).run(client)
        found.update(names)
        while cursor:
            cursor, names = registry.held(partition, "n", cursor).run(client)
            found.update(names)
    assert found == topics


def test_a_node_that_holds_nothing_retires_without_a_trace(client: Any, keys: Keys, registry: Registry) -> None:
    bear(client, registry, "n")
    for partition in keys.partitions():
        assert registry.retire(partition, "n").run(client) == 1
    assert everything(client) == {}


def test_a_node_that_retires_leaves_what_it_holds_to_the_leader(client: Any, keys: Keys, registry: Registry) -> None:
    bear(client, registry, "n")
    join(client, registry, "a", "n")
    assert registry.retire(keys.of("a"), "n").run(client) == 1
    assert seen(client, registry, "a", "n") == -1
    assert not join(client, registry, "b" if keys.count == 1 else "a", "n", op=2)
    assert registry.reap(keys.of("a"), 1, "leader", "n", -1, 10).run(client) == Batch(topics=["a"], is_over=True)


def test_who_retires_twice_or_is_unknown_stays_gone(client: Any, keys: Keys, registry: Registry) -> None:
    assert registry.retire(keys.of("a"), "n").run(client) == 0
    assert everything(client) == {}


def test_nodes_are_listed_with_their_last_sign_of_life(client: Any, keys: Keys, registry: Registry) -> None:
    bear(client, registry, "n")
    join(client, registry, "a", "n")
    place = keys.of("a")
    now = client.time()[0] * 1000
    client.zadd(place.nodes, {"dead": -1, "quiet": now - 100_000})
    listed = {one.name: one for one in registry.nodes(place).run(client)}
    assert listed.keys() == {"n", "dead", "quiet"}
    assert (listed["n"].topics, listed["quiet"].topics) == (1, 0)
    assert listed["dead"].seen == -1
    assert listed["quiet"].seen == now - 100_000
    assert 100 <= listed["quiet"].silent < 200
    assert listed["n"] == Listed("n", seen(client, registry, "a", "n"), listed["n"].silent, 1)


# The leader


def test_a_leader_takes_over_every_partition(client: Any, keys: Keys, registry: Registry) -> None:
    for partition in keys.partitions():
        assert registry.govern(partition, 7, "new").run(client) == ""
    for partition in keys.partitions():
        assert registry.govern(partition, 6, "old").run(client) == "7|new"
        assert registry.collect(partition, 6, "old", 10).run(client).newer == "7|new"
        assert registry.reap(partition, 6, "old", "n", 1, 10).run(client).newer == "7|new"
        assert registry.govern(partition, 7, "new").run(client) == ""


def test_of_two_with_one_term_the_first_to_act_leads(client: Any, keys: Keys, registry: Registry) -> None:
    place = keys.of("a")
    assert registry.collect(place, 7, "first", 10).run(client).newer == ""
    assert registry.collect(place, 7, "second", 10).run(client).newer == "7|first"
    assert registry.collect(place, 8, "second", 10).run(client).newer == ""
    assert registry.collect(place, 7, "first", 10).run(client).newer == "8|second"


def test_an_overruled_leader_changes_nothing(client: Any, keys: Keys, hasty: Registry) -> None:
    place = keys.of("a")
    bear(client, hasty, "n")
    join(client, hasty, "a", "n")
    client.zadd(place.due, {"b": 1})
    known = seen(client, hasty, "a", "n")
    hasty.govern(place, 10, "new").run(client)  # more digits than 9: terms are numbers
    before = everything(client)
    assert Registry(keys, (1.0, 1.0)).govern(place, 9, "old").run(client) == "10|new"
    assert hasty.collect(place, 9, "old", 10).run(client).newer == "10|new"
    assert hasty.reap(place, 9, "old", "n", known, 10).run(client).newer == "10|new"
    assert everything(client) == before


def test_the_leaders_window_governs_topics_of_every_process(client: Any, keys: Keys, registry: Registry) -> None:
    for partition in keys.partitions():
        Registry(keys, (1000.0, 1000.0)).govern(partition, 1, "leader").run(client)
    bear(client, registry, "n")
    total(client, registry.create(["created"]))
    join(client, registry, "left", "n")
    registry.leave("left", "n", 2).run(client)
    join(client, registry, "reaped", "n")
    registry.reap(keys.of("reaped"), 1, "leader", "n", seen(client, registry, "reaped", "n"), 10).run(client)
    for topic in ("created", "left", "reaped"):
        assert 900 < show(client, registry, topic).due <= 1000


def test_collect_takes_only_what_is_due(client: Any, registry: Registry, hasty: Registry) -> None:
    total(client, registry.create(["later"]))
    total(client, hasty.create(["now", "é"]))
    assert collect(client, hasty) == ["now", "é"]
    assert page(client, registry) == ["later"]
    assert collect(client, hasty) == []


def test_collect_works_in_batches_the_oldest_first(client: Any, keys: Keys, registry: Registry) -> None:
    place = keys.partition(0)
    topics = [topic for topic in (f"t{number:03}" for number in range(400)) if keys.of(topic) == place][:7]
    total(client, registry.create(topics))
    client.zadd(place.due, {topic: number for number, topic in enumerate(topics)})
    batches = [registry.collect(place, 1, "leader", 3).run(client).topics for _ in range(4)]
    assert batches == [topics[:3], topics[3:6], topics[6:], []]
    assert registry.ledger(place).run(client) == {"collected": 7, "removed": 0}


def test_collect_removes_a_topic_with_all_its_records(client: Any, keys: Keys, hasty: Registry) -> None:
    total(client, hasty.create(["a"]))
    add_records(client, keys, "a")
    add_records(client, keys, "b")
    assert collect(client, hasty) == ["a"]
    assert not has_records(client, keys, "a")
    assert has_records(client, keys, "b")
    assert not hasty.exists("a").run(client)
    assert not client.hexists(keys.of("a").created, "a")


def test_collect_spares_a_topic_that_has_got_a_member(client: Any, keys: Keys, hasty: Registry) -> None:
    total(client, hasty.create(["a", "b"]))
    bear(client, hasty, "n")
    join(client, hasty, "a", "n")
    assert collect(client, hasty) == ["b"]
    client.zadd(keys.of("a").due, {"a": 1})  # even if it were due: collect looks for itself
    assert collect(client, hasty) == []
    assert show(client, hasty, "a").nodes == {"n": 1}
    assert due(client, hasty, "a") is None


def test_reap_does_nothing_to_a_node_that_has_beaten_since(client: Any, keys: Keys, registry: Registry) -> None:
    place = keys.of("a")
    bear(client, registry, "n")
    join(client, registry, "a", "n")
    known = seen(client, registry, "a", "n")
    next_ms(client)
    registry.beat(place, "n").run(client)
    assert registry.reap(place, 1, "leader", "n", known, 10).run(client) == Batch(topics=[], is_alive=True)
    assert show(client, registry, "a").nodes == {"n": 1}
    assert registry.beat(place, "n").run(client) == 1


def test_reap_gives_each_topic_back_exactly_once(client: Any, keys: Keys, registry: Registry) -> None:
    place = keys.partition(0)
    topics = [topic for topic in (f"t{number}" for number in range(400)) if keys.of(topic) == place][:8]
    bear(client, registry, "n", "m")
    for topic in topics:
        join(client, registry, topic, "n")
    join(client, registry, topics[0], "m")
    known = seen(client, registry, topics[0], "n")
    batches = [registry.reap(place, 1, "leader", "n", known, 3).run(client) for _ in range(4)]
    assert [(len(batch.topics), batch.is_over) for batch in batches] == [(3, False), (3, False), (2, True), (0, True)]
    assert sorted(topic for batch in batches for topic in batch.topics) == sorted(topics)
    assert registry.ledger(place).run(client) == {"collected": 0, "removed": 8}
    assert show(client, registry, topics[0]).nodes == {"m": 1}


def test_a_topic_that_reap_has_emptied_becomes_due(client: Any, keys: Keys, hasty: Registry) -> None:
    bear(client, hasty, "n", "m")
    for topic, node in [("a", "n"), ("b", "n"), ("b", "m")]:
        join(client, hasty, topic, node)
    for place in keys.partitions():
        known = next(one.seen for one in hasty.nodes(place).run(client) if one.name == "n")
        assert hasty.reap(place, 1, "leader", "n", known, 10).run(client).is_over
    assert show(client, hasty, "a").due <= 0
    assert show(client, hasty, "b").due is None
    assert collect(client, hasty) == ["a"]


def test_a_node_is_dead_from_the_first_batch_on(client: Any, keys: Keys, registry: Registry) -> None:
    place = keys.of("a")
    topics = [topic for topic in ("a", *(f"t{number}" for number in range(200))) if keys.of(topic) == place][:3]
    bear(client, registry, "n")
    for topic in topics:
        join(client, registry, topic, "n")
    known = seen(client, registry, "a", "n")
    assert not registry.reap(place, 1, "leader", "n", known, 1).run(client).is_over
    assert registry.beat(place, "n").run(client) == -1
    assert not join(client, registry, "a", "n", op=2)
    assert registry.reap(place, 2, "next leader", "n", -1, 10).run(client).is_over
    assert registry.beat(place, "n").run(client) == -1


def test_what_a_dead_node_left_itself_is_not_counted_as_removed(client: Any, keys: Keys, registry: Registry) -> None:
    place = keys.of("a")
    bear(client, registry, "n")
    join(client, registry, "a", "n")
    known = seen(client, registry, "a", "n")
    assert registry.leave("a", "n", 2).run(client)
    assert registry.reap(place, 1, "leader", "n", known, 10).run(client) == Batch(topics=[], is_over=True)
    assert registry.ledger(place).run(client) == {"collected": 0, "removed": 0}


def test_the_ledgers_add_up(client: Any, keys: Keys, hasty: Registry) -> None:
    bear(client, hasty, "n")
    for number in range(40):
        join(client, hasty, f"t{number}", "n")
    for place in keys.partitions():
        known = hasty.nodes(place).run(client)[0].seen
        hasty.reap(place, 1, "leader", "n", known, 1000).run(client)
    total(client, hasty.create(["more"]))
    assert len(collect(client, hasty)) == 41
    ledgers = [hasty.ledger(place).run(client) for place in keys.partitions()]
    assert sum(ledger["collected"] for ledger in ledgers) == 41
    assert sum(ledger["removed"] for ledger in ledgers) == 40


def test_waiting_tells_what_a_leader_would_find(client: Any, keys: Keys, registry: Registry) -> None:
    place = keys.partition(0)
    assert registry.waiting(place).run(client) == (0, 0, None)
    now = client.time()[0] * 1000
    client.zadd(place.due, {"past": now - 1, "long past": 1, "soon": now + 100_000, "later": now + 900_000})
    ready, later, until = registry.waiting(place).run(client)
    assert (ready, later) == (2, 2)
    assert until is not None and 0 < until <= 100


# The lease


def test_the_first_to_acquire_leads(client: Any, keys: Keys) -> None:
    assert election.leader(keys).run(client) is None
    first = election.acquire(keys, "one:1:a", 60).run(client)
    assert (first.holder, first.place) == ("one:1:a", "one:1")
    second = election.acquire(keys, "two:2:b", 60).run(client)
    assert second == first
    asked = election.leader(keys).run(client)
    assert asked is not None and 0 < asked.left <= 60
    assert asked == election.Leader("one:1:a", first.term, first.since, asked.left)


def test_the_time_of_the_engine_is_the_leaders(client: Any, keys: Keys) -> None:
    before = client.time()[0]
    since = election.acquire(keys, "one", 60).run(client).since
    assert before <= since <= client.time()[0] + 1


def test_to_acquire_again_renews_the_lease_alone(client: Any, keys: Keys) -> None:
    first = election.acquire(keys, "one", 60).run(client)
    client.pexpire(keys.lease, 1000)
    assert election.acquire(keys, "one", 60).run(client) == first
    assert client.pttl(keys.lease) > 1000


def test_a_lease_ends_by_itself_and_the_next_term_is_greater(client: Any, keys: Keys) -> None:
    first = election.acquire(keys, "one", 60).run(client)
    assert 0 < client.pttl(keys.lease) <= 60_000
    client.pexpire(keys.lease, 0)
    assert election.leader(keys).run(client) is None
    second = election.acquire(keys, "two", 60).run(client)
    assert second.holder == "two"
    assert second.term > first.term
    assert election.acquire(keys, "one", 60).run(client) == second


def test_terms_grow_even_if_the_clock_does_not(client: Any, keys: Keys) -> None:
    client.set(keys.term, 10**15)
    assert election.acquire(keys, "one", 60).run(client).term == 10**15 + 1


def test_terms_grow_even_if_the_last_one_is_lost(client: Any, keys: Keys) -> None:
    first = election.acquire(keys, "one", 60).run(client)
    client.delete(keys.term, keys.lease)
    next_ms(client)
    assert election.acquire(keys, "two", 60).run(client).term > first.term


def test_a_lease_that_a_clock_set_back_has_prolonged_is_free(client: Any, keys: Keys) -> None:
    client.set(keys.lease, "7|other|1000|1", px=60_000)
    taken = election.acquire(keys, "one", 60).run(client)
    assert taken.holder == "one"
    assert taken.term > 7


def test_a_lease_without_an_end_is_free(client: Any, keys: Keys) -> None:
    client.set(keys.lease, "7|other|60000|1")
    assert election.acquire(keys, "one", 60).run(client).holder == "one"
    assert 0 < client.pttl(keys.lease) <= 60_000


def test_a_lease_with_the_time_it_was_given_is_not_free(client: Any, keys: Keys) -> None:
    client.set(keys.lease, "7|other|60000|1000", px=60_000)
    assert election.acquire(keys, "one", 1).run(client) == election.Leader("other", 7, 1.0)


def test_release_gives_the_lease_back_and_tells_the_others(client: Any, keys: Keys) -> None:
    election.acquire(keys, "one", 60).run(client)
    with client.pubsub() as pubsub:
        pubsub.subscribe(keys.released)
        assert pubsub.get_message(timeout=5)["type"] == "subscribe"
        assert election.release(keys, "one").run(client)
        message = pubsub.get_message(timeout=5)
    assert (message["channel"].decode(), message["data"]) == (keys.released, b"one")
    assert election.leader(keys).run(client) is None


def test_nobody_can_release_the_lease_of_another(client: Any, keys: Keys) -> None:
    assert not election.release(keys, "two").run(client)
    election.acquire(keys, "one", 60).run(client)
    assert not election.release(keys, "two").run(client)
    assert election.leader(keys).run(client).holder == "one"


def test_every_identity_is_another() -> None:
    names = {election.identity() for _ in range(100)}
    assert len(names) == 100
    assert len({election.place(name) for name in names}) == 1


# The engine


def test_an_engine_that_has_forgotten_the_scripts_is_sent_them(client: Any, keys: Keys, registry: Registry) -> None:
    bear(client, registry, "n")
    client.script_flush()
    assert join(client, registry, "a", "n")
    client.script_flush()
    assert show(client, registry, "a").nodes == {"n": 1}
    client.script_flush()
    assert election.acquire(keys, "one", 60).run(client).holder == "one"


async def test_calls_run_without_waiting_for_each_other_too(engine: str, client: Any, registry: Registry) -> None:
    client.script_flush()
    async with aclosing(caller(Engine(engine))) as other:
        assert [await other.call(call) for call in registry.create(["a"])] == [1]
        assert await other.call(registry.exists("a"))
        found = await other.call(registry.show("a"))
    assert found is not None and found.nodes == {}


@contextmanager
def full(engine: str) -> Iterator[None]:
    """The engine has no memory left."""
    with engines.nodes(engine) as nodes:
        before = nodes[0].config_get("maxmemory")["maxmemory"]
        for node in nodes:
            node.config_set("maxmemory", 1)
        try:
            yield
        finally:
            for node in nodes:
                node.config_set("maxmemory", before)


def test_a_full_engine_takes_nothing_new(engine: str, client: Any, registry: Registry) -> None:
    bear(client, registry, "n")
    before = everything(client)
    with full(engine):
        with pytest.raises(OutOfMemoryError):
            join(client, registry, "a", "n")
        with pytest.raises(OutOfMemoryError):
            total(client, registry.create(["a"]))
    assert everything(client) == before


def test_a_full_engine_still_gives_memory_back(engine: str, client: Any, keys: Keys, hasty: Registry) -> None:
    bear(client, hasty, "n", "m")
    for topic, node in [("left", "n"), ("reaped", "m")]:
        join(client, hasty, topic, node)
    total(client, hasty.create(["deleted"]))
    with full(engine):
        term = election.acquire(keys, "leader", 60).run(client).term
        for place in keys.partitions():
            assert hasty.govern(place, term, "leader").run(client) == ""
            assert hasty.beat(place, "n").run(client) >= 0
        assert total(client, hasty.report("n", 2, {"left": 2})) == 1
        assert hasty.leave("left", "n", 3).run(client)
        assert hasty.delete("deleted").run(client) == 1
        known = seen(client, hasty, "reaped", "m")
        assert hasty.reap(keys.of("reaped"), term, "leader", "m", known, 10).run(client).topics == ["reaped"]
        assert collect(client, hasty, term=term) == ["left", "reaped"]
        assert all(hasty.retire(place, "n").run(client) for place in keys.partitions())
        assert election.release(keys, "leader").run(client)
