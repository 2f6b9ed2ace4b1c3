"""Long polling: what each request is answered, on the node that has the session and on others."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from django.contrib.sessions.backends.signed_cookies import SessionStore
from django.core.signing import TimestampSigner

from realtime import (
    Channel,
    Presence,
    Refused,
    Router,
    Socket,
    adisconnect,
    channel,
    conf,
    handle_in,
    lifetime,
    polls,
)
from realtime.consumers import poll_tokens
from realtime.consumers.auth import holder
from realtime.engine.client import sync_client
from realtime.engine.presences import Presences, Tracked
from realtime.engine.registry import Registry
from realtime.node import Node
from realtime.polled import SHARE
from realtime.polls import Address
from realtime.protocol.relay import Answer, Push, encode
from realtime.protocol.serializers import V2
from tests.polling import NDJSON, PATIENCE, Poller, Request, application, serving
from tests.test_dismissal import heard

Start = Callable[..., Awaitable[Poller]]
MakeNode = Callable[[], Node]

ended: asyncio.Queue[str]


class Lab(Channel):
    async def join(self, payload: dict[str, Any], name: str) -> Any:
        return {"name": name, "user": str(self.user), "token": self.socket.auth_token, "params": self.socket.params}

    async def terminate(self, reason: str) -> None:
        ended.put_nowait(reason)

    @handle_in("echo")
    async def echo(self, payload: Any) -> Any:
        return {"payload": payload}

    @handle_in("shout")
    async def shout(self, payload: dict[str, Any]) -> None:
        await self.broadcast("shout", payload)

    @handle_in("whisper")
    async def whisper(self, payload: dict[str, Any]) -> None:
        for number in range(payload["times"]):
            await self.push("whisper", {"number": number, "text": "x" * payload.get("size", 0)})

    @handle_in("bytes")
    async def bytes(self, payload: bytes) -> Any:
        await self.push("bytes", payload)
        await self.broadcast("bytes", payload)
        return payload


class Guarded(Socket):
    async def connect(self, params: dict[str, Any]) -> None:
        if "no" in params:
            raise Refused("no")
        if "crash" in params:
            raise RuntimeError("secret")


router = Router("/ws", [channel("lab:<part:name>", Lab)], socket=Guarded)


@pytest.fixture(autouse=True)
def project(settings: Any) -> None:
    global ended
    ended = asyncio.Queue()
    settings.ALLOWED_HOSTS = ["localhost"]
    set_up(settings)


def set_up(settings: Any, **more: Any) -> None:
    """Windows are short, and never over before something that a test waits for."""
    settings.REALTIME = {"POLL_WINDOW": 5.0, **more}


@pytest.fixture
async def make_node(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MakeNode]:
    """make_node() is another process of the cluster, as far as anybody can tell. Nothing may be left of any."""
    nodes: list[Node] = []
    monkeypatch.setattr(Node, "current", staticmethod(lambda: serving.get() or nodes[0]))

    def make() -> Node:
        nodes.append(Node(conf.settings(), conf.engine(), conf.registry()))
        return nodes[-1]

    yield make
    for node in nodes:
        await node.stop()
    if left := asyncio.all_tasks() - {asyncio.current_task()}:  # a thread may be about to tell that it is done
        assert not (await asyncio.wait(left, timeout=1))[1]
    assert not any(node.wheel.members() for node in nodes)


@pytest.fixture
def node(make_node: MakeNode) -> Node:
    return make_node()


@pytest.fixture
def start(node: Node) -> Start:
    """start() opens a session on the first node."""

    async def start(**options: Any) -> Poller:
        return await Poller(router, node, **options).open()

    return start


async def its_end() -> str:
    """Return why a channel has terminated."""
    return await asyncio.wait_for(ended.get(), PATIENCE)


def refs(frames: list[Any]) -> list[Any]:
    return [frame[1] for frame in frames]


def numbers(frames: list[Any]) -> list[int]:
    """Return those of whispers."""
    return [frame[4]["number"] for frame in frames if frame[3] == "whisper"]


def whisper(times: int, **more: Any) -> list[Any]:
    return ["1", "w", "lab:a", "whisper", {"times": times, **more}]


def echo(payload: Any = None, ref: str = "2") -> list[Any]:
    return ["1", ref, "lab:a", "echo", payload]


def binary(*names: str, payload: bytes) -> bytes:
    encoded = [name.encode() for name in names]
    return struct.pack("5B", 0, *map(len, encoded)) + b"".join(encoded) + payload


def its_connection(client: Poller) -> Any:
    assert client.node is not None
    [session] = client.node.polls._sessions.values()
    return session.connection


async def waiting_in(client: Poller, count: int) -> None:
    """Return once so many frames wait for a client."""
    while len(its_connection(client).outbox._frames) < count:
        await asyncio.sleep(0)


# The handshake


async def test_a_client_without_a_token_gets_a_session(start: Start) -> None:
    answer = await Poller(router).ask()
    assert answer.http == 200
    assert answer.body == {"status": 410, "token": answer.token, "messages": []}
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-length"] == str(len(json.dumps(answer.body, separators=(",", ":"))))


async def test_what_the_handshake_says_is_known_to_the_channel(start: Start) -> None:
    client = await start(query="vsn=2.0.0&a[b]=c", headers={"x-phoenix-authtoken": "secret"})
    assert await client.join("lab:a") == {
        "name": "a",
        "user": "AnonymousUser",
        "token": "secret",
        "params": {"vsn": "2.0.0", "a": {"b": "c"}},
    }


@pytest.mark.parametrize(
    "query",
    ["vsn=2.0.0&no=1", "vsn=2.0.0&crash=1", "vsn=3.0.0", "vsn=2.0.0&" + "a=1&" * 200],
    ids=["by connect", "by its crash", "for a version", "for too many parameters"],
)
async def test_a_refused_client_gets_no_token(start: Start, query: str) -> None:
    answer = await Poller(router, query=query).ask()
    assert (answer.http, answer.body) == (200, {"status": 403})


async def test_a_token_may_come_in_the_url_beside_a_parameter_of_that_name(start: Start) -> None:
    client = await start(query="vsn=2.0.0&token=mine")
    token, client.token = client.token, None
    client.query = f"vsn=2.0.0&token=mine&token={token}"
    assert (await client.join("lab:a"))["params"] == {"vsn": "2.0.0", "token": "mine"}


async def test_a_token_of_ours_is_no_parameter_of_the_projects(start: Start) -> None:
    token = poll_tokens.issue(Address("gone", "gone"))
    client = await start(query=f"vsn=2.0.0&token=mine&token={token}")
    assert (await client.join("lab:a"))["params"] == {"vsn": "2.0.0", "token": "mine"}


def no_node() -> int:
    """Return what a push is answered whose session's node is gone: in a cluster nobody is counted, so who knows?"""
    return 410 if conf.keys().count == 1 else 408


