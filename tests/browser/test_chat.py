"""The chat, in a real browser, against a real server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from chatty.models import NAME_LENGTH
from chatty.text import one_name
from tests.browser.cable import Cable
from tests.browser.visitor import Visitor
from tests.servers import Server

pytestmark = pytest.mark.browser

Visit = Callable[..., Visitor]
SETTINGS = "tests.browser.settings"
WAITING = "Connection lost. Reconnecting…"


# Talking


def test_two_visitors_see_what_both_say_in_one_order_and_once(visit: Visit) -> None:
    ada, bob = visit().enter("ada"), visit().enter("bob")
    ada.say("hello")
    bob.expect_heard(("ada", "hello"))
    bob.say("hello yourself")
    ada.expect_heard(("ada", "hello"), ("bob", "hello yourself"))
    for number in range(5):
        ada.say(f"more {number}")
    said = [("ada", "hello"), ("bob", "hello yourself"), *(("ada", f"more {number}") for number in range(5))]
    ada.expect_heard(*said)
    bob.expect_heard(*said)


def test_who_enters_is_announced_to_those_already_there(visit: Visit) -> None:
    ada = visit().enter("ada")
    visit().enter("bob")
    expect(ada.page.locator("#messages .entered .what").last).to_have_text("bob guest entered")


def test_a_shell_broadcasts_to_everybody(visit: Visit, server: Server) -> None:
    ada, bob = visit().enter("ada"), visit().enter("bob")
    entered = ada.page.locator("#messages .entered").count()
    payload = {"username": "shell", "content": "from another process"}
    say = "from realtime import broadcast\n"
    for event in ("new:message", "user:entered", "typing", "history"):  # of the wrong shape, so nobody sees it
        say += f"for wrong in ({{}}, {{'content': 7, 'messages': 7}}): broadcast('rooms:lobby', {event!r}, wrong)\n"
    server.manage("shell", "-c", say + f"broadcast('rooms:lobby', 'new:message', {payload})")
    for visitor in (ada, bob):
        visitor.expect_heard(("shell", "from another process"))
    assert ada.page.locator("#messages .entered").count() == entered
    expect(ada.page.locator("#typing")).to_be_empty()


def test_a_command_broadcasts_to_everybody(visit: Visit, server: Server) -> None:
    ada, bob = visit().enter("ada"), visit().enter("bob")
    payload = {"username": "command", "content": "from another process"}
    server.manage("broadcast", "rooms:lobby", "new:message", json.dumps(payload))
    for visitor in (ada, bob):
        visitor.expect_heard(("command", "from another process"))


def test_two_topics_share_one_socket(visit: Visit) -> None:
    visitor = visit().enter()
    [of_the_page] = visitor.sockets
    welcomes = visitor.page.evaluate(
        """async () => {
            const {Socket} = await import("/static/realtime/realtime.js");
            const socket = new Socket("/ws");
            const welcomed = topic => new Promise((resolve, reject) => {
                const channel = socket.channel(topic);
                channel.on("welcome", resolve);
                channel.join().receive("error", refusal => reject(new Error(JSON.stringify(refusal))));
            });
            socket.connect();
            return Promise.all([welcomed("notes:one"), welcomed("notes:two")]);
        }"""
    )
    assert welcomes == [{"note": "one"}, {"note": "two"}]
    assert visitor.sockets[0] is of_the_page
    assert len(visitor.sockets) == 2


# A name


def test_a_name_is_remembered(visit: Visit) -> None:
    ada = visit().enter()
    ada.name.fill("ada")
    ada.go().expect_state("connected")
    expect(ada.name).to_have_value("ada")
    expect(ada.page.locator("#messages .entered .what").last).to_have_text("ada guest entered")


def test_a_new_name_is_used_from_then_on(visit: Visit, cable: Cable) -> None:
    ada, bob = visit(cable.port).enter("ada"), visit().enter("bob")
    ada.name.fill("ada lovelace")
    ada.say("hello")
    bob.expect_heard(("ada lovelace", "hello"))
    with ada.page.expect_websocket():
        cable.cut()
    ada.expect_state("connected")
    assert [entry["username"] for entry in ada.pushes("phx_join")] == ["ada", "ada lovelace"]
    here = bob.page.get_by_role("list", name="Who is here").get_by_role("listitem")
    expect(here.filter(has_text="ada")).to_have_text(["ada lovelace guest"])
    expect(bob.page.locator("#messages .entered .what")).to_have_text(["bob guest entered"])  # ada only came back


def test_a_name_needs_no_storage(visit: Visit) -> None:
    visitor = visit()
    visitor.page.add_init_script(
        "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no', 'SecurityError'); }})"
    )
    visitor.enter()
    visitor.name.fill("ada")
    visitor.say("hello")
    visitor.expect_heard(("ada", "hello"))


def test_nobody_is_anon(visit: Visit) -> None:
    visitor = visit().enter()
    visitor.name.fill("   ")
    visitor.say("hello")
    visitor.expect_heard(("anon", "hello"))


# Nothing typed is lost, nothing is sent twice


def test_a_blank_message_is_not_sent(visit: Visit) -> None:
    ada = visit().enter("ada")
    ada.say("   ")
    ada.say("hello")
    ada.expect_heard(("ada", "hello"))
    assert [(one["username"], one["content"]) for one in ada.pushes("new:message")] == [("ada", "hello")]


def test_after_three_reconnects_one_enter_sends_one_message(visit: Visit, cable: Cable) -> None:
    ada, bob = visit(cable.port).enter("ada"), visit().enter("bob")
    for _ in range(3):
        with ada.page.expect_websocket():
            cable.cut()
        ada.expect_state("connected")
    ada.say("once")
    bob.expect_heard(("ada", "once"))
    bob.say("and then")
    ada.expect_heard(("ada", "once"), ("bob", "and then"))
    bob.expect_heard(("ada", "once"), ("bob", "and then"))
    assert len(ada.sockets) == 4
    assert len(ada.pushes("new:message")) == 1


def test_what_is_typed_without_a_connection_waits_for_it(visit: Visit, cable: Cable) -> None:
    ada, bob = visit(cable.port).enter("ada"), visit().enter("bob")
    cable.unplug()
    ada.expect_status(WAITING)
    ada.say("are you there?")
    expect(ada.page.locator("#outbox li")).to_contain_text("are you there?")
    cable.plug()
    bob.expect_heard(("ada", "are you there?"))
    expect(ada.page.locator("#outbox li")).to_have_count(0)


def test_a_message_without_an_answer_is_kept_and_can_be_sent_again(
    visit: Visit, cable: Cable, shots: Callable[..., None]
) -> None:
    ada, bob = visit(cable.port, viewport={"width": 360, "height": 640}), visit().enter("bob")
    ada.page.clock.install()
    ada.enter("ada")
    cable.unplug()
    ada.expect_status(WAITING)
    ada.say("are you there?")
    ada.page.clock.run_for(11_000)
    kept = ada.page.locator("#outbox li")
    expect(kept).to_contain_text("are you there?")
    expect(kept).to_contain_text("No answer")
    shots(ada, "phone-light-unsent")
    cable.plug()
    ada.page.clock.run_for(11_000)
    ada.expect_state("connected")
    kept.get_by_role("button", name="Send again").click()
    bob.expect_heard(("ada", "are you there?"))
    expect(kept).to_have_count(0)
    expect(ada.message).to_be_focused()


def test_a_message_that_is_refused_is_kept_with_the_reason(visit: Visit) -> None:
    ada = visit().enter("ada")
    ada.message.evaluate("(box, text) => { box.value = text; }", "x" * 2001)  # no keyboard enters that many
    ada.message.press("Enter")
    kept = ada.page.locator("#outbox li")
    expect(kept).to_contain_text("Not sent: a message has at most 2000 characters")
    expect(kept).to_contain_text("x" * 2001)
    kept.get_by_role("button", name="Discard").click()
    expect(kept).to_have_count(0)
    assert ada.heard() == []


# Coming back, and staying out


@pytest.fixture
def own_server(chromium_path: str, engine_url: str) -> Iterator[Server]:
    """A server of this test's own, to be killed."""
    with Server("runserver", REDIS_URL=engine_url, DJANGO_SETTINGS_MODULE=SETTINGS) as server:
        yield server


