"""The chat by keyboard, by screen reader, on a small screen, by day and by night."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.cable import Cable
from tests.browser.visitor import Visitor
from tests.servers import Server

pytestmark = pytest.mark.browser

Visit = Callable[..., Visitor]

# Every text in sight that has less contrast than WCAG 2.2 AA asks for, with its ratio.
PALE = """() => {
    const parse = color => color.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = node => {
        const color = parse(getComputedStyle(node).backgroundColor);
        return color[3] === 0 ? behind(node.parentElement) : color;
    };
    const pale = [];
    for (const node of document.querySelectorAll("body *")) {
        const field = node.matches("input");
        const own = [...node.childNodes].some(child => child.nodeType === 3 && child.data.trim());
        if (!(field || own) || !node.checkVisibility()) continue;
        const styles = [getComputedStyle(node), ...(field ? [getComputedStyle(node, "::placeholder")] : [])];
        for (const style of styles) {
            const [lower, higher] = [light(parse(style.color)), light(behind(node))].sort((a, b) => a - b);
            const ratio = (higher + 0.05) / (lower + 0.05);
            if (ratio < 4.5) pale.push(`${node.localName}.${node.className} ${ratio.toFixed(2)}`);
        }
    }
    return pale;
}"""
SPILLS = """() => {
    const [page, log] = [document.documentElement, document.querySelector("#log")];
    return page.scrollWidth > innerWidth || page.scrollHeight > innerHeight || log.scrollWidth > log.clientWidth;
}"""
SMALL = """() => [...document.querySelectorAll("input, button")]
    .filter(control => control.checkVisibility() && control.getBoundingClientRect().height < 24)
    .map(control => control.outerHTML)"""


# By keyboard


def test_a_visitor_can_start_to_type_at_once(visit: Visit) -> None:
    ada = visit().enter("ada")
    ada.page.keyboard.type("hello")
    ada.page.keyboard.press("Enter")
    ada.expect_heard(("ada", "hello"))
    expect(ada.message).to_have_value("")
    expect(ada.message).to_be_focused()


def test_tab_reaches_everything_in_the_order_of_reading(visit: Visit) -> None:
    page = visit().enter().page
    page.get_by_role("link", name="chatty").focus()
    links = [("link", "Log in"), ("link", "Sign up")]
    for role, name in [*links, ("log", "Messages"), ("textbox", "Name"), ("textbox", "Message"), ("button", "Send")]:
        page.keyboard.press("Tab")
        expect(page.get_by_role(role, name=name, exact=True)).to_be_focused()


def test_whoever_has_the_focus_is_seen_to_have_it(visit: Visit) -> None:
    page = visit().enter().page
    page.get_by_role("link", name="chatty").focus()
    for _ in range(6):
        page.keyboard.press("Tab")
        outline = page.evaluate("getComputedStyle(document.activeElement).outline")
        assert "solid 3px" in outline or "3px solid" in outline


def test_enter_after_the_name_goes_on_to_the_message(visit: Visit) -> None:
    ada = visit().enter()
    ada.message.fill("half a sen")
    ada.name.press("Enter")
    expect(ada.message).to_be_focused()
    expect(ada.message).to_have_value("half a sen")


# By screen reader


def test_every_part_has_a_role_and_every_field_a_label(visit: Visit) -> None:
    page = visit().enter("ada").page
    assert page.title() == "lobby · chatty"
    for role, name in [
        ("heading", "lobby"),
        ("log", "Messages"),
        ("list", "Who is here"),
        ("textbox", "Name"),
        ("textbox", "Message"),
        ("button", "Send"),
    ]:
        expect(page.get_by_role(role, name=name, exact=True)).to_have_count(1)
    for role in ("banner", "main", "contentinfo", "status"):
        expect(page.get_by_role(role)).to_have_count(1)
    expect(page.get_by_role("log")).to_have_attribute("aria-live", "polite")
    assert page.locator("html").get_attribute("lang") == "en"


def test_a_message_reads_as_a_sentence(visit: Visit) -> None:
    ada = visit().enter("ada")
    ada.say("hello")
    expect(ada.page.locator("#messages .said")).to_have_text(re.compile(r"^ada guest hello \d"))


def test_a_refused_visitor_is_brought_to_the_reason(visit: Visit) -> None:
    page = visit().go("/rooms/other/").page
    expect(page.get_by_role("region", name="You may not enter this room")).to_be_focused()


# On any screen


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(360, 640), (1280, 800)], ids=["phone", "desktop"])
def test_the_page_fits_and_can_be_read(
    visit: Visit, cable: Cable, server: Server, shots: Callable, scheme: str, width: int, height: int
) -> None:
    look = {"viewport": {"width": width, "height": height}, "color_scheme": scheme}
    ada = visit(cable.port, **look).enter("ada")
    picture = f"{'phone' if width < 640 else 'desktop'}-{scheme}"

    def check(state: str) -> None:
        shots(ada, f"{picture}-{state}")
        assert ada.page.evaluate(PALE) == []
        assert ada.page.evaluate(SPILLS) is False
        assert ada.page.evaluate(SMALL) == []

    converse(ada, visit, server)
    check("connected")

    cable.unplug()
    ada.expect_status("Connection lost. Reconnecting…")
    ada.say("Are you still there?")
    expect(ada.page.locator("#outbox li")).to_have_count(1)
    check("reconnecting")

    cable.plug()
    ada.go("/rooms/a-room-with-quite-a-long-name-for-such-a-small-screen/").expect_state("refused")
    check("refused")


def converse(ada: Visitor, visit: Visit, server: Server) -> None:
    """Fill the page with what it may have to show: long and short, one name as long as they get."""
    bob = visit().enter("Bob")
    ada.say("Has anyone tried the new engine? I let it run all night and it is still up.")
    ada.expect_heard(("ada", "Has anyone tried the new engine? I let it run all night and it is still up."))
    bob.say("Yes. Kill the server, start it again: the page comes back by itself.")
    bob.say("https://example.org/" + "a-very-long-address-without-a-break/" * 3)
    payload = {"username": "Konstantin Konstantinopolskij-Smirnoff X", "content": "one line\n  and an indented one"}
    ada.page.locator("#messages .said").nth(2).wait_for()
    server.manage("broadcast", "rooms:lobby", "new:message", json.dumps(payload))
    ada.page.locator("#messages .said").nth(3).wait_for()
    bob.name.fill("שלום")
    bob.say("مرحبا بالعالم")
    ada.page.locator("#messages .said").nth(4).wait_for()
    ada.message.fill("Half a sent")


def test_nothing_moves_for_those_who_want_no_motion(visit: Visit, cable: Cable) -> None:
    ada = visit(cable.port, reduced_motion="reduce").enter()
    cable.unplug()
    ada.expect_state("waiting")
    assert ada.page.evaluate("document.getAnimations().length") == 0


def test_the_message_box_stays_where_it_is_whatever_the_status(visit: Visit, cable: Cable) -> None:
    ada = visit(cable.port, viewport={"width": 360, "height": 640}).go()
    first = ada.message.bounding_box()
    ada.expect_state("connected")
    cable.unplug()
    ada.expect_state("waiting")
    assert ada.message.bounding_box() == first
