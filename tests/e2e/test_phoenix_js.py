"""The npm package phoenix, unmodified, and our own client against real servers: the same scenarios for each."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.playing import find_node, lab_server, perform
from tests.servers import Server

pytestmark = pytest.mark.node

SCRIPT = Path(__file__).with_name("phoenix.mjs")

SOCKETS = ["phoenix", "phoenix-1.7", "ours"]
POLLS = ["phoenix-longpoll", "phoenix-1.7-longpoll", "ours-longpoll"]  # over plain requests

# A server, and who plays on it. What packages a server has is nothing to its clients: one of two CI runs has few.
PAIRS = [("daphne", "ours"), ("uvicorn", "phoenix")]
if not os.environ.get("REALTIME_FEW_CLIENTS"):
    PAIRS += [("daphne", "phoenix"), ("daphne", "phoenix-longpoll")]
    PAIRS += [("uvicorn", client) for client in (*SOCKETS, *POLLS) if client != "phoenix"]

Play = Callable[..., Any]

LAST = {"last": True}  # what each scenario says at its end
OK = ["ok", {}]


def refused(reason: str, **more: str) -> list[Any]:
    return ["error", {"reason": reason, **more}]


@pytest.fixture(scope="module")
def node() -> str:
    return find_node()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "client" in metafunc.fixturenames:
        clients = SOCKETS if metafunc.definition.get_closest_marker("over_sockets") else SOCKETS + POLLS
        pairs = [pair for pair in PAIRS if pair[1] in clients]
        metafunc.parametrize(("make_server", "client"), pairs, indirect=True, scope="module")


@pytest.fixture(scope="module")
def make_server(request: pytest.FixtureRequest, node: str, engine_url: str, migrated: Path) -> Callable[[], Server]:
    return partial(lab_server, request.param, engine_url)


@pytest.fixture(scope="module")
def server(make_server: Callable[[], Server]) -> Iterator[Server]:
    with make_server() as server:
        yield server


@pytest.fixture(scope="module")
def client(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def play_on(client: str, node: str) -> Play:
    """play_on(server, scenario) plays it with one of the clients, and returns what came of it."""
    return partial(perform, node, SCRIPT, client)


@pytest.fixture
def play(play_on: Play, server: Server) -> Iterator[Play]:
    """play(scenario) on the server that all these tests share; a test that fails shows what it printed meanwhile."""
    printed = len(server.log)
    yield partial(play_on, server)
    print(server.log[printed:])


# Joins


def test_a_join_is_answered_with_what_the_channel_returns(play: Play) -> None:
    assert play("join") == ["ok", {"name": "a"}]


@pytest.mark.parametrize(
    ("scenario", "reason"),
    [
        ("joinRefused", "unauthorized"),
        ("joinCrashes", "join crashed"),
        ("joinUnmatched", "unmatched topic"),
    ],
    ids=["by the channel", "by its crash", "for want of a route"],
)
def test_a_refused_join_is_told_why_and_other_topics_can_be_joined(play: Play, scenario: str, reason: str) -> None:
    came = play(scenario)
    assert came == {"answered": refused(reason), "state": "errored", "another": ["ok", {"name": "a"}]}


def test_a_join_that_timed_out_is_tried_again_until_it_is_answered(play: Play) -> None:
    assert play("joinTimesOut") == {"first": "timeout", "heard": [LAST]}


def test_a_second_instance_of_a_topic_takes_the_place_of_the_first(play: Play) -> None:
    assert play("joinByASecondInstance") == {"states": ["closed", "joined"], "heard": [[], [LAST]]}


def test_a_second_instance_may_join_while_the_first_is_at_it(play: Play) -> None:
    came = play("joinByASecondInstanceWhileTheFirstIsAtIt")
    assert came == {"answered": ["ok", {"name": "slow"}], "firstJoined": [], "heard": [LAST], "other": ["ok", 1]}


def test_a_join_on_top_of_a_join_is_answered_before_the_first_is_closed(play: Play) -> None:
    assert play("joinOnTopOfAJoin") == [["second", "second", "phx_reply"], ["first", "first", "phx_close"]]


# Pushes


def test_a_push_is_answered_with_what_its_handler_returns(play: Play) -> None:
    content = {"content": "grüß dich, 世界 👋", "nested": {"list": [1, 2.5, None, {}]}}
    assert play("pushWithReply") == ["ok", content]


def test_a_push_may_be_refused_and_the_channel_lives_on(play: Play) -> None:
    came = play("pushRefused")
    assert came.pop("unfit")[1]["reason"] == "bad payload"
    assert came == {"refused": refused("no"), "unknown": refused("unknown event"), "next": ["ok", 1]}


def test_the_late_reply_to_a_push_that_timed_out_is_ignored(play: Play) -> None:
    replies = [{"status": "ok", "response": {"late": True}}, {"status": "ok", "response": {}}]
    assert play("pushTimesOut") == {"outcomes": ["timeout"], "replies": replies}


def test_what_was_pushed_before_a_rejoin_is_dropped_without_an_answer(play: Play) -> None:
    assert play("pushFromBeforeARejoin") == [{"number": 1}]


def test_two_hundred_pushes_are_answered_in_order(play: Play) -> None:
    assert play("pushManyAtOnce") == list(range(200))


def test_a_payload_may_be_any_json(play: Play) -> None:
    payloads = [7, -1.5, 2**53 - 1, "text", True, [], [1, [None, "two"]], {}, {"": {"a b": None}}]
    assert play("pushAnyJSON") == payloads


def test_a_payload_may_be_null_and_what_else_is_false(play: Play) -> None:
    came = play("pushWhatIsFalse")
    assert json.dumps(came) == '[null, false, 0, ""]'


def test_a_payload_may_be_large(play: Play) -> None:
    assert play("pushMuch") == [100_000, 1]


# Broadcasts and pushes of the server


def test_a_broadcast_reaches_everybody_once(play: Play) -> None:
    both = [{"number": 1}, LAST]
    assert play("broadcast") == {"reply": OK, "ada": both, "bob": both}


def test_a_broadcast_from_a_client_reaches_everybody_else(play: Play) -> None:
    assert play("broadcastFrom") == {"reply": OK, "ada": [LAST], "bob": [{"number": 1}, LAST]}


def test_a_push_of_the_server_reaches_one_client(play: Play) -> None:
    assert play("serverPush") == {"ada": [{"number": 1}], "bob": []}


def test_each_kind_of_frame_has_the_refs_that_it_should(play: Play) -> None:
    assert play("framesOfEachKind") == [
        ["join", "join", "lab:a", "phx_reply", {"status": "ok", "response": {"name": "a"}}],
        ["join", "echo", "lab:a", "phx_reply", {"status": "ok", "response": 1}],
        ["join", None, "lab:a", "whisper", {"number": 1}],
        [None, None, "lab:a", "shout", LAST],
    ]


def test_two_topics_share_one_connection_and_hear_their_own(play: Play) -> None:
    heard = [[{"topic": "lab:one"}, LAST], [{"topic": "lab:two"}, LAST]]
    assert play("twoTopics") == {"connections": 1, "heard": heard}


def test_the_chat_answers_a_join_before_it_announces_who_entered(play: Play) -> None:
    assert play("chat") == [
        ["phx_reply", {"status": "ok", "response": {}}],
        ["user:entered", {"username": "ada", "guest": True}],
        ["new:message", {"username": "ada", "guest": True, "content": "hello"}],
        ["phx_reply", {"status": "ok", "response": {}}],
    ]


# Bytes: the same in both versions of the npm package and in ours, over sockets alone

OCTETS = [0, 255, 128, 10, 34]


@pytest.mark.over_sockets
def test_bytes_reach_a_handler_that_asks_for_them(play: Play) -> None:
    assert play("bytesPushed") == ["ok", {"octets": OCTETS}]


@pytest.mark.over_sockets
def test_bytes_come_back_as_a_reply_a_push_and_a_broadcast(play: Play) -> None:
    came = play("bytesForEverybody")
    assert came == {"reply": ["ok", OCTETS], "empty": [], "shouts": [OCTETS, OCTETS], "whispers": [[OCTETS], []]}


@pytest.mark.over_sockets
def test_bytes_and_json_are_not_taken_for_each_other(play: Play) -> None:
    came = play("bytesAmongJSON")
    assert came == {
        "bytes": refused("bad payload", detail="expected JSON, not a binary push"),
        "json": refused("bad payload", detail="expected a binary push"),
        "next": ["ok", 1],
    }


@pytest.mark.over_sockets
def test_bytes_may_be_many(play: Play) -> None:
    assert play("bytesMany") == [200_000, True]


# The end of a channel


def test_who_has_left_is_told_and_hears_nothing_more(play: Play) -> None:
    ends = [[True, "phx_reply"], [True, "phx_close"]]
    assert play("leave") == {"answered": OK, "ends": ends, "closes": ["leave"], "state": "closed", "heard": []}


def test_who_has_left_may_come_back(play: Play) -> None:
    assert play("leaveAndComeBack") == {"before": [], "after": [LAST], "echo": ["ok", 1]}


def test_a_channel_that_crashed_is_joined_again_and_works(play: Play) -> None:
    assert play("crash") == {
        "errors": [{"reason": "channel_crash"}],
        "outcomes": [],
        "joins": 2,
        "heard": [LAST],
        "sibling": [[], ["ok", 1]],
    }


def test_what_was_pushed_behind_a_crash_is_told_that_nobody_is_there(play: Play) -> None:
    frames = [["phx_error", False], ["phx_reply", True]]  # the reply has no join_ref
    assert play("pushBehindACrash") == {"answered": refused("unmatched topic"), "frames": frames}


def test_a_channel_that_the_server_stopped_is_not_joined_again(play: Play) -> None:
    assert play("stop") == {"closes": [{"reason": "done"}], "errors": [], "state": "closed", "joins": 1}


# The connection


def test_channels_come_back_when_the_server_was_killed_and_started_again(
    play_on: Play, make_server: Callable[[], Server]
) -> None:
    with make_server() as server:
        came = play_on(server, "serverRestarts", kill=server.kill, start=server.start)
    assert came == {
        "joins": [2, 2],
        "meanwhile": OK,
        "heard": [[{"meanwhile": True}, LAST], [LAST]],
        "states": ["joined", "joined"],
    }


def test_a_version_that_is_not_spoken_is_refused(play: Play, client: str) -> None:
    error = "Unexpected server response: 403" if client in SOCKETS else None  # a poll has no words for it
    assert play("wrongVersion") == {"opens": 0, "errors": [error] * 2}


@pytest.mark.over_sockets  # polls need none
def test_heartbeats_are_answered(play: Play) -> None:
    came = play("heartbeats")
    assert came == {"topic": "phoenix", "joinRef": None, "payload": {"status": "ok", "response": {}}, "closes": 0}


def test_a_token_may_travel_beside_the_url(play: Play, client: str) -> None:
    protocol = {"phoenix-1.7": ""}.get(client, "phoenix") if client in SOCKETS else None  # 1.7 knows no tokens
    came = play("authToken")
    assert (came["answered"], came.get("protocol")) == (["ok", {"name": "a"}], protocol)


# Presence


def here(name: str, *metas: dict[str, Any]) -> dict[str, Any]:
    return {"metas": list(metas), "name": name}


def test_presence_tells_of_who_comes_changes_and_goes(play: Play) -> None:
    came = play("presenceOfTwo")
    ada, online, away = here("ADA", {"tab": 1}), here("BOB", {"status": "online"}), here("BOB", {"status": "away"})
    tabs = here("ADA", {"tab": 1}, {"tab": 2})
    assert came["both"] == [[["ada", ada], ["bob", online]]] * 2
    assert came["three"] == [["ada", tabs], ["bob", away]]
    assert [note for note in came["ada"] if note != ["sync"]] == [
        ["join", "ada", None, ada],
        ["join", "bob", None, online],
        ["join", "bob", online, away],
        ["leave", "bob", away, online],
        ["join", "ada", ada, here("ADA", {"tab": 2})],
        ["leave", "ada", ada, here("ADA", {"tab": 2})],
        ["leave", "bob", here("BOB"), away],
    ]
    assert came["end"] == [["ada", ada]]


@pytest.mark.over_sockets  # a poll has no connection to lose
def test_who_reconnects_was_never_away(play: Play) -> None:
    came = play("presenceAfterAReconnect")
    names = ["ada", "bob", "eve"]
    for notes in (came["ada"], came["bob"]):
        assert [note[:2] for note in notes if note != ["sync"]] == [["join", name] for name in names]
    assert came["lists"] == [[[name, here(name.upper(), {})] for name in names]] * 2


def test_presence_takes_any_key(play: Play, client: str) -> None:
    if client.startswith("phoenix-1.7"):
        return  # it takes such keys for properties of an object
    came = play("presenceOfOddKeys")
    keys = ["__proto__", "constructor", "toString", "1", "é \u2028"]
    pairs = [[kind, key, key.upper()] for key in keys for kind in ("join", "leave")]
    assert came == {"kinds": [["join", "ada", "ADA"], *pairs], "list": [["ada", here("ADA", {})]]}