def test_the_page_comes_back_by_itself_after_the_server_was_killed(visit: Visit, own_server: Server) -> None:
    ada, bob = visit(own_server.port).enter("ada"), visit(own_server.port).enter("bob")
    ada.say("before")
    bob.expect_heard(("ada", "before"))
    own_server.kill()
    for visitor in (ada, bob):
        visitor.expect_status(WAITING)
    own_server.start()
    for visitor in (ada, bob):
        visitor.expect_state("connected")
    ada.say("after")
    for visitor in (ada, bob):
        visitor.expect_heard(("ada", "before"), ("ada", "after"))


def test_another_room_shows_its_refusal_and_is_not_asked_again(visit: Visit) -> None:
    visitor = visit()
    visitor.page.clock.install()
    visitor.go("/rooms/other/").expect_status("Refused: unauthorized")
    expect(visitor.page.get_by_role("region", name="You may not enter this room")).to_contain_text("unauthorized")
    expect(visitor.page.locator("input:visible")).to_have_count(0)
    visitor.page.clock.run_for(31_000)  # three times the longest wait before a rejoin
    visitor.wait_until(lambda: bool(visitor.pushes("heartbeat")))
    assert len(visitor.pushes("phx_join")) == 1
    assert len(visitor.sockets) == 1


def test_a_refused_visitor_finds_the_lobby(visit: Visit) -> None:
    visitor = visit().go("/rooms/other/")
    visitor.page.get_by_role("link", name="Go to the lobby").click()
    visitor.expect_state("connected")


