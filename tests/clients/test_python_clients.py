"""Two Phoenix clients from PyPI, each in a venv of its own, against a real server. Both speak V1."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.venvs import HERE, python_of
from tests.e2e.playing import lab_server
from tests.servers import Server

PATIENCE = 60.0  # more than a script has, for it can say what it waited for

HELLO = {"text": "grüß dich, 世界 👋"}
LAST = {"last": True}
OK = {"status": "ok", "response": {}}


@pytest.fixture(scope="module")
def server(engine_url: str) -> Iterator[Server]:
    with lab_server("uvicorn", engine_url) as server:
        yield server


def converse(client: str, server: Server) -> dict[str, Any]:
    """Run speak_CLIENT.py in the venv of that client, and return what it prints."""
    try:
        python = python_of(client)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"{client} cannot be installed: {error.stderr}")
    # -I: neither this folder nor our package comes before what the venv holds.
    command = [python, "-I", HERE / f"speak_{client}.py", server.socket_url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    came: dict[str, Any] = json.loads(done.stdout)
    return came


@pytest.fixture(scope="module")
def phxsocket(server: Server) -> dict[str, Any]:
    return converse("phxsocket", server)


@pytest.fixture(scope="module")
def realtime(server: Server) -> dict[str, Any]:
    return converse("realtime", server)


# phxsocket


def test_phxsocket_joins_or_is_told_why_not(phxsocket: dict[str, Any]) -> None:
    assert phxsocket["join"] == ["ok", {"name": "a"}]
    assert phxsocket["refused"] == {"reason": "unauthorized"}


def test_phxsocket_is_answered(phxsocket: dict[str, Any]) -> None:
    assert phxsocket["replies"] == [["ok", HELLO], ["error", {"reason": "no"}]]


def test_phxsocket_hears_broadcasts_once(phxsocket: dict[str, Any]) -> None:
    assert phxsocket["heard"] == [[{"number": 1}, LAST]] * 2


def test_phxsocket_leaves_and_hears_nothing_more(phxsocket: dict[str, Any]) -> None:
    assert phxsocket["left"] == []


def test_the_heartbeats_of_phxsocket_are_answered_with_the_number_they_have(phxsocket: dict[str, Any]) -> None:
    assert phxsocket["heartbeats"] == [["int", OK]] * 2


# realtime


def test_realtime_joins_or_is_told_why_not(realtime: dict[str, Any]) -> None:
    assert realtime["join"] == [["SUBSCRIBED"]]
    told, [complaint] = realtime["refused"]
    assert told == ["CHANNEL_ERROR", '{"reason": "unauthorized"}']
    assert "join push error" in complaint


def test_realtime_is_answered(realtime: dict[str, Any]) -> None:
    assert realtime["replies"] == ["ok", "error"]


def test_realtime_hears_broadcasts_once(realtime: dict[str, Any]) -> None:
    assert realtime["heard"] == [[HELLO, LAST]] * 2


def test_realtime_leaves_and_hears_nothing_more(realtime: dict[str, Any]) -> None:
    assert realtime["left"] == {"told": [["CLOSED"]], "reached": 1}


def test_the_heartbeats_of_realtime_are_answered(realtime: dict[str, Any]) -> None:
    assert realtime["heartbeats"] == [OK] * 2


def test_every_frame_fits_the_models_of_realtime(realtime: dict[str, Any]) -> None:
    assert realtime["complaints"] == []
