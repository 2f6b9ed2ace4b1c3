"""What a client may do to a server, and a server to its clients: slow, silent and flooding peers, and an end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import pytest

from tests.e2e.client import Client
from tests.e2e.raw import Raw
from tests.proxy import Proxy
from tests.servers import Server, wait_until

SERVERS = ["daphne", "uvicorn"]


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, engine: str) -> Iterator[Server]:
    with Server(request.param, DJANGO_SETTINGS_MODULE="tests.e2e.settings") as server:
        yield server


@pytest.fixture(params=SERVERS)
def impatient(request: pytest.FixtureRequest, engine: str) -> Iterator[Server]:
    with Server(request.param, DJANGO_SETTINGS_MODULE="tests.e2e.impatient") as server:
        yield server


async def test_a_client_that_never_reads_is_gone_and_nobody_else_notices(server: Server) -> None:
    statue = await Raw.to(server.port)
    async with Client(server.socket_url) as talker, Client(server.socket_url) as listener:
        statue.say("1", "1", "lab:a", "phx_join", {})
        await statue.receive()  # and nothing ever again
        await talker.join("lab:a")
        await listener.join("lab:a")
        before = server.memory()
        for number in range(200):  # 25 MB, far more than the kernel's buffers and our bounds
            await talker.send("1", str(number), "lab:a", "shout", {"n": number, "fill": "x" * 128_000})
            assert (await listener.until("shout"))[4]["n"] == number
            await talker.until("phx_reply")
        await asyncio.wait_for(statue.gone(), 20)
        assert server.memory() - before < 60
        await talker.send("1", "last", "lab:a", "shout", {"n": "last"})
        assert (await listener.until("shout"))[4]["n"] == "last"
    assert "closed a socket with 4008: it reads too slowly" in server.log
    statue.end()


async def test_a_client_that_falls_silent_is_closed(impatient: Server) -> None:
    async with Client(impatient.socket_url) as silent, Client(impatient.socket_url) as alive:
        await alive.join("lab:a")

        async def live() -> None:
            while True:
                await alive.send(None, "1", "phoenix", "heartbeat", {})
                await asyncio.sleep(0.3)

        living = asyncio.create_task(live())
        assert await silent.closed() == 4002
        living.cancel()
        await alive.send("1", "2", "lab:a", "echo", {})


async def test_a_connection_that_is_half_open_is_noticed(impatient: Server) -> None:
    async with Proxy(("127.0.0.1", impatient.port)) as proxy, Client(f"ws://127.0.0.1:{proxy.port}/ws") as far:
        await far.join("lab:a")
        proxy.freeze()  # no FIN, no RST: nothing at all
        await asyncio.to_thread(
            wait_until, lambda: "closed a socket with 4002" in impatient.log, "the server to notice"
        )


async def test_a_handler_that_blocks_the_loop_is_told_of_and_costs_nobody_the_socket(impatient: Server) -> None:
    async with Client(impatient.socket_url) as ada, Client(impatient.socket_url) as bob:
        await ada.join("lab:a")
        await bob.join("lab:a")
        await ada.send("1", "2", "lab:a", "block", {"seconds": 3})  # three times as long as a heartbeat may be missing
        await bob.send("1", "3", "lab:a", "echo", {"still": "here"})
        assert (await bob.until("phx_reply"))[4]["response"] == {"still": "here"}
        assert (await ada.until("phx_reply"))[4]["status"] == "ok"
    assert "something held up the event loop for" in impatient.log


async def test_a_flood_is_answered_with_a_reason_then_closed_and_nobody_else_notices(impatient: Server) -> None:
    async with Client(impatient.socket_url) as flood, Client(impatient.socket_url) as other:
        await flood.join("lab:a")
        await other.join("lab:a")
        for number in range(200):
            await flood.send("1", str(number), "lab:a", "echo", {})
        await other.send("1", "2", "lab:a", "echo", {"still": "here"})
        assert (await other.until("phx_reply"))[4]["response"] == {"still": "here"}
        frames = []
        with pytest.raises(Exception, match="4029"):
            while True:
                frames.append(await flood.receive())
        refusals = [frame[4]["response"] for frame in frames if frame[4]["status"] == "error"]
        assert len(refusals) >= 50
        assert {refusal["reason"] for refusal in refusals} == {"too many messages"}
        assert all(0 < refusal["retry_after"] < 10 for refusal in refusals)


@pytest.mark.parametrize("age", [0.0, 2.0], ids=["young sockets", "old sockets"])  # daphne ends differently for them
@pytest.mark.parametrize(
    ("kind", "how", "code"),
    [
        ("daphne", signal.SIGTERM, 4012),
        ("daphne", signal.SIGINT, 4012),
        ("runserver", signal.SIGTERM, 4012),
        ("runserver", signal.SIGINT, 4012),
        ("uvicorn", signal.SIGTERM, 1012),
        ("uvicorn", signal.SIGINT, 1012),
    ],
)
async def test_a_server_that_ends_tells_its_clients_to_come_back(
    kind: str, how: signal.Signals, code: int, age: float, engine: str
) -> None:
    with Server(kind, DJANGO_SETTINGS_MODULE="tests.e2e.settings") as server:
        async with Client(server.socket_url) as idle, Client(server.socket_url) as joined:
            await joined.join("lab:a")
            await asyncio.sleep(age)
            stopping = asyncio.create_task(asyncio.to_thread(server.stop, how))
            assert await joined.closed() == code
            assert await idle.closed() == code
            await stopping
        assert "Traceback" not in server.log
        assert "was destroyed" not in server.log
