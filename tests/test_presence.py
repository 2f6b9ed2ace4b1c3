"""Presence: who is in a topic, as clients are told and authors ask; through the consumer and a real engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from realtime import (
    Channel,
    EngineUnavailable,
    InvalidPresence,
    NotTracked,
    Presence,
    Refused,
    Router,
    Unencodable,
    abroadcast,
    adisconnect,
    akick,
    channel,
    conf,
    handle_in,
)
from realtime.engine.client import sync_client
from realtime.engine.presences import Presences, Tracked
from realtime.node import Node
from tests import test_dismissal
from tests.test_dismissal import heard
from tests.wire import PATIENCE, Wire

pytestmark = pytest.mark.usefixtures("empty_engine")

Connect = Callable[..., Awaitable[Wire]]
TOPIC = "t:a"


class Room(Channel):
    """Tracks in `join` whom the client names, and does with presence what it is asked to."""

    presence = Presence()

    async def join(self, payload: Any, name: str) -> None:
        if "key" in payload:
            await self.presence.track(payload["key"], payload.get("meta"))

    @handle_in("track")
    async def track(self, payload: Any) -> Any:
        await self.presence.track(payload["key"], payload.get("meta"))
        return {}

    @handle_in("update")
    async def update(self, payload: Any) -> Any:
        await self.presence.update(payload["key"], payload["meta"])
        return {}

    @handle_in("untrack")
    async def untrack(self, payload: Any) -> Any:
        await self.presence.untrack(payload.get("key"))
        return {}

    @handle_in("list")
    async def list(self) -> Any:
        return await self.presence.list()

    @handle_in("get")
    async def get(self, payload: Any) -> Any:
        return {"entry": await self.presence.get(payload["key"])}

    @handle_in("say")
    async def say(self) -> None:
        await self.broadcast("said", {})

    @handle_in("end")
    async def end(self) -> None:
        await self.stop()

    @handle_in("crash")
    async def crash(self) -> None:
        raise RuntimeError


def routed(handler: type[Channel]) -> Router:
    return Router("/ws", [channel("t:<part:name>", handler, name="t")])


ROUTER = routed(Room)


async def enter(wire: Wire, key: str | None = None, meta: Any = None, ref: str = "1") -> dict[str, Any]:
    """Join, and return the presence_state, the next that is said."""
    payload = {} if key is None else {"key": key} if meta is None else {"key": key, "meta": meta}
    await wire.join(TOPIC, payload, ref)
    frame = await wire.receive()
    assert frame[:4] == [ref, None, TOPIC, "presence_state"], frame
    return frame[4]


async def ask(wire: Wire, event: str, payload: Any = None, ref: str = "1") -> Any:
    """Push, and return the reply's response; what comes before it is not read away."""
    await wire.send(ref, "ask", TOPIC, event, payload or {})
    reply = await wire.receive()
    assert reply[:4] == [ref, "ask", TOPIC, "phx_reply"], reply
    assert reply[4]["status"] == "ok", reply
    return reply[4]["response"]


