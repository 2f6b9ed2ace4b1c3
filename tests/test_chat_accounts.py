"""The chat's pages behind a login: accounts, and the private rooms of their owners."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

from chatty.models import MEMBERS, ROOMS, Membership, Room

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery"


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada", password=PASSWORD)


@pytest.fixture
def bob() -> User:
    return User.objects.create_user("bob")


@pytest.fixture
def cellar(ada: User) -> Room:
    return Room.objects.open(ada, "cellar")


@pytest.fixture
def as_ada(client: Client, ada: User) -> Client:
    client.force_login(ada)
    return client


@pytest.fixture
def as_bob(client: Client, bob: User) -> Client:
    client.force_login(bob)
    return client


# Accounts


def test_who_signs_up_is_logged_in_at_once(client: Client) -> None:
    response = client.post("/signup/", {"username": "ada", "password1": PASSWORD, "password2": PASSWORD})
    assert response.headers["Location"] == "/"
    assert 'value="ada" autocomplete="off" readonly' in client.get("/").content.decode()


@pytest.mark.parametrize("password", ["short", "password1"])
def test_a_weak_password_is_not_taken(client: Client, password: str) -> None:
    response = client.post("/signup/", {"username": "ada", "password1": password, "password2": password})
    assert response.status_code == 200
    assert not User.objects.exists()


def test_a_login_leads_where_one_wanted_to_go_and_not_elsewhere(client: Client, ada: User) -> None:
    assert client.get("/rooms/").headers["Location"] == "/login/?next=/rooms/"
    for target, leads in [("/rooms/", "/rooms/"), ("https://evil.example/", "/")]:
        response = client.post("/login/", {"username": "ada", "password": PASSWORD, "next": target})
        assert response.headers["Location"] == leads


def test_a_logout_is_a_post_and_leads_to_the_lobby(as_ada: Client) -> None:
    assert as_ada.get("/logout/").status_code == 405
    assert as_ada.post("/logout/").headers["Location"] == "/"
    assert "readonly" not in as_ada.get("/").content.decode()


def test_the_name_of_an_account_is_text(client: Client) -> None:
    client.force_login(User.objects.create(username='"><b>x</b>'))
    for path in ("/", "/rooms/"):
        assert "<b>" not in client.get(path).content.decode()


@pytest.mark.parametrize("path", ["/login/", "/signup/", "/rooms/", "/rooms/{room}/members/"])
def test_every_page_is_guarded_and_its_fields_have_labels(as_ada: Client, cellar: Room, path: str) -> None:
    response = as_ada.get(path.format(room=cellar))
    page = response.content.decode()
    assert "form-action 'self'" in response.headers["Content-Security-Policy"]
    assert page.count("<label for=") == page.count('<input type="text"') + page.count('<input type="password"')
    assert page.count("csrfmiddlewaretoken") == page.count('method="post"')
    assert "style=" not in page


# Rooms


def test_who_makes_a_room_owns_it_and_is_a_member(as_ada: Client, ada: User) -> None:
    response = as_ada.post("/rooms/", {"name": "The Cellar"})
    [room] = Room.objects.all()
    assert response.headers["Location"] == f"/rooms/{room}/members/"
    assert room.slug.startswith("the-cellar-")
    assert (room.owner, list(room.members.all())) == (ada, [ada])
    assert room.slug in as_ada.get("/rooms/").content.decode()


def test_nobody_has_more_rooms_than_a_few(as_ada: Client, ada: User) -> None:
    for _ in range(ROOMS):
        Room.objects.open(ada, "room")
    assert f"{ROOMS} rooms already" in as_ada.post("/rooms/", {"name": "one more"}).content.decode()
    assert Room.objects.count() == ROOMS


def test_an_owner_adds_members_by_name_and_twice_is_once(as_ada: Client, cellar: Room, bob: User) -> None:
    for _ in range(2):
        assert as_ada.post(f"/rooms/{cellar}/members/", {"username": "bob"}).status_code == 302
    assert list(cellar.members.order_by("pk").values_list("username", flat=True)) == ["ada", "bob"]


def test_an_owner_finds_an_account_by_the_name_as_it_was_typed_at_the_sign_up(as_ada: Client, cellar: Room) -> None:
    typed = "rene\u0301"
    Client().post("/signup/", {"username": typed, "password1": PASSWORD, "password2": PASSWORD})
    assert as_ada.post(f"/rooms/{cellar}/members/", {"username": typed}).status_code == 302
    assert cellar.members.filter(username="ren\u00e9").exists()


@pytest.mark.parametrize("username", ["nobody", "", "gone"])
def test_who_has_no_account_becomes_no_member(as_ada: Client, cellar: Room, username: str) -> None:
    User.objects.create(username="gone", is_active=False)
    response = as_ada.post(f"/rooms/{cellar}/members/", {"username": username})
    assert "errorlist" in response.content.decode()
    assert cellar.members.count() == 1


def test_a_room_has_no_more_members_than_there_is_room_for(as_ada: Client, cellar: Room, bob: User) -> None:
    crowd = User.objects.bulk_create(User(username=f"u{number}") for number in range(MEMBERS - 1))
    cellar.members.add(*crowd)
    assert "at most" in as_ada.post(f"/rooms/{cellar}/members/", {"username": "bob"}).content.decode()


def test_a_list_of_members_costs_as_many_queries_whatever_their_number(
    as_ada: Client, cellar: Room, django_assert_max_num_queries: object
) -> None:
    cellar.members.add(*User.objects.bulk_create(User(username=f"u{number}") for number in range(20)))
    with django_assert_max_num_queries(4):  # the session, the user, the room, its members
        assert "u19" in as_ada.get(f"/rooms/{cellar}/members/").content.decode()


def test_an_owner_removes_a_member_and_cannot_go_without_the_room(
    as_ada: Client, cellar: Room, ada: User, bob: User
) -> None:
    cellar.members.add(bob)
    assert as_ada.post(f"/rooms/{cellar}/members/{bob.pk}/remove/").status_code == 302
    assert as_ada.post(f"/rooms/{cellar}/members/{ada.pk}/remove/").status_code == 404
    assert list(cellar.members.all()) == [ada]


def test_a_number_that_no_account_can_have_is_nobodys(as_ada: Client, cellar: Room) -> None:
    assert as_ada.post(f"/rooms/{cellar}/members/{10**30}/remove/").status_code == 404


def test_an_owner_deletes_a_room(as_ada: Client, cellar: Room) -> None:
    assert as_ada.post(f"/rooms/{cellar}/delete/").headers["Location"] == "/rooms/"
    assert not Membership.objects.exists()


PATHS = ["/rooms/{room}/members/", "/rooms/{room}/members/{ada}/remove/", "/rooms/{room}/delete/"]


@pytest.mark.parametrize("path", PATHS[1:])
def test_to_others_what_an_owner_may_do_is_not_there_even_to_members(
    as_bob: Client, cellar: Room, ada: User, bob: User, path: str
) -> None:
    cellar.members.add(bob)
    assert as_bob.post(path.format(room=cellar, ada=ada.pk), {"username": "bob"}).status_code == 404
    assert as_bob.post(path.format(room="nowhere", ada=ada.pk), {"username": "bob"}).status_code == 404
    assert cellar.members.count() == 2


@pytest.mark.parametrize("is_member", [True, False])
@pytest.mark.parametrize("method", ["get", "post"])
def test_whoever_is_sent_the_page_of_the_owner_comes_to_the_room_whether_or_not_there_is_one(
    as_bob: Client, cellar: Room, bob: User, is_member: bool, method: str
) -> None:
    if is_member:
        cellar.members.add(bob)
    before = cellar.members.count()
    for name in (cellar.slug, "nowhere", "lobby"):
        response = getattr(as_bob, method)(f"/rooms/{name}/members/", {"username": "ada"})
        assert (response.status_code, response.headers["Location"]) == (302, f"/rooms/{name}/")
    assert cellar.members.count() == before


@pytest.mark.parametrize("path", [*PATHS, "/rooms/", "/logout/", "/signup/", "/login/"])
def test_nothing_is_done_without_the_token_of_a_form(ada: User, cellar: Room, path: str) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(ada)
    assert strict.post(path.format(room=cellar, ada=ada.pk), {}).status_code == 403


@pytest.mark.parametrize("path", PATHS)
def test_a_guest_is_sent_to_the_login(client: Client, cellar: Room, ada: User, path: str) -> None:
    response = client.post(path.format(room=cellar, ada=ada.pk), {"username": "ada"})
    assert response.headers["Location"].startswith("/login/")


def test_what_changes_a_room_is_a_post(as_ada: Client, cellar: Room, ada: User) -> None:
    for path in PATHS[1:]:
        assert as_ada.get(path.format(room=cellar, ada=ada.pk)).status_code == 405


def test_the_page_of_a_room_says_nothing_about_whether_there_is_one(as_bob: Client, cellar: Room) -> None:
    there, nowhere = (as_bob.get(f"/rooms/{name}/") for name in (cellar.slug, "nowhere"))
    told = [response.content.decode().replace(cellar.slug, "nowhere") for response in (there, nowhere)]
    without_token = [page.partition("csrfmiddlewaretoken")[0] + page.partition("Log out")[2] for page in told]
    assert without_token[0] == without_token[1]