def forged() -> str:
    return TimestampSigner(salt="another").sign("longpoll.node.session")


def of_no_shape() -> str:
    return TimestampSigner(salt=poll_tokens.SALT).sign("longpoll.node")


def of_nobody() -> str:
    return poll_tokens.issue(Address("node", "session"))


@pytest.mark.parametrize("make", [forged, of_no_shape, of_nobody, lambda: "garbage", lambda: ""])
async def test_with_a_token_that_is_none_a_poll_begins_anew_and_a_push_is_told(
    start: Start, make: Callable[[], str]
) -> None:
    client = Poller(router)
    client.token = make()
    assert await client.push(echo()) == (no_node() if make is of_nobody else 410)
    answer = await client.ask()
    assert answer.status == 410
    client.token = answer.token
    assert await client.join("lab:a")


async def test_a_token_ends_after_two_weeks(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await start()
    assert await client.push() == 200
    monkeypatch.setattr(poll_tokens, "MAX_AGE", -1)
    assert await client.push() == 410


async def test_a_changed_token_is_none(start: Start) -> None:
    client = await start()
    assert client.token
    client.token = client.token[:-1] + ("a" if client.token[-1] != "a" else "b")
    assert await client.push() == 410


async def test_no_token_is_logged(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    client = await start(headers={"x-phoenix-authtoken": "very-secret"})
    await client.join("lab:a")
    old = Poller(router, query=f"vsn=2.0.0&token={client.token}")
    await old.push(echo())
    await client.poll()
    assert "CONNECTED /ws/longpoll" in caplog.text
    assert str(client.token) not in caplog.text
    assert "very-secret" not in caplog.text


# Origins


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_a_foreign_page_is_refused_and_reads_nothing(
    start: Start, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = await start()
    answer = await client.ask(method, headers={"origin": "https://evil.example"})
    assert (answer.http, answer.body) == (200, {"status": 403})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert answer.headers["vary"] == "Origin"
    assert "REALTIME['ALLOWED_ORIGINS']" in caplog.text


async def test_a_page_that_the_settings_name_may_read(settings: Any, make_node: MakeNode) -> None:
    set_up(settings, ALLOWED_ORIGINS=["https://app.example"])
    client = Poller(router, make_node(), headers={"origin": "https://app.example"})
    answer = await client.ask()
    assert answer.status == 410
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert answer.headers["access-control-allow-credentials"] == "true"


async def test_a_preflight_is_answered_with_what_clients_send(start: Start) -> None:
    answer = await Poller(router).ask("OPTIONS", headers={"origin": "http://localhost"}, scheme="http")
    assert (answer.http, answer.status) == (200, 200)
    assert answer.headers["access-control-allow-origin"] == "http://localhost"
    assert answer.headers["access-control-allow-methods"] == "GET, POST, OPTIONS"
    assert "x-phoenix-longpoll-token" in answer.headers["access-control-allow-headers"]
    assert "x-phoenix-authtoken" in answer.headers["access-control-allow-headers"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "same-origin"}, 410),
        ({"sec-fetch-site": "none"}, 410),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "cross-site", "referer": "http://localhost/"}, 403),
        ({"referer": "http://localhost/chat/?a=1"}, 410),
        ({"referer": "https://evil.example/"}, 403),
        ({"referer": "garbage"}, 403),
        ({}, 410),
    ],
)
async def test_a_get_tells_its_page_in_other_ways(start: Start, headers: dict[str, str], status: int) -> None:
    assert (await Poller(router, headers=headers).ask(scheme="http")).status == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"sec-fetch-site": "same-origin"}, 410), ({"referer": "http://localhost/"}, 410), ({}, 403)],
)
async def test_where_an_origin_is_required_a_page_of_ours_may_still_poll(
    settings: Any, make_node: MakeNode, headers: dict[str, str], status: int
) -> None:
    set_up(settings, REQUIRE_ORIGIN=True)
    assert (await Poller(router, make_node(), headers=headers).ask(scheme="http")).status == status


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "get"])
async def test_other_methods_are_not_allowed(start: Start, method: str) -> None:
    answer = await Poller(router).ask(method)
    assert (answer.http, answer.status, answer.headers["allow"]) == (405, 405, "GET, POST, OPTIONS")