async def diff(wire: Wire) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return joins and leaves of a presence_diff, the next that is said."""
    frame = await wire.receive()
    assert frame[:4] == [None, None, TOPIC, "presence_diff"], frame
    return frame[4]["joins"], frame[4]["leaves"]


def bare(entries: dict[str, Any]) -> dict[str, Any]:
    """Return key -> metas without their refs, and see that each has one of its own."""
    refs = [meta["phx_ref"] for entry in entries.values() for meta in entry["metas"]]
    assert len(set(refs)) == len(refs)
    assert all(isinstance(ref, str) and ref for ref in refs)
    return {
        key: [{k: v for k, v in meta.items() if not k.startswith("phx_ref")} for meta in entry["metas"]]
        for key, entry in entries.items()
    }


def ref_of(entries: dict[str, Any], key: str) -> str:
    [meta] = entries[key]["metas"]
    ref: str = meta["phx_ref"]
    return ref


@pytest.fixture
def grace(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Callable[[float], None]:
    """grace(seconds) sets PRESENCE_GRACE."""

    def set_to(seconds: float) -> None:
        settings.REALTIME = {**settings.REALTIME, "PRESENCE_GRACE": seconds}

    return set_to


# Joining


async def test_the_state_comes_right_after_the_join_and_holds_what_join_has_tracked(connect: Connect) -> None:
    wire = await connect(ROUTER)
    state = await enter(wire, "ada", {"status": "online"})
    assert bare(state) == {"ada": [{"status": "online"}]}
    await wire.ping()  # and no diff says it once more


async def test_those_who_were_there_hear_of_who_comes_by_a_diff(connect: Connect) -> None:
    ada, bob = await connect(ROUTER), await connect(ROUTER)
    await enter(ada, "ada")
    state = await enter(bob, "bob", {"n": [1, {}, [], 2**53 + 1, 0.5]})
    joins, leaves = await diff(ada)
    assert bare(joins) == {"bob": [{"n": [1, {}, [], 2**53 + 1, 0.5]}]}
    assert leaves == {}
    assert bare(state) == {"ada": [{}], "bob": [{"n": [1, {}, [], 2**53 + 1, 0.5]}]}
    assert joins["bob"] == state["bob"]
    await ada.ping()
    await bob.ping()


async def test_the_state_comes_before_what_after_join_says(connect: Connect) -> None:
    class Greeting(Room):
        async def after_join(self, payload: Any) -> None:
            await self.push("hello", {})

    wire = await connect(routed(Greeting))
    await enter(wire, "ada")
    assert await wire.receive() == ["1", None, TOPIC, "hello", {}]


async def test_what_after_join_tracks_comes_by_a_diff(connect: Connect) -> None:
    class Late(Room):
        async def after_join(self, payload: Any) -> None:
            await self.presence.track("late")

    wire = await connect(routed(Late))
    assert await enter(wire) == {}
    joins, _ = await diff(wire)
    assert bare(joins) == {"late": [{}]}


async def test_no_state_is_pushed_where_the_class_says_so(connect: Connect) -> None:
    class Silent(Room):
        presence = Presence(state=False)

    wire = await connect(routed(Silent))
    await wire.join(TOPIC, {"key": "ada"})
    joins, _ = await diff(wire)
    assert bare(joins) == {"ada": [{}]}
    await wire.ping()


async def test_who_is_refused_was_never_there(connect: Connect) -> None:
    class Closed(Room):
        async def join(self, payload: Any, name: str) -> None:
            await super().join(payload, name)
            if payload["key"] == "eve":
                raise Refused("no")

    ada, eve = await connect(routed(Closed)), await connect(routed(Closed))
    await enter(ada, "ada")
    await eve.send("1", "1", TOPIC, "phx_join", {"key": "eve"})
    assert (await eve.receive())[4] == {"status": "error", "response": {"reason": "no"}}
    assert bare(await ask(ada, "list")) == {"ada": [{}]}


async def test_a_channel_without_presence_gets_no_state(connect: Connect) -> None:
    class Plain(Channel):
        async def join(self, payload: Any, name: str) -> None: ...

    wire = await connect(routed(Plain))
    await wire.join(TOPIC)
    await wire.ping()


# Changes


async def test_an_update_is_one_diff_with_both_refs(connect: Connect) -> None:
    ada, bob = await connect(ROUTER), await connect(ROUTER)
    state = await enter(ada, "ada", {"status": "online"})
    await enter(bob)
    await bob.send("1", "2", TOPIC, "list", {})
    await bob.receive()
    await ada.send("1", "2", TOPIC, "update", {"key": "ada", "meta": {"status": "away"}})
    joins, leaves = await diff(bob)
    [meta] = joins["ada"]["metas"]
    assert meta == {"status": "away", "phx_ref": meta["phx_ref"], "phx_ref_prev": ref_of(state, "ada")}
    assert leaves == state
    assert ref_of(joins, "ada") != ref_of(leaves, "ada")
    assert await diff(ada) == (joins, leaves)
    assert (await ada.receive())[3] == "phx_reply"  # after the diff, as with any broadcast
    assert await ask(ada, "list") == joins


async def test_to_track_a_key_again_is_an_update_and_with_the_same_meta_nothing(connect: Connect) -> None:
    wire = await connect(ROUTER)
    state = await enter(wire, "ada", {"a": 1, "b": [2]})
    await ask(wire, "track", {"key": "ada", "meta": {"b": [2], "a": 1}})
    assert await ask(wire, "list") == state
    await wire.send("1", "2", TOPIC, "track", {"key": "ada", "meta": {"a": 2}})
    joins, leaves = await diff(wire)
    assert (bare(joins), leaves) == ({"ada": [{"a": 2}]}, state)


async def test_a_meta_may_be_updated_by_a_function_of_what_it_was(connect: Connect) -> None:
    class Counting(Room):
        @handle_in("count")
        async def count(self) -> Any:
            await self.presence.update("ada", lambda meta: {**meta, "n": meta["n"] + 1})
            return {}

    wire = await connect(routed(Counting))
    await enter(wire, "ada", {"n": 1, "status": "x"})
    await wire.send("1", "2", TOPIC, "count", {})
    joins, _ = await diff(wire)
    assert bare(joins) == {"ada": [{"n": 2, "status": "x"}]}


async def test_refs_that_come_back_in_a_meta_are_not_taken_for_news(connect: Connect) -> None:
    wire = await connect(ROUTER)
    state = await enter(wire, "ada", {"n": 1})
    [meta] = state["ada"]["metas"]
    await ask(wire, "update", {"key": "ada", "meta": {**meta, "phx_ref_prev": "0"}})
    assert await ask(wire, "list") == state


async def test_what_is_not_tracked_cannot_be_updated(connect: Connect) -> None:
    errors: list[Exception] = []

    class Careful(Room):
        @handle_in("update")
        async def update(self, payload: Any) -> Any:
            try:
                await super().update(payload)
            except NotTracked as error:
                errors.append(error)
            return {}

    wire = await connect(routed(Careful))
    await enter(wire, "ada")
    await ask(wire, "update", {"key": "bob", "meta": {}})
    assert str(errors[0]) == "this channel does not track 'bob'; it tracks ['ada']"


async def test_untrack_takes_one_key_or_all(connect: Connect) -> None:
    ada, bob = await connect(ROUTER), await connect(ROUTER)
    state = await enter(ada, "a1")
    for key in ("a2", "a3"):
        await ada.send("1", "2", TOPIC, "track", {"key": key})
        state |= (await diff(ada))[0]
        await ada.receive()
    await enter(bob, "bob")
    await diff(ada)
    await ada.send("1", "2", TOPIC, "untrack", {"key": "a2"})
    assert await diff(bob) == ({}, {"a2": state["a2"]})
    await ada.send("1", "3", TOPIC, "untrack", {})
    assert await diff(bob) == ({}, {"a1": state["a1"], "a3": state["a3"]})  # one diff
    assert bare(await ask(bob, "list")) == {"bob": [{}]}


async def test_to_untrack_what_is_not_tracked_does_nothing(connect: Connect) -> None:
    wire = await connect(ROUTER)
    state = await enter(wire, "ada")
    await ask(wire, "untrack", {"key": "bob"})
    assert await ask(wire, "list") == state


async def test_metas_of_a_key_are_in_the_order_in_which_they_were_tracked(connect: Connect) -> None:
    wires = [await connect(ROUTER) for _ in range(5)]
    for number, wire in enumerate(wires):
        await enter(wire, "ada", {"n": number})
    late = await connect(ROUTER)
    assert bare(await enter(late)) == {"ada": [{"n": number} for number in range(5)]}
    assert bare(await Presence.alist_of(TOPIC)) == {"ada": [{"n": number} for number in range(5)]}
    await wires[0].close()
    wires[0].was_closed()


async def test_a_key_may_be_asked_for_alone(connect: Connect) -> None:
    wire = await connect(ROUTER)
    state = await enter(wire, "ada", {"n": 1})
    assert await ask(wire, "get", {"key": "ada"}) == {"entry": state["ada"]}
    assert await ask(wire, "get", {"key": "bob"}) == {"entry": None}


async def test_a_sync_handler_may_say_it_too(connect: Connect) -> None:
    class Sync(Room):
        def join(self, payload: Any, name: str) -> None:
            async_to_sync(self.presence.track)("ada", {"n": 1})

        @handle_in("more")
        def more(self) -> Any:
            async_to_sync(self.presence.track)(7)
            return {"keys": list(async_to_sync(self.presence.list)())}

    wire = await connect(routed(Sync))
    assert bare(await enter(wire)) == {"ada": [{"n": 1}]}
    await wire.send("1", "2", TOPIC, "more", {})
    assert bare((await diff(wire))[0]) == {"7": [{}]}
    assert (await wire.receive())[4]["response"] == {"keys": ["ada", "7"]}


async def test_in_join_it_is_known_who_is_here(connect: Connect) -> None:
    class Full(Room):
        async def join(self, payload: Any, name: str) -> None:
            if len(await self.presence.list()) == 1:
                raise Refused("full")
            await super().join(payload, name)

    ada, bob = await connect(routed(Full)), await connect(routed(Full))
    await enter(ada, "ada")
    await bob.send("1", "1", TOPIC, "phx_join", {"key": "bob"})
    assert (await bob.receive())[4]["response"] == {"reason": "full"}


async def test_an_engine_that_is_away_refuses_the_join_and_is_an_error_to_who_tracks(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, bob = await connect(ROUTER), await connect(ROUTER)
    await enter(ada, "ada")
    node = Node.current()

    async def away(call: Any) -> Any:
        raise EngineUnavailable("away")

    monkeypatch.setattr(node.layer, "call", lambda call, aside=False: away(call))
    await ada.send("1", "2", TOPIC, "track", {"key": "more"})
    assert (await ada.receive())[4] == {"status": "error", "response": {"reason": "unavailable"}}
    await bob.send("1", "1", TOPIC, "phx_join", {"key": "bob"})
    assert (await bob.receive())[4] == {"status": "error", "response": {"reason": "unavailable"}}
    await ada.send("1", "3", TOPIC, "untrack", {"key": "more"})
    assert (await ada.receive())[4] == {"status": "error", "response": {"reason": "unavailable"}}
    monkeypatch.undo()


ODD = ["__proto__", "constructor", "toString", '"', "\\", "a\x1fb", "a\nb", "\x00", "é😀", "joins", "1", "/", "\u2028"]


@pytest.mark.parametrize("key", ODD)
async def test_any_text_may_be_a_key(key: str, connect: Connect) -> None:
    ada, bob = await connect(ROUTER), await connect(ROUTER)
    await enter(ada)
    assert bare(await enter(bob, key, {key: key})) == {key: [{key: key}]}
    joins, leaves = await diff(ada)
    assert bare(joins) == {key: [{key: key}]}
    await bob.send("1", "9", TOPIC, "phx_leave", {})
    assert await diff(ada) == ({}, joins)
    assert leaves == {}


@pytest.mark.parametrize(
    ("key", "meta", "error"),
    [
        ("", {}, InvalidPresence),
        ("é" * 128, {}, InvalidPresence),
        (None, {}, InvalidPresence),
        ("\ud800", {}, InvalidPresence),
        ("ada", {"text": "x" * 1014}, InvalidPresence),
        ("ada", [1], Unencodable),
        ("ada", {"x": object()}, Unencodable),
    ],
    ids=["no key", "a long key", "None", "a lone surrogate", "a long meta", "a list", "what is no JSON"],
)
async def test_what_cannot_be_tracked_is_an_error(key: Any, meta: Any, error: Any, connect: Connect) -> None:
    class Strict(Room):
        async def join(self, payload: Any, name: str) -> Any:
            with pytest.raises(error):
                await self.presence.track(key, meta)

    assert await enter(await connect(routed(Strict))) == {}


async def test_a_key_of_255_bytes_and_a_meta_of_1024_can_be(connect: Connect) -> None:
    meta = {"text": "x" * 1013}
    assert bare(await enter(await connect(ROUTER), "x" * 255, meta)) == {"x" * 255: [meta]}


# Crowds


async def test_a_crowd_that_comes_in_one_turn_is_one_diff_and_so_is_one_that_leaves(connect: Connect) -> None:
    class Crowd(Room):
        @handle_in("many")
        async def many(self, payload: Any) -> Any:
            work = self.presence.track if payload["come"] else self.presence.untrack
            await asyncio.gather(*(work(f"k{number}") for number in range(1200)))
            return {}

    wire = await connect(routed(Crowd))
    await enter(wire)
    await wire.send("1", "2", TOPIC, "many", {"come": True})
    sizes = [len((await diff(wire))[0]) for _ in range(3)]  # a script takes 500
    assert sizes == [500, 500, 200]
    assert (await wire.receive())[3] == "phx_reply"
    await wire.send("1", "3", TOPIC, "many", {"come": False})
    assert [len((await diff(wire))[1]) for _ in range(3)] == [500, 500, 200]
    assert (await wire.receive())[3] == "phx_reply"
    assert await ask(wire, "list") == {}


class Visit:
    """What one client knows: it takes a state and then diffs, and none may say what is known."""

    def __init__(self, wire: Wire) -> None:
        self.refs: dict[str, set[str]] | None = None
        self.asked = self.answers = 0
        self._wire = wire

    async def say(self, event: str, payload: Any) -> None:
        self.asked += 1
        await self._wire.send("1", str(self.asked), TOPIC, event, payload)

    async def read(self, enough: Callable[[Visit], bool]) -> None:
        while not enough(self):
            _, _, _, event, payload = await self._wire.receive()
            self._take(event, payload)

    def _take(self, event: str, payload: Any) -> None:
        if event == "phx_reply":
            assert payload["status"] == "ok"
            self.answers += 1
        elif event == "presence_state":
            assert self.refs is None
            self.refs = {key: refs_in(entry) for key, entry in payload.items()}
        elif event == "presence_diff":
            assert self.refs is not None, "a diff before the state"
            for key, entry in payload["joins"].items():
                known = self.refs.setdefault(key, set())
                assert not known & refs_in(entry), f"{key} has come twice"
                known |= refs_in(entry)
            for key, entry in payload["leaves"].items():
                assert refs_in(entry) <= self.refs[key], f"{key} was not there"
                self.refs[key] -= refs_in(entry)

    @property
    def present(self) -> dict[str, set[str]]:
        return {key: refs for key, refs in (self.refs or {}).items() if refs}


def refs_in(entry: dict[str, Any]) -> set[str]:
    return {meta["phx_ref"] for meta in entry["metas"]}


@pytest.mark.parametrize("fetches", [False, True], ids=["plain", "with fetch"])
async def test_in_a_crowd_the_state_and_the_diffs_of_each_client_fit_together(connect: Connect, fetches: bool) -> None:
    router = routed(Named if fetches else Room)
    random = Random(7)

    async def visit(number: int) -> Visit:
        visit = Visit(await connect(router))
        await visit.say("phx_join", {"key": f"k{number % 20}", "meta": {"n": number}})
        for _ in range(random.randint(0, 4)):
            event = random.choice(["track", "untrack"])
            await visit.say(event, {"key": f"k{random.randint(0, 20)}", "meta": {"n": random.random()}})
        return visit

    visits = [one for _ in range(4) for one in await asyncio.gather(*map(visit, range(25)))]
    await asyncio.gather(*(one.say("phx_leave", {}) for one in visits[::3]))
    staying = [one for number, one in enumerate(visits) if number % 3]
    await asyncio.gather(*(one.say("untrack", {}) for one in staying[::2]))
    await asyncio.gather(*(one.read(lambda one: one.answers == one.asked) for one in visits))
    await Node.current().idle()
    await staying[0].say("track", {"key": "last"})
    await asyncio.gather(*(one.read(lambda one: bool(one.present.get("last"))) for one in staying))
    there = {key: refs_in(entry) for key, entry in (await Presence.alist_of(TOPIC)).items()}
    assert len(there) > 5
    for one in staying:
        assert one.present == there


async def test_a_state_may_be_larger_than_all_that_may_wait_for_a_socket(connect: Connect, settings: Any) -> None:
    settings.REALTIME = {"OUTBOX_BYTES": 1000}
    for number in range(3):
        await enter(await connect(ROUTER), f"user{number}", {"about": "x" * 900})
    assert len(await enter(await connect(ROUTER))) == 3


async def test_the_state_is_encoded_once_until_something_changes(connect: Connect) -> None:
    await enter(await connect(ROUTER), "ada")
    await enter(await connect(ROUTER))
    roster = Node.current().attendance.replicas[TOPIC].roster
    assert roster.payload() is roster.payload()


# The end


async def test_who_leaves_is_gone_at_once(connect: Connect) -> None:
    ada, bob = await connect(ROUTER), await connect(ROUTER)
    await enter(ada)
    state = await enter(bob, "bob")
    await diff(ada)
    await bob.send("1", "2", TOPIC, "phx_leave", {})
    assert await diff(ada) == ({}, state)


async def test_who_is_stopped_is_gone_at_once(connect: Connect) -> None:
    ada, bob = await connect(ROUTER), await connect(ROUTER)
    await enter(ada)
    state = await enter(bob, "bob")
    await diff(ada)
    await bob.send("1", "2", TOPIC, "end", {})
    assert await diff(ada) == ({}, state)


async def lose(wire: Wire) -> None:
    """End the socket without a leave."""
    await wire.close()
    wire.was_closed()


async def test_without_grace_who_is_lost_is_gone_at_once(connect: Connect, grace: Callable[[float], None]) -> None:
    grace(0)
    ada, bob = await connect(ROUTER), await connect(ROUTER)
    await enter(ada)
    state = await enter(bob, "bob")
    await diff(ada)
    await lose(bob)
    assert await diff(ada) == ({}, state)


async def test_who_is_lost_is_gone_after_the_time_of_grace(connect: Connect, grace: Callable[[float], None]) -> None:
    grace(0.3)
    ada, bob = await connect(ROUTER), await connect(ROUTER)
    await enter(ada)
    state = await enter(bob, "bob")
    await diff(ada)
    lost = asyncio.get_running_loop().time()
    await lose(bob)
    assert await diff(ada) == ({}, state)
    assert asyncio.get_running_loop().time() - lost >= 0.25
    await ada.ping()


EVER = 1000.0  # seconds of grace that no test outlasts
USERS = Router("/ws", [channel("t:<part:name>", Room)], socket=test_dismissal.Named)


async def two_users(connect: Connect) -> tuple[Wire, Wire, dict[str, Any]]:
    """Return who watches, the socket users:7, and the entry of the key `bob` that this one tracks."""
    ada, bob = [await connect(USERS, query=f"vsn=2.0.0&user={user}") for user in (8, 7)]
    await enter(ada)
    state = await enter(bob, "bob")
    await diff(ada)
    await heard(Node.current())
    return ada, bob, state


async def obeyed(verb: Awaitable[None]) -> None:
    """Return when this node has done what all were told."""
    warden = Node.current().warden
    known = warden._known
    await verb
    async with asyncio.timeout(PATIENCE):
        while warden._known == known:
            await asyncio.sleep(0.01)


async def test_who_is_told_to_go_is_gone_at_once(connect: Connect, grace: Callable[[float], None]) -> None:
    grace(EVER)
    ada, bob, state = await two_users(connect)
    await adisconnect("users:7")
    assert await diff(ada) == ({}, state)
    assert await bob.closed() == 4001


async def test_who_is_kicked_is_gone_at_once(connect: Connect, grace: Callable[[float], None]) -> None:
    grace(EVER)
    ada, _, state = await two_users(connect)
    await akick("users:7", TOPIC)
    assert await diff(ada) == ({}, state)


@pytest.mark.parametrize(
    "verb", [lambda: adisconnect("users:7"), lambda: akick("users:7", TOPIC)], ids=["disconnect", "kick"]
)
async def test_who_was_lost_and_is_told_to_go_is_gone_at_once(
    connect: Connect, grace: Callable[[float], None], verb: Callable[[], Awaitable[None]]
) -> None:
    grace(EVER)
    ada, bob, state = await two_users(connect)
    await lose(bob)
    await obeyed(adisconnect("users:9"))
    await obeyed(akick("users:7", "t:b"))
    assert await ask(ada, "list") == state
    await verb()
    assert await diff(ada) == ({}, state)


async def test_who_is_told_to_go_while_a_handler_of_the_lost_socket_runs_on_does_not_fade(
    connect: Connect, grace: Callable[[float], None]
) -> None:
    grace(EVER)
    go_on = asyncio.Event()

    class Slow(Room):
        @handle_in("slow")
        async def slow(self) -> None:
            await go_on.wait()

    router = Router("/ws", [channel("t:<part:name>", Slow)], socket=test_dismissal.Named)
    ada, bob = [await connect(router, query=f"vsn=2.0.0&user={user}") for user in (8, 7)]
    await enter(ada)
    state = await enter(bob, "bob")
    await diff(ada)
    await heard(Node.current())
    await bob.send("1", "2", TOPIC, "slow", {})
    await bob.ping()
    await lose(bob)
    await obeyed(adisconnect("users:7"))
    go_on.set()
    assert await diff(ada) == ({}, state)


async def test_who_is_told_to_go_and_has_a_second_socket_is_still_here_by_that(
    connect: Connect, grace: Callable[[float], None]
) -> None:
    grace(EVER)
    ada, bob, state = await two_users(connect)
    other = await connect(USERS, query="vsn=2.0.0&user=9")
    await lose(bob)
    assert (await enter(other, "bob"))["bob"] == state["bob"]
    await obeyed(adisconnect("users:7"))
    await Node.current().idle()
    assert await ask(ada, "list") == state


async def test_who_is_told_to_go_while_its_socket_is_being_closed_is_gone_at_once(
    connect: Connect, grace: Callable[[float], None]
) -> None:
    grace(EVER)
    ada, _, state = await two_users(connect)
    connection_of_7()._close = lambda code: asyncio.sleep(0)  # its client does not hear of it
    be_silent()
    await adisconnect("users:7")
    assert await diff(ada) == ({}, state)


async def test_nobody_is_watched_longer_than_they_fade(connect: Connect, grace: Callable[[float], None]) -> None:
    grace(0.1)
    ada, bob, state = await two_users(connect)
    await lose(bob)
    assert await diff(ada) == ({}, state)
    warden = Node.current().warden
    async with asyncio.timeout(PATIENCE):
        while "users:7" in warden._by_id:
            await asyncio.sleep(0.01)
    assert len(warden._members) == 1


def connection_of_7() -> Any:
    [connection] = [one for one in Node.current().wheel.members() if getattr(one, "id", None) == "users:7"]
    return connection


def be_silent() -> None:
    connection_of_7().tick(asyncio.get_running_loop().time() + EVER)


async def drain(wire: Wire) -> None:
    await connection_of_7().drain()
    assert await wire.closed() == 4012


async def silence(wire: Wire) -> None:
    be_silent()
    assert await wire.closed() == 4002


async def fail(wire: Wire) -> None:
    """Be closed for a fault of the client's, which comes back."""
    await wire.communicator.send_to(text_data="[]")
    assert await wire.closed() == 4400


