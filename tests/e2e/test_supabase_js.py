"""The npm package @supabase/realtime-js against a real server: untouched in 1.0.0, and in 2.0.0 with `encode`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.playing import find_node, lab_server, perform
from tests.servers import Server

pytestmark = pytest.mark.node

SCRIPT = Path(__file__).with_name("supabase.mjs")

Play = Callable[[str], Any]

IN = ["SUBSCRIBED"]
LAST = {"last": True}


@pytest.fixture(scope="module")
def node() -> str:
    return find_node()


@pytest.fixture(scope="module")
def server(node: str, engine_url: str) -> Iterator[Server]:
    with lab_server("uvicorn", engine_url) as server:
        yield server


@pytest.fixture(params=["1.0.0", "2.0.0"])
def play(request: pytest.FixtureRequest, node: str, server: Server) -> Play:
    """play(scenario) plays it in one version of the protocol, and returns what came of it."""
    return partial(perform, node, SCRIPT, request.param, server)


def test_a_join_is_answered(play: Play) -> None:
    assert play("join") == {"topic": "realtime:a", "state": "joined", "told": [IN]}


def test_a_refused_join_is_told_why_and_other_topics_can_be_joined(play: Play) -> None:
    assert play("joinRefused") == {"told": ["CHANNEL_ERROR", "unauthorized"], "other": [IN]}


def test_a_push_is_answered(play: Play) -> None:
    assert play("replies") == ["ok", "error", "error"]


def test_a_broadcast_reaches_everybody_once(play: Play) -> None:
    hello = {"text": "grüß dich, 世界 👋"}
    assert play("broadcast") == {
        "replies": ["ok", "ok"],
        "ada": [hello, {"number": 1}, LAST],
        "bob": [hello, LAST],
    }


def test_who_has_left_is_told_and_hears_nothing_more(play: Play) -> None:
    assert play("leave") == {"answered": "ok", "told": [IN, ["CLOSED"]], "heard": []}


def test_a_channel_that_crashed_is_joined_again_and_works(play: Play) -> None:
    came = play("crash")
    assert [told[0] for told in came["told"]] == ["SUBSCRIBED", "CHANNEL_ERROR", "SUBSCRIBED"]
    assert came["heard"] == [LAST]


def test_heartbeats_are_answered(play: Play) -> None:
    assert play("heartbeats") == ["sent", "ok"] * 2


@pytest.mark.parametrize("play", ["2.0.0"], indirect=True)
def test_without_encode_its_broadcasts_are_no_frames_of_phoenix(play: Play) -> None:
    assert play("ownFrames") == {"told": IN, "code": 4400}
