"""Frames past ASGI on real servers: whole, in order, and none after a close. Strict clients, and raw bytes."""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import json
import signal
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from realtime import broadcast
from tests.e2e.client import Client
from tests.e2e.raw import CLOSE, PING, PONG, RESERVED, TEXT, Raw
from tests.servers import Server
from tests.tunnel import certificate

LAB = {"DJANGO_SETTINGS_MODULE": "tests.e2e.settings"}
ASGI_ONLY = {"DJANGO_SETTINGS_MODULE": "tests.e2e.asgi_only"}
UVICORNS = [
    ["uvicorn", "--ws", name]
    for name, package in (("websockets", "websockets"), ("websockets-sansio", "websockets"), ("wsproto", "wsproto"))
    if importlib.util.find_spec(package)
]
SERVERS = [["daphne"], *UVICORNS]
ENDED = {CLOSE | 0x80}


def name_of(kind: list[str]) -> str:
    return kind[-1]


@pytest.fixture(scope="module", params=SERVERS, ids=name_of)
def server(request: pytest.FixtureRequest, engine_url: str) -> Iterator[Server]:
    with Server(*request.param, REDIS_URL=engine_url, **LAB) as server:
        yield server


@pytest.fixture
def flood(engine: str) -> Iterator[None]:
    """Bursts of shouts in lab:a, without end."""
    stop = threading.Event()

    def shout() -> None:
        for number in itertools.count():
            broadcast("lab:a", "shout", {"n": number, "fill": "x" * (number % 300)})
            if number % 30 == 0:
                stop.wait(0.01)
            if stop.is_set():
                return

    thread = threading.Thread(target=shout)
    thread.start()
    yield
    stop.set()
    thread.join()


async def joined(server: Server, *headers: bytes, **options: Any) -> Raw:
    raw = await Raw.to(server.port, *headers, **options)
    raw.say("1", "1", "lab:a", "phx_join", {})
    while b"phx_reply" not in (await raw.receive())[1]:
        pass
    return raw


async def talk(client: Client) -> None:
    """Hear pushes, replies and broadcasts in the order in which the channel made them."""
    await client.join("lab:a")
    for number in range(100):
        for event in ("whisper", "echo", "shout"):
            await client.send("1", f"{number}", "lab:a", event, {"n": number})
    for number in range(100):
        ok = {"status": "ok", "response": {}}
        assert [await client.receive() for _ in range(4)] == [
            ["1", None, "lab:a", "whisper", {"n": number}],
            ["1", f"{number}", "lab:a", "phx_reply", {"status": "ok", "response": {"n": number}}],
            [None, None, "lab:a", "shout", {"n": number}],
            ["1", f"{number}", "lab:a", "phx_reply", ok],
        ]


async def hear_much(client: Client) -> None:
    """Hear what daphne's ASGI send refuses: more than 1 MiB."""
    await client.join("lab:big")
    payload = {"fill": "ä" * 600_000, "n": 1}
    broadcast("lab:big", "much", payload)
    assert (await client.until("much"))[4] == payload


async def overwhelm(server: Server, **options: Any) -> None:
    """Talk to one who reads, and to one who does not until it is gone."""
    raw = await joined(server, **options)
    async with Client(server.socket_url, **options) as client:
        await client.join("lab:a")
        for number in range(150):
            await client.send("1", str(number), "lab:a", "shout", {"n": number, "fill": "x" * 128_000})
            assert (await client.until("shout"))[4]["n"] == number
            await client.until("phx_reply")
    await asyncio.wait_for(raw.gone(), 20)
    assert "closed a socket with 4008: it reads too slowly" in server.log
    raw.end()


def check(frames: list[tuple[int, bytes]], code: int | None = None) -> None:
    """Every frame is a whole text frame, uncompressed, with nothing missing between; the last, and only it, a close."""
    first, data = frames[-1]
    assert first in ENDED, frames[-3:]
    assert code is None or int.from_bytes(data[:2], "big") == code
    assert {first for first, _ in frames[:-1]} <= {0x80 | TEXT}
    numbers = [payload["n"] for *_, event, payload in (json.loads(data) for _, data in frames[:-1]) if event == "shout"]
    assert all(later == earlier + 1 for earlier, later in itertools.pairwise(numbers))