@pytest.mark.parametrize("end", [drain, silence, fail])
async def test_who_was_closed_and_may_come_back_fades(
    connect: Connect, grace: Callable[[float], None], end: Callable[[Wire], Awaitable[None]]
) -> None:
    grace(EVER)
    ada, bob, state = await two_users(connect)
    await end(bob)
    await Node.current().idle()
    assert await ask(ada, "list") == state


async def test_who_is_back_in_time_has_never_been_away(connect: Connect, grace: Callable[[float], None]) -> None:
    grace(1.5)
    ada, bob, back = [await connect(ROUTER) for _ in range(3)]
    await enter(ada, "ada")
    state = await enter(bob, "bob", {"n": 1})
    await diff(ada)
    await lose(bob)
    assert await enter(back, "bob", {"n": 1}) == state
    node = Node.current()
    attendance = node.attendance
    while attendance._fading:  # until nobody fades any more
        await asyncio.sleep(0.05)
    await node.idle()
    await ada.ping()
    assert await ask(ada, "list") == state
    await back.send("1", "2", TOPIC, "phx_leave", {})
    assert await diff(ada) == ({}, {"bob": state["bob"]})  # the one who is back is who leaves


async def test_who_is_back_with_another_meta_is_updated(connect: Connect) -> None:
    ada, bob, back = [await connect(ROUTER) for _ in range(3)]
    await enter(ada)
    state = await enter(bob, "bob", {"n": 1})
    await diff(ada)
    await lose(bob)
    now = await enter(back, "bob", {"n": 2})
    assert await diff(ada) == (now, state)
    [meta] = now["bob"]["metas"]
    assert meta["phx_ref_prev"] == ref_of(state, "bob")


