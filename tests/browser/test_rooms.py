"""Accounts and private rooms, as several people live with them in their browsers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from chatty.models import HISTORY
from tests.browser.cable import Cable
from tests.browser.visitor import Visitor

pytestmark = pytest.mark.browser

Visit = Callable[..., Visitor]
PASSWORD = "correct horse battery"


def sign_up(visitor: Visitor, username: str) -> Visitor:
    page = visitor.go("/signup/").page
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password confirmation").fill(PASSWORD)
    page.get_by_role("button", name="Sign up").click()
    visitor.expect_state("connected")
    return visitor


def sees(visitor: Visitor, *expected: str) -> None:
    items = visitor.page.get_by_role("list", name="Who is here").get_by_role("listitem")
    expect(items).to_have_text(list(expected))


def test_two_members_of_a_private_room_and_one_who_is_none(visit: Visit, shots: Callable[[Visitor, str], None]) -> None:
    ada, bob, eve = visit(viewport={"width": 360, "height": 640}), visit(), visit()
    sign_up(bob, "bob")
    sign_up(ada, "ada")
    expect(ada.name).to_have_value("ada")
    expect(ada.name).not_to_be_editable()

    # ada makes a room, and adds bob
    ada.page.get_by_role("link", name="Rooms").click()
    shots(ada, "rooms")
    ada.page.get_by_label("Name of a new room").fill("Cellar")
    ada.page.get_by_role("button", name="Make a room").click()
    ada.page.get_by_label("Username").fill("bob")
    ada.page.get_by_role("button", name="Add").click()
    expect(ada.page.get_by_role("list", name="Members").get_by_role("listitem")).to_have_count(2)
    shots(ada, "members")
    ada.page.get_by_role("link", name="Go to the room").click()
    ada.expect_state("connected")
    path = ada.page.evaluate("location.pathname")

    # both are there, each in one line
    bob.go(path).expect_state("connected")
    tab = bob.page.context.new_page()
    tab.goto(bob.page.url)
    expect(tab.locator("#chat")).to_have_attribute("data-state", "connected")
    for visitor in (ada, bob):
        sees(visitor, "ada", "bob")
    tab.close()

    # one types, the other sees it, until the message comes
    hint = ada.page.locator("#typing")
    bob.message.press_sequentially("psst")
    expect(hint).to_have_text("bob is typing…")
    bob.message.press("Enter")
    ada.expect_heard(("bob", "psst"))
    expect(hint).to_be_empty()

    # what was said is there after a reload, once, and an outsider does not get to see it
    ada.go(path).expect_heard(("bob", "psst"))
    bob.say("and again")
    ada.expect_heard(("bob", "psst"), ("bob", "and again"))
    shots(ada, "private")
    eve.go(path).expect_status("Refused: unauthorized")
    expect(eve.page.get_by_text("psst")).to_have_count(0)
    expect(eve.page.get_by_role("list", name="Who is here")).to_be_hidden()

    # bob is removed, and out at once
    owner = ada.page.context.new_page()
    owner.goto(ada.page.url + "members/")
    owner.get_by_role("button", name="Remove bob").click()
    bob.expect_status("Closed: no longer a member")
    expect(bob.message).to_be_disabled()
    sees(ada, "ada")

    # ada logs out in one tab, and is out of the room in the other
    owner.get_by_role("button", name="Log out").click()
    ada.expect_status("Refused: unauthorized")
    expect(ada.page.get_by_role("link", name="Log in")).to_be_visible()


def test_a_guest_that_reloads_is_still_one_person(visit: Visit) -> None:
    carol, bob = visit().enter("carol"), visit().enter("bob")
    carol.go().expect_state("connected")
    bob.go().expect_state("connected")  # and is told who is here, with those whose sockets were lost just now
    here = bob.page.get_by_role("list", name="Who is here").get_by_role("listitem").filter(has_text="carol")
    here.first.wait_for()
    assert here.count() == 1


def test_who_types_is_shown_until_the_message_comes_or_for_three_seconds(visit: Visit) -> None:
    ada, bob = visit().enter("ada"), visit()
    bob.page.clock.install()
    bob.enter("bob")
    hint = bob.page.locator("#typing")
    ada.message.press_sequentially("hm")
    expect(hint).to_have_text("ada guest is typing…")
    assert ada.pushes("typing") == [{"username": "ada"}]
    bob.page.clock.run_for(3_100)
    expect(hint).to_be_empty()
    expect(ada.page.locator("#typing")).to_be_empty()

    ada.message.press("Enter")
    bob.expect_heard(("ada", "hm"))
    bob.page.clock.pause_at(bob.page.evaluate("Date.now() + 1000"))  # from now on nothing fades
    ada.message.press_sequentially("well")
    expect(hint).to_have_text("ada guest is typing…")
    ada.message.press("Enter")
    expect(hint).to_be_empty()


def test_what_was_missed_comes_with_the_reconnect_and_a_gap_where_it_was_too_much(visit: Visit, cable: Cable) -> None:
    ada, bob = visit(cable.port).enter("ada"), visit().enter("bob")
    bob.say("before")
    ada.expect_heard(("bob", "before"))
    said = [("bob", "before")]
    for missed, gaps in ((2, 0), (HISTORY + 1, 1)):
        cable.unplug()
        ada.expect_state("waiting")
        for number in range(missed):
            bob.say(f"missed {number} of {missed}")
        cable.plug()
        ada.expect_state("connected")
        said += [("bob", f"missed {number} of {missed}") for number in range(gaps, missed)]
        ada.expect_heard(*said)
        expect(ada.page.locator("#messages .gap")).to_have_count(gaps)
    assert [type(entry.get("after")) for entry in ada.pushes("phx_join")] == [type(None), int, int]
    follower = ada.page.locator("#messages .gap + .said .what")
    expect(follower).to_have_text(f"missed 1 of {HISTORY + 1}")


def test_messages_stand_in_the_order_of_their_ids_each_once(visit: Visit) -> None:
    said = (
        visit()
        .enter()
        .with_transcript(
            """
            const message = id => ({id, username: "ada", content: `number ${id}`, at: "2020-02-02T12:00:00Z"});
            transcript.said(message(5));
            transcript.came({messages: [3, 5].map(message), more: true});
            transcript.said({username: "shell", content: "from outside"});
            for (const id of [7, 4, 7]) transcript.said(message(id));
            transcript.resume();
            transcript.came({messages: [message(7)], more: true}); // it is cut, where we know what is before
            return [...list.children].map(item => item.textContent.replace(/[\\s,]+/g, " ").trim());
        """
        )
    )
    numbers = [f"ada number {number} Feb 2 " for number in (3, 4, 5, 7)]  # the day, for it is another one
    expected = ["Earlier messages are not shown", *numbers[:3], "shell from outside ", numbers[3]]
    assert len(said) == len(expected)
    assert [text.startswith(start) for text, start in zip(said, expected, strict=True)] == [True] * len(said), said


def test_a_long_name_leaves_room_for_what_is_said_of_it(visit: Visit) -> None:
    page = visit(viewport={"width": 390, "height": 844}).enter().page
    found = page.evaluate(
        """async name => {
            const {showTyping} = await import("/static/chatty/hint.js");
            const line = document.getElementById("typing");
            showTyping(line, [{username: name, guest: true}, {username: name, guest: true}]);
            const entries = document.createElement("ul");
            entries.className = "entries";
            entries.append(document.createElement("li"));
            const username = document.createElement("bdi");
            username.textContent = name.repeat(3);
            entries.firstChild.append(username, " owner");
            document.body.append(entries);
            const boxes = node => {
                const range = document.createRange();
                range.selectNodeContents(node);
                return [...range.getClientRects()];
            };
            const isIn = box => box.left >= 0 && box.right <= innerWidth;
            return {
                typing: [...line.querySelectorAll(".guest"), line.lastChild].every(node => boxes(node).every(isIn)),
                owner: boxes(entries.firstChild.lastChild).length,
                page: document.documentElement.scrollWidth,
            };
        }""",
        "W" * 40,
    )
    assert found == {"typing": True, "owner": 1, "page": 390}
