"""Visitor: somebody at the page, and all that their browser saw of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from playwright.sync_api import BrowserContext, ConsoleMessage, Page, WebSocket, expect

# Chromium itself says that a server is away; that is what some tests are about.
EXPECTED = ("WebSocket connection to", "Failed to load resource: net::")


# Keeps what `data-state` was between two questions.
WATCH = """() => {
    const chat = document.querySelector("#chat");
    if (!window.watched) {
        window.watched = [];
        const note = () => window.watched.push(chat.dataset.state);
        new MutationObserver(note).observe(chat, {attributeFilter: ["data-state"]});
    }
    return [...window.watched.splice(0), chat.dataset.state];
}"""


class Visitor:
    """One browser context with one page.

    sockets     every WebSocket that was opened
    sent        every frame that left, decoded
    complaints  errors and warnings of the console, uncaught exceptions, dialogs
    """

    def __init__(self, context: BrowserContext, port: int) -> None:
        self.page: Page = context.new_page()
        self.sockets: list[WebSocket] = []
        self.sent: list[Any] = []
        self.complaints: list[str] = []
        self._origin = f"http://127.0.0.1:{port}"
        self.page.on("websocket", self._opened)
        self.page.on("console", self._logged)
        self.page.on("pageerror", lambda error: self.complaints.append(f"exception: {error}"))
        self.page.on("dialog", lambda dialog: (self.complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))

    # What they do

    def go(self, path: str = "/") -> Visitor:
        self.page.goto(self._origin + path)
        return self

    def enter(self, username: str = "") -> Visitor:
        """Give a name before the room is entered, and wait until it is."""
        if username:
            self.page.add_init_script(f"localStorage.setItem('chatty:username', {json.dumps(username)})")
        self.go()
        self.expect_state("connected")
        return self

    def say(self, text: str) -> None:
        self.message.fill(text)
        self.message.press("Enter")

    @property
    def message(self) -> Any:
        return self.page.get_by_role("textbox", name="Message")

    @property
    def name(self) -> Any:
        return self.page.get_by_role("textbox", name="Name")

    # What they see

    def heard(self) -> list[list[str]]:
        """Return who said what, from the first to the last."""
        script = "items => items.map(item => [...item.querySelectorAll('.who, .what')].map(part => part.textContent))"
        found: list[list[str]] = self.page.locator("#messages .said").evaluate_all(script)
        return found

    def expect_heard(self, *said: tuple[str, str]) -> None:
        """Wait for the last of what was said, then compare all of it."""
        who, what = said[-1]
        last = self.page.locator("#messages .said").filter(has_text=what).filter(has_text=who)
        expect(last.last).to_be_attached()
        assert self.heard() == [list(one) for one in said]

    def expect_state(self, state: str) -> None:
        expect(self.page.locator("#chat")).to_have_attribute("data-state", state, timeout=30_000)

    def expect_status(self, words: str) -> None:
        expect(self.page.get_by_role("status")).to_have_text(words)

    def wait_until(self, true: Callable[[], bool]) -> None:
        """Wait for something that only the events of the page can bring."""
        for _ in range(1500):  # half a minute
            if true():
                return
            self.page.wait_for_timeout(20)
        raise AssertionError(f"it never came true; sent: {self.sent}")

    def with_transcript(self, script: str) -> Any:
        """Return what a script returns that has a `transcript` of its own, whose lines are in `list`."""
        return self.page.evaluate(f"""async () => {{
            const {{Transcript}} = await import("/static/chatty/transcript.js");
            const [scroller, list, newer] = ["div", "ol", "button"].map(name => document.createElement(name));
            const transcript = new Transcript(scroller, list, newer);
            {script}
        }}""")

    def states(self) -> set[str]:
        """Return the states that the page has been in since this was last asked, the present one among them."""
        return set(self.page.evaluate(WATCH))

    def pushes(self, event: str) -> list[Any]:
        """Return the payloads of all that was sent as `event`."""
        return [frame[4] for frame in self.sent if frame[3] == event]

    # private

    def _opened(self, socket: WebSocket) -> None:
        self.sockets.append(socket)
        socket.on("framesent", lambda frame: self.sent.append(json.loads(frame)))

    def _logged(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(EXPECTED):
            self.complaints.append(f"console: {message.text}")
