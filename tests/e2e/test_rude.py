"""Frames that no well-meaning client sends, on real servers; two others stay in touch meanwhile."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.e2e.client import Client
from tests.e2e.raw import BINARY, CONTINUATION, TEXT, Raw, handshake
from tests.servers import Server

JOIN = b'["1","1","lab:a","phx_join",{}]'


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def server(request: pytest.FixtureRequest, engine_url: str) -> Iterator[Server]:
    environment: dict[str, Any] = {"REDIS_URL": engine_url, "DJANGO_SETTINGS_MODULE": "tests.e2e.settings"}
    with Server(request.param, **environment) as server:
        yield server


@pytest.fixture
async def friends(server: Server) -> AsyncIterator[list[Client]]:
    """Two who must be able to talk before, and after."""
    async with Client(server.socket_url) as ada, Client(server.socket_url) as bob:
        for friend in (ada, bob):
            await friend.join("lab:friends")
        yield [ada, bob]
        await ada.send("1", "2", "lab:friends", "shout", {"still": "here"})
        assert (await bob.until("shout"))[4] == {"still": "here"}


@pytest.fixture
async def rude(server: Server) -> AsyncIterator[Raw]:
    raw = await Raw.to(server.port)
    yield raw
    raw.end()


@pytest.mark.usefixtures("friends")
async def test_a_frame_in_fragments_is_one_frame(rude: Raw) -> None:
    rude.send(JOIN[:5], TEXT, final=False)
    rude.send(JOIN[5:9], CONTINUATION, final=False)
    rude.send(JOIN[9:], CONTINUATION)
    assert (await rude.receive())[1] == b'["1","1","lab:a","phx_reply",{"status":"ok","response":{"name":"a"}}]'


@pytest.mark.usefixtures("friends")
@pytest.mark.parametrize(
    ("data", "opcode", "codes"),
    [
        (b"\xff\xfe", TEXT, {1007, None}),
        (b'["1","1","lab:\xed\xa0\x80","phx_join",{}]', TEXT, {1007, None}),
        (b"\x00\x01garbage", BINARY, {4400}),
        (b"hello", TEXT, {4400}),
        (b"x" * 1_000_000, TEXT, {4009}),
        (b"x" * 20_000_000, TEXT, {1009, None}),
        (b"x", 3, {1002, None}),
        (b"[" * 200_000, TEXT, {4400}),
    ],
    ids=["no UTF-8", "an encoded surrogate", "binary", "no JSON", "1 MB", "20 MB", "an unknown opcode", "deep"],
)
async def test_what_is_no_frame_ends_its_socket(rude: Raw, data: bytes, opcode: int, codes: set[int | None]) -> None:
    rude.send(data, opcode)
    code = await rude.closed()
    assert code in codes


@pytest.mark.usefixtures("friends")
@pytest.mark.parametrize("header", [b"X-A: b\x0bc", b"X-A: \x00", b"Origin : http://evil.example", b"X\x85Y: 1"])
async def test_a_header_that_hides_another_opens_no_socket(server: Server, header: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(handshake(server.port, header))
    status = await asyncio.wait_for(reader.readline(), 10)
    assert b" 101 " not in status or header.startswith(b"X\x85")  # a name that is no token may be let drop
    writer.close()


@pytest.mark.usefixtures("friends")
async def test_a_deflate_bomb_ends_its_socket_before_it_goes_off(server: Server) -> None:
    """20 kB that inflate to 20 MB; daphne takes nothing deflated at all."""
    raw = await Raw.to(server.port, b"Sec-WebSocket-Extensions: permessage-deflate")
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = deflate.compress(b"x" * 20_000_000) + deflate.flush(zlib.Z_SYNC_FLUSH)
    before = server.memory()
    raw.send(bomb[:-4], deflated=True)
    assert await raw.closed() in (1009, 1002, None)
    assert server.memory() - before < 40
    raw.end()


@pytest.mark.usefixtures("friends")
async def test_a_socket_that_is_cut_in_the_middle_of_a_frame_leaves_nothing(server: Server) -> None:
    for _ in range(50):
        raw = await Raw.to(server.port)
        raw.send(JOIN)
        raw.writer.write(b"\x81\xfe\x7f\xff\0\0\0\0half")
        raw.writer.transport.abort()


@pytest.mark.usefixtures("friends")
async def test_five_hundred_slow_handshakes_keep_nobody_out(server: Server) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(500):
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            stack.callback(writer.close)
            writer.write(b"GET /ws/websocket?vsn=2.0.0 HTTP/1.1\r\nHost: ")
        async with Client(server.socket_url) as client:
            await client.join("lab:a")


@pytest.mark.usefixtures("friends")
async def test_sockets_that_come_and_go_leave_no_memory(server: Server) -> None:
    await come_and_go(server, 200)
    before = server.memory()
    await come_and_go(server, 600)
    assert server.memory() - before < 15


async def come_and_go(server: Server, count: int) -> None:
    for _ in range(count // 20):
        raws = await asyncio.gather(*(Raw.to(server.port) for _ in range(20)))
        for raw in raws:
            raw.send(JOIN)
        for raw in raws:
            await raw.receive()
            raw.writer.transport.abort()