async def test_of_two_that_fade_each_is_taken_over_once(connect: Connect) -> None:
    ada = await connect(ROUTER)
    await enter(ada)
    tabs = [await connect(ROUTER) for _ in range(2)]
    for tab in tabs:
        await enter(tab, "bob")
        await diff(ada)
    for tab in tabs:
        await lose(tab)
    before = await ask(ada, "list")
    for _ in range(2):
        assert await enter(await connect(ROUTER), "bob") == before
    third = await enter(await connect(ROUTER), "bob")
    assert len(third["bob"]["metas"]) == 3
    joins, leaves = await diff(ada)
    assert (bare(joins), leaves) == ({"bob": [{}]}, {})


async def test_a_crash_and_a_second_join_are_no_leave(connect: Connect) -> None:
    ada, bob = await connect(ROUTER), await connect(ROUTER)
    await enter(ada)
    state = await enter(bob, "bob")
    await diff(ada)
    await bob.send("1", "2", TOPIC, "crash", {})
    assert (await bob.receive())[3] == "phx_error"
    assert await enter(bob, "bob", ref="3") == state
    await bob.send("4", "4", TOPIC, "phx_join", {"key": "bob"})
    frames = [await bob.receive() for _ in range(3)]
    assert [frame[3] for frame in frames] == ["phx_reply", "phx_close", "presence_state"]
    assert frames[2][4] == state
    await ada.ping()


