"""The chat's channels, tested as an author would test them: with realtime.testing, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command

from chatty.channels.rooms import MESSAGE_LENGTH, NAME_LENGTH
from realtime import Refused, broadcast
from realtime.testing import AsyncRealtimeClient, ClientChannel, RealtimeClient


@pytest.fixture
def lobby(realtime_client: RealtimeClient) -> ClientChannel:
    return realtime_client.connect().join("rooms:lobby", {"username": "ada"})


# Joins


def test_the_lobby_is_open(realtime_client: RealtimeClient) -> None:
    assert realtime_client.connect().join("rooms:lobby").response == {}


@pytest.mark.parametrize("room", ["cellar", "Lobby", "lobby2"])
def test_every_other_room_is_refused_for_good(realtime_client: RealtimeClient, room: str) -> None:
    with pytest.raises(Refused, match="unauthorized") as caught:
        realtime_client.connect().join(f"rooms:{room}")
    assert caught.value.response == {"reason": "unauthorized", "retry": False}
    realtime_client.refute_broadcast(f"rooms:{room}", "user:entered")


def test_who_enters_is_announced_to_all(realtime_client: RealtimeClient, lobby: ClientChannel) -> None:
    lobby.assert_push("user:entered", {"username": "ada"})
    bob = realtime_client.connect().join("rooms:lobby", {"username": "bob"})
    for room in (lobby, bob):
        room.assert_push("user:entered", {"username": "bob"})


@pytest.mark.parametrize("payload", [{}, {"username": ""}, {"username": "  "}])
def test_who_says_no_name_is_anon(realtime_client: RealtimeClient, payload: dict[str, Any]) -> None:
    realtime_client.connect().join("rooms:lobby", payload).assert_push("user:entered", {"username": "anon"})


def test_a_long_name_is_cut(realtime_client: RealtimeClient) -> None:
    room = realtime_client.connect().join("rooms:lobby", {"username": "x" * 1000})
    room.assert_push("user:entered", {"username": "x" * NAME_LENGTH})


def test_a_join_with_a_bad_payload_is_refused(realtime_client: RealtimeClient) -> None:
    with pytest.raises(Refused, match="bad payload"):
        realtime_client.connect().join("rooms:lobby", {"username": 7})


# Messages


def test_a_message_reaches_all_and_is_answered(realtime_client: RealtimeClient, lobby: ClientChannel) -> None:
    bob = realtime_client.connect().join("rooms:lobby")
    ref = lobby.push("new:message", {"username": "ada", "content": " hi "})
    lobby.assert_reply(ref, "ok", lambda response: response == {})
    for room in (lobby, bob):
        room.assert_push("new:message", {"username": "ada", "content": "hi"})


def test_messages_come_in_order(lobby: ClientChannel) -> None:
    for number in range(50):
        lobby.push("new:message", {"content": str(number)})
    assert [lobby.assert_push("new:message")["content"] for _ in range(50)] == [str(number) for number in range(50)]


@pytest.mark.parametrize(
    ("payload", "response"),
    [
        ({"content": ""}, {"reason": "blank message"}),
        ({"content": " \n "}, {"reason": "blank message"}),
        (
            {"content": "x" * (MESSAGE_LENGTH + 1)},
            {"reason": f"a message has at most {MESSAGE_LENGTH} characters"},
        ),
        ({}, {"reason": "bad payload", "detail": "content: required"}),
        ({"content": 7}, {"reason": "bad payload", "detail": "content: expected str"}),
        (["content"], {"reason": "bad payload"}),
    ],
    ids=["empty", "white space", "too long", "no content", "not a text", "not an object"],
)
def test_what_is_no_message_is_refused_and_nobody_hears_it(
    lobby: ClientChannel, payload: Any, response: dict[str, Any]
) -> None:
    lobby.assert_reply(lobby.push("new:message", payload), "error", response)
    lobby.refute_broadcast("new:message")
    lobby.assert_reply(lobby.push("new:message", {"content": "the channel lives on"}))


def test_an_event_that_nobody_handles_is_answered(lobby: ClientChannel) -> None:
    lobby.assert_reply(lobby.push("old:message"), "error", {"reason": "unknown event"})


def test_who_has_left_hears_nothing_more(realtime_client: RealtimeClient, lobby: ClientChannel) -> None:
    bob = realtime_client.connect().join("rooms:lobby")
    bob.leave()
    lobby.push("new:message", {"content": "hi"})
    lobby.assert_push("new:message")
    bob.refute_push("new:message")


# From outside


def test_the_shell_is_heard_by_everybody(realtime_client: RealtimeClient, lobby: ClientChannel) -> None:
    bob = realtime_client.connect().join("rooms:lobby")
    broadcast("rooms:lobby", "new:message", {"username": "shell", "content": "hello"})
    call_command("broadcast", "rooms:lobby", "new:message", '{"username": "command", "content": "hello"}')
    for room in (lobby, bob):
        room.assert_push("new:message", {"username": "shell", "content": "hello"})
        room.assert_push("new:message", {"username": "command", "content": "hello"})


async def test_a_user_who_is_logged_in_is_let_in_as_well(async_realtime_client: AsyncRealtimeClient) -> None:
    socket = await async_realtime_client.connect(user=User(pk=7, username="ada"))
    room = await socket.join("rooms:lobby", {"username": "ada"})
    await room.assert_broadcast("user:entered", {"username": "ada"})
