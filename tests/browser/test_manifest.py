"""The chat as it is deployed: DEBUG off, hashed static files, a strict Content-Security-Policy."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from tests.browser.visitor import Visitor
from tests.servers import Server

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module", params=[False, True], ids=["imports as written", "imports rewritten"])
def rewritten(request: pytest.FixtureRequest) -> bool:
    """Whether Django's `support_js_module_import_aggregation` is on; it is off unless a project asks for it."""
    return request.param


@pytest.fixture(scope="module")
def deployed(
    rewritten: bool, chromium_path: str, engine_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("deployed")
    server = Server(
        "runserver",
        REDIS_URL=engine_url,
        DJANGO_SETTINGS_MODULE="tests.browser.manifest_settings",
        STATIC_ROOT=str(folder / "static"),
        AGGREGATE=str(int(rewritten)),
    )
    server.manage("collectstatic", "--no-input", "--verbosity=0")
    with server:
        yield server


def test_the_chat_works_with_hashed_names(deployed: Server, visit: Callable[..., Visitor]) -> None:
    ada, bob = visit(deployed.port).enter("ada"), visit(deployed.port).enter("bob")
    ada.say("hello")
    for visitor in (ada, bob):
        visitor.expect_heard(("ada", "hello"))


def test_hashed_names_are_used(deployed: Server, rewritten: bool, visit: Callable[..., Visitor]) -> None:
    visitor = visit(deployed.port)
    loaded: list[str] = []
    visitor.page.on("response", lambda response: loaded.append(response.url.rpartition("/")[2]))
    visitor.enter()
    scripts = [name for name in loaded if name.endswith(".js")]
    hashed = [name for name in scripts if re.fullmatch(r"\w+\.[0-9a-f]{12}\.js", name)]
    assert hashed == (scripts if rewritten else [name for name in scripts if name.startswith("chat.")])
    assert len(scripts) > 10


def test_the_tag_puts_the_client_into_a_page(deployed: Server, visit: Callable[..., Visitor]) -> None:
    visitor = visit(deployed.port).go("/tagged/")
    assert visitor.page.evaluate("typeof Realtime.Socket") == "function"
    assert visitor.page.evaluate("new Realtime.Socket('/ws').endPointURL()").endswith(
        "/ws/websocket?refusal=1&vsn=2.0.0"
    )