async def test_a_channel_that_has_ended_tracks_nobody(connect: Connect) -> None:
    channels: list[Room] = []

    class Kept(Room):
        async def join(self, payload: Any, name: str) -> None:
            channels.append(self)

    ada = await connect(routed(Kept))
    await enter(ada)
    await ada.send("1", "2", TOPIC, "phx_leave", {})
    assert [(await ada.receive())[3] for _ in range(2)] == ["phx_reply", "phx_close"]
    with pytest.raises(Exception, match="a channel that has ended tracks nobody"):
        await channels[0].presence.track("ghost")
    assert await Presence.alist_of(TOPIC) == {}


async def test_the_state_holds_who_came_while_the_last_one_here_was_kicked_and_its_handler_ran_on(
    connect: Connect,
) -> None:
    go_on = asyncio.Event()

    class Slow(Room):
        @handle_in("slow")
        async def slow(self) -> None:
            await go_on.wait()

    ada, eve = await connect(routed(Slow)), await connect(routed(Slow))
    await enter(ada, "ada")
    await ada.send("1", "2", TOPIC, "slow", {})
    await ada.ping()
    hub = Node.current().hub
    [actor] = hub._topics[TOPIC].subscribers.values()
    actor.expel("kicked")
    while hub.topics():
        await asyncio.sleep(0)
    await asyncio.sleep(0)  # now nothing is heard
    another_node_tracks("bob")
    assert "bob" in await enter(eve)
    go_on.set()


