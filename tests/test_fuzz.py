"""Any frames, in any order, over two sockets: the session never raises, the other never suffers, all is given back."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realtime.exceptions import ProtocolError
from realtime.node import Node
from realtime.protocol.serializers import V2
from realtime.protocol.session import Answer, Event, Join, Leave, Session
from tests.test_channels import Everything, routed
from tests.wire import Wire

BUDGET = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
ROUTER = routed(Everything)

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
refs = st.sampled_from(["1", "2", "3", None, 7, "", {}]) | json_values
topics = st.sampled_from(["t:a", "t:b", "t:a:b", "phoenix", "other", "t:", None, 7]) | st.text(max_size=20)
EVENTS = (
    "phx_join phx_join phx_leave phx_reply phx_close phx_error heartbeat echo shout later shout:others status refuse "
    "point sync join terminate __init__"
)
events = st.sampled_from(EVENTS.split()) | st.text(max_size=20)
frames = st.tuples(refs, refs, topics, events, json_values).map(list)
texts = frames.map(json.dumps) | st.text(max_size=40) | json_values.map(json.dumps)


@settings(BUDGET, max_examples=500)
@given(st.lists(texts, max_size=30))
def test_the_session_never_raises_and_counts_right(sent: list[str]) -> None:
    session = Session(lambda topic: topic if topic.startswith("t:") else None, max_topics=2)
    for text in sent:
        try:
            message = V2().decode(text)
        except ProtocolError:
            continue
        action = session.receive(message)
        assert action is None or isinstance(action, (Answer, Join, Event, Leave))
        assert len(session.joined) <= 2
        if isinstance(action, Event):
            assert message.topic in session.joined


@BUDGET
@given(st.lists(st.tuples(st.booleans(), texts), max_size=20))
def test_no_socket_suffers_from_another_and_everything_is_given_back(sent: list[tuple[bool, str]]) -> None:
    asyncio.run(play(sent))


async def play(sent: list[tuple[bool, str]]) -> None:
    """Let two sockets send what they like, while a third one must be served throughout."""
    wires = [await Wire.to(ROUTER) for _ in range(2)]
    good = await Wire.to(ROUTER)
    await good.join("t:good")
    for second, text in sent:
        await wires[second].communicator.send_to(text_data=text or " ")
    await good.send("1", "2", "t:good", "echo", {"still": "here"})
    assert await good.receive() == [
        *("1", "2", "t:good", "phx_reply"),
        {"status": "ok", "response": {"still": "here"}},
    ]
    for wire in wires:
        await every_frame_is_well_formed(wire)
        await wire.close()
    await good.close()
    await everything_is_given_back()


async def every_frame_is_well_formed(wire: Wire) -> None:
    """Read what the server has said so far."""
    await asyncio.sleep(0.002)
    while not wire.communicator.output_queue.empty():
        output = wire.communicator.output_queue.get_nowait()
        if output["type"] == "websocket.close":
            assert output["code"] == 4400
            await wire.hang_up(4400)
            return
        frame = json.loads(output["text"])
        assert len(frame) == 5
        assert isinstance(frame[3], str)


async def everything_is_given_back() -> None:
    node = Node.current()
    async with asyncio.timeout(5):
        while node.wheel.members() or node.hub.topics():
            await asyncio.sleep(0.001)
    await node.stop()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not [task for task in others if "realtime" in repr(task.get_coro())]
