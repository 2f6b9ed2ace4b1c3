"""Whole literal frames, of which tests/vectors has those that feed the JavaScript client's tests too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from realtime.exceptions import ProtocolError
from realtime.protocol.bus import pack, unpack
from realtime.protocol.messages import Broadcast, Reply
from realtime.protocol.serializers import SERIALIZERS, V1, V2, as_text, serializer_for


def vectors(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "vectors" / f"{name}.json").read_text())
    return found


VECTORS = [case for name in ("client_frames", "control_frames", "presence_frames") for case in vectors(name)]
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


def written(message: dict[str, Any], serializer: V1 | V2 = V2()) -> Any:  # noqa: B008  they keep nothing
    """Return the frame that the server makes of what the vector says."""
    topic, event, payload = message["topic"], message["event"], message["payload"]
    own, join = ref(message["ref"]), ref(message["join_ref"])
    match event:
        case "phx_reply":
            return serializer.reply(topic, own, join, Reply(payload["status"], payload["response"]))
        case "phx_close":
            return serializer.close(topic, join, payload)
        case "phx_error":
            return serializer.error(topic, join, payload)
        case _ if join is None:
            return serializer.fastlane(Broadcast(topic, event, raw(payload)))
        case _:
            return serializer.push(topic, event, raw(payload), join)


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
        pytest.param(b"", id="nothing"),
        pytest.param(b'["1","2","t","e",{}]', id="text in a binary frame"),
        pytest.param(b"\0\1\1\1", id="a header that is cut off"),
        pytest.param(b"\0\1\1\1\1abc", id="names that are cut off"),
        pytest.param(b"\0\0\0\1\1\xffe", id="a topic that is not UTF-8"),
        pytest.param(b"\1\1\1\1\00212tok", id="a reply"),
        pytest.param(b"\2\1\1te", id="a broadcast"),
        pytest.param(b"\3\0\0\1\1te", id="an unknown kind"),
    ],
)
def test_what_is_no_frame_is_a_protocol_error(frame: str | bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        V2().decode(frame)
    assert caught.value.close_code == 4400


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param("[]", id="array"),
        pytest.param("x", id="not JSON"),
        pytest.param('{"topic":"t","event":"e","payload":{}}', id="no ref"),
        pytest.param('{"topic":"t","payload":{},"ref":"1"}', id="no event"),
        pytest.param('{"event":"e","payload":{},"ref":"1"}', id="no topic"),
        pytest.param('{"topic":"t","event":"e","ref":"1"}', id="no payload"),
        pytest.param(b"\0\0\0\1\1te", id="binary"),
    ],
)
def test_what_is_no_frame_of_version_one_is_a_protocol_error(frame: str | bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        V1().decode(frame)
    assert caught.value.close_code == 4400


def of(side: str, cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [case for case in cases if case["from"] == side]


V1_FRAMES = vectors("v1_frames")


@pytest.mark.parametrize(
    "case", [case for case in V1_FRAMES if case["from"] == "client"], ids=lambda case: case["name"]
)
def test_every_frame_of_version_one_is_read(case: dict[str, Any]) -> None:
    message, expected = V1().decode(case["frame"]), case["message"]
    assert (message.topic, message.event) == (expected["topic"], expected["event"])
    assert msgspec.json.decode(message.payload) == expected["payload"]
    assert (message.ref, message.join_ref) == (ref(expected["ref"]), ref(expected["join_ref"]))


@pytest.mark.parametrize(
    "case", [case for case in V1_FRAMES if case["from"] == "server"], ids=lambda case: case["name"]
)
def test_every_frame_of_version_one_is_written_to_the_letter(case: dict[str, Any]) -> None:
    assert written(case["message"], V1()) == case["frame"]


def test_bytes_are_base64_to_version_one() -> None:
    """It has no binary frames."""
    assert json.loads(V1().fastlane(Broadcast("t", "e", b"\xff\0")))["payload"] == "/wA="
    assert json.loads(V1().reply("t", ref("1"), None, Reply("ok", b"\xff\0")))["payload"]["response"] == "/wA="


BINARY_FRAMES = vectors("binary_frames")


def octets(text: str) -> bytes:
    return bytes.fromhex(text)


@pytest.mark.parametrize("case", of("client", BINARY_FRAMES), ids=lambda case: case["name"])
def test_every_binary_push_is_read(case: dict[str, Any]) -> None:
    message, expected = V2().decode(octets(case["frame"])), case["message"]
    found = (message.topic, message.event, message.payload)
    assert found == (expected["topic"], expected["event"], octets(expected["payload"]))
    assert (message.ref, message.join_ref) == (ref(expected["ref"]), ref(expected["join_ref"]))


@pytest.mark.parametrize("case", of("server", BINARY_FRAMES), ids=lambda case: case["name"])
def test_every_binary_frame_is_written_to_the_byte(case: dict[str, Any]) -> None:
    message = case["message"]
    topic, event, data = message["topic"], message["event"], octets(message["payload"])
    own, join = ref(message["ref"]), ref(message["join_ref"])
    if event == "phx_reply":
        frame = V2().reply(topic, own, join, Reply(message["status"], data))
    elif join is not None or message.get("is_push"):
        frame = V2().push(topic, event, data, join)
    else:
        frame = V2().fastlane(Broadcast(topic, event, data))
    assert frame == octets(case["frame"])


def test_where_no_binary_frame_can_go_bytes_are_base64_in_a_text() -> None:
    text = as_text(V2())
    assert text is as_text(SERIALIZERS["2.0"])  # one for all, so that a broadcast is encoded once
    assert text.push("t", "e", b"\xff", ONE) == '["1",null,"t","e","/w=="]'
    assert text.reply("t", ONE, ONE, Reply("ok", b"\xff")) == (
        '["1","1","t","phx_reply",{"status":"ok","response":"/w=="}]'
    )
    assert text.fastlane(Broadcast("t", "e", b"\xff")) == '[null,null,"t","e","/w=="]'
    assert text.fastlane(Broadcast("t", "e", msgspec.Raw(b"{}"))) == '[null,null,"t","e",{}]'


def test_a_version_that_has_no_binary_frames_stays_what_it_is() -> None:
    assert as_text(SERIALIZERS["1.0"]) is SERIALIZERS["1.0"]


ONE = msgspec.Raw(b'"1"')


def test_a_ref_that_is_a_number_is_its_digits_in_a_binary_frame() -> None:
    """And one that is text is the text, not its JSON."""
    assert V2().reply("t", ref(7), ref('ü"'), Reply("ok", b"!")) == b"\1\3\1\1\2" + 'ü"7tok!'.encode()


@pytest.mark.parametrize("version", ["2.0.0", "2.0.7", "2.0.12"])
def test_version_two_is_spoken(version: str) -> None:
    assert isinstance(serializer_for(version), V2)


@pytest.mark.parametrize("version", [None, "1.0.0", "1.0.3"])
def test_version_one_is_spoken_too_and_without_a_vsn(version: str | None) -> None:
    assert isinstance(serializer_for(version), V1)


@pytest.mark.parametrize(
    "version", ["", "1.1.0", "1", "2.0", "2.1.0", "3.0.0", "abc", "2.0.x", "2.0.²", "2.0.0.0", ".1", 2, {"a": "2.0.0"}]
)
def test_no_other_version_is_spoken(version: object) -> None:
    with pytest.raises(ProtocolError, match=r"none of 1\.0\.x, 2\.0\.x"):
        serializer_for(version)


def test_a_further_version_is_spoken_where_there_is_a_serializer() -> None:
    third = V2()
    assert serializer_for("3.1.4", {**SERIALIZERS, "3.1": third}) is third
    with pytest.raises(ProtocolError, match=r"2\.0\.x, 3\.1\.x"):
        serializer_for("3.0.0", {**SERIALIZERS, "3.1": third})


@pytest.mark.parametrize("payload", [raw({"content": "hi"}), b"", b"\0\xff", b"[]"], ids=repr)
def test_a_broadcast_comes_off_the_bus_as_it_went_on(payload: msgspec.Raw | bytes) -> None:
    broadcast = Broadcast("rooms:lobby", "new:message", payload, "node.1", "node.2")
    assert unpack("rooms:lobby", pack(broadcast, "node.2")) == broadcast


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"x", b"{}", b"[1,2,3,4]", b'["e",null]', b"\xff\xfe"),
        *(b"\0", b"\0\0\0\0\x09[1]", b"\0\0\0\0\x05[1,2]data", b"\0\xff\xff\xff\xff"),
        pack(Broadcast("t", "e" * 256, b"")),
    ],
)
def test_what_is_no_broadcast_is_a_protocol_error(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        unpack("rooms:lobby", data)
