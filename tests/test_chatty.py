"""The chat's channels, tested as an author would test them: with realtime.testing, and nothing else."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext

from chatty.channels.rooms import RoomChannel
from chatty.models import FORGET_EVERY, HISTORY, MESSAGE_LENGTH, NAME_LENGTH, Message, Room
from realtime import EngineUnavailable, Refused, broadcast
from realtime.testing import AsyncRealtimeClient, ClientChannel, RealtimeClient

pytestmark = pytest.mark.django_db  # what is said is stored


ADA = {"username": "ada", "guest": False}
KEY = "0123456789abcdef"


@pytest.fixture
def lobby(realtime_client: RealtimeClient) -> ClientChannel:
    """A guest that says that it is ada, in the lobby."""
    return realtime_client.connect().join("rooms:lobby", {"username": "ada"})


@pytest.fixture
def user() -> User:
    return User.objects.create(username="ada")


@pytest.fixture
def ada(realtime_client: RealtimeClient, user: User) -> ClientChannel:
    """The account of that name, in the lobby."""
    return realtime_client.connect(user=user).join("rooms:lobby", {"username": "somebody else"})


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


@pytest.mark.parametrize("after", [0, 7])
def test_who_only_comes_back_is_not_announced(
    realtime_client: RealtimeClient, lobby: ClientChannel, after: int
) -> None:
    realtime_client.connect().join("rooms:lobby", {"username": "bob", "after": after}).assert_push("history")
    realtime_client.connect().join("rooms:lobby", {"username": "eve"})
    lobby.assert_push("user:entered", {"username": "ada"})
    lobby.assert_push("user:entered", lambda speaker: speaker["username"] == "eve")
    lobby.refute_push("user:entered")


@pytest.mark.parametrize("payload", [{}, {"username": ""}, {"username": "  "}, {"username": "\u200b\u202e"}])
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
        said = room.assert_push("new:message", {"username": "ada", "content": "hi", "at": str})
        assert Message.objects.get(pk=said["id"]).content == "hi"


def test_messages_come_in_order(lobby: ClientChannel) -> None:
    for number in range(50):
        lobby.push("new:message", {"content": str(number)})
    assert [lobby.assert_push("new:message")["content"] for _ in range(50)] == [str(number) for number in range(50)]


@pytest.mark.parametrize(
    ("payload", "response"),
    [
        ({"content": ""}, {"reason": "blank message"}),
        ({"content": " \n "}, {"reason": "blank message"}),
        ({"content": "\u200b\u202e"}, {"reason": "blank message"}),
        (
            {"content": "x" * (MESSAGE_LENGTH + 1)},
            {"reason": f"a message has at most {MESSAGE_LENGTH} characters"},
        ),
        ({}, {"reason": "bad payload", "detail": "content: required"}),
        ({"content": 7}, {"reason": "bad payload", "detail": "content: expected str"}),
        (["content"], {"reason": "bad payload"}),
    ],
    ids=["empty", "white space", "not to be seen", "too long", "no content", "not a text", "not an object"],
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


# Messages that are sent again


def test_a_message_that_was_stored_and_not_heard_is_heard_when_it_is_sent_again_and_stored_once(
    realtime_client: RealtimeClient, lobby: ClientChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*args: Any) -> None:
        raise EngineUnavailable("away")

    message = {"content": "hi", "key": KEY}
    lobby.assert_push("user:entered")
    with monkeypatch.context() as patch:
        patch.setattr(RoomChannel, "broadcast", away)
        lobby.assert_reply(lobby.push("new:message", message), "error", {"reason": "unavailable"})
    lobby.refute_push("new:message")
    heard = []
    for _ in range(2):
        lobby.assert_reply(lobby.push("new:message", message), "ok")
        heard.append(lobby.assert_push("new:message", {"content": "hi"}))
    assert heard[0] == heard[1]  # and by its id a page knows that it has it
    assert history(realtime_client) == heard[:1]


def test_after_a_reconnect_it_is_the_same_message_too(realtime_client: RealtimeClient, user: User) -> None:
    for _ in range(2):
        guest = realtime_client.connect().join("rooms:lobby", {"secret": "x" * 16})
        account = realtime_client.connect(user=user).join("rooms:lobby")
        for room in (guest, account):
            room.assert_reply(room.push("new:message", {"content": "hi", "key": KEY}), "ok")
    assert [(message["username"], message["guest"]) for message in history(realtime_client)] == [
        ("anon", True),
        ("ada", False),
    ]


def test_a_key_is_of_one_sender_in_one_room(realtime_client: RealtimeClient, user: User) -> None:
    cellar = Room.objects.open(user, "cellar")
    socket, guests = realtime_client.connect(user=user), [realtime_client.connect() for _ in range(2)]
    rooms = [socket.join("rooms:lobby"), socket.join(f"rooms:{cellar}"), *(one.join("rooms:lobby") for one in guests)]
    for room in rooms:
        room.assert_reply(room.push("new:message", {"content": "hi", "key": KEY}), "ok")
    assert Message.objects.count() == 4


def test_what_is_said_with_another_key_or_with_none_is_another_message(lobby: ClientChannel) -> None:
    for more in ({"key": KEY}, {"key": KEY[::-1]}, {}, {}):
        lobby.assert_reply(lobby.push("new:message", {"content": "hi", **more}), "ok")
    assert Message.objects.count() == 4


@pytest.mark.parametrize("key", ["x" * 15, "x" * 65, 7])
def test_a_key_is_neither_short_nor_long(lobby: ClientChannel, key: Any) -> None:
    lobby.assert_reply(lobby.push("new:message", {"content": "hi", "key": key}), "error", {"reason": "bad payload"})


def test_what_the_database_refuses_for_another_reason_is_an_error() -> None:
    with pytest.raises(IntegrityError, match="username"):
        Message.objects.say(None, None, None, "hi", KEY)


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


# Names


def test_an_account_speaks_under_its_own_name_whatever_it_claims(ada: ClientChannel) -> None:
    ada.assert_push("user:entered", ADA)
    ada.push("new:message", {"username": "bob", "content": "hi"})
    ada.assert_push("new:message", {**ADA, "content": "hi"})


def test_a_guest_may_call_itself_anything_and_is_a_guest(ada: ClientChannel, realtime_client: RealtimeClient) -> None:
    guest = realtime_client.connect().join("rooms:lobby", {"username": "ada"})
    ada.assert_push("user:entered", {"username": "ada", "guest": True})
    guest.push("new:message", {"username": "ada", "content": "hi", "guest": False})
    ada.assert_push("new:message", {"username": "ada", "guest": True})


def test_what_no_database_keeps_is_taken_out(lobby: ClientChannel) -> None:
    lobby.push("new:message", {"username": "\0ada\0", "content": "a\0b"})
    lobby.assert_push("new:message", {"username": "ada", "content": "ab"})


# Who is here


def test_who_comes_in_is_told_who_is_here(ada: ClientChannel, realtime_client: RealtimeClient) -> None:
    guest = realtime_client.connect().join("rooms:lobby", {"username": "bob"})
    state = guest.assert_push("presence_state")
    assert speakers(state) == [ADA, {"username": "bob", "guest": True}]
    ada.assert_push("presence_diff", lambda diff: speakers(diff["joins"]) == [{"username": "bob", "guest": True}])


def test_two_tabs_of_an_account_are_one_person_and_two_guests_are_two(
    ada: ClientChannel, user: User, realtime_client: RealtimeClient
) -> None:
    realtime_client.connect(user=user).join("rooms:lobby")
    for _ in range(2):
        last = realtime_client.connect().join("rooms:lobby", {"username": "bob"})
    state = last.assert_push("presence_state")
    assert sorted(len(entry["metas"]) for entry in state.values()) == [1, 1, 2]
    assert len(state[str(user.pk)]["metas"]) == 2


def test_a_guest_is_the_same_person_by_its_secret_which_nobody_else_sees(realtime_client: RealtimeClient) -> None:
    entry = {"username": "bob", "secret": "0123456789abcdef"}
    for _ in range(2):
        room = realtime_client.connect().join("rooms:lobby", entry)
    state = room.assert_push("presence_state")
    [(key, entry)] = state.items()
    assert len(entry["metas"]) == 2
    assert "0123456789abcdef" not in str(state)
    thief = realtime_client.connect().join("rooms:lobby", {"secret": key})
    assert len(thief.assert_push("presence_state")) == 2


def test_a_secret_is_neither_short_nor_long(realtime_client: RealtimeClient) -> None:
    for secret in ("x" * 15, "x" * 65):
        with pytest.raises(Refused, match="bad payload"):
            realtime_client.connect().join("rooms:lobby", {"secret": secret})


@pytest.mark.parametrize("event", ["new:message", "typing"])
def test_a_guest_that_takes_another_name_is_here_under_it(lobby: ClientChannel, event: str) -> None:
    lobby.push(event, {"username": "bob", "content": "hi"})
    lobby.assert_push("presence_diff", lambda diff: speakers(diff["joins"]) == [{"username": "bob", "guest": True}])


# Typing


def test_the_others_are_told_who_types_by_the_name_that_the_server_knows(
    ada: ClientChannel, lobby: ClientChannel
) -> None:
    ref = ada.push("typing", {"username": "bob"})
    lobby.assert_push("typing", lambda speaker: speaker == ADA)
    ada.refute_push("typing")
    ada.refute_reply(ref)
    assert not Message.objects.exists()


# History


def test_who_comes_in_is_sent_what_was_said_before_the_oldest_first(
    ada: ClientChannel, realtime_client: RealtimeClient
) -> None:
    assert ada.assert_push("history") == {"messages": [], "more": False}
    for content in ("one", "two"):
        ada.push("new:message", {"content": content})
    said = [ada.assert_push("new:message", {"content": content}) for content in ("one", "two")]
    guest = realtime_client.connect().join("rooms:lobby")
    assert guest.assert_push("history") == {"messages": said, "more": False}


@pytest.mark.parametrize(
    ("missed", "sent", "more"), [(0, 0, False), (3, 3, False), (HISTORY, HISTORY, False), (HISTORY + 1, HISTORY, True)]
)
def test_who_comes_back_is_sent_what_it_missed_or_told_that_there_was_more(
    realtime_client: RealtimeClient, missed: int, sent: int, more: bool
) -> None:
    ids = store(5 + missed)
    room = realtime_client.connect().join("rooms:lobby", {"after": ids[4]})
    history = room.assert_push("history")
    assert [message["id"] for message in history["messages"]] == ids[len(ids) - sent :]
    assert history["more"] is more


@pytest.mark.parametrize("after", [-1, 2**63, 2**80, 1.5, "7", True, [7]])
def test_a_rejoin_after_what_is_no_message_is_refused(realtime_client: RealtimeClient, after: Any) -> None:
    with pytest.raises(Refused, match="bad payload"):
        realtime_client.connect().join("rooms:lobby", {"after": after})


@pytest.mark.parametrize("after", [None, 0, 2**63 - 1])
def test_a_rejoin_after_any_id_is_answered(realtime_client: RealtimeClient, after: int | None) -> None:
    store(1)
    history = realtime_client.connect().join("rooms:lobby", {"after": after}).assert_push("history")
    assert len(history["messages"]) == (0 if after else 1)


def test_what_an_account_said_that_is_no_more_stays_and_is_nobodys(
    ada: ClientChannel, user: User, realtime_client: RealtimeClient
) -> None:
    ada.push("new:message", {"content": "hi"})
    ada.assert_push("new:message")
    user.delete()
    history = realtime_client.connect().join("rooms:lobby").assert_push("history")
    assert [(one["username"], one["guest"], one["content"]) for one in history["messages"]] == [("ada", True, "hi")]


def test_a_room_keeps_its_last_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatty.models.KEPT", 3)
    cellar = Room.objects.open(User.objects.create(username="bob"), "cellar").slug
    elsewhere = Message.objects.say(cellar, None, "bob", "elsewhere")
    ids = store(10)
    Message.objects.forget_oldest(None)
    assert [message.pk for message in Message.objects.order_by("pk")] == [elsewhere.pk, *ids[-3:]]


def test_now_and_then_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatty.models.KEPT", 3)
    with patch("random.randrange", side_effect=[1, 1, 1, 1, 1, 0]) as dice:
        for _ in range(6):
            Message.objects.say(None, None, "ada", "hi")
    assert Message.objects.count() == 3
    dice.assert_called_with(FORGET_EVERY)


# Queries


def test_a_join_of_the_lobby_and_a_message_are_one_query_each(
    realtime_client: RealtimeClient, lobby: ClientChannel, django_assert_num_queries: Any
) -> None:
    store(HISTORY)
    with patch("random.randrange", return_value=1):
        with django_assert_num_queries(1):
            realtime_client.connect().join("rooms:lobby").assert_push("history")
            realtime_client.settle()
        with django_assert_num_queries(1):
            lobby.assert_reply(lobby.push("new:message", {"content": "hi"}))
        with CaptureQueriesContext(connection) as queries:
            lobby.assert_reply(lobby.push("new:message", {"content": "hi", "key": KEY}))
        statements = [query["sql"].split()[0] for query in queries]
        assert statements == ["SAVEPOINT", "INSERT", "RELEASE"]
        with django_assert_num_queries(0):
            lobby.push("typing", {})
            realtime_client.settle()


def history(client: RealtimeClient) -> list[dict[str, Any]]:
    """Return what was said in the lobby, as somebody is told who enters it."""
    messages: list[dict[str, Any]] = client.connect().join("rooms:lobby").assert_push("history")["messages"]
    return messages


def speakers(entries: dict[str, Any]) -> list[dict[str, Any]]:
    """Return who is present by name, without the refs."""
    found = [meta for entry in entries.values() for meta in entry["metas"]]
    return sorted(({k: meta[k] for k in ("username", "guest")} for meta in found), key=lambda meta: meta["username"])


def store(count: int) -> list[int]:
    """Let so many messages have been said in the lobby, and return their ids."""
    made = [Message(username="ada", content=str(number)) for number in range(count)]
    return [message.pk for message in Message.objects.bulk_create(made)]
