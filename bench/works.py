"""What is measured: works, each a load that several servers get in turn."""

from __future__ import annotations

from dataclasses import dataclass

from bench import servers
from bench.places import PYTHON
from bench.servers import Server

PUBLISHER = f"{PYTHON} -m bench.client.publisher"
LISTER = f"{PYTHON} -m bench.client.lister"


@dataclass(frozen=True, slots=True)
class Case:
    """One server under the work's load.

    load    more of the load client's options
    name    under which it is recorded, where the server's is not enough
    pinned  the server and the engine on one core, the client on the other
    """

    server: Server
    load: str = ""
    name: str = ""
    pinned: bool = True

    @property
    def label(self) -> str:
        return self.name or self.server.name


@dataclass(frozen=True, slots=True)
class Work:
    """A load and who gets it.

    name   of the file of its results
    title  what the tables say
    load   the load client's mode and options
    """

    name: str
    title: str
    load: str
    cases: tuple[Case, ...]


def each(*of: Server) -> tuple[Case, ...]:
    return tuple(Case(server) for server in of)


WORKS = {
    work.name: work
    for work in (
        Work(
            "fanout",
            "1,000 sockets in one topic, one message under way",
            "fanout -n 1000 --seconds 4",
            each(
                servers.REALTIME,
                servers.PROBE_C,
                servers.NODE_WS,
                servers.CHANNELS,
                servers.REALTIME_DAPHNE,
                servers.CHANNELS_DAPHNE,
                servers.NODE_SOCKETIO,
                servers.PYTHON_SOCKETIO,
                servers.PROBE_HUB,
            ),
        ),
        Work(
            "gathering",
            "1,000 sockets in one topic, 16 messages under way",
            "fanout -n 1000 --seconds 4 --window 16",
            each(servers.REALTIME, servers.NODE_WS, servers.PROBE_GATHERING),
        ),
        Work(
            "crowd",
            "10,000 sockets in one topic, one message under way",
            "fanout -n 10000 --seconds 6 --hold 1",
            each(
                servers.REALTIME,
                servers.PROBE_C,
                servers.NODE_WS,
                servers.NODE_SOCKETIO,
                servers.PYTHON_SOCKETIO,
                servers.CHANNELS,
            ),
        ),
        Work(
            "rooms",
            "1,000 topics of 10 sockets, 2,000 publishes a second from another process",
            f"listen -n 10000 --topics 1000 --rate 2000 --messages 20000 --publisher '{PUBLISHER}'",
            each(servers.REALTIME),
        ),
        Work(
            "echo",
            "50 sockets that ask, and ask again once they are answered",
            "echo -n 50 --seconds 4",
            each(servers.REALTIME, servers.CHANNELS, servers.NODE_WS, servers.PYTHON_SOCKETIO, servers.PROBE_BARE),
        ),
        Work(
            "connects",
            "2,000 sockets that connect and join, 64 at once",
            "idle -n 2000 --hold 0.2",
            each(servers.REALTIME, servers.CHANNELS, servers.NODE_WS, servers.PYTHON_SOCKETIO),
        ),
        Work(
            "memory",
            "10,000 idle sockets",
            "idle -n 10000 --hold 2",
            (
                Case(servers.REALTIME, "--topics 1 --joins 1", "one topic"),
                Case(servers.REALTIME, "--topics 3 --joins 3", "three topics"),
            ),
        ),
        Work(
            "publish",
            "a publish from sync code, 400 a second, one socket listens",
            "listen -n 1 --topics 1 --rate 400 --messages 1200",
            (
                Case(servers.REALTIME, f"--publisher '{PUBLISHER} --through realtime'"),
                Case(servers.CHANNELS, f"--publisher '{PUBLISHER} --through channels'"),
            ),
        ),
        Work(
            "growth",
            "more and more sockets in one topic, one message under way",
            "fanout --seconds 3",
            tuple(
                Case(server, f"-n {number}", f"{server.name}, {number:,}")
                for number in (100, 1000, 10000)
                for server in (servers.REALTIME, servers.PROBE_C)
            ),
        ),
        Work(
            "presence",
            "more and more present in one topic; then one more comes, goes and speaks, before all of them",
            f"presence --lister '{LISTER}'",
            tuple(
                Case(servers.REALTIME, f"-n {number} --deliveries {deliveries}", f"{number:,} present")
                for number, deliveries in ((100, 30_000), (1000, 50_000), (10_000, 100_000))
            ),
        ),
        Work(
            "workers",
            "1,000 sockets in one topic, one message under way, one worker and two",
            "fanout -n 1000 --seconds 4",
            (
                Case(servers.REALTIME, pinned=False, name="1 worker"),
                Case(servers.REALTIME_TWO, pinned=False, name="2 workers"),
            ),
        ),
    )
}
