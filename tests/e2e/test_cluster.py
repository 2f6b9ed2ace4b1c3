"""Several server processes on one engine, slow links to it, and the bus broken on purpose."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from realtime import broadcast
from realtime.engine.keys import Keys
from tests import engines
from tests.e2e.client import Client
from tests.proxy import Proxy
from tests.servers import Server, servers

LAB = {"DJANGO_SETTINGS_MODULE": "tests.e2e.settings"}


@pytest.fixture
def pair(engine: str) -> Iterator[list[Server]]:
    """Two processes of different servers."""
    with servers("daphne", "uvicorn", **LAB) as pair:
        yield pair


async def test_what_one_process_receives_the_clients_of_the_other_see_in_order(pair: list[Server]) -> None:
    async with Client(pair[0].socket_url) as here, Client(pair[1].socket_url) as there:
        await here.join("lab:a")
        await there.join("lab:a")
        for number in range(300):
            await here.send("1", str(number), "lab:a", "shout", {"n": number})
        seen = [(await there.until("shout"))[4]["n"] for _ in range(300)]
        own = [(await here.until("shout"))[4]["n"] for _ in range(300)]
        assert seen == own == list(range(300))


async def test_many_clients_of_both_see_every_message_once(pair: list[Server]) -> None:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(pair[number % 2].socket_url)) for number in range(40)]
        for client in clients:
            await client.join("lab:a")
        for number, client in enumerate(clients):
            await client.send("1", "2", "lab:a", "shout", {"n": number})
        for client in clients:
            numbers = [(await client.until("shout"))[4]["n"] for _ in range(40)]
            assert sorted(numbers) == list(range(40))
        assert len({tuple(frame[4]["n"] for frame in client.frames if frame[3] == "shout") for client in clients}) == 1


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
async def test_what_is_published_right_after_a_join_reply_arrives_over_a_slow_link(kind: str, engine: str) -> None:
    """The publisher is at the engine; every byte between node and engine takes 20 ms."""
    with engines.one_server(engine) as url, engines.raw(url) as near:
        async with Proxy(engines.place(url), delay=0.02) as proxy:
            server = Server(kind, REDIS_URL=f"redis://127.0.0.1:{proxy.port}", **LAB)
            await asyncio.to_thread(server.start)
            try:
                async with Client(server.socket_url) as client:
                    for number in range(40):
                        await client.join(f"lab:{number}", ref=str(number))
                        near.publish(Keys("rt").bus(f"lab:{number}"), '["at:once",null,null,{}]')
                        assert (await client.until("at:once"))[2] == f"lab:{number}"
            finally:
                await asyncio.to_thread(server.close)


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
async def test_when_the_bus_breaks_every_client_gets_all_or_is_told_to_rejoin(kind: str, engine: str) -> None:
    with servers(kind, **LAB) as [server]:
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(Client(server.socket_url)) for _ in range(10)]
            for client in clients:
                await client.join("lab:a")
            await publish_and_kill(engine)
            judged = await asyncio.gather(*(judge(client) for client in clients))
        assert {"told"} <= set(judged) <= {"told", "got all"}


async def publish_and_kill(engine: str) -> None:
    """Publish 400, and kill every connection that listens in the middle."""
    for number in range(400):
        broadcast("lab:a", "n", {"n": number})
        if number == 200:
            assert engines.deafen(engine) > 0
        await asyncio.sleep(0)
    # A rejoin comes after the end of the gap, and hears what is sent from then on.


async def judge(client: Client) -> str:
    """Return what became of a client; rejoin if told to, as every Phoenix client does."""
    numbers: list[Any] = []
    while len(numbers) < 400:
        frame = await client.receive()
        if frame[3] == "n":
            numbers.append(frame[4]["n"])
        elif frame[3] == "phx_error":
            assert frame == ["1", "1", "lab:a", "phx_error", {"reason": "resync"}]
            assert numbers == list(range(len(numbers))), "a hole before anything was said"
            await client.join("lab:a", ref="2")
            await client.send("2", "3", "lab:a", "echo", {})
            assert (await client.until("phx_reply"))[1] == "3"
            return "told"
    assert numbers == list(range(400))
    return "got all"


async def test_two_projects_share_an_engine_by_prefix(engine: str) -> None:
    with servers("daphne", DJANGO_SETTINGS_MODULE="tests.e2e.other_prefix") as [server]:
        async with Client(server.socket_url) as client:
            await client.join("lab:a")
            broadcast("lab:a", "of:another:project", {})
            await client.send("1", "2", "lab:a", "shout", {"n": 1})
            assert (await client.until("shout"))[4] == {"n": 1}
            assert not any(frame[3] == "of:another:project" for frame in client.frames)
