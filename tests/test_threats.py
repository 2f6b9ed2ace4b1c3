"""One test for each threat that concerns what exists: named after what is threatened, it shows what must happen.

The names are those of the rows of the reference's table. Where a threat has a file of its own, the test here is its
shortest form. Rows of what does not exist have none: privilege by history, offset probing, admin/metrics topic list.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client

import realtime
from realtime import Channel, Presence, Refused, Router, Socket, abroadcast, akick, channel, conf, handle_in
from realtime.consumers.poll_bodies import MOST_FRAMES
from realtime.engine.client import sync_client
from realtime.node import Node
from tests import engines
from tests.e2e.client import Client as SocketClient
from tests.e2e.raw import handshake
from tests.polling import Poller
from tests.servers import Server, servers
from tests.test_channels import CRASHED, OK, Everything, Open, refused, routed
from tests.test_handshake import answer
from tests.wire import Wire

Connect = Callable[..., Awaitable[Wire]]
PACKAGE = Path(realtime.__file__).parent
SECRET = "hunter2-the-secret"


async def test_cross_site_socket() -> None:
    """A page of another site may not open a socket with its visitor's cookies."""
    for origin in (b"https://evil.example", b"null", b"http://localhost.evil.example", b"http://evil-localhost"):
        headers = [(b"host", b"localhost"), (b"origin", origin), (b"cookie", b"sessionid=x")]
        assert await answer(headers=headers) == (False, 4403)


@pytest.fixture
def polled(settings: Any, connect: Connect) -> None:
    """Whoever polls is served by the node of this process, which ends with its sockets."""
    settings.ALLOWED_HOSTS = ["localhost"]


@pytest.mark.usefixtures("polled")
async def test_longpoll_post_csrf() -> None:
    """A page of another site speaks for nobody, also by a simple request; and no cookie counts without the token."""
    client = await Poller(routed(Everything)).open()
    await client.join("t:a")
    push = b'["1","2","t:a","echo",{}]'
    evil = {"origin": "https://evil.example"}
    assert (await client.ask("POST", push, headers={"content-type": "text/plain", **evil})).status == 403
    assert (await client.ask(headers=evil)).body == {"status": 403}
    assert (await Poller(client.router, headers={"cookie": "sessionid=x"}).ask("POST", push)).status == 410
    assert (await client.ask("POST", push)).status == 200
    assert [frame[1] for frame in await client.poll()] == ["2"]


@pytest.mark.usefixtures("polled", "db")
async def test_longpoll_session() -> None:
    """A token is good for its session alone, for who has opened it, and as long as that lasts; all is bounded."""
    client = await Poller(routed(Everything), headers={"cookie": "sessionid=ada"}).open()
    await client.join("t:a")
    push = ["1", "2", "t:a", "echo", {}]
    token = client.token
    assert token
    client.token = token.replace("longpoll.", "longpoll.x")
    assert await client.push(push) == 410  # tampered with
    client.token = token
    thief = Poller(client.router, headers={"cookie": "sessionid=eve"})
    thief.token = token
    assert await thief.push(push) == 410
    assert (await thief.ask()).messages == []
    older = await client.begin()
    assert await older.is_unanswered()
    newer = await client.begin()
    assert (await older.answer()).status == 204  # one poll at a time
    assert await client.push(*[push] * (MOST_FRAMES + 1)) == 413
    assert (await client.ask("POST", b"[" * (4 * conf.settings().MAX_FRAME + 1))).status == 413
    assert await client.push(b"[]") == 410  # no frame: this ends it
    assert (await newer.answer()).token != token
    assert await client.push(push) == 410  # a replay
    assert (await client.ask()).token != token