# What is written is text

SNARES = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "<svg/onload=alert(1)>",
    "<a href='javascript:alert(1)'>click</a>",
    "javascript:alert(1)",
    "</li></ol><iframe srcdoc='<script>parent.alert(1)</script>'></iframe>",
    "{{ 7 * 7 }} ${7 * 7} &lt;b&gt;",
    "<style>* { display: none }</style>",
    "\u202etxet desrever",
    "__proto__",
]


def test_what_visitors_write_never_becomes_html(visit: Visit) -> None:
    eve, bob = visit().enter("eve"), visit().enter("bob")
    for snare in SNARES:
        eve.name.fill(snare[:NAME_LENGTH])
        eve.say(snare)
    bob.expect_heard(*((one_name(snare, NAME_LENGTH), snare) for snare in SNARES))
    found = bob.page.locator("#messages *").evaluate_all("all => [...new Set(all.map(one => one.localName))].sort()")
    assert found == ["bdi", "li", "span", "time"]
    attributes = bob.page.locator("#messages *").evaluate_all(
        "all => [...new Set(all.flatMap(one => one.getAttributeNames()))].sort()"
    )
    assert attributes == ["class", "datetime", "dir"]


def test_a_name_that_enters_never_becomes_html(visit: Visit) -> None:
    bob = visit().enter("bob")
    visit().enter("<img src=x onerror=alert(1)>")
    entered = bob.page.locator("#messages .entered .what").last
    expect(entered).to_have_text("<img src=x onerror=alert(1)> guest entered")
    expect(bob.page.locator("img")).to_have_count(0)


def test_the_page_forbids_html_made_of_strings(visit: Visit) -> None:
    visitor = visit().enter()
    refusal = visitor.page.evaluate(
        "() => { try { document.body.innerHTML = '<b>x</b>'; } catch (error) { return error.name; } }"
    )
    assert refusal == "TypeError"
    visitor.wait_until(lambda: bool(visitor.complaints))
    assert all("TrustedHTML" in complaint for complaint in visitor.complaints)
    visitor.complaints.clear()


# A long conversation


def test_a_long_conversation_is_cut_at_its_beginning(visit: Visit, server: Server) -> None:
    ada = visit().enter("ada")
    say_many(server, 505)
    expect(ada.page.locator("#messages .said").last).to_contain_text("number 504")
    assert ada.page.locator("#messages li").count() == 500


def test_a_crowd_that_enters_leaves_what_was_said_on_the_page(visit: Visit) -> None:
    shown = (
        visit()
        .enter()
        .with_transcript(
            """
            const say = (first, last) => {
                for (let id = first; id <= last; id++) transcript.said({id, username: "ada", content: `number ${id}`});
            };
            const counts = () => [".said", ".entered"].map(kind => list.querySelectorAll(kind).length);
            say(1, 20);
            for (let n = 0; n < 600; n++) transcript.entered({username: `user ${n}`, guest: false});
            const crowd = counts();
            say(21, 490);
            const last = [...list.querySelectorAll(".entered")].at(-1).textContent;
            return {crowd, talk: counts(), last};
        """
        )
    )
    assert shown["crowd"] == [20, 480]
    assert shown["talk"] == [480, 20]
    assert shown["last"].startswith("user 599 entered")


def test_the_page_follows_what_is_new_until_the_reader_goes_back(visit: Visit, server: Server) -> None:
    ada = visit().enter("ada")
    newest, newer = ada.page.locator("#messages .said").last, ada.page.get_by_role("button", name="New messages")
    say_many(server, 60)
    expect(newest).to_contain_text("number 59")
    expect(newest).to_be_in_viewport()
    expect(newer).to_be_hidden()

    ada.page.get_by_role("log").focus()
    ada.page.keyboard.press("Home")
    expect(ada.page.locator("#messages li").first).to_be_in_viewport()
    ada.say("said while reading")
    expect(newest).to_contain_text("said while reading")
    expect(newer).to_be_visible()
    expect(newest).not_to_be_in_viewport()

    newer.click()
    expect(newest).to_be_in_viewport()
    expect(newer).to_be_hidden()


def say_many(server: Server, count: int) -> None:
    server.manage(
        "shell",
        "-c",
        "from realtime import broadcast\n"
        f"for number in range({count}):\n"
        "    broadcast('rooms:lobby', 'new:message', {'username': 'shell', 'content': f'number {number}'})",
    )