def another_node_tracks(key: str) -> None:
    keys, registry, engine = conf.keys(), conf.registry(), sync_client(conf.engine())
    registry.beat(keys.of(TOPIC), "other", is_new=True).run(engine)
    registry.join(TOPIC, "other", 1, 1).run(engine)
    assert Presences(keys).track(TOPIC, "other", 1, [Tracked("o.1", key, b"{}")]).run(engine) > 0


# fetch


class Named(Room):
    """Adds names, and writes down what it is asked."""

    asked: list[list[str]] = []

    class Here(Presence):
        async def fetch(self, topic: str, entries: dict[str, Any]) -> dict[str, Any]:
            Named.asked.append(list(entries))
            return {key: {**entry, "name": key.title()} for key, entry in entries.items() if key != "nobody"}

    presence = Here()


@pytest.fixture
def asked() -> list[list[str]]:
    Named.asked = []
    return Named.asked


async def test_fetch_adds_fields_once_for_all_and_once_for_a_diff(connect: Connect, asked: list[list[str]]) -> None:
    router = routed(Named)
    ada, bob = await connect(router), await connect(router)
    state = await enter(ada, "ada", {"n": 1})
    assert state["ada"] == {"metas": state["ada"]["metas"], "name": "Ada"}
    seen = await enter(bob, "bob")
    joins, leaves = await diff(ada)
    assert (joins["bob"], leaves) == (seen["bob"], {})
    assert joins["bob"]["name"] == "Bob"
    assert asked == [["ada"], ["bob"]]
    assert await ask(ada, "list") == seen
    await bob.send("1", "2", TOPIC, "phx_leave", {})
    assert await diff(ada) == ({}, joins)
    assert asked == [["ada"], ["bob"], ["bob"]]