# Polls


async def test_a_poll_takes_all_that_waits_in_order(start: Start) -> None:
    client = await start()
    await client.join("lab:a")
    assert await client.push(whisper(3), echo(1)) == 200
    await waiting_in(client, 4)
    frames = await client.poll()
    assert frames == [
        *(["1", None, "lab:a", "whisper", {"number": number, "text": ""}] for number in range(3)),
        ["1", "2", "lab:a", "phx_reply", {"status": "ok", "response": {"payload": 1}}],
    ]


async def test_a_poll_waits_for_what_comes(start: Start) -> None:
    client = await start()
    await client.join("lab:a")
    waiting = await client.begin()
    assert await waiting.is_unanswered()
    await client.push(echo("now"))
    answer = await waiting.answer()
    assert (answer.status, answer.token) == (200, client.token)
    assert answer.frames[0][4]["response"] == {"payload": "now"}


async def test_a_poll_to_which_nothing_comes_is_told_so(
    settings: Any, make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polls, "RELAY", 1000.0)  # it is the session that says so
    set_up(settings, POLL_WINDOW=0.1)
    client = await Poller(router, make_node()).open()
    assert (await client.ask()).body == {"status": 204, "token": client.token, "messages": []}
    assert (await client.ask()).status == 204


async def test_a_newer_poll_takes_the_place_of_an_older(start: Start) -> None:
    client = await start()
    await client.join("lab:a")
    older = await client.begin()
    assert await older.is_unanswered()
    newer = await client.begin()
    assert (await older.answer()).status == 204
    await client.push(echo())
    assert refs((await newer.answer()).frames) == ["2"]


async def test_what_comes_after_a_waiting_client_has_left_is_kept(start: Start) -> None:
    client = await start()
    await client.join("lab:a")
    waiting = await client.begin()
    assert await waiting.is_unanswered()
    await waiting.leave()
    await client.push(echo())
    assert refs(await client.poll()) == ["2"]


class Server:
    """What calls the application for one request, whose client may be gone when it is to be answered."""

    def __init__(self, client: Poller, *, is_gone: bool = False) -> None:
        self._scope = client.scope()
        self._node = client.node
        self._is_gone = is_gone
        self.received: asyncio.Queue[Any] = asyncio.Queue()
        self.received.put_nowait({"type": "http.request", "body": b""})

    async def serve(self) -> None:
        await application(router, self._node)(self._scope, self.received.get, self._send)

    async def _send(self, event: Any) -> None:
        if self._is_gone:
            raise OSError("the client is gone")


async def test_what_could_not_be_written_is_kept(start: Start) -> None:
    client = await start()
    await client.join("lab:a")
    await client.push(whisper(2))
    await waiting_in(client, 2)
    with pytest.raises(OSError, match="the client is gone"):
        await Server(client, is_gone=True).serve()
    assert numbers(await client.poll()) == [0, 1]


async def test_what_comes_in_the_moment_in_which_a_client_leaves_is_kept(start: Start) -> None:
    client = await start()
    await client.join("lab:a")
    server = Server(client)
    request = asyncio.create_task(server.serve())
    await client.push(echo())
    await waiting_in(client, 1)  # not yet fetched
    server.received.put_nowait({"type": "http.disconnect"})
    await request
    assert refs(await client.poll()) == ["2"]


