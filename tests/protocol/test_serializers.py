"""Whole literal frames, the same that feed the JavaScript client's tests (tests/vectors/client_frames.json)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from realtime.exceptions import ProtocolError
from realtime.protocol.messages import Broadcast, Reply
from realtime.protocol.serializers import V2, pack, serializer_for, unpack

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "client_frames.json").read_text())
CASES = {case["name"]: case for case in VECTORS}


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def ref(value: Any) -> msgspec.Raw | None:
    return None if value is None else raw(value)


@pytest.mark.parametrize("case", VECTORS, ids=CASES)
def test_every_frame_is_read(case: dict[str, Any]) -> None:
    expected = case["message"]
    message = V2().decode(case["frame"])
    assert (message.topic, message.event) == (expected["topic"], expected["event"])
    assert msgspec.json.decode(message.payload) == expected["payload"]
    assert (message.ref, message.join_ref) == (ref(expected["ref"]), ref(expected["join_ref"]))


def written(message: dict[str, Any]) -> Any:
    """Return the frame that the server makes of what the vector says."""
    topic, event, payload = message["topic"], message["event"], message["payload"]
    own, join = ref(message["ref"]), ref(message["join_ref"])
    match event:
        case "phx_reply":
            return V2().reply(topic, own, join, Reply(payload["status"], payload["response"]))
        case "phx_close":
            return V2().close(topic, join, payload)
        case "phx_error":
            return V2().error(topic, join, payload)
        case _ if join is None:
            return V2().fastlane(Broadcast(topic, event, raw(payload)))
        case _:
            return V2().push(topic, event, raw(payload), join)


FROM_CLIENT = {"phx_join", "phx_leave", "heartbeat"}
FROM_SERVER = [
    case
    for case in VECTORS
    if case["message"]["event"] not in FROM_CLIENT
    and (case["message"]["event"].startswith("phx_") or case["message"]["ref"] is None)
]


@pytest.mark.parametrize("case", FROM_SERVER, ids=lambda case: case["name"])
def test_every_frame_of_the_server_is_written_to_the_letter(case: dict[str, Any]) -> None:
    assert written(case["message"]) == case["frame"]


def test_all_kinds_of_server_frames_are_among_the_vectors() -> None:
    assert {case["message"]["event"] for case in FROM_SERVER} >= {"phx_reply", "phx_close", "phx_error"}
    assert len({case["message"]["join_ref"] is None for case in FROM_SERVER}) == 2


@pytest.mark.parametrize("value", ["7", 7, 1.5, None, {"a": [1]}, [], True])
def test_refs_come_back_as_they_came(value: Any) -> None:
    message = V2().decode(json.dumps([value, value, "rooms:lobby", "shout", {}]))
    reply = V2().reply("rooms:lobby", message.ref, message.join_ref, Reply("ok"))
    assert json.loads(reply) == [value, value, "rooms:lobby", "phx_reply", {"status": "ok", "response": {}}]


def test_a_sixth_element_is_ignored() -> None:
    assert V2().decode('["1","2","t","e",{},"more"]').event == "e"


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param("x", id="not JSON"),
        pytest.param("{}", id="object"),
        pytest.param("[]", id="empty"),
        pytest.param('["1","2","t","e"]', id="four elements"),
        pytest.param('["1","2","t",null,{}]', id="event is null"),
        pytest.param('["1","2","t","e",NaN]', id="NaN"),
        pytest.param('["1","2","t","e",{]', id="broken payload"),
        pytest.param('["1","2","t","e","\\ud800"]', id="lone surrogate"),
        pytest.param('["1","2","t","e","\ud800"]', id="raw lone surrogate"),
        pytest.param('["1","2","t","e",' + "[" * 100_000 + "]" * 100_000 + "]", id="deep nesting"),
        pytest.param(b'["1","2","t","e",{}]', id="binary"),
    ],
)
def test_what_is_no_frame_is_a_protocol_error(frame: str | bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        V2().decode(frame)
    assert caught.value.close_code == 4400


@pytest.mark.parametrize("version", ["2.0.0", "2.0.7", "2.0.12"])
def test_version_two_is_spoken(version: str) -> None:
    assert isinstance(serializer_for(version), V2)


@pytest.mark.parametrize("version", [None, "", "1.0.0", "2.0", "2.1.0", "3.0.0", "abc", "2.0.x", "2.0.²", "2.0.0.0"])
def test_no_other_version_is_spoken_yet(version: str | None) -> None:
    with pytest.raises(ProtocolError, match=r"2\.0\.x"):
        serializer_for(version)


def test_a_broadcast_comes_off_the_bus_as_it_went_on() -> None:
    broadcast = Broadcast("rooms:lobby", "new:message", raw({"content": "hi"}), "node.1", "node.2")
    assert unpack("rooms:lobby", pack(broadcast, "node.2")) == broadcast


@pytest.mark.parametrize("data", [b"", b"x", b"{}", b"[1,2,3,4]", b'["e",null]', b"\xff\xfe"])
def test_what_is_no_broadcast_is_a_protocol_error(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        unpack("rooms:lobby", data)
