"""Long polling on real servers: requests that hop between processes, and what becomes of polls when one ends."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from http.client import HTTPConnection
from typing import Any

import pytest

from tests.e2e.playing import PRODUCTION, find_node, perform
from tests.e2e.test_phoenix_js import POLLS, SCRIPT
from tests.servers import Server, servers

LAB = {"DJANGO_SETTINGS_MODULE": "tests.e2e.settings"}
PATIENCE = 30.0


class Client:
    """Sends each request to the next of its servers, on a connection of its own."""

    def __init__(self, *among: Server) -> None:
        self._next = itertools.cycle(among)
        self.token = ""

    def ask(self, method: str = "GET", body: bytes | None = None, **headers: str) -> dict[str, Any]:
        with contextlib.closing(HTTPConnection("127.0.0.1", next(self._next).port, timeout=PATIENCE)) as connection:
            named = {"X-Phoenix-Longpoll-Token": self.token, **headers}
            connection.request(method, "/ws/longpoll?vsn=2.0.0", body, named)
            response = connection.getresponse()
            assert response.status == 200
            answer: dict[str, Any] = json.loads(response.read())
        self.token = answer.get("token") or self.token
        return answer

    def open(self) -> Client:
        assert self.ask()["status"] == 410
        return self

    def push(self, *frame: Any) -> int:
        return int(self.ask("POST", json.dumps(frame).encode())["status"])

    def frames(self, count: int) -> list[Any]:
        """Return the next frames, from as many polls as they take."""
        found: list[Any] = []
        while len(found) < count:
            answer = self.ask()
            assert answer["status"] == 200, answer
            found += map(json.loads, answer["messages"])
        return found

    def join(self, topic: str) -> None:
        assert self.push("1", "1", topic, "phx_join", {}) == 200
        [[_, _, _, _, reply]] = self.frames(1)
        assert reply["status"] == "ok"


@pytest.fixture(scope="module")
def node() -> str:
    return find_node()


@pytest.fixture
def background() -> Iterator[Callable[..., Future[Any]]]:
    with ThreadPoolExecutor(4) as pool:
        yield pool.submit


@pytest.fixture
def pair(engine: str) -> Iterator[list[Server]]:
    with servers("uvicorn", "daphne", **LAB) as started:
        yield started


def test_requests_hop_between_servers_of_two_kinds(pair: list[Server]) -> None:
    client = Client(*pair).open()
    client.join("lab:a")
    for number in range(20):
        assert client.push("1", str(number), "lab:a", "echo", number) == 200
    assert [frame[1] for frame in client.frames(20)] == [str(number) for number in range(20)]


def test_what_a_client_of_one_server_says_is_heard_at_another(
    pair: list[Server], background: Callable[..., Future[Any]]
) -> None:
    ada, bob = Client(pair[0]).open(), Client(pair[1]).open()
    ada.join("lab:a")
    bob.join("lab:a")
    bob_at_ada = Client(pair[0])
    bob_at_ada.token = bob.token
    waiting = background(bob_at_ada.frames, 1)
    assert ada.push("1", "2", "lab:a", "shout", {"number": 1}) == 200
    assert waiting.result(PATIENCE) == [[None, None, "lab:a", "shout", {"number": 1}]]


def test_when_the_process_of_a_session_was_killed_a_new_one_begins(pair: list[Server]) -> None:
    client = Client(pair[0]).open()
    client.join("lab:a")
    pair[0].kill()
    survivor = Client(pair[1])
    survivor.token = client.token
    assert survivor.push("1", "2", "lab:a", "echo", 1) == 410
    assert survivor.ask()["status"] == 410
    assert survivor.token != client.token
    survivor.join("lab:a")


@pytest.mark.parametrize("kind", ["uvicorn", "daphne", "serve"])
def test_a_server_that_ends_answers_the_polls_that_wait(
    kind: str, engine: str, background: Callable[..., Future[Any]]
) -> None:
    with Server(kind, **LAB) as server:
        client = Client(server).open()
        client.join("lab:a")
        polls = [background(client.ask), background(client.ask)]
        assert next(as_completed(polls)).result()["status"] == 204  # the older of them; so the newer is there
        server.stop()
        answers = [poll.result(PATIENCE) for poll in polls]
    assert not any(answer.get("messages") for answer in answers)
    ends = {(answer["status"], answer.get("code")) for answer in answers}
    assert ends == {(204, None), (500, 4012)}


@pytest.mark.node
@pytest.mark.parametrize("kind", ["uvicorn", "daphne"])
@pytest.mark.parametrize("client", POLLS)
def test_channels_come_back_after_a_restart(client: str, kind: str, engine: str, node: str) -> None:
    with Server(kind, **LAB, **PRODUCTION) as server:
        came = perform(node, SCRIPT, client, server, "serverRestarts", kill=server.stop, start=server.start)
    assert came["states"] == ["joined", "joined"]
    assert came["meanwhile"] == ["ok", {}]


@pytest.mark.node
@pytest.mark.parametrize(
    ("scenario", "came"),
    [
        ("join", ["ok", {"name": "a"}]),
        ("pushManyAtOnce", list(range(200))),
        ("pushMuch", [100_000, 1]),
        (
            "broadcast",
            {"reply": ["ok", {}], "ada": [{"number": 1}, {"last": True}], "bob": [{"number": 1}, {"last": True}]},
        ),
    ],
)
def test_the_npm_package_polls_two_workers_of_one_port(
    two_workers: Server, node: str, scenario: str, came: Any
) -> None:
    assert perform(node, SCRIPT, "phoenix-longpoll", two_workers, scenario) == came


@pytest.fixture(scope="module")
def two_workers(engine_url: str) -> Iterator[Server]:
    with Server("uvicorn", "--workers", "2", **LAB, **PRODUCTION, REDIS_URL=engine_url) as server:
        yield server


def test_the_workers_of_one_port_serve_each_others_sessions(two_workers: Server) -> None:
    client = Client(two_workers).open()
    client.join("lab:a")
    for number in range(50):
        assert client.push("1", str(number), "lab:a", "echo", number) == 200
        assert client.frames(1)[0][4]["response"] == number