async def test_a_request_that_the_server_cancels_takes_nothing_along(start: Start) -> None:
    client = await start()
    await client.join("lab:a")
    waiting = await client.begin()
    assert await waiting.is_unanswered()
    assert (await waiting.cancel()).status == 204
    await client.push(echo())
    assert refs(await client.poll()) == ["2"]


async def test_a_request_that_daphne_cancels_is_the_end_of_a_session_of_its_own(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await start()
    waiting = await client.begin()
    assert await waiting.is_unanswered()
    monkeypatch.setattr(lifetime, "is_daphne", lambda: True)
    assert (await waiting.cancel()).body == {"status": 500, "code": 4012}


async def test_a_poll_takes_its_share_and_the_next_one_the_rest(start: Start) -> None:
    client = await start()
    await client.join("lab:a")
    await client.push(whisper(3, size=SHARE // 2), whisper(1, size=2 * SHARE))
    await waiting_in(client, 4)
    assert [numbers(await client.poll()) for _ in range(4)] == [[0], [1], [2], [0]]


async def test_a_client_that_does_not_poll_enough_loses_its_session(settings: Any, make_node: MakeNode) -> None:
    set_up(settings, OUTBOX_MESSAGES=10)
    client = await Poller(router, make_node()).open()
    await client.join("lab:a")
    await client.push(whisper(11))
    assert await its_end() == "closed"
    assert await client.push(echo()) == 410
    token, answer = client.token, await client.ask()
    assert (answer.status, answer.messages) == (410, [])
    assert answer.token != token


async def test_what_was_fetched_counts_until_it_has_arrived(settings: Any, make_node: MakeNode) -> None:
    set_up(settings, OUTBOX_MESSAGES=10)
    node = make_node()
    client = await Poller(router, node).open()
    await client.join("lab:a")
    for _ in range(3):
        await client.push(whisper(8))
        await waiting_in(client, 8)
        assert len(await client.poll()) == 8
    assert client.token
    await client.push(whisper(8))
    await waiting_in(client, 8)
    address = poll_tokens.read(client.token)
    assert address
    assert len((await node.polls.poll(address, "", 1000)).messages) == 8
    await client.push(whisper(3))
    assert await its_end() == "closed"


class Hall(Channel):
    presence = Presence()

    async def join(self, payload: Any, name: str) -> None:
        if "key" in payload:
            await self.presence.track(payload["key"])


def gather(topic: str, many: int, meta: bytes) -> None:
    """Let so many be present, all by another process."""
    keys = conf.keys()
    registry, engine, presences = Registry(keys), sync_client(conf.engine()), Presences(keys)
    registry.beat(keys.of(topic), "other", is_new=True).run(engine)
    registry.join(topic, "other", 1, 1).run(engine)
    for first in range(0, many, 500):
        some = [Tracked(f"other.{n}", f"user{n}", meta) for n in range(first, first + 500)]
        presences.track(topic, "other", first, some).run(engine)


@pytest.mark.usefixtures("empty_engine")
async def test_a_state_may_be_larger_than_all_that_may_wait_and_diffs_follow_it(make_node: MakeNode) -> None:
    gather("hall:a", 5000, b'{"about":"%s"}' % (b"x" * 1000))
    hall, its_own, another = Router("/ws", [channel("hall:<part:name>", Hall)]), make_node(), make_node()
    client, other = await Poller(hall, its_own).open(), await Poller(hall, another).open()
    await client.push(["1", "1", "hall:a", "phx_join", {}])
    await waiting_in(client, 2)  # the reply and the state
    await other.push(["1", "1", "hall:a", "phx_join", {"key": "ada"}])
    await waiting_in(client, 3)
    client.node = another
    [[reply], [state], [diff]] = [await client.poll() for _ in range(3)]
    assert [frame[3] for frame in (reply, state, diff)] == ["phx_reply", "presence_state", "presence_diff"]
    assert len(state[4]) == 5000
    assert list(diff[4]["joins"]) == ["ada"]


# Pushes


async def test_a_body_of_another_type_is_one_text(start: Start) -> None:
    client = await start()
    await client.join("lab:a")
    assert (await client.ask("POST", json.dumps(echo("text")).encode())).body == {"status": 200}
    assert (await client.poll())[0][4]["response"] == {"payload": "text"}


async def test_a_body_may_come_in_parts(start: Start) -> None:
    client = await start()
    await client.join("lab:a")
    whole = json.dumps(echo("é")).encode()
    parts = [whole[at : at + 1] for at in range(len(whole))]
    assert (await client.ask("POST", *parts)).status == 200
    assert refs(await client.poll()) == ["2"]


async def test_a_hundred_frames_are_handled_in_order(start: Start) -> None:
    client = await start()
    await client.join("lab:a")
    assert await client.push(*(echo(number, str(number)) for number in range(100))) == 200
    answered: list[Any] = []
    while len(answered) < 100:
        answered += refs(await client.poll())
    assert answered == [str(number) for number in range(100)]


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"\n".join([json.dumps(echo()).encode()] * 101), NDJSON, 413),
        (b"\n" * 150 + b"[", NDJSON, 413),
        (b"[" * (4 * 256 * 1024 + 1), NDJSON, 413),
        (b"[" * (4 * 256 * 1024 + 1), "", 413),
        (json.dumps(echo()).encode() + b"\n!garbage!", NDJSON, 400),
        (json.dumps(echo()).encode() + b"\nAAAAA", NDJSON, 400),
        (json.dumps(echo()).encode() + b"\n\xff\xff", NDJSON, 400),
        (json.dumps(echo()).encode() + b"\n[\xff]", NDJSON, 400),
        (b"\xff", "", 400),
    ],
    ids=[
        "101 frames",
        "many empty lines",
        "too large",
        "too large a text",
        "no base64",
        "base64 of no bytes",
        "binary",
        "a line that is not UTF-8",
        "a text that is not UTF-8",
    ],
)
async def test_a_body_that_cannot_be_taken_is_refused_as_a_whole(
    start: Start, body: bytes, kind: str, status: int
) -> None:
    client = await start()
    await client.join("lab:a")
    answer = await client.ask("POST", body, headers={"content-type": kind})
    assert (answer.http, answer.body) == (200, {"status": status})
    await client.push(echo(ref="next"))
    assert refs(await client.poll()) == ["next"]


