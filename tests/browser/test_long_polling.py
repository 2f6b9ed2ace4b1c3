"""Long polling in a real browser, behind a proxy that lets no WebSocket through: our client, and phoenix.js."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Request

from tests.browser.cable import Cable
from tests.browser.old_proxy import HOST, OldProxy
from tests.browser.visitor import Visitor
from tests.e2e.playing import find_node
from tests.proxy import Proxy
from tests.servers import Server, servers

pytestmark = [pytest.mark.browser, pytest.mark.node]

Visit = Callable[..., Visitor]

CLIENTS = {"ours": "/static/realtime/realtime.js", "phoenix": "/static/npm/phoenix.mjs"}
TOKEN = "x-phoenix-longpoll-token"

# Enters a topic, and keeps what is said there. A connection attempt that hangs is not given up but for the fallback.
ENTER = """async ([client, options]) => {
    const {Socket} = await import(client);
    const socket = new Socket("/ws", {...options, reconnectAfterMs: () => 100, timeout: 60_000});
    const room = socket.channel("notes:polled");
    Object.assign(window, {room, said: [], joins: 0});
    room.on("said", ({text}) => said.push(text));
    socket.connect();
    await new Promise((resolve, reject) => {
        room.join()
            .receive("ok", () => { joins += 1; resolve(); })
            .receive("error", refusal => reject(new Error(JSON.stringify(refusal))));
        setTimeout(() => reject(new Error("it is not let in")), 30_000);
    });
}"""
SAY = """text => new Promise((resolve, reject) => room.push("say", {text})
    .receive("ok", resolve)
    .receive("error", refusal => reject(new Error(JSON.stringify(refusal))))
    .receive("timeout", () => reject(new Error("timeout"))))"""


class Guest:
    """Somebody at a page that has entered the topic; `requests` are those of its polls that were answered."""

    def __init__(self, visitor: Visitor, client: str, after_ms: int = 30_000) -> None:
        self.page = visitor.page
        self.visitor = visitor
        self.requests: list[Request] = []
        self.page.on("requestfinished", self._note)
        self._client = client
        self._after_ms = after_ms

    def enter(self, path: str = "/empty/") -> Guest:
        self.visitor.go(path)
        self.page.evaluate(ENTER, [CLIENTS[self._client], {"longPollFallbackMs": self._after_ms}])
        return self

    def say(self, text: str) -> Any:
        """Return what the handler replied."""
        return self.page.evaluate(SAY, text)

    def expect_said(self, *texts: str) -> None:
        """Wait for the last of what was said, then compare all of it."""
        self.page.wait_for_function("text => said.at(-1) === text", arg=texts[-1])
        assert self.page.evaluate("said") == list(texts)

    def tokens(self) -> set[str]:
        """Return the names of the sessions that it has used."""
        return {token for request in self.requests if (token := token_of(request))}

    def answerers(self) -> set[str]:
        """Return the servers that have answered it."""
        responses = [request.response() for request in self.requests]
        return {response.headers["server"].lower() for response in responses if response}

    def _note(self, request: Request) -> None:
        if "/ws/longpoll" in request.url:
            self.requests.append(request)


def token_of(request: Request) -> str | None:
    """phoenix.js has it in the URL."""
    [in_url] = parse_qs(urlsplit(request.url).query).get("token", [None])
    return request.headers.get(TOKEN, in_url)


@pytest.fixture(scope="module", params=list(CLIENTS))
def client(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def pair(chromium_path: str, engine_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    find_node()  # whose packages the pages import
    environment = {
        "REDIS_URL": engine_url,
        "DJANGO_SETTINGS_MODULE": "tests.browser.polling_settings",
        "DATABASE": str(tmp_path_factory.mktemp("polling") / "db.sqlite3"),
    }
    with servers("uvicorn", **environment) as [uvicorn]:
        uvicorn.manage("migrate", "--verbosity=0")
        with servers("daphne", **environment) as [daphne]:
            yield [uvicorn, daphne]


@pytest.fixture
def behind(pair: list[Server]) -> Iterator[Callable[..., int]]:
    """behind() is the port of a proxy before both servers; its options are those of an OldProxy."""
    with ExitStack() as stack:
        ports = [server.port for server in pair]
        yield lambda **options: stack.enter_context(Cable(OldProxy(*ports, **options))).port


def test_a_page_that_no_websocket_leaves_talks_by_polls_that_any_server_answers(
    client: str, behind: Callable[..., int], visit: Visit, pair: list[Server]
) -> None:
    ada = Guest(visit(behind()), client).enter()
    for text in ("one", "two", "three"):
        ada.say(text)
    pair[0].manage("broadcast", "notes:polled", "said", '{"text": "from another process"}')
    ada.expect_said("one", "two", "three", "from another process")
    assert ada.answerers() == {"uvicorn", "daphne"}
    assert len(ada.tokens()) == 1
    assert ada.page.evaluate("joins") == 1
    assert len(ada.visitor.sockets) == 1

    ada.enter()  # the page is loaded again
    ada.say("four")
    ada.expect_said("four")
    assert len(ada.visitor.sockets) == 1  # it has been remembered that none gets through
    assert len(ada.tokens()) == 2


def test_a_page_that_polls_comes_back_when_the_servers_were_restarted(
    client: str, behind: Callable[..., int], visit: Visit, pair: list[Server]
) -> None:
    ada = Guest(visit(behind()), client).enter()
    ada.say("before")
    with ThreadPoolExecutor() as pool:
        list(pool.map(Server.stop, pair))
        list(pool.map(Server.start, pair))
    ada.page.wait_for_function("() => joins === 2")
    ada.say("after")
    ada.expect_said("before", "after")


def test_a_page_whose_handshake_nobody_answers_polls_after_a_while(
    client: str, behind: Callable[..., int], visit: Visit
) -> None:
    ada = Guest(visit(behind(holds=True)), client, after_ms=300).enter()
    ada.say("hello")
    ada.expect_said("hello")
    assert len(ada.visitor.sockets) == 1
    assert len(ada.tokens()) == 1


def test_who_polls_is_the_user_of_the_page(client: str, behind: Callable[..., int], visit: Visit) -> None:
    port = behind()
    assert Guest(visit(port), client).enter("/login/ada/").say("hello") == {"user": "ada"}
    assert Guest(visit(port), client).enter().say("hello") == {"user": "AnonymousUser"}


# What a page of another origin is refused. It knows the token of somebody who is logged in, whose cookies go along.
STEAL = """async ([url, token]) => {
    const headers = {"Content-Type": "text/plain"};
    const body = JSON.stringify(["1", "9", "notes:polled", "say", {text: "stolen"}]);
    const asked = [
        fetch(url, {credentials: "include"}),
        fetch(url, {credentials: "include", headers: {"X-Phoenix-Longpoll-Token": token}}),
        fetch(`${url}&token=${token}`, {credentials: "include", method: "POST", headers, body}),
        fetch(`${url}&token=${token}`, {credentials: "include", method: "POST", headers, body, mode: "no-cors"}),
    ];
    return (await Promise.allSettled(asked)).map(({value, reason}) => reason?.name ?? value.type);
}"""


def test_a_page_of_another_origin_reads_nothing_and_says_nothing(
    behind: Callable[..., int], visit: Visit, pair: list[Server]
) -> None:
    port = behind()
    ada = Guest(visit(port, bypass_csp=True), "ours").enter("/login/ada/")
    [token] = ada.tokens()
    with Cable(Proxy((HOST, pair[0].port))) as elsewhere:
        evil = ada.page.context.new_page()
        evil.goto(f"http://{HOST}:{elsewhere.port}/empty/")
        came = evil.evaluate(STEAL, [f"http://{HOST}:{port}/ws/longpoll?vsn=2.0.0", token])
    assert came == ["TypeError", "TypeError", "TypeError", "opaque"]
    ada.say("mine")
    ada.expect_said("mine")


def test_the_chat_works_where_no_websocket_gets_through(behind: Callable[..., int], visit: Visit) -> None:
    port = behind()
    ada, bob = visit(port).enter("ada"), visit(port).enter("bob")
    ada.say("hello")
    bob.expect_heard(("ada", "hello"))
    bob.say("hello yourself")
    ada.expect_heard(("ada", "hello"), ("bob", "hello yourself"))