@pytest.mark.usefixtures("polled")
async def test_token_of_a_poll_in_logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client = await Poller(routed(Everything), headers={"x-phoenix-authtoken": SECRET}).open()
    older = Poller(client.router, query=f"vsn=2.0.0&token={client.token}")  # as phoenix.js has it
    await older.push(["1", "1", "t:a", "phx_join", {}])
    await client.poll()
    assert "JOINED" in caplog.text
    assert SECRET not in caplog.text
    assert str(client.token) not in caplog.text


async def test_token_in_url(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    """A token that came along is in no log, and is not echoed."""
    caplog.set_level(logging.DEBUG)
    token = f"base64url.bearer.phx.{SECRET.encode().hex()}"
    accepted, subprotocol = await answer(f"vsn=2.0.0&token={SECRET}", subprotocols=["phoenix", token])
    assert (accepted, subprotocol) == (True, "phoenix")
    assert SECRET not in caplog.text
    assert token not in caplog.text


async def test_refusal_before_accept() -> None:
    """Who is refused never was connected: the handshake itself is answered 403."""
    assert await answer("vsn=9.9.9") == (False, 4403)


async def test_event_before_or_without_join_or_with_a_wrong_join_ref(connect: Connect) -> None:
    wire = await connect(routed(Everything))
    await wire.send("1", "1", "t:a", "shout", {})
    assert await wire.receive() == [None, "1", "t:a", "phx_reply", refused("unmatched topic")]
    await wire.join("t:a", ref="2")
    await wire.send("1", "3", "t:a", "shout", {})  # of a join that is not the current one
    await wire.ping()


async def test_rights_are_denied_by_default(connect: Connect) -> None:
    """No route, no join method, no handler: no."""

    class Empty(Channel):
        pass

    wire = await connect(Router("/ws", [channel("t:<part:name>", Empty)]))
    await wire.send("1", "1", "t:a", "phx_join", {})
    assert (await wire.receive())[4]["status"] == "error"
    await wire.send("1", "2", "u:a", "phx_join", {})
    assert (await wire.receive())[4]["status"] == "error"


@pytest.mark.parametrize("topic", ["t:\x00", "t:\n", "t: ", "t:" + "x" * 10_000, "t:\u2028", "t:../../etc", ""])
async def test_topic_name_injection(connect: Connect, topic: str) -> None:
    wire = await connect(routed(Open))
    await wire.send("1", "1", topic, "phx_join", {})
    assert await wire.receive() == [None, "1", topic, "phx_reply", refused("unmatched topic")]


@pytest.mark.parametrize("topic", ["{x}", "}{", "a{b}c", "*", "[a]"])
async def test_hash_tag_abuse(connect: Connect, engine: str, topic: str) -> None:
    """Whatever a client writes, the tag that decides the slot is ours, and no pattern is one."""
    name = conf.keys().bus(f"t:{topic}")
    assert re.match(r"\{rt:\d+\}:bus:", name)
    wire = await connect(routed(Open))
    await wire.join(f"t:{topic}")
    assert engines.listeners(engine, name) == 1
    with engines.nodes(engine) as nodes:
        assert not any(node.pubsub_numpat() for node in nodes)


async def test_join_flood(connect: Connect, engine: str) -> None:
    wire = await connect(routed(Open))
    for number in range(150):
        await wire.send(str(number), str(number), f"t:{number}", "phx_join", {})
    replies = [await wire.receive() for _ in range(150)]
    assert sum(reply[4]["status"] == "ok" for reply in replies) == 100
    assert len(engines.channels(engine, conf.keys().every_bus)) <= 100


async def test_message_flood(connect: Connect) -> None:
    wire = await connect(routed(Everything))
    await wire.join("t:a")
    for number in range(1100):
        await wire.send("1", str(number), "t:a", "nothing", {})
    while (output := await wire.communicator.receive_output(timeout=5))["type"] == "websocket.send":
        assert json.loads(output["text"])[4]["response"]["reason"] == "too many messages"
    assert output["code"] == 4029
    await wire.hang_up(4029)


@pytest.mark.parametrize("text", ["x" * 300_000, "[" * 100_000, '[1,1,"t:a","e",' + "9" * 200_000 + "}"])
async def test_big_frames_zip_bombs_and_deep_json(connect: Connect, text: str) -> None:
    wire = await connect(routed(Everything))
    await wire.communicator.send_to(text_data=text)
    assert await wire.closed() in (4009, 4400)


@pytest.fixture(scope="module")
def two_servers(engine_url: str) -> Iterator[list[Server]]:
    with servers("uvicorn", "daphne", DJANGO_SETTINGS_MODULE="tests.e2e.settings", REDIS_URL=engine_url) as started:
        yield started


async def test_slow_handshake(two_servers: list[Server]) -> None:
    """Half a handshake keeps nobody out; tests/e2e/test_rude.py has five hundred."""
    for server in two_servers:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(handshake(server.port)[:60])
        async with SocketClient(server.socket_url) as client:
            await client.join("lab:a")
        writer.close()


async def test_idle(connect: Connect) -> None:
    wire = await connect(routed(Open))
    await wire.join("t:a")
    for member in Node.current().wheel.members():
        member.tick(asyncio.get_running_loop().time() + conf.settings().HEARTBEAT_TIMEOUT + 1)
    assert await wire.closed() == 4002


async def test_slow_reader(connect: Connect, settings: Any) -> None:
    """Its outbox is bounded, and it is closed; tests/e2e/test_endurance.py has real ones."""

    class Room(Open):
        @handle_in("talk")
        async def talk(self) -> None:
            for _ in range(2):
                await self.push("said", {"fill": "x" * 20_000})

    settings.REALTIME = {"ROUTER": "chatty.routing.router", "OUTBOX_BYTES": 10_000}
    wire = await connect(routed(Room))
    await wire.join("t:a")
    await wire.send("1", "2", "t:a", "talk", {})
    assert await wire.closed() == 4008


async def test_event_to_method_abuse(connect: Connect) -> None:
    """Events are looked up in a table made from what the author marked, never among attributes."""
    wire = await connect(routed(Everything))
    await wire.join("t:a")
    for event in ("__class__", "join", "terminate", "after_join", "push", "stop", "_port", "answer", "websocket.close"):
        await wire.send("1", "2", "t:a", event, {})
        assert await wire.receive() == ["1", "2", "t:a", "phx_reply", refused("unknown event")]


async def test_error_details(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    """The client is told a short reason, the log the rest."""

    class Room(Open):
        @handle_in("crash")
        async def crash(self) -> None:
            raise RuntimeError(SECRET)

    wire = await connect(routed(Room))
    await wire.join("t:a")
    await wire.send("1", "2", "t:a", "crash", {})
    assert await wire.receive() == ["1", "1", "t:a", "phx_error", CRASHED]
    assert SECRET in caplog.text


async def test_crash_kills_more_than_one_channel(connect: Connect) -> None:
    class Room(Everything):
        @handle_in("crash")
        async def crash(self) -> None:
            raise RuntimeError

    wire = await connect(routed(Room))
    await wire.join("t:a", ref="1")
    await wire.join("t:b", ref="2")
    await wire.send("1", "3", "t:a", "crash", {})
    assert (await wire.receive())[3] == "phx_error"
    await wire.send("2", "4", "t:b", "echo", {})
    assert await wire.receive() == ["2", "4", "t:b", "phx_reply", OK]


def test_xss_in_the_demo() -> None:
    """No way to make markup of text is used; tests/browser/test_chat.py tries it with hostile messages."""
    scripts = [path.read_text() for path in (PACKAGE.parent / "static").rglob("*.js")]
    scripts += [path.read_text() for path in (PACKAGE / "static").rglob("*.js")]
    assert len(scripts) > 10
    for sink in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert not any(sink in script for script in scripts), sink


@pytest.mark.usefixtures("empty_engine")
@pytest.mark.parametrize("key", ["__proto__", "constructor", "toString"])
async def test_presence_keys(connect: Connect, key: str) -> None:
    """They are keys like any other; tests/js/presence.test.mjs and tests/e2e/test_phoenix_js.py have the other end."""

    class Room(Open):
        presence = Presence()

        async def join(self, payload: Any, name: str) -> None:
            await self.presence.track(key, {key: key})

    wire = await connect(routed(Room))
    await wire.join("t:a")
    [meta] = (await wire.receive())[4][key]["metas"]
    assert meta == {key: key, "phx_ref": meta["phx_ref"]}


class Here(Channel):
    """Tracks who the socket is, with what of the payload is asked for."""

    presence = Presence()

    async def join(self, payload: Any, name: str) -> None:
        if name == "closed":
            raise Refused("unauthorized")
        await self.presence.track(self.socket.id(), {"status": payload.get("status")})


@pytest.mark.usefixtures("empty_engine")
async def test_presence_spoofing_and_leak(connect: Connect) -> None:
    """A client says neither who it is, nor who is here, nor more than a little; who is not in a topic hears nothing."""
    router = Router("/ws", [channel("t:<part:name>", Here)], socket=Ada)
    ada, bob, eve = [await connect(router) for _ in range(3)]
    await ada.join("t:a", {"user_id": "users:eve", "key": "users:eve", "status": "on", "phx_ref": "mine"})
    [(key, entry)] = (await ada.receive())[4].items()
    [meta] = entry["metas"]
    assert (key, meta) == ("users:ada", {"status": "on", "phx_ref": meta["phx_ref"]})
    assert meta["phx_ref"] != "mine"
    for event in ("presence_diff", "presence_state"):
        await ada.send("1", "2", "t:a", event, {"joins": {"users:eve": {"metas": [{}]}}, "leaves": {}})
        assert await ada.receive() == ["1", "2", "t:a", "phx_reply", refused("unknown event")]
    await eve.send("1", "1", "t:closed", "phx_join", {})
    assert (await eve.receive())[4] == refused("unauthorized")
    await eve.send("2", "2", "t:b", "phx_join", {"status": "x" * 1024})
    assert (await eve.receive())[4] == refused("join crashed")
    assert await Presence.alist_of("t:b") == {}
    await bob.join("t:a")
    await ada.send("1", "3", "t:a", "phx_leave", {})
    while (await bob.receive())[3] != "presence_diff":
        pass
    await eve.ping()


async def test_pickle_and_poisoned_messages(connect: Connect, engine: str) -> None:
    """Nothing is unpickled, and what somebody else publishes is checked before it is used."""
    sources = "".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    assert not re.search(r"\b(pickle|marshal|shelve)\b", sources)
    wire = await connect(routed(Everything))
    await wire.join("t:a")
    with engines.raw(engine) as client:
        for poison in (b"\x80\x04\x95", b"\x82\xa4type\xa9websocket", b"[" * 100_000, b'["e",null,null,' + b"9" * 9999):
            client.publish(conf.keys().bus("t:a"), poison)
    await wire.send("1", "2", "t:a", "shout", {"n": 1})
    assert (await wire.receive())[3] == "heard"


def test_lua_injection() -> None:
    """Whatever runs in the engine is constant: no script is put together from data."""
    for path in PACKAGE.rglob("*.py"):
        assert not re.search(r"""(eval|register_script|script_load)\(\s*f["']""", path.read_text()), path


async def test_secrets_in_logs(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    cookie = (b"cookie", f"sessionid={SECRET}".encode())
    wire = await connect(
        routed(Open), query=f"vsn=2.0.0&password={SECRET}", headers=[(b"authorization", SECRET.encode())]
    )
    await wire.join("t:a", {"user": {"access_token": SECRET}})
    assert (await answer(headers=[cookie, (b"origin", b"https://evil.example"), (b"host", b"localhost")]))[0] is False
    await wire.send("1", "2", "t:a", "phx_leave", {})
    assert "JOINED" in caplog.text
    assert SECRET not in caplog.text


async def test_import_of_what_a_client_names(connect: Connect) -> None:
    """A topic leads to a class by the router alone; a name that looks like one leads nowhere."""
    wire = await connect(routed(Open))
    for name in ("os.system", "tests.test_channels.Everything", "django.contrib.auth.models:User"):
        await wire.send("1", "1", name, "phx_join", {})
        assert await wire.receive() == [None, "1", name, "phx_reply", refused("unmatched topic")]


@pytest.mark.django_db(transaction=True)
async def test_long_lived_session(connect: Connect) -> None:
    """A socket ends with its session, on whatever node it is, also where nothing tells of that end."""
    user = await User.objects.acreate(username="ada")
    pages = Client()
    await asyncio.to_thread(pages.force_login, user)
    wire = await connect(routed(Open), headers=[(b"cookie", f"sessionid={pages.cookies['sessionid'].value}".encode())])
    await wire.join("t:a")
    await asyncio.to_thread(Session.objects.all()._raw_delete, "default")
    Node.current().guard.ask()
    assert await wire.closed() == 4401


async def test_rights_lost_after_the_join(connect: Connect) -> None:
    """Once a kick has returned, and what was sent before it is through, nothing of the topic reaches its user."""
    wire = await connect(Router("/ws", [channel("t:<part:name>", Open)], socket=Ada))
    await wire.join("t:a")
    await abroadcast("t:a", "before")
    await akick("users:ada", "t:a", "no member any more")
    assert (await wire.receive())[3] == "before"
    assert await wire.receive() == ["1", "1", "t:a", "phx_close", {"reason": "no member any more"}]
    await abroadcast("t:a", "after")
    await wire.ping()


class Ada(Socket):
    def id(self) -> str:
        return "users:ada"


async def test_redis_reachable(connect: Connect, engine: str) -> None:
    """Who can only publish tells nodes nothing: they read what is written down, and live on whatever that is."""
    wire = await connect(Router("/ws", [channel("t:<part:name>", Open)], socket=Ada))
    await wire.join("t:a")
    keys = conf.keys()
    with engines.raw(engine) as client:
        for data in (b"", b"x y", b"9999999999999-1 {}", b"9999999999999-2 " + b"[" * 100_000):
            client.publish(keys.commanded, data)
        sync_client(conf.engine()).xadd(keys.commands, {"command": b"[" * 100_000})
        client.publish(keys.commanded, b"ring")
    await abroadcast("t:a", "well")
    assert (await wire.receive())[3] == "well"


@pytest.mark.parametrize("separator", [b"\x0b", b"\x85", b"\x0c", b"\x1c"])
async def test_header_smuggling(two_servers: list[Server], separator: bytes) -> None:
    """What one parser takes for the end of a line ends none for another: it hides no header, neither way."""
    for server in two_servers:
        good, evil = f"http://127.0.0.1:{server.port}".encode(), b"https://evil.example"
        assert await status_of(server, b"X-A: a" + separator + b"Origin: " + evil) in (101, 400)
        assert await status_of(server, b"Origin: " + evil + separator + b"Origin: " + good) in (400, 403)


async def status_of(server: Server, *headers: bytes) -> int:
    """Return what a handshake with these headers is answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(handshake(server.port, *headers))
    line = await asyncio.wait_for(reader.readline(), 10)
    writer.close()
    return int(line.split()[1])


ADDRESS = re.compile(r"""forwarded[-_]for|real[-_]ip|scope(\.get\(|\[)["']client["']""", re.IGNORECASE)


def test_spoofed_ip() -> None:
    """Nothing is decided by the address of a client, so none can be made up."""
    for path in PACKAGE.rglob("*.py"):
        assert not ADDRESS.search(path.read_text()), path
