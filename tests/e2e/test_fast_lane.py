"""Frames past ASGI: uncompressed whatever was negotiated, in order with those that go through it; and how it is off."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator

import pytest
import websockets

from realtime import broadcast
from tests.e2e.applications import MESSAGES
from tests.e2e.client import Client
from tests.e2e.raw import RESERVED, TEXT, Raw
from tests.e2e.traffic import LANES, joined, serving, talk
from tests.servers import Server

LAB = {"DJANGO_SETTINGS_MODULE": "tests.e2e.settings"}
ROOMY = {"DJANGO_SETTINGS_MODULE": "tests.e2e.roomy"}
ASGI_ONLY = {"DJANGO_SETTINGS_MODULE": "tests.e2e.asgi_only"}
DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate"


def compresses(kind: str) -> bool:
    """Return whether the server agrees to compress; daphne never does."""
    return kind.startswith("uvicorn")


@pytest.fixture(scope="module", params=LANES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def server(kind: str, engine_url: str) -> Iterator[Server]:
    with serving(kind, REDIS_URL=engine_url, **LAB) as server:
        yield server


async def test_frames_are_whole_and_uncompressed_whatever_was_negotiated(kind: str, server: Server) -> None:
    raw = await joined(server, DEFLATE)
    assert (b"permessage-deflate" in raw.head) == compresses(kind)
    raw.say("1", "2", "lab:a", "shout", {"n": 0, "fill": "x" * 70_000})
    first, data = await raw.frame()
    assert first == 0x80 | TEXT
    assert json.loads(data)[4]["fill"] == "x" * 70_000
    raw.end()


async def test_a_strict_client_hears_them_in_order_between_compressed_ones(kind: str, engine: str) -> None:
    with serving(kind, application="tests.e2e.applications:alternating", **LAB) as server:
        raw = await Raw.to(server.port, DEFLATE, **server.trust)
        raw.send(b"go")
        compressed = [bool((await raw.frame())[0] & RESERVED) for _ in range(MESSAGES)]
        assert compressed == [compresses(kind), False] * (MESSAGES // 2)
        raw.end()
        async with websockets.connect(f"{server.socket_url}/websocket", max_size=None, **server.trust) as client:
            await client.send("go")
            numbers = [json.loads(await asyncio.wait_for(client.recv(), 10))["n"] for _ in range(MESSAGES)]
            assert numbers == list(range(MESSAGES))
            await client.send("close")
            with pytest.raises(websockets.ConnectionClosed):
                await asyncio.wait_for(client.recv(), 10)
            assert client.close_code == 4000


async def test_what_uvicorn_reads_does_not_wait_for_a_task(kind: str, engine: str) -> None:
    """And it never stops reading, however much comes at once. Its "websockets" protocol has no queue to go past."""
    with serving(kind, application="tests.e2e.applications:diverting", **LAB) as server:
        async with websockets.connect(f"{server.socket_url}/websocket", max_size=None, **server.trust) as client:
            diverted = await asyncio.wait_for(client.recv(), 10)
            assert (diverted == "diverted") == ("sansio" in kind or "wsproto" in kind)
            for number in range(200):
                await client.send(f"{number}" * 1000 if number % 2 else b"%d" % number * 1000)
            heard: list[str | bytes] = []
            while len(heard) < 200:
                frame = await asyncio.wait_for(client.recv(), 10)
                if frame != "not diverted":
                    heard.append(frame)
                else:
                    assert diverted == "not diverted"
            assert heard == [f"{n}" * 1000 if n % 2 else b"%d" % n * 1000 for n in range(200)]
        assert "Traceback" not in server.log


async def test_without_it_all_is_the_same(kind: str, engine: str) -> None:
    with serving(kind, **ASGI_ONLY) as server:
        for compression in ("deflate", None):
            async with Client(server.socket_url, compression=compression, **server.trust) as client:
                await talk(client)
        raw = await Raw.to(server.port, DEFLATE, **server.trust)
        raw.say(None, "1", "phoenix", "heartbeat", {})
        first, _ = await raw.frame()
        assert bool(first & RESERVED) == compresses(kind)
        raw.end()


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
async def test_a_middleware_that_wraps_send_sees_every_frame_and_is_told_of_once(kind: str, engine: str) -> None:
    with serving(kind, application="tests.e2e.applications:wrapped", **ROOMY) as server:
        for _ in range(2):
            async with Client(server.socket_url) as client:
                await talk(client)
        raw = await joined(server)
        raw.say("1", "2", "lab:a", "echo", {})
        assert (await raw.receive())[1].endswith(b" ")
        raw.end()
        told = re.findall(r"^no fast lane under (\S+),", server.log, re.MULTILINE)
        assert told == ["tests.e2e.applications.wrapped.<locals>.spaced"]


async def test_who_takes_no_frame_for_too_long_is_closed(kind: str, engine: str) -> None:
    with serving(kind, DJANGO_SETTINGS_MODULE="tests.e2e.unbounded") as server:
        raw = await joined(server)
        for number in range(100):  # more than the kernel takes
            broadcast("lab:a", "shout", {"n": number, "fill": "x" * 128_000})
        await asyncio.wait_for(raw.gone(), 9)  # uvicorn's "websockets" would wait ten seconds for its close
        assert "closed a socket with 4008: it reads too slowly" in server.log
        raw.end()
