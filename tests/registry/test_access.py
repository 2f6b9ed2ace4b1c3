"""An engine's user with no more rights than the README names can do all that the registry asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from redis.exceptions import NoPermissionError

from realtime.engine import election, orders
from realtime.engine.keys import Keys
from realtime.engine.presences import Presences, Tracked, Untracked
from realtime.engine.registry import Registry, eviction_policy
from tests import engines

SECRET = "s3cret"


@pytest.fixture
def ada() -> Iterator[Any]:
    """A client of a user that has the rights of engines.ACL_RULES alone."""
    with engines.valkey() as engine, engine.servers[0].client() as root:
        root.execute_command("ACL", "SETUSER", "ada", "on", f">{SECRET}", *engines.ACL_RULES.split())
        with engine.servers[0].client() as client:
            client.execute_command("AUTH", "ada", SECRET)
            yield client


def test_every_call_is_allowed(ada: Any) -> None:
    registry = Registry(Keys("rt"), (0, 0))
    place = registry.keys.partition(0)
    for call in registry.create(["a", "b", "c"]):
        assert call.run(ada) == 3
    registry.beat(place, "node:1:x", is_new=True).run(ada)
    assert registry.join("a", "node:1:x", 1, 1).run(ada)
    assert registry.join("d", "node:1:x", 2, 1).run(ada)
    assert [call.run(ada) for call in registry.report("node:1:x", 3, {"a": 5})] == [1]
    assert registry.show("a").run(ada).nodes == {"node:1:x": 5}
    assert registry.exists("a").run(ada)
    assert [call.run(ada) for call in (*registry.count(), *registry.count("a"))] == [4, 1]
    assert [call.run(ada) for call in registry.page("", "", 2)] == [["a", "b"]]
    assert registry.held(place, "node:1:x", 0).run(ada)[1]
    registry.leave("a", "node:1:x", 4).run(ada)
    presences = Presences(registry.keys)
    assert presences.track("d", "node:1:x", 5, [Tracked("c", "key", b"{}")]).run(ada) == 1
    assert presences.untrack("d", 6, [Untracked("node:1:x", "c", "key", 1.0)]).run(ada) == 0
    assert presences.load("d").run(ada).metas.keys() == {"key"}
    assert presences.tracked("d", "node:1:x", 0).run(ada) == (0, [["d", "c", "key"]])
    assert presences.untrack("d", 7, [Untracked("node:1:x", "c", "key", 0.0)]).run(ada) == 2
    assert registry.delete("b").run(ada) == 1
    assert registry.waiting(place).run(ada)[0] == 2
    lead = election.acquire(registry.keys, "me", 10).run(ada)
    assert election.leader(registry.keys).run(ada).term == lead.term
    assert registry.govern(place, lead.term, "me").run(ada) == ""
    assert registry.collect(place, lead.term, "me", 10).run(ada).topics
    seen = registry.nodes(place).run(ada)[0].seen
    assert registry.reap(place, lead.term, "me", "node:1:x", seen, 10).run(ada).is_over
    assert registry.ledger(place).run(ada)["removed"] == 1
    registry.retire(place, "node:1:x").run(ada)
    assert election.release(registry.keys, "me").run(ada)
    told = orders.tell(registry.keys, b"{}").run(ada)
    assert orders.last(registry.keys).run(ada) == told
    assert orders.since(registry.keys, (0, 0)).run(ada) == [(told, b"{}")]
    assert orders.since(registry.keys, told).run(ada) == []
    assert eviction_policy().run(ada) == "noeviction"


@pytest.mark.parametrize("command", [["GET", "others"], ["FLUSHALL"], ["CONFIG", "GET", "*"], ["KEYS", "*"]])
def test_and_no_more(ada: Any, command: list[str]) -> None:
    with pytest.raises(NoPermissionError):
        ada.execute_command(*command)
