"""The chat's private rooms: who may enter, and who is thrown out, when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.db import IntegrityError

from chatty.models import Membership, Message, Room
from realtime import Refused
from realtime.testing import ClientChannel, RealtimeClient

pytestmark = pytest.mark.django_db

REMOVED = {"reason": "no longer a member"}
MODERATOR_NO_MORE = {"reason": "no longer a moderator"}

Enter = Callable[[User], ClientChannel]


@pytest.fixture
def ada() -> User:
    return User.objects.create(username="ada")


@pytest.fixture
def bob() -> User:
    return User.objects.create(username="bob")


@pytest.fixture
def mod(permission: Permission) -> User:
    """A moderator, through a group."""
    group = Group.objects.create(name="moderators")
    group.permissions.add(permission)
    user = User.objects.create(username="mod")
    user.groups.add(group)
    return user


@pytest.fixture
def permission() -> Permission:
    return Permission.objects.get(codename="enter_any_room")


@pytest.fixture
def cellar(ada: User) -> Room:
    return Room.objects.open(ada, "Cellar")


@pytest.fixture
def enter(realtime_client: RealtimeClient, cellar: Room) -> Enter:
    """enter(user) joins the cellar on a new socket."""
    topic = f"rooms:{cellar}"
    return lambda user: realtime_client.connect(user=user).join(topic)


def refused(enter: Enter, user: User | None) -> bool:
    try:
        enter(user)
    except Refused as refusal:
        assert refusal.response == {"reason": "unauthorized", "retry": False}
        return True
    return False


# Who may enter


def test_the_owner_and_the_members_may_enter_and_hear_each_other(
    enter: Enter, cellar: Room, ada: User, bob: User
) -> None:
    cellar.members.add(bob)
    hers, his = enter(ada), enter(bob)
    his.push("new:message", {"content": "psst"})
    hers.assert_push("new:message", {"username": "bob", "guest": False, "content": "psst"})


def test_what_was_said_in_a_room_is_sent_to_who_enters_it_and_to_nobody_else(
    enter: Enter, realtime_client: RealtimeClient, ada: User
) -> None:
    room = enter(ada)
    room.push("new:message", {"content": "psst"})
    room.assert_push("new:message")
    assert [one["content"] for one in enter(ada).assert_push("history")["messages"]] == ["psst"]
    lobby = realtime_client.connect(user=ada).join("rooms:lobby")
    assert lobby.assert_push("history")["messages"] == []
    lobby.refute_push("new:message")


def test_strangers_and_guests_are_refused_as_if_there_were_no_room(
    enter: Enter, realtime_client: RealtimeClient, bob: User
) -> None:
    assert refused(enter, bob)
    assert refused(enter, None)
    assert refused(lambda user: realtime_client.connect(user=user).join("rooms:nowhere"), bob)


def test_a_stranger_costs_the_same_queries_whether_or_not_there_is_a_room(
    realtime_client: RealtimeClient, cellar: Room, django_assert_num_queries: Any
) -> None:
    for number, name in enumerate((cellar.slug, "nowhere")):
        user = User.objects.create(username=f"stranger {number}")
        socket = realtime_client.connect(user=user)
        with django_assert_num_queries(2), pytest.raises(Refused):  # the membership, the permission
            socket.join(f"rooms:{name}")


def test_a_refused_join_leaves_nothing(enter: Enter, realtime_client: RealtimeClient, cellar: Room, bob: User) -> None:
    assert refused(enter, bob)
    realtime_client.refute_broadcast(f"rooms:{cellar}", "user:entered")
    realtime_client.refute_broadcast(f"rooms:{cellar}", "presence_diff")


def test_a_join_of_a_member_is_two_queries(
    realtime_client: RealtimeClient, cellar: Room, ada: User, django_assert_num_queries: Any
) -> None:
    socket = realtime_client.connect(user=ada)
    with django_assert_num_queries(2):
        socket.join(f"rooms:{cellar}").assert_push("history")
        realtime_client.settle()


def test_a_moderator_may_enter_any_room_that_there_is(enter: Enter, realtime_client: RealtimeClient, mod: User) -> None:
    enter(mod).assert_push("history")
    assert refused(lambda user: realtime_client.connect(user=user).join("rooms:nowhere"), mod)


def test_a_superuser_may_enter_with_the_permission_alone(enter: Enter, permission: Permission) -> None:
    root = User.objects.create(username="root", is_superuser=True)
    assert refused(enter, root)
    root.user_permissions.add(permission)
    enter(root)


def test_a_moderator_is_found_where_a_project_has_several_backends(enter: Enter, mod: User, settings: Any) -> None:
    settings.AUTHENTICATION_BACKENDS = [
        f"django.contrib.auth.backends.{name}" for name in ("RemoteUserBackend", "ModelBackend")
    ]
    enter(mod).assert_push("history")


# Who is thrown out


@pytest.mark.parametrize(
    "remove",
    [
        lambda room, user: room.members.remove(user),
        lambda room, user: room.members.clear(),
        lambda room, user: room.memberships.get(user=user).delete(),
        lambda room, user: Membership.objects.filter(user=user).delete(),
        lambda room, user: room.delete(),
        lambda room, user: Room.objects.filter(pk=room.pk).delete(),
        lambda room, user: room.owner.delete(),
    ],
    ids=["remove", "clear", "delete", "bulk", "the room", "the room in bulk", "the owner's account"],
)
def test_who_is_removed_is_thrown_out_at_once_and_stays_out(
    enter: Enter, cellar: Room, bob: User, remove: Callable[[Room, User], Any]
) -> None:
    cellar.members.add(bob)
    room = enter(bob)
    remove(cellar, bob)
    room.assert_push("phx_close", REMOVED)
    assert refused(enter, bob)


def test_the_others_stay_and_see_who_has_gone(enter: Enter, cellar: Room, ada: User, bob: User) -> None:
    cellar.members.add(bob)
    hers, his = enter(ada), enter(bob)
    cellar.members.remove(bob)
    his.assert_push("phx_close", REMOVED)
    hers.assert_push("presence_diff", lambda diff: str(bob.pk) in diff["leaves"])
    hers.refute_push("phx_close")


def test_who_is_removed_from_one_room_stays_in_another_and_in_the_lobby(
    realtime_client: RealtimeClient, cellar: Room, ada: User, bob: User
) -> None:
    attic = Room.objects.open(ada, "attic")
    for room in (cellar, attic):
        room.members.add(bob)
    socket = realtime_client.connect(user=bob)
    left, *kept = (socket.join(topic) for topic in (f"rooms:{cellar}", f"rooms:{attic}", "rooms:lobby"))
    cellar.members.remove(bob)
    left.assert_push("phx_close", REMOVED)
    for room in kept:
        room.refute_push("phx_close")


@pytest.mark.parametrize(
    "take",
    [
        lambda user, permission: user.groups.clear(),
        lambda user, permission: user.groups.get().permissions.remove(permission),
        lambda user, permission: user.groups.get().delete(),
        lambda user, permission: permission.delete(),
    ],
    ids=["out of the group", "from the group", "the group is deleted", "the permission is deleted"],
)
def test_a_moderator_who_is_none_any_more_is_thrown_out(
    enter: Enter, mod: User, permission: Permission, take: Callable[[User, Permission], Any]
) -> None:
    room = enter(mod)
    take(mod, permission)
    room.assert_push("phx_close", MODERATOR_NO_MORE)
    assert refused(enter, mod)


def test_a_permission_of_ones_own_ends_likewise(enter: Enter, bob: User, permission: Permission) -> None:
    bob.user_permissions.add(permission)
    room = enter(bob)
    bob.user_permissions.remove(permission)
    room.assert_push("phx_close", MODERATOR_NO_MORE)


def test_a_moderator_goes_with_the_room(enter: Enter, cellar: Room, mod: User) -> None:
    room = enter(mod)
    cellar.delete()
    room.assert_push("phx_close", MODERATOR_NO_MORE)


def test_a_moderator_stays_when_it_was_about_somebody_else_and_a_member_stays_without_rights(
    enter: Enter, cellar: Room, bob: User, mod: User, permission: Permission
) -> None:
    bob.user_permissions.add(permission)
    room, other = enter(bob), enter(mod)
    cellar.members.add(bob)
    bob.user_permissions.clear()
    for one in (room, other):
        one.refute_push("phx_close")


# The rooms themselves


@pytest.mark.parametrize("change", ["user", "room"])
def test_a_membership_does_not_change_so_that_nobody_loses_one_and_stays(
    enter: Enter, cellar: Room, ada: User, bob: User, change: str
) -> None:
    cellar.members.add(bob)
    membership = cellar.memberships.get(user=bob)
    setattr(membership, change, {"user": ada, "room": Room.objects.open(bob, "attic")}[change])
    with pytest.raises(ValueError, match="does not change"):
        membership.save()
    enter(bob).refute_push("phx_close")


def test_no_membership_is_made_in_the_place_of_another(cellar: Room, ada: User, bob: User) -> None:
    with pytest.raises(IntegrityError):
        Membership(pk=cellar.memberships.get(user=ada).pk, room=cellar, user=bob).save()


def test_two_rooms_may_have_one_name_and_no_name_tells_of_a_room(ada: User, bob: User) -> None:
    first, second = Room.objects.open(ada, "Cellar"), Room.objects.open(bob, "Cellar")
    assert first.slug != second.slug
    assert first.slug.startswith("cellar-")
    assert Room.objects.open(ada, "Погреб").slug.startswith("room-")
    assert len(Room.objects.open(ada, "x" * 40).slug) <= Room._meta.get_field("slug").max_length


def test_what_was_said_goes_with_its_room(cellar: Room, ada: User) -> None:
    Message.objects.say(cellar.slug, ada, "ada", "psst")
    kept = Message.objects.say(None, ada, "ada", "hello")
    cellar.delete()
    assert list(Message.objects.all()) == [kept]


# Logging out


def test_a_logout_ends_the_socket_in_a_room(
    client: Any, realtime_client: RealtimeClient, cellar: Room, ada: User
) -> None:
    client.force_login(ada)
    socket = realtime_client.connect(session=client.session)
    socket.join(f"rooms:{cellar}")
    client.post("/logout/")
    socket.assert_closed(4401)
