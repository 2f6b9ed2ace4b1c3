"""What serves in production: several workers on one port, each a node of its own, with DEBUG on and off."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urljoin

import pytest
import websockets

from realtime import abroadcast, topics
from tests.e2e.client import Client
from tests.project import Project
from tests.servers import Server, wait_until

PRODUCTION = {
    "DJANGO_SETTINGS_MODULE": "tests.e2e.worker_settings",
    "DEBUG": "0",
    "SECRET_KEY": "of a test",
    "ALLOWED_HOSTS": "127.0.0.1",
}
DEVELOPMENT = {**PRODUCTION, "DEBUG": "1"}
SERVE = ("serve", "--workers", "2")
GUNICORN = ("gunicorn", "--workers", "2")
PRELOAD = (*GUNICORN, "--preload")

MANY = [
    pytest.param((SERVE, PRODUCTION), id="serve"),
    pytest.param((SERVE, DEVELOPMENT), id="serve with DEBUG"),
    pytest.param((GUNICORN, PRODUCTION), id="gunicorn"),
    pytest.param((PRELOAD, PRODUCTION), id="gunicorn --preload"),
]
FEW = [pytest.param(((kind,), PRODUCTION), id=kind) for kind in ("daphne", "uvicorn")]


@pytest.fixture(scope="module", params=MANY)
def workers(request: pytest.FixtureRequest, engine_url: str) -> Iterator[Server]:
    """A server with two workers, one for all tests of its kind."""
    command, environment = request.param
    with Server(*command, REDIS_URL=engine_url, **environment) as server:
        yield server


@pytest.fixture(scope="module", params=[*MANY, *FEW])
def server(request: pytest.FixtureRequest, engine_url: str) -> Iterator[Server]:
    command, environment = request.param
    with Server(*command, REDIS_URL=engine_url, **environment) as server:
        yield server


class Visitor(Client):
    """A client that has joined `worker`, and knows which process serves it."""

    async def enter(self) -> Visitor:
        await self.send("1", "1", "worker", "phx_join", {})
        self.worker = (await self.until("phx_reply"))[4]["response"]
        return self

    @property
    def pid(self) -> int:
        return self.worker["pid"]

    async def heard(self) -> list[Any]:
        """Return the numbers that were shouted, up to the end of it."""
        while (await self.until("shout"))[4]["n"] != "end":
            pass
        return [frame[4]["n"] for frame in self.frames if frame[3] == "shout"][:-1]


@asynccontextmanager
async def visitors(server: Server, *, fewest: int = 3) -> AsyncIterator[list[Visitor]]:
    """Let clients in until each of the two workers has at least so many: who takes a socket is up to the kernel."""
    async with AsyncExitStack() as stack:
        found: list[Visitor] = []
        while len(counts := Counter(visitor.pid for visitor in found)) < 2 or min(counts.values()) < fewest:
            assert len(found) < 400, f"the sockets are shared out as {counts}"
            found.append(await (await stack.enter_async_context(Visitor(server.socket_url))).enter())
        yield found


async def come_back(server: Server, stack: AsyncExitStack) -> Visitor:
    """Connect and join as a client does that was cut off."""
    while True:
        try:
            return await (await stack.enter_async_context(Visitor(server.socket_url))).enter()
        except (OSError, websockets.WebSocketException):
            await asyncio.sleep(0.1)


async def assert_all_hear(found: list[Visitor]) -> None:
    """Broadcast from outside and from a client: each hears it all, once."""
    for number in (1, 2):
        await abroadcast("worker", "shout", {"n": number})
    await found[0].send("1", "2", "worker", "shout", {"n": 3})
    await found[0].until("phx_reply")
    await abroadcast("worker", "shout", {"n": "end"})
    for visitor in found:
        assert await visitor.heard() == [1, 2, 3]


def listeners() -> dict[int, int]:
    """Return how many listen to `worker` in each process, by its pid."""
    return {pid_of(name): count for name, count in topics.subscribers("worker").nodes.items()}


def pid_of(node: str) -> int:
    return int(node.split(":")[1])


# Several workers


async def test_a_broadcast_reaches_the_clients_of_every_worker_once(workers: Server) -> None:
    async with visitors(workers) as found:
        await assert_all_hear(found)


async def test_each_worker_is_a_node_of_its_own(workers: Server) -> None:
    async with visitors(workers) as found:
        served = Counter(visitor.pid for visitor in found)
        await asyncio.to_thread(wait_until, lambda: served.items() <= listeners().items(), f"{served} in the registry")


async def test_workers_do_not_share_a_connection_to_the_engine(workers: Server) -> None:
    """It would give one the answers to what the other has asked."""
    async with visitors(workers) as found:
        for ref in range(2, 20):
            for visitor in found:
                await visitor.send("1", str(ref), "worker", "look", {})
        for visitor in found:
            for _ in range(2, 20):
                reply = (await visitor.until("phx_reply"))[4]
                assert reply == {"status": "ok", "response": {"exists": [True, False]}}


async def test_a_worker_that_is_killed_is_replaced_and_its_clients_come_back(workers: Server) -> None:
    async with visitors(workers) as found, AsyncExitStack() as stack:
        victim = found[0].pid
        os.kill(victim, signal.SIGKILL)
        lost = [visitor for visitor in found if visitor.pid == victim]
        kept = [visitor for visitor in found if visitor.pid != victim]
        for visitor in lost:
            assert await visitor.closed() == 1006
        async with asyncio.timeout(30):
            returned = [await come_back(workers, stack) for _ in lost]
            while len({visitor.pid for visitor in (*kept, *returned)}) < 2:
                returned.append(await come_back(workers, stack))
                await asyncio.sleep(0.05)
        assert victim not in {visitor.pid for visitor in returned}
        await assert_all_hear([*kept, *returned])


@pytest.mark.parametrize(
    ("how", "everybody"), [(signal.SIGTERM, False), (signal.SIGINT, True)], ids=["SIGTERM", "Ctrl-C"]
)
@pytest.mark.parametrize("kind", MANY)
async def test_nothing_outlives_the_signal(
    engine_url: str, kind: tuple[tuple[str, ...], dict[str, str]], how: signal.Signals, everybody: bool
) -> None:
    command, environment = kind
    with Server(*command, REDIS_URL=engine_url, **environment) as server:
        async with visitors(server, fewest=1) as found:
            await asyncio.to_thread(server.stop, how, everybody=everybody)  # fails if a process is left
            assert {await visitor.closed() for visitor in found} == {1012}
        assert "Traceback" not in server.log
        known = {pid_of(node.name) for node in await asyncio.to_thread(topics.nodes)}
        assert not known & {visitor.pid for visitor in found}  # they said goodbye


async def test_the_workers_of_serve_end_with_a_supervisor_that_is_killed(engine_url: str) -> None:
    with Server(*SERVE, REDIS_URL=engine_url, **PRODUCTION) as server:
        async with visitors(server, fewest=1) as found:
            await asyncio.to_thread(server.stop, signal.SIGKILL)  # fails if a process is left
            assert {await visitor.closed() for visitor in found} == {1012}


async def test_serve_replaces_its_workers_one_by_one_at_sighup(engine_url: str) -> None:
    with Server(*SERVE, REDIS_URL=engine_url, **PRODUCTION) as server:
        async with visitors(server, fewest=1) as found, AsyncExitStack() as stack:
            before = {visitor.pid for visitor in found}
            os.kill(server.pid, signal.SIGHUP)
            for visitor in found:
                assert await visitor.closed() == 1012
            returned = [await come_back(server, stack) for _ in range(10)]
            assert not before & {visitor.pid for visitor in returned}
            await assert_all_hear(returned)


@pytest.mark.parametrize("command", [SERVE, PRELOAD], ids=["serve", "gunicorn --preload"])
async def test_workers_share_the_engine_inside_the_project(command: tuple[str, ...]) -> None:
    with Project() as project:
        engine = {"ENGINE_BESIDE": str(project.folder), "REDIS_URL": ""}
        with Server(*command, **PRODUCTION, **engine) as server:
            async with visitors(server, fewest=1) as found:
                assert project.engine_processes().keys() == {"valkey", "supervisor"}
                await asyncio.to_thread(server.manage, "broadcast", "worker", "shout", '{"n": 1}')
                await asyncio.to_thread(server.manage, "broadcast", "worker", "shout", '{"n": "end"}')
                assert [await visitor.heard() for visitor in found] == [[1]] * len(found)


# Every server


async def test_what_is_loaded_is_no_matter_for_the_garbage_collector(server: Server) -> None:
    async with Visitor(server.socket_url) as visitor:
        assert (await visitor.enter()).worker["frozen"] > 50_000


def test_the_page_finds_every_module_that_it_imports(server: Server) -> None:
    page, _ = got(server, "/")
    [script] = re.findall(r'<script type="module" src="([^"]+)"', page)
    [style] = re.findall(r'<link rel="stylesheet" href="([^"]+)"', page)
    assert got(server, style)[1].startswith("text/css")
    waiting, found = {script}, dict[str, str]()
    while waiting:
        path = waiting.pop()
        text, kind = got(server, path)
        found[path] = kind.partition(";")[0]
        imports = re.findall(r'^(?:import|export)\b[^"]*"(\.[^"]+)"', text, re.MULTILINE)
        waiting |= {urljoin(path, name) for name in imports} - found.keys()
    assert set(found.values()) == {"text/javascript"}
    assert "/static/realtime/realtime.js" in found
    assert len(found) > 10


def got(server: Server, path: str) -> tuple[str, str]:
    """Return the body and the type of what a GET is answered. Raises HTTPError."""
    with urllib.request.urlopen(server.url + path, timeout=10) as response:
        return response.read().decode(), response.headers["Content-Type"]


# manage.py serve


@pytest.fixture(scope="module")
def plain(engine_url: str) -> Iterator[Server]:
    with Server("serve", REDIS_URL=engine_url, **PRODUCTION) as server:
        yield server


@pytest.mark.parametrize(
    ("command", "compresses"),
    [
        (["serve"], False),
        (["serve", "--ws-per-message-deflate", "true"], True),
        (["uvicorn"], True),
        (["uvicorn", "--ws-per-message-deflate", "false"], False),
        (["gunicorn"], True),
        (["gunicorn", "--worker-class", "tests.e2e.gunicorn_worker.Worker"], False),
        (["daphne"], False),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
async def test_who_compresses_frames_unless_told(engine_url: str, command: list[str], compresses: bool) -> None:
    with Server(*command, REDIS_URL=engine_url, **PRODUCTION) as server:
        async with websockets.connect(f"{server.socket_url}/websocket?vsn=2.0.0", compression="deflate") as socket:
            offered = socket.response.headers.get("Sec-WebSocket-Extensions", "")
    assert ("permessage-deflate" in offered) is compresses


async def test_serve_runs_on_uvloop(plain: Server) -> None:
    async with Visitor(plain.socket_url) as visitor:
        assert (await visitor.enter()).worker["loop"] == "uvloop"


async def test_serve_takes_no_frame_that_we_would_not(plain: Server) -> None:
    for size, code in [(256 * 1024, 4400), (256 * 1024 + 1, 1009)]:
        async with websockets.connect(f"{plain.socket_url}/websocket?vsn=2.0.0") as socket:
            await socket.send("x" * size)
            await socket.wait_closed()
            assert socket.close_code == code


async def test_the_log_of_serve_has_no_line_for_a_socket_unless_told(plain: Server, engine_url: str) -> None:
    with Server("serve", "--access-log", REDIS_URL=engine_url, **PRODUCTION) as told:
        for server in (plain, told):
            async with websockets.connect(f"{server.socket_url}/websocket?vsn=2.0.0&token=hunter2"):
                pass
        assert "hunter2" in told.log and "connection open" in told.log
    assert not re.search("hunter2|connection (open|closed)", plain.log)
    assert "Uvicorn running on http://127.0.0.1:" in plain.log


async def test_serve_waits_for_no_request_for_long(engine_url: str) -> None:
    with Server("serve", REDIS_URL=engine_url, **PRODUCTION) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /forever/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await asyncio.sleep(0.5)  # for the request to be under way
        began = time.monotonic()
        await asyncio.to_thread(server.stop)
        assert 4 < time.monotonic() - began < 9
        writer.close()


def test_serve_tells_what_is_wrong_before_it_serves() -> None:
    without_engine = {**PRODUCTION, "REDIS_URL": "", "DJANGO_SETTINGS_MODULE": "chatty.settings"}
    failing = Server("serve", **without_engine)
    with pytest.raises(AssertionError, match=r"the server ended:[\s\S]*\(realtime\.E006\)"), failing:
        pass


def test_serve_tells_that_debug_is_on(plain: Server, engine_url: str) -> None:
    with Server("serve", REDIS_URL=engine_url, **DEVELOPMENT) as server:
        wait_until(lambda: "DEBUG is on" in server.log, "the line about DEBUG")
    assert "DEBUG is on" not in plain.log
