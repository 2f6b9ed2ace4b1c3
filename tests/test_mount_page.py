"""What plain HTTP requests for the mount are answered."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from django.core.asgi import get_asgi_application

from realtime import Channel, Router, channel, handle_in
from realtime.asgi import with_realtime


class Shop(Channel):
    async def join(self, payload: Any, **params: Any) -> None: ...

    @handle_in("buy", "<script>")
    async def buy(self) -> None: ...


router = Router("/live", [channel("shop:<part:name>", Shop, name="shop"), channel("stock", Shop)])


class Answer:
    def __init__(self, start: Any, body: Any) -> None:
        self.status = start["status"]
        self.headers = {name.decode(): value.decode() for name, value in start["headers"]}
        self.text = body["body"].decode()


async def ask(path: str, method: str = "GET", host: str = "localhost", **scope: Any) -> Answer:
    headers = [(b"host", host.encode())]
    whole = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": headers, **scope}
    communicator = ApplicationCommunicator(with_realtime(get_asgi_application()), whole)
    await communicator.send_input({"type": "http.request", "body": b""})
    answer = Answer(await communicator.receive_output(5), await communicator.receive_output(5))
    await communicator.wait()
    return answer


@pytest.fixture(autouse=True)
def project(settings: Any) -> None:
    settings.DEBUG = True
    settings.ALLOWED_HOSTS = ["localhost"]
    settings.REALTIME = {"ROUTER": "tests.test_mount_page.router"}


@pytest.fixture
def broken(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A router's module that imports one with a syntax error, which is returned."""
    (tmp_path / "shop_routing.py").write_text("import shop_channels\n")
    module = tmp_path / "shop_channels.py"
    module.write_text("class Shop:\n    def join(self, '<b>':\n")
    monkeypatch.syspath_prepend(tmp_path)
    settings.REALTIME = {"ROUTER": "shop_routing.router"}
    return module


@pytest.mark.parametrize("path", ["/live", "/live/websocket"])
async def test_with_debug_on_it_lists_the_routes(path: str) -> None:
    answer = await ask(path)
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in answer.text.split("<tr>")[2:]]
    shop, events = "tests.test_mount_page.Shop", "<code>buy</code>, <code>&lt;script&gt;</code>"
    assert rows == [
        ["/live", "<code>shop:&lt;part:name&gt;</code>", shop, "shop", events],
        ["/live", "<code>stock</code>", shop, "", events],
    ]


async def test_it_says_how_to_connect() -> None:
    text = (await ask("/live", host="localhost:8000")).text
    assert "ws://localhost:8000/live/websocket?vsn=2.0.0" in text
    assert "poll <code>/live/longpoll</code>" in text
    assert 'new Socket("/live")' in text


async def test_below_a_root_path_it_says_so() -> None:
    text = (await ask("/app/live", root_path="/app", scheme="https")).text
    assert "wss://localhost/app/live/websocket?vsn=2.0.0" in text
    assert "poll <code>/app/live/longpoll</code>" in text


async def test_it_runs_and_loads_nothing() -> None:
    answer = await ask("/live")
    assert answer.headers["content-security-policy"].startswith("default-src 'none';")
    assert not re.search(r"<(script|style|link|img)|style=|\bon\w+=", answer.text)


async def test_head_is_answered_as_get_without_the_page() -> None:
    whole, head = await ask("/live"), await ask("/live", "HEAD")
    assert (head.status, head.text) == (200, "")
    assert head.headers["content-length"] == whole.headers["content-length"] == str(len(whole.text.encode()))


@pytest.mark.parametrize("debug", [True, False])
async def test_other_methods_are_not_allowed(settings: Any, debug: bool) -> None:
    settings.DEBUG = debug
    answer = await ask("/live", "POST")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("debug, host", [(False, "localhost"), (False, "evil"), (True, "evil"), (True, "b@d host")])
async def test_strangers_learn_nothing_of_the_project(settings: Any, debug: bool, host: str) -> None:
    settings.DEBUG = debug
    answer = await ask("/live", host=host)
    assert (answer.status, answer.text) == (400, "This is a WebSocket, not a page.\n")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


async def test_other_paths_are_the_projects() -> None:
    assert "WebSocket" not in (await ask("/live/other")).text


@pytest.mark.parametrize("path", ["/ws", "/ws/websocket"])
async def test_a_router_with_an_error_is_shown_at_the_usual_mount(broken: Path, path: str) -> None:
    answer = await ask(path)
    assert answer.status == 500
    assert "SyntaxError" in answer.text and "(self, &#x27;&lt;b&gt;&#x27;" in answer.text
    assert f"{broken}&quot;, line 2" in answer.text
    assert "importlib" not in answer.text
    assert "<b>" not in answer.text


async def test_a_router_that_is_missing_is_asked_for(settings: Any) -> None:
    settings.REALTIME = {}
    answer = await ask("/ws")
    assert answer.status == 500
    assert "&quot;ROUTER&quot;" in answer.text and "<pre>" not in answer.text


async def test_where_nobody_may_poll_it_does_not_say_where(settings: Any) -> None:
    settings.REALTIME = {**settings.REALTIME, "POLL_SESSIONS": 0}
    assert "longpoll" not in (await ask("/live")).text
