"""Payloads that are bytes, both ways; and clients of V1, who get them as text, among those of V2."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from django.core import checks

from realtime import Channel, InvalidEvent, Reply, Router, Unencodable, abroadcast, channel, handle_in
from realtime.handlers import ReplyRef
from realtime.protocol.serializers import V2
from tests.wire import Wire

Connect = Callable[..., Awaitable[Wire]]
pytestmark = pytest.mark.usefixtures("engine")


class Files(Channel):
    kept: ReplyRef

    async def join(self, payload: Any, name: str) -> None:
        pass

    @handle_in("whatever")
    async def whatever(self, payload: Any) -> Any:
        return Reply("ok", payload) if isinstance(payload, bytes) else {"was": payload}

    @handle_in("bytes")
    async def upload(self, payload: bytes) -> Any:
        return {"size": len(payload)}

    @handle_in("dict")
    async def only_json(self, payload: dict[str, Any]) -> Any:
        return payload

    @handle_in("nothing")
    async def nothing(self) -> Any:
        return b"as bytes"

    @handle_in("push")
    async def give(self, payload: bytes) -> None:
        await self.push("given", memoryview(payload))

    @handle_in("share")
    async def share(self, payload: bytes) -> Any:
        await self.broadcast("shared", bytearray(payload))
        return {}

    @handle_in("later")
    async def later(self) -> None:
        await self.reply(self.ref, b"\0later", status="done")

    @handle_in("wrong")
    async def wrong(self, payload: dict[str, Any]) -> Any:
        try:
            await self.push("e" * payload["event"], b"")
            await self.reply(self.ref, b"", status="s" * payload["status"])
        except (InvalidEvent, Unencodable) as error:
            return {"said": str(error)}


FILES = Router("/ws", [channel("files:<part:name>", Files)])


async def joined(connect: Connect) -> Wire:
    wire = await connect(FILES)
    await wire.join("files:a")
    return wire


def binary(event: str, payload: bytes, ref: str = "2") -> bytes:
    names = [b"1", ref.encode(), b"files:a", event.encode()]
    return bytes([0, *map(len, names)]) + b"".join(names) + payload


async def answer(wire: Wire, event: str, payload: bytes) -> Any:
    await wire.communicator.send_to(bytes_data=binary(event, payload))
    return await received(wire)


async def received(wire: Wire) -> Any:
    frame = await wire.communicator.receive_from(timeout=5)
    return frame if isinstance(frame, bytes) else json.loads(frame)


def ok(response: Any) -> list[Any]:
    return ["1", "2", "files:a", "phx_reply", {"status": "ok", "response": response}]


async def test_a_handler_gets_the_bytes_it_asked_for(connect: Connect) -> None:
    assert await answer(await joined(connect), "bytes", b"\0\xff\1") == ok({"size": 3})


async def test_bytes_that_are_answered_come_back_as_a_binary_reply(connect: Connect) -> None:
    wire = await joined(connect)
    assert await answer(wire, "whatever", b"\0\xff") == b"\1\1\1\7\00212files:aok\0\xff"
    assert await answer(wire, "whatever", b"") == b"\1\1\1\7\00212files:aok"
    assert await answer(wire, "nothing", b"ignored") == b"\1\1\1\7\00212files:aokas bytes"
    assert await answer(wire, "later", b"") == b"\1\1\1\7\00412files:adone\0later"


async def test_bytes_where_json_is_asked_for_are_refused_and_the_other_way_round(connect: Connect) -> None:
    wire = await joined(connect)
    [*_, refused] = await answer(wire, "dict", b"{}")
    wanted = {"reason": "bad payload", "detail": "expected JSON, not a binary push"}
    assert refused == {"status": "error", "response": wanted}
    await wire.send("1", "2", "files:a", "bytes", "aGk=")
    [*_, refused] = await wire.receive()
    wanted = {"reason": "bad payload", "detail": "expected a binary push"}
    assert refused == {"status": "error", "response": wanted}
    await wire.send("1", "2", "files:a", "whatever", "aGk=")
    assert await wire.receive() == ok({"was": "aGk="})


async def test_pushes_and_broadcasts_carry_bytes(connect: Connect) -> None:
    wire = await joined(connect)
    assert await answer(wire, "push", b"\xff") == b"\0\1\7\0051files:agiven\xff"
    assert await answer(wire, "share", b"\xfe") == b"\2\7\6files:ashared\xfe"
    assert await received(wire) == ok({})
    await abroadcast("files:a", "from:afar", b"\xfd")
    assert await received(wire) == b"\2\7\x09files:afrom:afar\xfd"


@pytest.mark.parametrize(("event", "status"), [(256, 1), (1, 256)])
async def test_names_that_no_binary_frame_can_carry_are_refused(connect: Connect, event: int, status: int) -> None:
    wire = await joined(connect)
    await wire.send("1", "2", "files:a", "wrong", {"event": event, "status": status})
    frame = await received(wire)
    if isinstance(frame, bytes):  # the push of one byte's name
        frame = await received(wire)
    assert "at most 255 bytes" in frame[4]["response"]["said"]


async def test_an_event_of_any_length_travels_as_json(connect: Connect) -> None:
    wire = await joined(connect)
    await abroadcast("files:a", "e" * 300)
    assert await received(wire) == [None, None, "files:a", "e" * 300, {}]


async def test_a_binary_join_is_a_join_whose_payload_is_bytes(connect: Connect) -> None:
    wire = await connect(FILES)
    frame = bytes([0, 1, 1, 7, 8]) + b"11files:aphx_join" + b"\xff"
    await wire.communicator.send_to(bytes_data=frame)
    assert await received(wire) == ["1", "1", "files:a", "phx_reply", {"status": "ok", "response": {}}]


# V1


async def test_old_and_new_clients_share_a_topic(connect: Connect) -> None:
    new, old = await joined(connect), await connect(FILES, query="")
    say = old.communicator.send_to
    await say(text_data='{"topic":"files:a","event":"phx_join","payload":{},"ref":1}')
    reply = {"topic": "files:a", "event": "phx_reply", "payload": {"status": "ok", "response": {}}, "ref": 1}
    assert await received(old) == reply
    await say(text_data='{"topic":"files:a","event":"dict","payload":{"a":1},"ref":"2"}')
    reply = {**reply, "payload": {"status": "ok", "response": {"a": 1}}, "ref": "2"}
    assert await received(old) == reply
    await abroadcast("files:a", "news", {"n": 1})
    assert await received(old) == {"topic": "files:a", "event": "news", "payload": {"n": 1}, "ref": None}
    assert await received(new) == [None, None, "files:a", "news", {"n": 1}]
    await abroadcast("files:a", "news", b"\xff\0")
    assert await received(old) == {"topic": "files:a", "event": "news", "payload": "/wA=", "ref": None}
    assert await received(new) == b"\2\7\4files:anews\xff\0"
    await say(text_data='{"topic":"files:a","event":"phx_leave","payload":{},"ref":"3"}')
    assert (await received(old))["payload"] == {"status": "ok", "response": {}}
    assert await received(old) == {"topic": "files:a", "event": "phx_close", "payload": {}, "ref": None}


async def test_a_binary_frame_of_an_old_client_ends_its_socket(connect: Connect) -> None:
    old = await connect(FILES, query="vsn=1.0.0")
    await old.communicator.send_to(bytes_data=binary("bytes", b""))
    assert await old.closed() == 4400


# A version of a project's own


class Shouting(V2):
    """V2 that says one word in capitals."""

    def fastlane(self, broadcast: Any) -> Any:
        return str(super().fastlane(broadcast)).replace("one", "ONE")


class Lacking:
    def decode(self, frame: Any) -> Any: ...


async def test_a_project_may_speak_a_version_of_its_own(connect: Connect, settings: Any) -> None:
    settings.REALTIME = {**settings.REALTIME, "SERIALIZERS": {"3.0": "tests.test_binary.Shouting"}}
    third, second = await connect(FILES, query="vsn=3.0.1"), await joined(connect)
    await third.join("files:a")
    await abroadcast("files:a", "news", {"n": "one"})
    assert await received(second) == [None, None, "files:a", "news", {"n": "one"}]
    assert await received(third) == [None, None, "files:a", "news", {"n": "ONE"}]


@pytest.mark.parametrize(
    ("serializers", "fault"),
    [
        ({"3.0": "tests.test_binary.Nothing"}, "cannot be made"),
        ({"3.0": "tests.test_binary.Lacking"}, "lacks push, reply, close, error, fastlane"),
        ({"3": "tests.test_binary.Shouting"}, "must be of versions like '3.0'"),
        (["3.0"], "must be of type"),
    ],
    ids=["missing", "lacking", "version", "list"],
)
def test_a_version_that_cannot_be_spoken_is_told_before_anything_starts(
    settings: Any, serializers: Any, fault: str
) -> None:
    settings.REALTIME = {**settings.REALTIME, "SERIALIZERS": serializers}
    [found] = checks.run_checks(tags=["realtime"])
    assert (found.id, fault in found.msg) == ("realtime.E001", True), found