@pytest.mark.parametrize(
    "frame",
    [b"[1]", b"{}", b"", b"AQ", b"[" * 1000, b'["1"', b"[" * 100_000],
    ids=["no array of five", "no array", "empty", "bytes of no frame", "deep", "cut off", "very deep"],
)
async def test_a_frame_that_is_none_ends_the_session(start: Start, frame: bytes) -> None:
    client = await start()
    await client.join("lab:a")
    kind = NDJSON if frame else ""
    answer = await client.ask("POST", frame, headers={"content-type": kind})
    assert answer.status == 410
    assert await its_end() == "closed"
    assert await client.push(echo()) == 410


async def test_a_frame_over_the_limit_ends_the_session(start: Start) -> None:
    client = await start()
    assert await client.push(echo("x" * 256 * 1024)) == 410


async def test_what_was_said_before_a_frame_that_is_none_can_still_be_fetched(start: Start) -> None:
    client = await start()
    await client.join("lab:a")
    await client.push(echo())
    await waiting_in(client, 1)
    assert await client.push(b"[]") == 410
    assert refs(await client.poll()) == ["2"]
    assert (await client.ask()).status == 410


async def test_a_slow_body_is_given_up(settings: Any, make_node: MakeNode) -> None:
    set_up(settings, POLL_WINDOW=0.1)
    client = await Poller(router, make_node()).open()
    request = Request(router, client.node, client.scope("POST"), [b"[", b""])
    await request.begin(parts=1)
    assert (await request.answer()).status == 408


async def test_a_client_may_leave_in_the_middle_of_a_body(start: Start) -> None:
    client = await start()
    request = Request(router, client.node, client.scope("POST"), [b"[", b""])
    await request.begin(parts=1)
    await request.leave()
    assert await client.push() == 200


async def test_a_client_that_floods_loses_its_session(settings: Any, make_node: MakeNode) -> None:
    set_up(settings, MESSAGE_BURST=10)
    client = await Poller(router, make_node()).open()
    assert await client.push(*[[None, "1", "phoenix", "heartbeat", {}]] * 100) == 410


# Binary frames and versions


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode], ids=["base64", "base64url"])
async def test_bytes_come_in_as_base64_of_a_frame_and_go_out_as_base64_in_a_text(
    start: Start, encode: Callable[[bytes], bytes]
) -> None:
    client = await start()
    await client.join("lab:a")
    payload = bytes(range(256))
    assert await client.push(encode(binary("1", "2", "lab:a", "bytes", payload=payload)).rstrip(b"=")) == 200
    text = base64.b64encode(payload).decode()
    frames: list[Any] = []
    while len(frames) < 3:
        frames += await client.poll()
    assert frames == [
        ["1", None, "lab:a", "bytes", text],
        [None, None, "lab:a", "bytes", text],
        ["1", "2", "lab:a", "phx_reply", {"status": "ok", "response": text}],
    ]


class Own:
    """A version of a project's own, all of whose frames are bytes."""

    def decode(self, frame: Any) -> Any:
        return V2().decode(frame.decode())

    def reply(self, *args: Any) -> Any:
        return str(V2().reply(*args)).encode()

    push = close = error = fastlane = reply


