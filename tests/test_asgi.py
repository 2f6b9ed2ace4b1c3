"""Where sockets are mounted: by with_realtime, or by hand beside other consumers."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.testing import WebsocketCommunicator
from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session
from django.core.asgi import get_asgi_application
from django.db.backends.signals import connection_created
from django.test import Client
from django.urls import path

from realtime import Channel, Misconfigured, Router, channel, handle_in
from realtime.asgi import TOLD, with_realtime
from realtime.consumers.longpoll import LongPollConsumer
from realtime.consumers.websocket import SocketConsumer
from realtime.node import Node
from tests.wire import Wire


class Who(Channel):
    async def join(self, payload: Any, name: str) -> Any:
        return {"user": self.user.get_username() if self.user is not None else "nobody"}

    @handle_in("meet")
    async def meet(self) -> Any:
        user = await get_user_model().objects.aget()
        return {"user": user.get_username()}

    @handle_in("count")
    def count(self) -> Any:
        return {"users": get_user_model().objects.count()}


router = Router("/ws", [channel("t:<part:name>", Who)])


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data=text_data)


async def opened(application: Any, url: str, **options: Any) -> Wire:
    communicator = WebsocketCommunicator(application, url, **options)
    connected, code = await communicator.connect(timeout=5)
    assert connected, code
    return Wire(communicator)


async def stop(*wires: Wire) -> None:
    for wire in wires:
        await wire.close()
    if node := Node.running():
        await node.stop()


async def session_of_ada() -> str:
    """Make a user, log her in, and return the key of her session."""
    user = await get_user_model().objects.acreate(username="ada")
    browser = Client()
    await asyncio.to_thread(browser.force_login, user)
    return str(browser.cookies["sessionid"].value)


@contextmanager
def every_query_through(wrapper: Callable[..., Any]) -> Iterator[None]:
    """Run what is asked of connections made from now on through `wrapper`."""

    def watch(connection: Any, **kwargs: Any) -> None:
        connection.execute_wrappers.append(wrapper)

    connection_created.connect(watch)
    try:
        yield
    finally:
        connection_created.disconnect(watch)


@pytest.fixture
def application(settings: Any) -> Any:
    settings.REALTIME = {"ROUTER": "tests.test_asgi.router"}
    return with_realtime(get_asgi_application())


@pytest.mark.parametrize("url", ["/ws/websocket?vsn=2.0.0", "/ws?vsn=2.0.0"])
async def test_the_routers_mount_is_served(application: Any, url: str) -> None:
    wire = await opened(application, url)
    assert await wire.join("t:a") == {"user": ""}
    await stop(wire)


async def test_a_mount_below_a_root_path_is_served(application: Any) -> None:
    async def below(scope: Any, receive: Any, send: Any) -> None:
        await application({**scope, "root_path": "/app", "path": f"/app{scope['path']}"}, receive, send)

    await stop(await opened(below, "/ws/websocket?vsn=2.0.0"))


@pytest.mark.parametrize("url", ["/", "/other", "/ws/longer/websocket", "/ws/"])
async def test_other_sockets_are_refused_where_django_is_alone(application: Any, url: str) -> None:
    assert (await WebsocketCommunicator(application, url).connect())[0] is False


async def refused(application: Any, *urls: str) -> None:
    for url in urls:
        assert (await WebsocketCommunicator(application, url).connect())[0] is False


def astray(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "no WebSocket is served" in record.getMessage()]


async def test_with_debug_on_a_wrong_path_is_told_once_with_the_mount(
    application: Any, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.DEBUG = True
    await refused(application, "/wss/websocket?vsn=2.0.0", "/wss/websocket?vsn=2.0.0&b=1", "/a%0Ab/websocket")
    first, second = astray(caplog)
    assert first.startswith("no WebSocket is served at '/wss/websocket': the mount of the router is '/ws', ")
    assert first.endswith('new Socket("/ws") in JavaScript')
    assert r"'/a\nb/websocket'" in second


async def test_with_debug_on_no_more_than_some_wrong_paths_are_told(
    application: Any, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.DEBUG = True
    await refused(application, "/" + "x" * 5000, *(f"/{number}" for number in range(TOLD + 5)))
    assert len(astray(caplog)) == TOLD
    assert len(astray(caplog)[0]) < 400


async def test_with_debug_off_no_wrong_path_is_told(application: Any, caplog: pytest.LogCaptureFixture) -> None:
    await refused(application, "/wss/websocket?vsn=2.0.0")
    assert astray(caplog) == []


async def test_what_the_application_inside_may_serve_is_not_told(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def inside(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.close", "code": 4000})

    settings.DEBUG, settings.REALTIME = True, {"ROUTER": "tests.test_asgi.router"}
    await refused(with_realtime(inside), "/wss/websocket")
    assert astray(caplog) == []


@pytest.mark.django_db
async def test_other_sockets_go_to_the_application_inside(settings: Any) -> None:
    settings.REALTIME = {"ROUTER": "tests.test_asgi.router"}
    inside = ProtocolTypeRouter({"websocket": URLRouter([path("echo", Echo.as_asgi())])})
    application = with_realtime(inside)
    ours, theirs = await opened(application, "/ws/websocket?vsn=2.0.0"), await opened(application, "/echo")
    assert await ours.join("t:a") == {"user": ""}
    await theirs.communicator.send_to(text_data="hello")
    assert await theirs.communicator.receive_from() == "hello"
    await stop(ours, theirs)


@pytest.mark.django_db
async def test_by_hand_it_stands_beside_an_ordinary_consumer() -> None:
    urls = [path("ws/websocket", SocketConsumer.as_asgi(router=router)), path("echo", Echo.as_asgi())]
    application = ProtocolTypeRouter({"websocket": AuthMiddlewareStack(URLRouter(urls))})
    ours, theirs = await opened(application, "/ws/websocket?vsn=2.0.0"), await opened(application, "/echo")
    assert await ours.join("t:a") == {"user": ""}
    await theirs.communicator.send_to(text_data="hello")
    assert await theirs.communicator.receive_from() == "hello"
    await stop(ours, theirs)


@pytest.mark.django_db
async def test_by_hand_it_finds_the_projects_router() -> None:
    wire = await opened(SocketConsumer.as_asgi(), "/ws/websocket?vsn=2.0.0")
    await wire.send("1", "1", "rooms:lobby", "phx_join", {})
    assert (await wire.receive())[:4] == ["1", "1", "rooms:lobby", "phx_reply"]
    await stop(wire)


@pytest.mark.django_db(transaction=True)
async def test_the_sessions_user_is_the_channels_user(application: Any) -> None:
    key = await session_of_ada()
    cookie = f"sessionid={key}".encode()
    wire = await opened(application, "/ws/websocket?vsn=2.0.0", headers=[(b"cookie", cookie)])
    assert await wire.join("t:a") == {"user": "ada"}
    await stop(wire)


@pytest.mark.django_db(transaction=True)
async def test_session_and_user_are_read_once_per_socket(application: Any) -> None:
    key = await session_of_ada()
    queries: list[str] = []

    def note(execute: Any, sql: str, *args: Any) -> Any:
        queries.append(sql)
        return execute(sql, *args)

    with every_query_through(note):
        cookie = f"sessionid={key}".encode()
        wire = await opened(application, "/ws/websocket?vsn=2.0.0", headers=[(b"cookie", cookie)])
        for name in "abc":
            assert await wire.join(f"t:{name}", ref=name) == {"user": "ada"}
        assert sorted(re.findall(r'FROM "(\w+)"', " ".join(queries))) == ["auth_user", "django_session"]
        await stop(wire)


@pytest.mark.django_db(transaction=True)
async def test_a_change_of_the_secret_key_keeps_user_and_session(application: Any, settings: Any) -> None:
    key = await session_of_ada()
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another"
    headers = [(b"cookie", f"a=b; sessionid={key}".encode())]
    for _ in range(2):
        wire = await opened(application, "/ws/websocket?vsn=2.0.0", headers=headers)
        assert await wire.join("t:a") == {"user": "ada"}
        await stop(wire)
    assert await Session.objects.filter(pk=key).aexists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("cookie", [b"sessionid=nobodys", b"sessionid=", b"\xff\x00;;=", b"sessionid=" + b"x" * 5000])
async def test_a_cookie_that_names_no_session_is_nobody(application: Any, cookie: bytes) -> None:
    wire = await opened(application, "/ws/websocket?vsn=2.0.0", headers=[(b"cookie", cookie)])
    assert await wire.join("t:a") == {"user": ""}
    await stop(wire)


@pytest.mark.django_db(transaction=True)
async def test_queries_of_different_channels_run_side_by_side(application: Any) -> None:
    """Three queries that each wait for the other two; one shared thread could never run them."""
    await get_user_model().objects.acreate(username="ada")
    together = threading.Barrier(3)

    def meet_first(execute: Any, sql: str, *args: Any) -> Any:
        if threading.current_thread().name.startswith("realtime") and "COUNT" not in sql:
            together.wait(5)
        return execute(sql, *args)

    with every_query_through(meet_first):
        wire = await opened(application, "/ws/websocket?vsn=2.0.0")
        for name in "abc":
            await wire.join(f"t:{name}", ref=name)
        for name in "abc":
            await wire.send(name, name, f"t:{name}", "meet", {})
        replies = [await wire.receive() for _ in range(3)]
        assert {reply[2] for reply in replies} == {"t:a", "t:b", "t:c"}
        assert all(reply[4] == {"status": "ok", "response": {"user": "ada"}} for reply in replies)
        await wire.send("a", "9", "t:a", "count", {})
        assert (await wire.receive())[4] == {"status": "ok", "response": {"users": 1}}
        await stop(wire)


@pytest.mark.parametrize("inner", ["django", "a ProtocolTypeRouter"])
async def test_a_server_that_tells_of_its_end_lets_the_node_end(application: Any, inner: str) -> None:
    if inner != "django":
        application = with_realtime(ProtocolTypeRouter({"http": get_asgi_application()}))
    wire = await opened(application, "/ws/websocket?vsn=2.0.0")
    await wire.join("t:a")
    assert Node.running() is not None
    asked: asyncio.Queue[Any] = asyncio.Queue()
    told: asyncio.Queue[Any] = asyncio.Queue()
    living = asyncio.create_task(application({"type": "lifespan"}, asked.get, told.put))
    for step in ("startup", "shutdown"):
        if step == "shutdown":
            await wire.close()
        await asked.put({"type": f"lifespan.{step}"})
        assert await asyncio.wait_for(told.get(), 5) == {"type": f"lifespan.{step}.complete"}
    await living
    assert Node.running() is None


def test_a_project_without_users_is_served_all_the_same(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.REALTIME = {"ROUTER": "tests.test_asgi.router"}
    monkeypatch.setattr("realtime.consumers.auth.apps.is_installed", lambda name: not name.startswith("django.contrib"))

    async def main() -> None:
        wire = await opened(with_realtime(get_asgi_application()), "/ws/websocket?vsn=2.0.0")
        assert await wire.join("t:a") == {"user": "nobody"}
        await stop(wire)

    asyncio.run(main())


BROKEN = [{}, {"ROUTER": "tests.test_asgi.nothing"}, {"ROUTER": "tests.nowhere.router"}]


@pytest.mark.parametrize("setting", BROKEN, ids=["missing", "no such name", "no such module"])
def test_a_project_without_a_router_does_not_start(settings: Any, setting: Any) -> None:
    settings.REALTIME = setting
    with pytest.raises(Misconfigured, match="ROUTER"):
        with_realtime(get_asgi_application())


@pytest.mark.parametrize("debug", [False, True])
def test_a_project_with_a_setting_that_cannot_be_does_not_start(settings: Any, debug: bool) -> None:
    settings.REALTIME, settings.DEBUG = {"ROUTER": "tests.test_asgi.router", "THREADS": 0}, debug
    with pytest.raises(Misconfigured, match=r"REALTIME\['THREADS'\] must be at least 1, not 0"):
        with_realtime(get_asgi_application())


@pytest.mark.parametrize("setting", BROKEN, ids=["missing", "no such name", "no such module"])
async def test_with_debug_on_a_project_without_a_router_has_its_pages_and_no_sockets(
    settings: Any, setting: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.REALTIME, settings.DEBUG = setting, True

    async def pages(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["path"])

    seen: list[str] = []
    application = with_realtime(pages)
    assert [record.levelname for record in caplog.records if "ROUTER" in record.getMessage()] == ["ERROR"]
    await application({"type": "http", "path": "/"}, None, None)  # type: ignore[arg-type]
    assert seen == ["/"]
    for url in ("/ws/websocket?vsn=2.0.0", "/ws?vsn=2.0.0"):
        assert (await WebsocketCommunicator(application, url).connect())[0] is False


# Polls


async def polled(application: Any, path: str = "/ws/longpoll") -> Any:
    """Return the start of the answer and its body."""
    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"vsn=2.0.0"}
    communicator = ApplicationCommunicator(application, {**scope, "headers": [(b"host", b"testserver")]})
    await communicator.send_input({"type": "http.request", "body": b""})
    answer = await communicator.receive_output(5), await communicator.receive_output(5)
    await communicator.wait()
    return answer


async def test_polls_are_served_beside_the_mount(application: Any) -> None:
    start, body = await polled(application)
    assert start["status"] == 200
    assert b'"status":410' in body["body"]
    await stop()


async def test_with_no_sessions_there_are_no_polls(settings: Any) -> None:
    settings.REALTIME = {"ROUTER": "tests.test_asgi.router", "POLL_SESSIONS": 0}
    start, _ = await polled(with_realtime(get_asgi_application()))
    assert start["status"] == 404


@pytest.mark.django_db
async def test_by_hand_polls_stand_beside_the_pages() -> None:
    urls = [path("ws/longpoll", LongPollConsumer.as_asgi(router=router)), path("", get_asgi_application())]
    application = ProtocolTypeRouter({"http": AuthMiddlewareStack(URLRouter(urls))})
    _, body = await polled(application)
    assert b'"status":410' in body["body"]
    await stop()
