"""Bad input costs its sender at most: two other sockets stay in touch, and everything is given back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from realtime import Channel, handle_in, topics
from realtime.node import Node
from tests import engines
from tests.test_channels import Everything, Open, refused, routed
from tests.wire import Wire

Connect = Callable[..., Awaitable[Wire]]


class Friends:
    """Two sockets that talk, while a third one does its worst."""

    def __init__(self, ada: Wire, bob: Wire) -> None:
        self.ada, self.bob = ada, bob
        self.number = 0

    async def are_in_touch(self) -> None:
        self.number += 1
        payload = {"n": self.number}
        await self.ada.send("1", "2", "t:friends", "shout", payload)
        assert await self.ada.receive() == [None, None, "t:friends", "heard", payload]
        assert (await self.ada.receive())[3] == "phx_reply"
        assert await self.bob.receive() == [None, None, "t:friends", "heard", payload]


@pytest.fixture
async def friends(connect: Connect) -> Friends:
    ada, bob = await connect(routed(Everything)), await connect(routed(Everything))
    for wire in (ada, bob):
        await wire.join("t:friends")
    return Friends(ada, bob)


@pytest.fixture
async def flat(friends: Friends, engine: str) -> AsyncIterator[None]:
    """After the worst, tasks, engine's keys and subscriptions are what they were."""
    await friends.are_in_touch()
    await topics.acreate(*(f"t:nobody:{number}" for number in range(200)))  # so that the registry has all of its keys
    await asyncio.sleep(0.2)  # and the node has told it how many listen
    before = standing(engine)
    yield
    for _ in range(200):
        await friends.are_in_touch()
        if standing(engine) == before:
            return
        await asyncio.sleep(0.02)
    assert standing(engine) == before


def standing(engine: str) -> dict[str, Any]:
    return {
        "tasks": len([task for task in asyncio.all_tasks() if "communicat" not in repr(task)]),
        "sockets": len(Node.current().wheel.members()),
        "keys": engines.keys(engine),
        "channels": engines.channels(engine, "{rt:*"),
    }


CLOSED = 4400
HOSTILE = {
    "not JSON": "hello",
    "an object": "{}",
    "four elements": '["1","2","t:a","echo"]',
    "an event that is a number": '["1","2","t:a",7,{}]',
    "NaN": '["1","2","t:a","echo",NaN]',
    "Infinity": '["1","2","t:a","echo",-Infinity]',
    "depth of 10^5": '["1","2","t:a","echo",' + "[" * 100_000 + "]" * 100_000 + "]",
    "a lone surrogate escape": '["1","2","t:a","echo","\\ud800"]',
    "a lone surrogate in the topic": '["1","2","\\ud800","echo",{}]',
    "truncated": '["1","2","t:a","echo",{"a":',
    "two frames in one": '["1","2","t:a","echo",{}]["1","2","t:a","echo",{}]',
    "a topic of 10^5 digits": '["1","2",' + "9" * 100_000 + ',"echo",{}]',
}


@pytest.mark.usefixtures("flat")
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
async def test_what_cannot_be_decoded_closes_its_socket(connect: Connect, friends: Friends, text: str) -> None:
    wire = await connect(routed(Everything))
    await wire.join("t:a")
    await wire.communicator.send_to(text_data=text)
    assert await wire.closed() == CLOSED
    await friends.are_in_touch()


@pytest.mark.usefixtures("flat")
@pytest.mark.parametrize("data", [b"\x00", b"\xff" * 1000, b"\x00\x01\x01\x01\x01abc", b"\x03" + b"x" * 200])
async def test_binary_garbage_closes_its_socket(connect: Connect, friends: Friends, data: bytes) -> None:
    wire = await connect(routed(Everything))
    await wire.join("t:a")
    await wire.communicator.send_to(bytes_data=data)
    assert await wire.closed() == CLOSED
    await friends.are_in_touch()


@pytest.mark.usefixtures("flat")
@pytest.mark.parametrize("payload", ["9" * 100_000, "1e999", "-" + "1" * 5000])
async def test_a_number_that_no_type_holds_is_a_bad_payload(connect: Connect, friends: Friends, payload: str) -> None:
    wire = await connect(routed(Everything))
    await wire.join("t:a")
    await wire.communicator.send_to(text_data=f'["1","2","t:a","echo",{payload}]')
    reply = await wire.receive()
    assert reply[:4] == ["1", "2", "t:a", "phx_reply"]
    assert reply[4]["response"]["reason"] == "bad payload"
    await wire.close()
    await friends.are_in_touch()


@pytest.mark.usefixtures("flat")
async def test_a_ref_of_any_shape_is_echoed(connect: Connect, friends: Friends) -> None:
    wire = await connect(routed(Everything))
    await wire.join("t:a")
    for ref in ("9" * 255, '{"a":[1,null]}', '"' + "x" * 200 + '"', "-1.5e10", "false"):
        await wire.communicator.send_to(text_data=f'[null,{ref},"t:a","echo",{{}}]')
        text = await wire.communicator.receive_from(timeout=5)
        assert text == f'["1",{ref},"t:a","phx_reply",{{"status":"ok","response":{{}}}}]'
    await wire.close()
    await friends.are_in_touch()


