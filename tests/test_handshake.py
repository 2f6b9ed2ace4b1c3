from __future__ import annotations

from typing import Any

import pytest
from channels.testing import WebsocketCommunicator

from realtime import Refused, Router, Socket
from realtime.consumers.handshake import origin_refusal, query_params
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


@pytest.mark.parametrize("query", ["vsn=", "vsn=1.1.0", "vsn=2.1.0", "vsn[a]=2.0.0", "vsn=2.0.0&" + "a=1&" * 200])
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
    """The scope of a handshake; a list stands for doubled headers."""
    headers = [(b"origin", value.encode()) for value in ([origin] if isinstance(origin, str) else origin or [])]
    headers += [(b"host", value.encode()) for value in ([host] if isinstance(host, str) else host)]
    headers += more.pop("headers", [])
    return {"headers": headers, **more}


@pytest.fixture
def hosts(settings: Any) -> Any:
    settings.ALLOWED_HOSTS = ["chat.example", "[::1]"]
    settings.CSRF_TRUSTED_ORIGINS = ["https://app.example", "https://*.wild.example"]
    return settings


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (None, "chat.example"),
        (None, []),
        ("https://chat.example", "chat.example"),
        ("https://chat.example:443", "chat.example"),
        ("http://chat.example:8000", "chat.example:8000"),
        ("http://CHAT.example", "chat.example"),
        ("http://[::1]:8000", "[::1]:8000"),
        ("https://app.example", "chat.example"),
        ("https://app.example:443", "chat.example"),
        ("https://named.example", "chat.example"),
        ("https://a.wild.example", "chat.example"),
        ("https://named.example", []),
    ],
)
def test_our_own_pages_and_those_named_may_connect(hosts: Any, origin: Any, host: Any) -> None:
    assert origin_refusal(scope(origin, host), ["https://named.example"]) is None


@pytest.mark.parametrize(
    ("origin", "host", "says"),
    [
        ("http://app.example", "chat.example", "CSRF_TRUSTED_ORIGINS or REALTIME['ALLOWED_ORIGINS']"),
        ("https://app.example:8443", "chat.example", "neither ours"),
        ("https://chat.example:8443", "chat.example", "neither ours"),
        ("https://evil.example", "chat.example", "neither ours"),
        ("https://chat.example.evil", "chat.example", "neither ours"),
        ("https://evil-chat.example", "chat.example", "neither ours"),
        ("https://evilwild.example", "chat.example", "neither ours"),
        ("http://a.wild.example", "chat.example", "neither ours"),
        ("https://chat.example", [], "neither ours"),
        ("https://user@chat.example", "chat.example", "is none"),
        ("https://chat.example/path", "chat.example", "is none"),
        ("ftp://chat.example", "chat.example", "is none"),
        ("null", "chat.example", "is none"),
        ("", "chat.example", "is none"),
        ("http://[::1", "chat.example", "is none"),
        ("http://chat.example:99999", "chat.example", "is none"),
        ("http://chat.example:x", "chat.example", "is none"),
        ("https://evil.example", "evil.example", "Host 'evil.example' is not in ALLOWED_HOSTS"),
        (None, "evil.example", "is not in ALLOWED_HOSTS"),
        (None, "garbage host", "is not in ALLOWED_HOSTS"),
        (["https://chat.example", "https://chat.example"], "chat.example", "doubled"),
        ("https://chat.example", ["chat.example", "chat.example"], "doubled"),
    ],
)
def test_no_other_page_may_and_the_log_says_what_would_admit_it(hosts: Any, origin: Any, host: Any, says: str) -> None:
    refusal = origin_refusal(scope(origin, host), ["https://named.example"])
    assert refusal is not None
    assert says in refusal


@pytest.mark.parametrize(
    ("told", "origin", "allowed"),
    [
        ("wss", "https://chat.example", True),
        ("http", "https://chat.example", False),
        ("http", "http://chat.example", True),
        ("wss", "http://chat.example", False),
        ("ws", "http://chat.example", True),
        ("ws", "https://chat.example", False),
        ("https", "https://chat.example", True),
    ],
)
def test_the_scheme_counts_where_the_server_tells_it(hosts: Any, told: str, origin: str, allowed: bool) -> None:
    assert (origin_refusal(scope(origin, scheme=told)) is None) is allowed


@pytest.mark.parametrize(
    ("proto", "allowed"), [(b"https", True), (b"https, http", True), (b"http", False), (None, False)]
)
def test_a_trusted_proxy_tells_the_scheme(hosts: Any, proto: bytes | None, allowed: bool) -> None:
    hosts.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    headers = [(b"x-forwarded-proto", proto)] if proto else []
    assert (origin_refusal(scope("https://chat.example", scheme="ws", headers=headers)) is None) is allowed


def test_a_trusted_proxy_tells_the_host(hosts: Any) -> None:
    hosts.USE_X_FORWARDED_HOST = True
    behind = scope("https://chat.example", "internal:8000", headers=[(b"x-forwarded-host", b"chat.example")])
    assert origin_refusal(behind) is None


def test_native_clients_may_be_refused(hosts: Any) -> None:
    assert "REQUIRE_ORIGIN" in (origin_refusal(scope(None), require=True) or "")


@pytest.mark.parametrize(
    "headers",
    [
        [(b"origin", b"https://evil.example"), (b"host", b"localhost")],
        [(b"origin", b"\xff\x00"), (b"host", b"localhost")],
        [(b"origin", b"http://localhost"), (b"host", b"localhost"), (b"host", b"localhost")],
    ],
    ids=["foreign", "garbage", "doubled"],
)
async def test_a_refused_page_gets_a_403_and_never_an_error(headers: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert await answer(headers=headers) == (False, 4403)
    assert "refused a socket" in caplog.text