async def test_binary_frames_of_a_projects_own_version_go_in_base64_both_ways(
    settings: Any, make_node: MakeNode
) -> None:
    set_up(settings, SERIALIZERS={"3.0": f"{__name__}.Own"})
    client = await Poller(router, make_node(), query="vsn=3.0.0").open()
    await client.push(base64.b64encode(json.dumps(["1", "1", "lab:a", "phx_join", {}]).encode()))
    [message] = (await client.ask()).messages
    assert json.loads(base64.b64decode(message))[4]["status"] == "ok"


@pytest.mark.parametrize("kind", [NDJSON, "application/json"])
async def test_version_one_is_spoken(start: Start, kind: str) -> None:
    client = await start(query="vsn=1.0.0")
    body = json.dumps({"topic": "lab:a", "event": "phx_join", "payload": {}, "ref": "1"}).encode()
    assert (await client.ask("POST", body, headers={"content-type": kind})).status == 200
    [frame] = await client.poll()
    assert (frame["event"], frame["ref"], frame["payload"]["status"]) == ("phx_reply", "1", "ok")


# Sessions


def cookie(value: str) -> dict[str, str]:
    return {"cookie": f"sessionid={value}"}


async def test_only_who_has_the_cookie_of_the_handshake_may_use_a_token(start: Start, db: None) -> None:
    victim = await start(headers=cookie("a"))
    await victim.join("lab:a")
    await victim.push(echo())
    await waiting_in(victim, 1)
    thief = Poller(router, victim.node, headers=cookie("b"))
    thief.token = victim.token
    assert await thief.push(echo()) == 410
    stolen = await thief.ask()
    assert (stolen.status, stolen.messages) == (410, [])
    thief.headers = {}
    assert await thief.push(echo()) == 410
    session = next(iter(victim.node.polls._sessions))  # type: ignore[union-attr]
    assert session not in str(stolen.body)


async def test_a_token_that_was_foisted_on_somebody_is_not_used(start: Start, db: None) -> None:
    attacker = await start()
    victim = Poller(router, attacker.node, headers=cookie("victim"))
    victim.token = attacker.token
    answer = await victim.ask()
    assert answer.status == 410
    assert answer.token != attacker.token


def test_where_the_cookie_holds_the_session_its_user_counts_and_not_all_of_it(settings: Any) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"

    def of(**session: Any) -> str:
        store = SessionStore()
        store.update(session)
        store.save()
        return holder(Poller(router).scope(headers=cookie(store.session_key)))

    assert of(_auth_user_id="1", cart=1) == of(_auth_user_id="1", cart=2)
    assert of(_auth_user_id="1") != of(_auth_user_id="2")
    assert of(_auth_user_id="1", _auth_user_hash="a") != of(_auth_user_id="1", _auth_user_hash="b")


async def test_a_session_that_nobody_polls_ends(start: Start, node: Node) -> None:
    client = await start()
    await client.join("lab:a")
    now = asyncio.get_running_loop().time()
    node.polls.tick(now + 7)
    assert await client.push(echo()) == 200  # a push is no poll
    node.polls.tick(now + 8)
    assert await its_end() == "closed"
    assert (await client.ask()).status == 410


async def test_a_session_that_is_polled_does_not(start: Start, node: Node) -> None:
    client = await start()
    await client.join("lab:a")
    waiting = await client.begin()
    assert await waiting.is_unanswered()
    node.polls.tick(asyncio.get_running_loop().time() + 100)
    await client.push(echo())
    assert (await waiting.answer()).status == 200


async def test_no_heartbeat_is_needed(start: Start) -> None:
    client = await start()
    its_connection(client).tick(asyncio.get_running_loop().time() + 1000)
    assert await client.push() == 200


async def test_a_process_keeps_so_many_sessions_and_no_more(
    settings: Any, make_node: MakeNode, caplog: pytest.LogCaptureFixture
) -> None:
    set_up(settings, POLL_SESSIONS=2)
    node = make_node()
    first, second = Poller(router, node), Poller(router, node)
    await first.open()
    await second.open()
    for _ in range(3):
        assert (await Poller(router, node).ask()).body == {"status": 500}
    assert caplog.text.count("REALTIME['POLL_SESSIONS']") == 1
    assert await first.push([None, "1", "phoenix", "heartbeat", {}]) == 200
    assert await first.push(b"[]") == 410
    assert refs(await first.poll()) == ["1"]
    assert (await first.ask()).status == 410  # in the place of its own


async def test_at_the_end_of_the_server_polls_are_answered_and_channels_told(start: Start, node: Node) -> None:
    client = await start()
    await client.join("lab:a")
    waiting = await client.begin()
    assert await waiting.is_unanswered()
    await node.polls.stop()
    assert (await waiting.answer()).body == {"status": 500, "code": 4012}
    assert await its_end() == "draining"
    assert (await Poller(router, node).ask()).body == {"status": 500}


