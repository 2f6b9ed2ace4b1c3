"""The developer's day: two pages open, and a channel changed under them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.browser.visitor import Visitor
from tests.project import Project
from tests.servers import accepts, wait_until

pytestmark = pytest.mark.browser


@pytest.fixture
def project(chromium_path: str) -> Iterator[Project]:
    with Project() as project:
        project.serve()
        yield project


def test_pages_come_back_by_themselves_with_each_change_and_after_a_mistake(
    project: Project, visit: Callable[..., Visitor]
) -> None:
    rooms = project.folder / "chatty" / "channels" / "rooms.py"
    written = rooms.read_text()
    pages = [visit(project.port).enter("ada"), visit(project.port).enter("bob")]
    each(pages, "connected")

    changed = written.replace("content = plain(words.content)", "content = plain(words.content).upper()")
    assert changed != written
    rooms.write_text(changed)
    each(pages, "waiting")
    each(pages, "connected")
    pages[0].say("a change")
    for page in pages:
        page.expect_heard(("ada", "A CHANGE"))

    rooms.write_text(written.replace("class RoomChannel", "class RoomChannel(("))
    each(pages, "waiting")
    # A SyntaxError; or what follows of one, where the thread of Django's reloader imported the module at the same time.
    wait_until(lambda: "Error: " in project.output, "the error in the terminal")
    wait_until(lambda: comes_back(project, after=lambda: rooms.write_text(written)), "the server to come back", 60.0)
    each(pages, "connected")
    pages[0].say("a fix")
    for page in pages:
        page.expect_heard(("ada", "A CHANGE"), ("ada", "a fix"))
    assert "JOINED rooms:lobby RoomChannel" in project.output


def comes_back(project: Project, after: Callable[[], object]) -> bool:
    """Do something, and tell whether the server runs some seconds later.

    What is saved before Django's reloader has taken note of the files is missed: then a developer saves once more.
    """
    time.sleep(2.5)
    after()
    time.sleep(5.0)
    return accepts(project.port)


def each(pages: list[Visitor], state: str) -> None:
    """Wait until each page has come into this state since it was last asked."""
    for page in pages:
        page.wait_until(lambda page=page: state in page.states())