async def test_a_key_that_fetch_leaves_out_is_there_without_more(connect: Connect, asked: list[list[str]]) -> None:
    state = await enter(await connect(routed(Named)), "nobody")
    assert state["nobody"].keys() == {"metas"}


async def test_a_sync_fetch_runs_in_a_thread_and_one_that_fails_adds_nothing(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Room):
        class Here(Presence):
            def fetch(self, topic: str, entries: dict[str, Any]) -> dict[str, Any]:
                with pytest.raises(RuntimeError):
                    asyncio.get_running_loop()
                if "bad" in entries:
                    raise ValueError
                return {key: {**entry, "id": 7} for key, entry in entries.items()}

        presence = Here()

    ada, bob = await connect(routed(Failing)), await connect(routed(Failing))
    state = await enter(ada, "ada")
    assert state["ada"]["id"] == 7
    state = await enter(bob, "bad")
    assert state["ada"]["id"] == 7
    assert state["bad"].keys() == {"metas"}
    assert (await diff(ada))[0] == {"bad": state["bad"]}
    assert "fetch failed for 1 keys of 't:a'" in caplog.text


async def test_diffs_that_wait_for_a_slow_fetch_come_in_order_and_hold_up_nothing_else(connect: Connect) -> None:
    gate = asyncio.Event()

    class Slow(Room):
        class Here(Presence):
            async def fetch(self, topic: str, entries: dict[str, Any]) -> dict[str, Any]:
                if "slow" in entries:
                    await gate.wait()
                return entries

        presence = Here()

    router = routed(Slow)
    ada, bob = await connect(router), await connect(router)
    await enter(ada)
    await enter(bob)
    await bob.send("1", "2", TOPIC, "track", {"key": "slow"})
    await bob.send("1", "3", TOPIC, "untrack", {"key": "slow"})
    await ada.send("1", "4", TOPIC, "say", {})
    assert await ada.receive() == [None, None, TOPIC, "said", {}]
    gate.set()
    joins, leaves = await diff(ada)
    assert (bare(joins), leaves) == ({"slow": [{}]}, {})
    assert await diff(ada) == ({}, joins)