# What arrives


@pytest.mark.parametrize("compression", ["deflate", None])
async def test_pushes_replies_and_broadcasts_keep_their_order(server: Server, compression: str | None) -> None:
    async with Client(server.socket_url, compression=compression) as client:
        await talk(client)


async def test_a_payload_of_more_than_a_megabyte_arrives(server: Server) -> None:
    async with Client(server.socket_url, max_size=None) as client:
        await hear_much(client)


async def test_frames_are_whole_and_uncompressed_whatever_was_negotiated(server: Server) -> None:
    raw = await joined(server, b"Sec-WebSocket-Extensions: permessage-deflate")
    raw.say("1", "2", "lab:a", "shout", {"n": 0, "fill": "x" * 70_000})
    first, data = await raw.frame()
    assert first == 0x80 | TEXT
    assert json.loads(data)[4]["fill"] == "x" * 70_000
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


@pytest.mark.parametrize("kind", SERVERS, ids=name_of)
async def test_over_tls_it_is_the_same(kind: list[str], engine: str, tmp_path: Path) -> None:
    (tmp_path / "pem").write_bytes(certificate("127.0.0.1"))
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    with Server(*kind, certificate=str(tmp_path / "pem"), **LAB) as server:
        async with Client(server.socket_url, ssl=trust, max_size=None) as client:
            await talk(client)
            await hear_much(client)
        await overwhelm(server, ssl=trust)


@pytest.mark.parametrize("kind", SERVERS, ids=name_of)
async def test_without_the_fast_lane_it_is_the_same(kind: list[str], engine: str) -> None:
    with Server(*kind, **ASGI_ONLY) as server:
        for compression in ("deflate", None):
            async with Client(server.socket_url, compression=compression) as client:
                await talk(client)
        raw = await Raw.to(server.port, b"Sec-WebSocket-Extensions: permessage-deflate")
        raw.say(None, "1", "phoenix", "heartbeat", {})
        first, _ = await raw.frame()
        assert bool(first & RESERVED) == (kind[0] == "uvicorn")  # compressed again; daphne never does
        raw.end()


# How it ends


@pytest.mark.usefixtures("flood")
async def test_when_the_client_closes_in_a_burst_nothing_follows_the_answer(server: Server) -> None:
    for _ in range(10):
        raw = await joined(server)
        await raw.receive()
        raw.send((1000).to_bytes(2, "big"), CLOSE)
        check(await raw.to_the_end(), 1000)
        raw.end()


@pytest.mark.usefixtures("flood")
async def test_when_the_server_closes_in_a_burst_nothing_follows(server: Server) -> None:
    for _ in range(10):
        raw = await joined(server)
        await raw.receive()
        raw.send(b"no JSON")
        check(await raw.to_the_end(), 4400)
        raw.end()


@pytest.mark.usefixtures("flood")
@pytest.mark.parametrize("kind", SERVERS, ids=name_of)
async def test_when_the_server_ends_in_a_burst_nothing_follows(kind: list[str], engine: str) -> None:
    with Server(*kind, **LAB) as server:
        raws = [await joined(server) for _ in range(5)]
        for raw in raws:
            await raw.receive()
        stopping = asyncio.create_task(asyncio.to_thread(server.stop, signal.SIGTERM))
        for frames in await asyncio.gather(*(raw.to_the_end() for raw in raws)):
            check(frames, 4012 if kind == ["daphne"] else 1012)
        await stopping
        for raw in raws:
            raw.end()
        assert "Traceback" not in server.log


async def test_who_does_not_read_is_closed_and_nobody_else_notices(server: Server) -> None:
    await overwhelm(server)


@pytest.mark.parametrize("kind", SERVERS, ids=name_of)
async def test_who_takes_no_frame_for_too_long_is_closed(kind: list[str], engine: str) -> None:
    with Server(*kind, DJANGO_SETTINGS_MODULE="tests.e2e.unbounded") as server:
        raw = await joined(server)
        for number in range(100):  # more than the kernel takes
            broadcast("lab:a", "shout", {"n": number, "fill": "x" * 128_000})
        await asyncio.wait_for(raw.gone(), 20)
        assert "closed a socket with 4008: it reads too slowly" in server.log
        raw.end()
