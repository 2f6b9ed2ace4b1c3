from __future__ import annotations

import msgspec
import pytest

from realtime.protocol.messages import Message, Ref, Reply
from realtime.protocol.session import Answer, Event, Join, Leave, Session


def ref(value: str | None) -> Ref:
    return None if value is None else msgspec.Raw(msgspec.json.encode(value))


def message(event: str, topic: object = "rooms:lobby", join_ref: str | None = None, own: str | None = "9") -> Message:
    return Message(topic, event, msgspec.Raw(b"{}"), ref(own), ref(join_ref))


def error(reason: str) -> Reply:
    return Reply("error", {"reason": reason})


@pytest.fixture
def session() -> Session[str]:
    return Session(lambda topic: "a room" if topic.startswith("rooms:") else None, max_topics=2)


def test_a_join_starts_what_the_topic_is_routed_to(session: Session[str]) -> None:
    join = session.receive(message("phx_join", join_ref="1", own="1"))
    assert isinstance(join, Join)
    assert (join.instance.route, join.instance.topic, join.instance.join_ref) == ("a room", "rooms:lobby", ref("1"))


def test_a_topic_without_route_is_unmatched_with_a_null_join_ref(session: Session[str]) -> None:
    assert session.receive(message("phx_join", topic="nothing", join_ref="1", own="1")) == Answer(
        "nothing", ref("1"), None, error("unmatched topic")
    )


@pytest.mark.parametrize(
    "topic", ["", "rooms:a b", "rooms:\n", "rooms:\x00", "rooms:" + "é" * 125, 7, None, [], {}, "rooms:\ud800"]
)
def test_what_is_no_topic_is_unmatched(session: Session[str], topic: object) -> None:
    assert session.receive(message("phx_join", topic=topic)) == Answer(topic, ref("9"), None, error("unmatched topic"))
    assert session.receive(message("shout", topic=topic)) == Answer(topic, ref("9"), None, error("unmatched topic"))


def test_an_event_goes_to_the_joined_channel(session: Session[str]) -> None:
    session.receive(message("phx_join", join_ref="1"))
    event = message("shout", join_ref="1")
    assert session.receive(event) == Event(event)


def test_an_event_with_a_null_join_ref_is_served(session: Session[str]) -> None:
    session.receive(message("phx_join", join_ref="1"))
    event = message("shout")
    assert session.receive(event) == Event(event)


@pytest.mark.parametrize("event", ["shout", "phx_leave"])
def test_what_was_sent_before_a_rejoin_is_dropped(session: Session[str], event: str) -> None:
    session.receive(message("phx_join", join_ref="1"))
    session.receive(message("phx_join", join_ref="2"))
    assert session.receive(message(event, join_ref="1")) is None


def test_a_join_without_join_ref_goes_by_its_ref(session: Session[str]) -> None:
    join = session.receive(message("phx_join", join_ref=None, own="7"))
    assert isinstance(join, Join)
    assert (join.instance.join_ref, join.instance.tag) == (None, ref("7"))
    assert isinstance(session.receive(message("shout", join_ref="7")), Event)


def test_an_event_on_a_topic_not_joined_is_unmatched(session: Session[str]) -> None:
    assert session.receive(message("shout", join_ref="1")) == Answer(
        "rooms:lobby", ref("9"), None, error("unmatched topic")
    )


def test_leaving_ends_the_channel(session: Session[str]) -> None:
    session.receive(message("phx_join", join_ref="1"))
    leave = message("phx_leave", join_ref="1")
    assert session.receive(leave) == Leave(leave)
    assert session.receive(message("shout", join_ref="1")) == Answer(
        "rooms:lobby", ref("9"), None, error("unmatched topic")
    )


def test_leaving_what_is_not_joined_is_ok_with_the_clients_join_ref(session: Session[str]) -> None:
    assert session.receive(message("phx_leave", join_ref="1")) == Answer(
        "rooms:lobby", ref("9"), ref("1"), Reply("ok", {})
    )


def test_a_heartbeat_is_answered_with_a_null_join_ref(session: Session[str]) -> None:
    assert session.receive(message("heartbeat", topic="phoenix", join_ref="1")) == Answer(
        "phoenix", ref("9"), None, Reply("ok", {})
    )


@pytest.mark.parametrize("event", ["phx_join", "phx_leave", "shout"])
def test_the_protocols_own_topic_takes_nothing_else(session: Session[str], event: str) -> None:
    assert session.receive(message(event, topic="phoenix")) == Answer(
        "phoenix", ref("9"), None, error("unmatched topic")
    )


def test_too_many_topics_are_refused_until_one_is_left(session: Session[str]) -> None:
    for name in "ab":
        session.receive(message("phx_join", topic=f"rooms:{name}", join_ref=name))
    third = message("phx_join", topic="rooms:c", join_ref="c")
    assert session.receive(third) == Answer("rooms:c", ref("9"), ref("c"), error("too many channels joined"))
    session.receive(message("phx_leave", topic="rooms:a"))
    assert isinstance(session.receive(third), Join)


def test_joining_again_is_no_further_topic(session: Session[str]) -> None:
    for name in "ab":
        session.receive(message("phx_join", topic=f"rooms:{name}", join_ref=name))
    assert isinstance(session.receive(message("phx_join", topic="rooms:b", join_ref="c")), Join)


def test_a_channel_that_ended_is_forgotten_but_not_its_successor(session: Session[str]) -> None:
    old = session.receive(message("phx_join", join_ref="1"))
    new = session.receive(message("phx_join", join_ref="2"))
    assert isinstance(old, Join)
    assert isinstance(new, Join)
    session.ended(old.instance)
    assert isinstance(session.receive(message("shout", join_ref="2")), Event)
    session.ended(new.instance)
    assert isinstance(session.receive(message("shout", join_ref="2")), Answer)