# From outside


async def test_who_is_there_can_be_asked_from_outside(
    connect: Connect, asked: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conf, "router", lambda: routed(Named))
    state = await enter(await connect(routed(Named)), "ada", {"n": 1})
    assert await Presence.alist_of(TOPIC) == state
    assert await asyncio.to_thread(Presence.list_of, TOPIC) == state
    assert await Presence.alist_of("t:nobody") == {}
    assert await asyncio.to_thread(Presence.list_of, "another") == {}


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_what_is_told_outside_is_what_is_told_inside_whatever_fetch_does(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, is_async: bool
) -> None:
    def found(entries: dict[str, Any]) -> dict[str, Any]:
        if "fails" in entries:
            raise RuntimeError("no database")
        return {key: {"metas": [], "name": key.title()} for key in entries if key != "bob"}

    class Sync(Presence):
        def fetch(self, topic: str, entries: dict[str, Any]) -> dict[str, Any]:
            return found(entries)

    class Async(Presence):
        async def fetch(self, topic: str, entries: dict[str, Any]) -> dict[str, Any]:
            return found(entries)

    class Fetching(Room):
        presence = Async() if is_async else Sync()

    router = routed(Fetching)
    monkeypatch.setattr(conf, "router", lambda: router)
    ada, bob = await connect(router), await connect(router)
    await enter(ada, "ada")
    state = await enter(bob, "bob")
    assert (state["ada"]["name"], bare(state)) == ("Ada", {"ada": [{}], "bob": [{}]})
    assert await Presence.alist_of(TOPIC) == state
    assert await asyncio.to_thread(Presence.list_of, TOPIC) == state
    await enter(await connect(router), "fails")
    for there in (await Presence.alist_of(TOPIC), await asyncio.to_thread(Presence.list_of, TOPIC)):
        assert bare(there) == {"ada": [{}], "bob": [{}], "fails": [{}]}
        assert all(entry.keys() == {"metas"} for entry in there.values())
    assert "fetch failed for 3 keys" in caplog.text


async def test_a_diff_that_somebody_else_has_made_up_is_a_broadcast_like_any(connect: Connect) -> None:
    wire = await connect(ROUTER)
    state = await enter(wire, "ada")
    await abroadcast(TOPIC, "presence_diff", {"joins": {"x": {"metas": []}}, "leaves": {}})
    assert await diff(wire) == ({"x": {"metas": []}}, {})
    assert await ask(wire, "list") == state


def test_two_presences_on_a_class_are_refused() -> None:
    with pytest.raises(Exception, match="Double has more than one Presence: one, two"):

        class Double(Channel):
            one = Presence()
            two = Presence()
