"""What holds on every server: whole frames, in order, none after a close; the slow and the rude harm nobody else."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Iterator

import pytest

from realtime import broadcast, topics
from tests.e2e.client import Client
from tests.e2e.raw import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from tests.e2e.traffic import FALLBACKS, LANES, check, joined, serving, shouting, talk
from tests.servers import Server, wait_until

SETTINGS = {"DJANGO_SETTINGS_MODULE": "tests.e2e.roomy"}
MEGABYTE = 1_000_000
GOODBYES = {"daphne": 4012, "uvicorn": 1012}  # what a socket is closed with by a server that ends


@pytest.fixture(scope="module", params=[*LANES, *FALLBACKS])
def server(request: pytest.FixtureRequest, engine_url: str) -> Iterator[Server]:
    with serving(request.param, REDIS_URL=engine_url, **SETTINGS) as server:
        yield server
        assert "Traceback" not in server.log
        assert server.log.count("no fast lane") == (request.param in FALLBACKS)


@pytest.fixture
def flood(engine: str) -> Iterator[None]:
    with shouting():
        yield


async def nobody_listens() -> None:
    """Soon, and not only once a lease has run out."""

    def all_have_left() -> bool:
        return topics.subscribers("lab:a").count == 0

    await asyncio.to_thread(wait_until, all_have_left, "all to have left", patience=5.0)


def is_granian(server: Server) -> bool:
    """Return whether it is the one that may not answer a close in a burst, nor end a connection that is not read."""
    return "granian" in server.log


# What arrives


@pytest.mark.parametrize("compression", ["deflate", None])
async def test_pushes_replies_and_broadcasts_keep_their_order(server: Server, compression: str | None) -> None:
    async with Client(server.socket_url, compression=compression, **server.trust) as client:
        await talk(client)


async def test_more_than_a_megabyte_arrives(server: Server) -> None:
    """daphne's ASGI send refuses more than 1 MiB."""
    async with Client(server.socket_url, max_size=None, **server.trust) as client:
        await client.join("lab:big")
        payload = {"fill": "ä" * 600_000, "n": 1}
        broadcast("lab:big", "much", payload)
        assert (await client.until("much"))[4] == payload


async def test_a_megabyte_in_fragments_is_heard_and_answered_with_pings_between(server: Server) -> None:
    raw = await joined(server)
    payload = {"fill": "x" * MEGABYTE}
    message = json.dumps(["1", "2", "lab:a", "echo", payload]).encode()
    parts = [message[start : start + 65_000] for start in range(0, len(message), 65_000)]
    for number, part in enumerate(parts):
        raw.send(part, TEXT if number == 0 else CONTINUATION, final=number == len(parts) - 1)
        raw.send(b"%d" % number, PING)
    frames = [await raw.receive() for _ in range(len(parts) + 1)]
    assert [data for opcode, data in frames if opcode == PONG] == [b"%d" % number for number in range(len(parts))]
    [answer] = [data for opcode, data in frames if opcode == TEXT]
    assert json.loads(answer)[4] == {"status": "ok", "response": payload}
    raw.end()


@pytest.mark.usefixtures("flood")
async def test_pings_are_answered_in_the_middle_of_a_burst(server: Server) -> None:
    raw = await joined(server)
    pongs = []
    for number in range(20):
        raw.send(b"%d" % number, PING)
        while True:
            opcode, data = await raw.receive()
            if opcode == PONG:
                break
            assert json.loads(data)[3] == "shout"
        pongs.append(data)
    assert pongs == [b"%d" % number for number in range(20)]
    raw.end()


# How it ends


@pytest.mark.usefixtures("flood")
async def test_when_the_client_closes_in_a_burst_nothing_follows_the_answer(server: Server) -> None:
    for _ in range(10):
        raw = await joined(server)
        await raw.receive()
        raw.send((1000).to_bytes(2, "big"), CLOSE)
        if not is_granian(server):
            check(await raw.to_the_end(), 1000)
        raw.end()
    await nobody_listens()


@pytest.mark.usefixtures("flood")
@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["text", "binary"])
async def test_when_the_server_closes_in_a_burst_nothing_follows(server: Server, opcode: int) -> None:
    for _ in range(5):
        raw = await joined(server)
        await raw.receive()
        raw.send(b"no JSON", opcode)
        check(await raw.to_the_end(), 4400)
        raw.end()


@pytest.mark.usefixtures("flood")
async def test_when_the_client_is_cut_off_in_a_burst_nobody_else_notices(server: Server) -> None:
    async with Client(server.socket_url, **server.trust) as client:
        await client.join("lab:a")
        for _ in range(10):
            raw = await joined(server)
            await raw.receive()
            raw.reset()
        heard = [(await client.until("shout"))[4]["n"] for _ in range(500)]
        assert heard == list(range(heard[0], heard[0] + 500))
    await nobody_listens()


async def test_who_does_not_read_is_closed_and_nobody_else_notices(server: Server) -> None:
    slow = await joined(server)
    async with Client(server.socket_url, **server.trust) as client:
        await client.join("lab:a")
        for number in range(150):
            await client.send("1", str(number), "lab:a", "shout", {"n": number, "fill": "x" * 128_000})
            assert (await client.until("shout"))[4]["n"] == number
            await client.until("phx_reply")
    await nobody_listens()  # the slow one too has left, though it never said so
    assert "closed a socket with 4008: it reads too slowly" in server.log
    if not is_granian(server):
        await asyncio.wait_for(slow.gone(), 20)
    slow.end()


@pytest.mark.usefixtures("flood")
@pytest.mark.parametrize("kind", LANES)
async def test_when_the_server_ends_in_a_burst_nothing_follows(kind: str, engine: str) -> None:
    with serving(kind, **SETTINGS) as server:
        raws = [await joined(server) for _ in range(5)]
        for raw in raws:
            await raw.receive()
        stopping = asyncio.create_task(asyncio.to_thread(server.stop, signal.SIGTERM))
        for frames in await asyncio.gather(*(raw.to_the_end() for raw in raws)):
            check(frames, GOODBYES[kind.split()[0]])
        await stopping
        for raw in raws:
            raw.end()
        await nobody_listens()
        assert "Traceback" not in server.log


async def test_hypercorn_ends_with_its_sockets_and_leaves_nothing(engine: str) -> None:
    with serving("hypercorn", **SETTINGS) as server:
        raw = await joined(server)
        stopping = asyncio.create_task(asyncio.to_thread(server.stop, signal.SIGTERM))
        if sys.version_info < (3, 12):  # since then asyncio lets it wait for the last client to go
            assert await raw.closed() == 4012
        raw.end()
        await stopping
        await nobody_listens()


async def test_granian_ends_without_a_word_and_leaves_nothing(engine: str) -> None:
    with serving("granian", **SETTINGS) as server:
        raw = await joined(server)
        await asyncio.to_thread(server.stop, signal.SIGTERM)
        assert await raw.closed() is None
        raw.end()
        await nobody_listens()
        assert "Traceback" not in server.log
