from __future__ import annotations

from typing import Any

import pytest
from channels.testing import WebsocketCommunicator

from realtime import Refused, Router, Socket
from realtime.consumers.handshake import origin_is_allowed, query_params
from realtime.consumers.websocket import SocketConsumer


async def answer(
    query: str = "vsn=2.0.0", socket: type[Socket] = Socket, headers: Any = (), subprotocols: Any = None
) -> tuple[bool, Any]:
    """Return (accepted, subprotocol or close code)."""
    consumer = SocketConsumer.as_asgi(router=Router("/ws", [], socket=socket))
    communicator = WebsocketCommunicator(consumer, f"/ws/websocket?{query}", headers=list(headers))
    communicator.scope["subprotocols"] = subprotocols or []
    accepted = await communicator.connect(timeout=5)
    if accepted[0]:
        await communicator.disconnect()
    return accepted


@pytest.mark.parametrize("query", ["vsn=2.0.0", "vsn=2.0.3", "a=1&vsn=2.0.0&b[c]=2"])
async def test_version_two_is_accepted(query: str) -> None:
    assert await answer(query) == (True, None)


@pytest.mark.parametrize("query", ["", "vsn=", "vsn=1.0.0", "vsn=2.1.0", "vsn[a]=2.0.0", "vsn=2.0.0&" + "a=1&" * 200])
async def test_anything_else_is_refused_before_the_accept(query: str) -> None:
    assert (await answer(query))[0] is False


async def test_the_phoenix_subprotocol_is_answered_and_no_other() -> None:
    assert await answer(subprotocols=["phoenix", "base64url.bearer.phx.abc"]) == (True, "phoenix")
    assert await answer(subprotocols=["graphql-ws"]) == (True, None)


class Guarded(Socket):
    async def connect(self, params: dict[str, Any]) -> None:
        if params.get("token") == "crash":
            raise RuntimeError("secret")
        if params.get("token") != "right":
            raise Refused("wrong token")


class GuardedInSync(Socket):
    def connect(self, params: dict[str, Any]) -> None:
        if params.get("token") != "right":
            raise Refused("wrong token")


@pytest.mark.parametrize("socket", [Guarded, GuardedInSync])
async def test_a_socket_says_who_may_connect(socket: type[Socket]) -> None:
    assert (await answer("vsn=2.0.0&token=right", socket))[0] is True
    assert (await answer("vsn=2.0.0&token=wrong", socket))[0] is False


async def test_a_connect_that_crashes_is_a_refusal_and_a_log(caplog: pytest.LogCaptureFixture) -> None:
    assert (await answer("vsn=2.0.0&token=crash", Guarded))[0] is False
    assert "Guarded crashed in connect" in caplog.text


def test_a_socket_without_a_name_has_none() -> None:
    assert Socket({}, {}).id() is None


@pytest.mark.parametrize(
    ("query", "params"),
    [
        (b"", {}),
        (b"a=1&b=&a=2", {"a": "2", "b": ""}),
        (b"user[name]=ada&user[tags][x]=1", {"user": {"name": "ada", "tags": {"x": "1"}}}),
        (b"a%20b=%C3%A9%26", {"a b": "é&"}),
        (b"a=1&a[b]=2", {"a": {"b": "2"}}),
        (b"a[b]=2&a=1", {"a": "1"}),
        (b"[]=1&a]]=2&__proto__[x]=1", {"": {"": "1"}, "a": "2", "__proto__": {"x": "1"}}),
        (b"a=%ff", {"a": "\ufffd"}),
    ],
)
def test_parameters_are_read_as_phoenix_writes_them(query: bytes, params: dict[str, Any]) -> None:
    assert query_params(query) == params


def scope(origin: Any = None, host: Any = "chat.example", **more: Any) -> dict[str, Any]:
    headers = [(name, value.encode()) for name, value in more.get("headers", ())]
    headers += [(b"origin", value.encode()) for value in ([origin] if isinstance(origin, str) else origin or [])]
    headers += [(b"host", value.encode()) for value in ([host] if isinstance(host, str) else host)]
    return {"headers": headers}


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        (None, "chat.example", True),
        ("https://chat.example", "chat.example", True),
        ("https://chat.example:443", "chat.example", True),
        ("http://chat.example:8000", "chat.example:8000", True),
        ("http://CHAT.example", "chat.example", True),
        ("http://[::1]:8000", "[::1]:8000", True),
        ("https://app.example", "chat.example", True),
        ("https://named.example", "chat.example", True),
        ("http://app.example", "chat.example", False),
        ("https://chat.example:8443", "chat.example", False),
        ("https://evil.example", "chat.example", False),
        ("https://chat.example.evil", "chat.example", False),
        ("https://evil-chat.example", "chat.example", False),
        ("https://user@chat.example", "chat.example", False),
        ("https://evil.example", "evil.example", False),
        ("null", "chat.example", False),
        ("", "chat.example", False),
        ("http://[::1", "chat.example", False),
        ("http://chat.example:99999", "chat.example", False),
        (["https://chat.example", "https://chat.example"], "chat.example", False),
        ("https://chat.example", ["chat.example", "chat.example"], False),
        ("https://chat.example", [], False),
    ],
)
def test_only_our_own_pages_and_those_named_may_connect(settings: Any, origin: Any, host: Any, allowed: bool) -> None:
    settings.ALLOWED_HOSTS = ["chat.example", "[::1]"]
    settings.CSRF_TRUSTED_ORIGINS = ["https://app.example"]
    assert origin_is_allowed(scope(origin, host), ["https://named.example"]) is allowed


async def test_a_foreign_page_is_refused() -> None:
    foreign = [(b"origin", b"https://evil.example"), (b"host", b"localhost")]
    assert (await answer(headers=foreign))[0] is False
