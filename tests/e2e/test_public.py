"""`make serve HOST=0.0.0.0 PUBLIC=https://x.example`: from a phone on the network, and through a tunnel."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any

import pytest
import websockets

from chatty.hosts import own_addresses
from tests.servers import Server, trusting
from tests.tunnel import Tunnel

NAME = "x.example"
QUERY = "/ws/websocket?vsn=2.0.0"


@pytest.fixture(scope="module")
def server(engine_url: str, migrated: Path) -> Iterator[Server]:
    """The server that the make target starts, with the environment that it gives."""
    with Server("runserver", REDIS_URL=engine_url, SERVE_HOST="0.0.0.0", PUBLIC=f"https://{NAME}") as server:
        yield server


async def joins(url: str, port: int, origin: str, **options: Any) -> bool:
    """Return whether a page of `origin` may join the lobby over the socket at `url`."""
    try:
        async with websockets.connect(url, host="127.0.0.1", port=port, origin=origin, **options) as socket:
            await socket.send(json.dumps(["1", "1", "rooms:lobby", "phx_join", {}]))
            reply = json.loads(await asyncio.wait_for(socket.recv(), 10))
            return bool(reply[4]["status"] == "ok")
    except websockets.InvalidStatus as refused:
        assert refused.response.status_code == 403
        return False


def status(connection: HTTPConnection, host: str) -> int:
    """Return the status of the page, asked for by that name."""
    connection.request("GET", "/", headers={"Host": host})
    code = connection.getresponse().status
    connection.close()
    return code


@pytest.mark.parametrize("rewrite", [False, True], ids=["keeps Host", "rewrites Host"])
async def test_page_and_socket_open_through_a_tunnel_that_ends_tls(server: Server, rewrite: bool) -> None:
    async with Tunnel(NAME, server.port, rewrite=rewrite) as tunnel:
        page = HTTPSConnection("127.0.0.1", tunnel.port, context=trusting())
        assert await asyncio.to_thread(status, page, NAME) == 200
        url = f"wss://{NAME}{QUERY}"
        assert await joins(url, tunnel.port, f"https://{NAME}", ssl=trusting())
        assert not await joins(url, tunnel.port, "https://evil.example", ssl=trusting())


@pytest.mark.parametrize("address", own_addresses())
async def test_page_and_socket_open_to_a_phone_on_the_network(server: Server, address: str) -> None:
    host = f"{address}:{server.port}"
    assert await asyncio.to_thread(status, HTTPConnection("127.0.0.1", server.port), host) == 200
    assert await joins(f"ws://{host}{QUERY}", server.port, f"http://{host}")
    assert not await joins(f"ws://{host}{QUERY}", server.port, "http://evil.example")


async def test_no_other_name_opens(server: Server) -> None:
    assert await asyncio.to_thread(status, HTTPConnection("127.0.0.1", server.port), "evil.example") == 400
    assert not await joins(f"ws://evil.example{QUERY}", server.port, "http://evil.example")