async def test_a_node_that_drains_ends_its_sessions_once(start: Start, node: Node) -> None:
    client = await start()
    await client.join("lab:a")
    waiting = await client.begin()
    assert await waiting.is_unanswered()
    await node.drain()
    assert (await waiting.answer()).status == 500
    assert await its_end() == "draining"
    assert ended.empty()


async def test_polls_are_answered_when_the_server_was_told_to_end(start: Start, node: Node) -> None:
    client = await start()
    waiting = await client.begin()
    assert await waiting.is_unanswered()
    node.polls.is_server_ending = lambda: True
    node.polls.tick(0)
    assert (await waiting.answer()).status == 500


class Here(Channel):
    presence = Presence()

    async def join(self, payload: Any, name: str) -> None:
        await self.presence.track(payload["key"])


class Known(Socket):
    def id(self) -> str:
        key: str = self.params.get("key", "nobody")
        return key


HERE = Router("/ws", [channel("here:<part:name>", Here)], socket=Known)


async def entered(node: Node, key: str) -> Poller:
    """Return a client that is present, and whose socket has that id."""
    client = await Poller(HERE, node, query=f"vsn=2.0.0&key={key}").open()
    assert await client.push(["1", "1", "here:a", "phx_join", {"key": key}]) == 200
    assert [frame[3] for frame in await client.poll()] == ["phx_reply", "presence_state"]
    return client


async def test_who_is_told_to_go_is_told_with_which_code_and_is_here_no_more(
    settings: Any, make_node: MakeNode
) -> None:
    set_up(settings, PRESENCE_GRACE=1000.0)
    node = make_node()
    watch, client = await entered(node, "ada"), await entered(node, "bob")
    assert [frame[3] for frame in await watch.poll()] == ["presence_diff"]
    await heard(node)
    waiting = await client.begin()
    assert await waiting.is_unanswered()
    await adisconnect("bob")
    answer = await waiting.answer()
    assert (answer.status, answer.body["code"]) == (410, 4001)
    assert answer.token != client.token
    [frame] = await watch.poll()
    assert frame[4]["leaves"].keys() == {"bob"}


# Several nodes


@pytest.fixture
async def hopping(start: Start, make_node: MakeNode) -> Poller:
    """A client whose requests go to the other node than the one that has its session."""
    client = await start()
    client.node = make_node()
    return client


async def test_requests_may_go_to_any_node(hopping: Poller) -> None:
    await hopping.join("lab:a")
    await hopping.push(whisper(2), echo())
    frames: list[Any] = []
    while len(frames) < 3:
        frames += await hopping.poll()
    assert numbers(frames) == [0, 1]
    assert refs(frames)[2] == "2"


async def test_bytes_go_from_node_to_node(hopping: Poller) -> None:
    await hopping.join("lab:a")
    assert await hopping.push(base64.b64encode(binary("1", "2", "lab:a", "bytes", payload=b"\xff"))) == 200
    frames = await hopping.poll()
    assert frames[0][4] == "/w=="


async def test_a_poll_at_another_node_waits(hopping: Poller) -> None:
    await hopping.join("lab:a")
    waiting = await hopping.begin()
    assert await waiting.is_unanswered()
    await hopping.push(echo())
    assert refs((await waiting.answer()).frames) == ["2"]