@pytest.mark.usefixtures("flat")
@pytest.mark.parametrize("frame", ['[{},"1","t:b","phx_join",{{}}]', '["1",{},"t:a","echo",{{}}]'])
async def test_a_ref_of_more_than_a_binary_frame_could_carry_closes_its_socket(
    connect: Connect, friends: Friends, frame: str
) -> None:
    wire = await connect(routed(Everything))
    await wire.join("t:a")
    await wire.communicator.send_to(text_data=frame.format('"' + "x" * 254 + '"'))
    assert await wire.closed() == 4400
    await friends.are_in_touch()


@pytest.mark.usefixtures("flat")
@pytest.mark.parametrize("size", [256 * 1024 + 1, 1_000_000])
async def test_a_frame_over_the_limit_closes_its_socket(connect: Connect, friends: Friends, size: int) -> None:
    wire = await connect(routed(Everything))
    await wire.communicator.send_to(text_data="x" * size)
    assert await wire.closed() == 4009
    await friends.are_in_touch()


@pytest.mark.usefixtures("flat")
@pytest.mark.parametrize(
    "topic",
    ["", "t:" + "x" * 10_000, "t:\x00", "t:\n", "t:a b", "t:\u2028", "t:a\x85", "../t:a", "phoenix", "t:a/../b"],
)
async def test_a_topic_that_is_none_is_unmatched(connect: Connect, friends: Friends, topic: str) -> None:
    wire = await connect(routed(Everything))
    await wire.send("1", "1", topic, "phx_join", {})
    assert await wire.receive() == [None, "1", topic, "phx_reply", refused("unmatched topic")]
    await wire.close()
    await friends.are_in_touch()


@pytest.mark.usefixtures("flat")
async def test_braces_and_stars_are_letters_like_others(connect: Connect, friends: Friends) -> None:
    wire = await connect(routed(Everything))
    for number, topic in enumerate(("t:{}", "t:{rt:0}", "t:*", "t:[a-z]", "t:%s%n", "t:$(id)", "t:\u202eRTL")):
        ref = str(number)
        await wire.send(ref, ref, topic, "phx_join", {})
        status = (await wire.receive())[4]["status"]
        assert status == ("error" if topic == "t:{rt:0}" else "ok")  # a colon ends a part
    await wire.close()
    await friends.are_in_touch()


async def test_no_attribute_of_a_channel_is_an_event(connect: Connect, friends: Friends) -> None:
    class Room(Open):
        secret = "x"

        @handle_in("open")
        async def method(self) -> Any:
            return {}

    wire = await connect(routed(Room))
    await wire.join("t:a")
    names = sorted(
        {*dir(Room), *dir(Channel), "method", "_port", "phx_reply", "phx_close", "phx_error", "websocket_close"}
    )
    for name in names:
        await wire.send("1", name, "t:a", name, {"self": 1, "payload": 2})
        assert await wire.receive() == ["1", name, "t:a", "phx_reply", refused("unknown event")]
    await wire.send("1", "2", "t:a", "open", {})
    assert (await wire.receive())[4]["status"] == "ok"
    await friends.are_in_touch()


@pytest.mark.usefixtures("flat")
async def test_ten_thousand_joins_on_one_socket(connect: Connect, friends: Friends, settings: Any) -> None:
    wire = await connect(routed(Everything))
    for number in range(10_000):
        await wire.send(str(number), str(number), f"t:{number}", "phx_join", {})
    answers = [json.loads(output["text"]) async for output in outputs(wire)]
    reasons = {frame[4]["response"].get("reason") for frame in answers if frame[4]["status"] == "error"}
    assert {"too many messages"} <= reasons <= {"too many messages", "too many channels joined"}
    assert sum(frame[4]["status"] == "ok" for frame in answers) <= 100
    await friends.are_in_touch()


@pytest.mark.usefixtures("flat")
async def test_ten_thousand_pushes_are_answered_with_a_reason_then_closed(connect: Connect, friends: Friends) -> None:
    wire = await connect(routed(Everything))
    await wire.join("t:a")
    for number in range(10_000):
        await wire.send("1", str(number), "t:a", "echo", {})
    answers = [json.loads(output["text"]) async for output in outputs(wire)]
    assert any(frame[4]["response"].get("reason") == "too many messages" for frame in answers)
    await friends.are_in_touch()


async def outputs(wire: Wire) -> AsyncIterator[dict[str, Any]]:
    """Yield what the server says until it closes with 4029."""
    while (output := await wire.communicator.receive_output(timeout=5))["type"] == "websocket.send":
        yield output
    assert output == {"type": "websocket.close", "code": 4029}
    await wire.hang_up(4029)


@pytest.mark.usefixtures("flat")
async def test_a_mailbox_that_is_full_says_so(
    connect: Connect, friends: Friends, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, release = asyncio.Event(), asyncio.Event()

    class Room(Open):
        @handle_in("wait")
        async def wait(self) -> Any:
            started.set()
            await release.wait()
            return {}

    wire = await connect(routed(Room))
    await wire.join("t:a")
    node = Node.current()
    monkeypatch.setattr(node, "settings", replace(node.settings, MAILBOX=3))
    for number in range(5):
        await wire.send("1", str(number), "t:a", "wait", {})
        await started.wait()
    assert await wire.receive() == ["1", "4", "t:a", "phx_reply", refused("overloaded")]
    release.set()
    assert [(await wire.receive())[1] for _ in range(4)] == ["0", "1", "2", "3"]
    await wire.close()
