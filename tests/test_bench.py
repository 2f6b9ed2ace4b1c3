"""The bench: its books notice what a server does wrong, a tiny round of it runs, and its tables tell what was found."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import redis
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosedError

from bench import install, plot, records, report, run, servers
from bench.client import lister, load, measuring, native, present
from bench.figures import FIGURES
from bench.records import ROUNDS, Record
from bench.servers import Server
from bench.works import WORKS, Case, Work

needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="the load client is in C")
HERE = {str(servers.PYTHON): sys.executable, "uvloop": "auto", "httptools": "auto"}  # what the tests' own venv has


@pytest.fixture(scope="module", autouse=True)
def load_client() -> None:
    if shutil.which("gcc"):
        install.compile_client()


# The books


class FaultySocket:
    """What the load client says is understood, and each message handed on by `fan_out(messages, peers)`."""

    def __init__(
        self, fan_out: Callable[[list[str], list[ServerConnection]], list[tuple[ServerConnection, str]]]
    ) -> None:
        self._fan_out = fan_out
        self._messages: list[str] = []
        self._peers: list[ServerConnection] = []

    async def __call__(self, socket: ServerConnection) -> None:
        self._peers.append(socket)  # that its join comes first is certain here
        with contextlib.suppress(ConnectionClosedError):
            async for text in socket:
                await self._hear(socket, *json.loads(text))
        self._peers.remove(socket)

    async def _hear(
        self, socket: ServerConnection, join_ref: str, ref: str, topic: str, event: str, payload: Any
    ) -> None:
        if event != "new:message":
            await socket.send(json.dumps([join_ref, ref, topic, "phx_reply", {"status": "ok", "response": {}}]))
            return
        self._messages.append(json.dumps([None, None, topic, event, payload]))
        for peer, frame in self._fan_out(self._messages, self._peers):
            await peer.send(frame)


TURN = load.WARM_MESSAGES + 5  # the message that meets the fault


def faithful(messages: list[str], peers: list[ServerConnection]) -> list[tuple[ServerConnection, str]]:
    return [(peer, messages[-1]) for peer in peers]


def losing(messages: list[str], peers: list[ServerConnection]) -> list[tuple[ServerConnection, str]]:
    return faithful(messages, peers[1:] if len(messages) == TURN else peers)


def doubling(messages: list[str], peers: list[ServerConnection]) -> list[tuple[ServerConnection, str]]:
    return faithful(messages, [peers[0], *peers] if len(messages) == TURN else peers)


def swapping(messages: list[str], peers: list[ServerConnection]) -> list[tuple[ServerConnection, str]]:
    """One message is held back until the next is out."""
    if len(messages) == TURN:
        return []
    late = [messages[-2]] if len(messages) == TURN + 1 else []
    return [(peer, frame) for peer in peers for frame in [messages[-1], *late]]


@needs_gcc
@pytest.mark.parametrize(
    ("fan_out", "expected"),
    [
        (faithful, {"lost": 0, "doubled": 0, "misordered": 0}),
        (losing, {"lost": 1, "doubled": 0, "misordered": 0}),
        (doubling, {"lost": 0, "doubled": 1, "misordered": 0}),
        (swapping, {"lost": 0, "doubled": 0, "misordered": 5}),
    ],
    ids=["faithful", "losing", "doubling", "swapping"],
)
async def test_the_books_tell_what_a_server_does(fan_out, expected):
    async with serve(FaultySocket(fan_out), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        found = await measured(
            "fanout", "-n", "5", "--window", "2", "--seconds", "1", "--patience", "0.5", "--port", str(port)
        )
    assert {name: found[name] for name in expected} == expected
    assert found["expected"] == 5 * (found["published"] + load.WARM_MESSAGES) > 5 * TURN


async def measured(*options: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.client.load", *options]
    client = await asyncio.create_subprocess_exec(*command, cwd=servers.ROOT, stdout=asyncio.subprocess.PIPE)
    out, _ = await client.communicate()
    assert client.returncode == 0
    return json.loads(out)


def test_a_percentile_is_the_upper_end_of_its_bucket():
    buckets = [0] * native.BUCKETS
    buckets[10], buckets[64 * 15] = 99, 1  # 10 ns, and 2 ** 20
    assert native.percentiles(buckets) == {"count": 100, "p50": 0.0, "p99": 0.0, "max": 1.065}


def test_percentiles_go_by_the_nearest_rank():
    found = measuring.percentiles([0.001 * n for n in range(100, 0, -1)])
    assert found == {
        "count": 100,
        "p50": 50,
        "p99": 99,
        "max": 100,
    }


# A tiny round


@pytest.fixture
def ground(empty_engine, tmp_path, monkeypatch) -> Iterator[run.Ground]:
    monkeypatch.setattr(run, "PYTHON", Path(sys.executable))
    with redis.Redis.from_url(empty_engine) as client:
        yield run.prepare(client, tmp_path)


def of_this_venv(server: Server) -> Server:
    return dataclasses.replace(server, command=tuple(HERE.get(part, part) for part in server.command))


@needs_gcc
@pytest.mark.parametrize("server", [servers.REALTIME, servers.CHANNELS], ids=lambda server: server.name)
def test_every_socket_gets_every_message(ground, server):
    work = Work("tiny", "", "fanout -n 20 --seconds 0.3 --hold 0.1", (Case(of_this_venv(server)),))
    found = run.run(work, work.cases[0], ground)
    assert found.get("error") is None
    assert (found["ready"], found["lost"], found["doubled"], found["misordered"]) == (20, 0, 0, 0)
    assert found["delivered"] == 20 * found["published"] > 0
    assert found["cpu_us"] > 0


@needs_gcc
def test_idle_sockets_stay_and_take_memory(ground):
    work = Work("tiny", "", "idle -n 100 --topics 3 --joins 3 --hold 0.1", (Case(of_this_venv(servers.REALTIME)),))
    found = run.run(work, work.cases[0], ground)
    assert (found["ready"], found["failures"]) == (100, {})
    assert found["resident_kib_per_socket"] > 0


@needs_gcc
def test_who_comes_and_goes_is_told_to_all_who_are_present(ground):
    options = f"presence -n 20 --deliveries 600 --patience 1 --lister '{sys.executable} -m bench.client.lister'"
    work = Work("tiny", "", options, (Case(of_this_venv(servers.REALTIME)),))
    found = run.run(work, work.cases[0], ground)
    assert found.get("error") is None
    assert (found["ready"], found["present"], found["failures"]) == (21, 21, {})
    assert (found["lost"], found["doubled"], found["misordered"]) == (0, 0, 0)
    assert [found[kind]["delivered"] for kind in ("track", "untrack", "broadcast")] == [600, 600, 600]
    assert found["track"]["last_ms"]["count"] == 600 // 20
    assert 1 <= found["diffs"] <= 21
    assert found["state_bytes"] > 21 * len('"user:1":{"metas":[{"status":"online","phx_ref":"1"}]}')
    assert (found["state_ms"]["count"], found["list_ms"]["count"]) == (present.LATECOMERS, lister.TIMES)
    assert [part["present"] for part in found["fill_slices"]] == [4, 8, 12, 16, 20]


@needs_gcc
def test_who_is_not_logged_in_is_refused(ground):
    stranger = dataclasses.replace(ground, cookie="sessionid=unknown")
    work = Work("tiny", "", "idle -n 5 --hold 0", (Case(of_this_venv(servers.REALTIME)),))
    assert run.run(work, work.cases[0], stranger)["ready"] == 0


def test_a_server_that_does_not_start_is_told(ground):
    broken = Server("broken", "phoenix", (sys.executable, "-c", "raise SystemExit('its last words')"))
    work = Work("tiny", "", "idle -n 5", (Case(broken),))
    assert "its last words" in run.run(work, work.cases[0], ground)["error"]


# What is told of it

PRESENT = {
    "track": {"cpu_us": 5.0, "last_ms": {"p50": 9.0, "p99": 10.0}},
    "broadcast": {"cpu_us": 5.0, "last_ms": {"p50": 9.0, "p99": 10.0}},
    "diff_in_broadcasts": 1.0,
    "join_cpu_us": 1000.0,
    "present": 10,
    "diffs": 5,
}
FOUND = {
    "cpu_us": 5.0,
    "engine_cpu_us": 0.1,
    "server_cpu_of_each": [2.0],
    "server_share": 0.5,
    "client_share": 0.5,
    "deliveries_per_s": 100_000,
    "delivered": 400_000,
    "lost": 0,
    "doubled": 0,
    "misordered": 0,
    "last_ms": {"p50": 9.0, "p99": 10.0},
    "delivery_ms": {"p50": 1.0, "p99": 2.0},
    "call_ms": {"p50": 0.1},
    "published_per_s": 2000.0,
    "answers_per_s": 9000,
    "connects_per_s": 900,
    "resident_kib_per_socket": 25.0,
    "ready": 10,
    "sockets": 10,
    **PRESENT,
}
WHERE = {
    "date": "2026-01-01T00:00:00+00:00",
    "machine": {"processor": "one", "cores": 2, "load_before": [0.1, 0.1, 0.1]},
    "versions": {"python": "3.11", "engine": "Valkey 9", "node": "v20"},
}


def recorded(name: str, rounds: int = ROUNDS, **ours: Any) -> Record:
    """A work in which every server found the same, but ours what is given."""
    work = WORKS[name]
    found = {case.label: FOUND | (ours if case.label == servers.REALTIME.name else {}) for case in work.cases}
    return Record(work, WHERE, {label: [one] * rounds for label, one in found.items()})


def verdict(name: str, what: str, **ours: Any) -> bool:
    [figure] = [figure for figure in FIGURES if what in figure.reach and figure.works == (name,)]
    found = figure.verdict({name: recorded(name, **ours)})
    assert found is not None
    return found.is_reached


def test_every_figure_is_judged_once_everything_is_measured():
    everything = {name: recorded(name) for name in WORKS}
    assert all(figure.verdict(everything) for figure in FIGURES)


@pytest.mark.parametrize(
    ("name", "what", "enough", "too_little"),
    [
        ("fanout", "C probe", {"cpu_us": 7.2}, {"cpu_us": 7.3}),
        ("fanout", "node ws", {"cpu_us": 5.0}, {"cpu_us": 5.1}),
        ("fanout", "1/25", {"cpu_us": 0.19}, {"cpu_us": 0.21}),
        ("gathering", "node ws", {"deliveries_per_s": 610_000}, {"deliveries_per_s": 590_000}),
        ("crowd", "every peer", {"last_ms": {"p99": 9.9}}, {"last_ms": {"p99": 10.0}}),
        ("crowd", "every peer", {"last_ms": {"p99": 9.9}}, {"last_ms": {"p99": 9.9}, "lost": 1}),
        ("rooms", "below 50 ms", {"server_share": 0.79}, {"server_share": 0.8}),
        ("rooms", "below 50 ms", {}, {"doubled": 1}),
        ("echo", "Channels consumer", {"answers_per_s": 45_000}, {"answers_per_s": 44_000}),
        ("echo", "node ws", {"answers_per_s": 5400}, {"answers_per_s": 5300}),
        ("connects", "3 times", {"connects_per_s": 2700}, {"connects_per_s": 2600}),
        ("publish", "0.15 ms", {"call_ms": {"p50": 0.15}}, {"call_ms": {"p50": 0.16}}),
    ],
)
def test_a_figure_is_reached_or_not(name, what, enough, too_little):
    assert verdict(name, what, **enough)
    assert not verdict(name, what, **too_little)


@pytest.mark.parametrize(
    ("what", "enough", "too_little"),
    [
        ("broadcast's", {"diff_in_broadcasts": 1.25}, {"diff_in_broadcasts": 1.26}),
        ("broadcast's", {}, {"lost": 1}),
        ("broadcast's", {"ready": 11}, {"ready": 10}),
        ("that of 100", {"join_cpu_us": 5000.0}, {"join_cpu_us": 5001.0}),
    ],
    ids=["a dear diff", "one that was lost", "one who was not let in", "a dear join"],
)
def test_a_crowd_of_those_who_are_present_is_fast_or_not(what, enough, too_little):
    [figure] = [figure for figure in FIGURES if figure.works == ("presence",) and what in figure.reach]
    record = recorded("presence")
    for found, is_reached in ((enough, True), (too_little, False)):
        record.cases["10,000 present"] = [FOUND | {"ready": 11} | found] * ROUNDS
        assert figure.verdict({"presence": record}).is_reached == is_reached


def test_a_worker_with_most_of_the_sockets_counts_for_both():
    record = recorded("workers")
    [figure] = [figure for figure in FIGURES if figure.works == ("workers",)]
    record.cases["2 workers"] = [FOUND | {"server_cpu_of_each": [1.1, 0.9, 0.0]}] * ROUNDS
    assert figure.verdict({"workers": record}).is_reached
    record.cases["2 workers"] = [FOUND | {"server_cpu_of_each": [1.5, 0.5, 0.0]}] * ROUNDS
    assert not figure.verdict({"workers": record}).is_reached


def test_the_table_says_what_was_not_reached_and_what_not_measured():
    told = report.table({"fanout": recorded("fanout", cpu_us=6.0)})
    assert "| at most 1.45 times the C probe's | 1.20 times (1.20 to 1.20); 6 to 5 | yes |" in told
    assert "| no more than node ws | 1.20 times (1.20 to 1.20); 6 to 5 | **no** |" in told
    assert told.count("| not measured | - |") == len([figure for figure in FIGURES if figure.works != ("fanout",)])


def test_the_table_and_the_plots_are_written_from_what_was_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    for name in WORKS:
        recorded(name).write()
    report.write(records.read(tmp_path), tmp_path)
    assert (tmp_path / "table.md").read_text().startswith("# Measured")
    for name in ("fanout", "growth"):
        assert ElementTree.parse(tmp_path / f"{name}.svg").getroot().tag.endswith("svg")


def test_a_plot_has_a_bar_for_each_server():
    drawn = plot.plots({"fanout": recorded("fanout")})["fanout"]
    assert all(f">{case.label}</text>" in drawn for case in WORKS["fanout"].cases)


@pytest.mark.parametrize("fault", ["too few rounds", "a server failed", "a server is missing"])
def test_what_is_not_complete_replaces_nothing(fault, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(records, "PARTIAL", tmp_path / "partial")
    record = recorded("echo", ROUNDS - 1 if fault == "too few rounds" else ROUNDS)
    if fault == "a server failed":
        record.cases[servers.REALTIME.name][1] = {"error": "it has ended"}
    if fault == "a server is missing":
        del record.cases[servers.NODE_WS.name]
    assert record.write() == tmp_path / "partial" / "echo.json"
    assert not (tmp_path / "results").exists()