async def test_a_poll_at_another_node_may_wait_longer_than_a_node_has_to_be_heard_of(
    settings: Any, make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(settings, POLL_WINDOW=1.0)
    monkeypatch.setattr(polls, "RELAY", 0.5)
    client = await Poller(router, make_node()).open()
    client.node = make_node()
    assert (await client.ask()).status == 204


async def test_a_newer_poll_at_another_node_takes_the_place_of_an_older(hopping: Poller, node: Node) -> None:
    await hopping.join("lab:a")
    older = await hopping.begin()
    assert await older.is_unanswered()
    hopping.node = node
    newer = await hopping.begin()
    assert (await older.answer()).status == 204
    await hopping.push(echo())
    assert refs((await newer.answer()).frames) == ["2"]


async def test_what_comes_after_a_client_has_left_another_node_is_kept(hopping: Poller) -> None:
    await hopping.join("lab:a")
    waiting = await hopping.begin()
    assert await waiting.is_unanswered()
    await waiting.leave()
    await hopping.push(echo())
    assert refs(await hopping.poll()) == ["2"]


async def test_what_another_node_could_not_write_is_kept(hopping: Poller, node: Node) -> None:
    await hopping.join("lab:a")
    await hopping.push(whisper(2))
    with pytest.raises(OSError, match="the client is gone"):
        await Server(hopping, is_gone=True).serve()
    frames = []
    while len(frames) < 2:
        frames += await hopping.poll()
    assert numbers(frames) == [0, 1]


async def test_when_the_node_of_a_session_has_gone_a_new_one_begins_elsewhere(hopping: Poller, node: Node) -> None:
    await node.stop()
    assert await hopping.push(echo()) == no_node()
    answer = await hopping.ask()
    assert answer.status == 410
    hopping.token = answer.token
    assert await hopping.join("lab:a")


async def test_a_poll_at_another_node_is_told_with_which_code_its_session_was_closed(
    hopping: Poller, node: Node
) -> None:
    waiting = await hopping.begin()
    assert await waiting.is_unanswered()
    await node.drain()
    answer = await waiting.answer()
    assert (answer.status, answer.body["code"]) == (410, 4012)


async def test_a_node_that_is_not_heard_of_is_held_for_gone(
    hopping: Poller, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polls, "RELAY", 0.1)
    monkeypatch.setattr(node.polls, "message", lambda data: None)
    assert await hopping.push(echo()) == 408
    answer = await hopping.ask()
    assert answer.status == 410
    assert answer.token != hopping.token


async def test_in_a_cluster_nobody_is_counted(hopping: Poller, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polls, "RELAY", 0.1)
    assert hopping.node
    hopping.node.polls._counts = False
    await node.stop()
    assert await hopping.push(echo()) == 408


async def test_a_node_that_drains_answers_the_polls_of_sessions_elsewhere(hopping: Poller, node: Node) -> None:
    await hopping.join("lab:a")
    waiting = await hopping.begin()
    assert await waiting.is_unanswered()
    assert hopping.node
    await hopping.node.polls.stop()
    assert (await waiting.answer()).body == {"status": 204, "token": hopping.token, "messages": []}
    hopping.node = node
    await hopping.push(echo())
    assert refs(await hopping.poll()) == ["2"]


async def test_a_session_whose_messages_were_lost_on_the_way_ends(hopping: Poller, node: Node) -> None:
    await hopping.join("lab:a")
    await hopping.push(whisper(2))
    assert hopping.node
    assert hopping.token
    address = poll_tokens.read(hopping.token)
    assert address
    assert (await hopping.node.polls.poll(address, "", 1000)).messages  # and the process dies
    hopping.node = node
    next_poll = await hopping.begin()
    assert await next_poll.is_unanswered()
    its_connection(hopping).tick(asyncio.get_running_loop().time() + 11)
    assert (await next_poll.answer()).status == 410
    assert await its_end() == "closed"


async def test_messages_of_an_answer_that_got_lost_have_the_next_poll(
    settings: Any, make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(settings, POLL_WINDOW=0.1)
    monkeypatch.setattr(polls, "RELAY", 0.1)
    client = await Poller(router, make_node()).open()
    await client.join("lab:a")
    await client.push(whisper(2))
    await waiting_in(client, 2)
    client.node = make_node()
    take = client.node.polls._take
    with monkeypatch.context() as patch:
        patch.setattr(client.node.polls, "_take", lambda note: isinstance(note, Answer) or take(note))
        assert (await client.ask()).status == 204
    assert numbers(await client.poll()) == [0, 1]


async def test_nobody_else_may_use_a_token_at_another_node(hopping: Poller, db: None) -> None:
    hopping.headers = cookie("thief")
    assert await hopping.push(echo()) == 410
    assert (await hopping.ask()).token != hopping.token


async def test_what_no_node_says_is_dropped(hopping: Poller, node: Node, caplog: pytest.LogCaptureFixture) -> None:
    await hopping.join("lab:a")
    channel = node.keys.node(node.id)
    for garbage in (b"", b"\xff", b"[]", encode(Push("a", 1, "s", "", [1]))):
        await node.layer.publish(channel, garbage)
    await hopping.push(echo())
    assert refs(await hopping.poll()) == ["2"]
    assert caplog.text.count("dropped what was published to this node") == 4


def fail(channel: str, data: bytes) -> asyncio.Future[int]:
    """Publish to an engine that is away."""
    failed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    failed.set_exception(OSError("away"))
    return failed


async def test_messages_that_could_not_be_told_to_another_node_are_kept(
    hopping: Poller, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hopping.join("lab:a")
    waiting = await hopping.begin()
    assert await waiting.is_unanswered()
    failures: list[str] = []
    monkeypatch.setattr(node.layer, "put", lambda channel, data: (failures.append(channel), fail(channel, data))[1])
    hopping.node = node
    await hopping.push(echo())
    while not failures:
        await asyncio.sleep(0)
    assert refs(await hopping.poll()) == ["2"]
    await waiting.leave()


async def test_while_the_engine_is_away_a_client_is_told_to_try_again(
    hopping: Poller, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hopping.node

    await hopping.push()
    monkeypatch.setattr(hopping.node.layer, "put", fail)
    assert await hopping.push(echo()) == 500
    assert (await hopping.ask()).status == 500
