"""Connections to the engine, sync and async: one server, the primary of sentinels, a cluster, or the embedded one.

An embedded engine is started by whoever connects first.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel
from redis.backoff import NoBackoff
from redis.credentials import UsernamePasswordCredentialProvider
from redis.exceptions import OutOfMemoryError, RedisClusterException

from ..exceptions import EngineFull, EngineUnavailable
from . import embedded, supervisor
from .addresses import Address, address
from .cluster import AnyNode, AsyncCluster, Cluster, Spread
from .pipe import Caller, Pipe
from .sentinels import AsyncPrimary, Primary

CONNECT_TIMEOUT = 2.0
TIMEOUT = 5.0
CONNECTIONS = 32

# Of a connection that is read all the time: whoever reads sees to it by other means that the engine lives.
WITHOUT_LIMIT = {"socket_timeout": None}
NOT_OF_A_NODE = {"host", "port", "db", "max_connections", "timeout"}


@dataclass(frozen=True, slots=True)
class Engine:
    """Where the engine is: at a URL, or in a folder of this machine, started on demand.

    url     "redis://…", "redis+sentinel://…", "redis+cluster://…"; see addresses. Empty for the embedded one
    folder  of the embedded one; see embedded.folder

    Raises Misconfigured for a URL that cannot be read.
    """

    url: str = field(default="", repr=False)  # for its password
    folder: Path | None = None

    def __post_init__(self) -> None:
        if self.url:
            address(self.url)

    @property
    def is_cluster(self) -> bool:
        return bool(self.url) and address(self.url).kind == "cluster"

    @property
    def runs(self) -> bool:
        """Whether it need not be started to be asked; of one elsewhere that is not known."""
        return self.folder is None or embedded.runs(self.folder)

    @property
    def partitions(self) -> int:
        # The names of one topic share a hash tag, and with it a node. Topics are split over as many tags as these, so
        # that a cluster's nodes share them; on one server more than one would only cost.
        return 16 if self.is_cluster else 1


def sync_client(engine: Engine) -> Any:
    """Return the redis.Redis or redis.RedisCluster that this process shares.

    Any thread may use it, and a forked child gets one of its own. Raises redis-py's errors, so call it in
    `translated`: the one of a cluster connects at once.
    """
    return _sync_client(engine, os.getpid())


def caller(engine: Engine) -> Caller:
    """Return what runs the calls of the running loop; whoever asks closes it with aclose()."""
    if engine.is_cluster:
        return Spread(_async_cluster(engine), TIMEOUT)
    return Pipe(connector(engine), TIMEOUT)


def connector(engine: Engine) -> Callable[[], Any]:
    """Return what makes unconnected connections of redis.asyncio, for reading as long as may be, without a limit.

    Each connect goes to the primary of the moment where there are sentinels, and in a cluster to a node that answers.
    What is returned holds nothing that wants closing.
    """
    if engine.is_cluster:
        return AnyNode(address(engine.url).hosts, {**_node_options(redis.asyncio, engine), **WITHOUT_LIMIT})
    make: Callable[[], Any] = _pool(redis.asyncio, engine, **WITHOUT_LIMIT).make_connection
    return make


def publish(client: Any, channel: str, data: bytes) -> None:
    """Publish with a sync client; in a cluster at the node that owns the channel's slot, as Spread does."""
    if isinstance(client, Cluster):
        node = client.get_node_from_key(channel)  # type: ignore[no-untyped-call]
        client.execute_command("PUBLISH", channel, data, target_nodes=node)
    else:
        client.publish(channel, data)


@contextmanager
def translated() -> Iterator[None]:
    """Turn what redis-py raises when the engine is away into EngineUnavailable, and when it is full into EngineFull."""
    try:
        yield
    except (redis.RedisError, RedisClusterException, OSError) as error:
        raise explained(error) from error


def explained(error: BaseException) -> BaseException:
    """Return what an error of redis-py means to ours."""
    match error:
        case OutOfMemoryError():
            return EngineFull(f"the engine has reached its maxmemory (raise it, or delete topics): {error}")
        case redis.ResponseError() | redis.AuthenticationError():
            return EngineUnavailable(f"the engine refuses: {error}")
        case redis.RedisError() | RedisClusterException() | OSError():
            return EngineUnavailable(f"the engine does not answer: {str(error) or 'in time'}")
    return error


# private


@functools.cache
def _sync_client(engine: Engine, pid: int) -> Any:
    if engine.is_cluster:
        return _cluster(engine)
    return redis.Redis(connection_pool=_pool(redis, engine))


def _pool(library: Any, engine: Engine, **options: Any) -> Any:
    """Return a pool of redis or redis.asyncio; whoever finds all its connections in use waits for one."""
    limits = {"max_connections": CONNECTIONS, "timeout": TIMEOUT}
    return library.BlockingConnectionPool(**{**limits, **_connection_options(library, engine), **options})


def _connection_options(library: Any, engine: Engine) -> dict[str, Any]:
    """Return what redis or redis.asyncio makes a connection of: connection_class, and what that is given."""
    options: dict[str, Any] = {
        "socket_timeout": TIMEOUT,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "protocol": 2,
        # No retries: redis-py repeats even a command whose answer was lost, and a publish repeated is a duplicate.
        "retry": library.retry.Retry(NoBackoff(), 0),
    }
    if engine.folder is not None:
        ensured = _EnsuredConnection if library is redis else _AsyncEnsuredConnection
        return {**options, "connection_class": ensured, "folder": engine.folder}
    found = address(engine.url)
    options |= library.connection.parse_url(found.url)
    options |= _login(options.pop("username", ""), options.pop("password", ""))
    if "path" not in options:
        options.setdefault("socket_keepalive", True)
    if found.kind == "sentinel":
        options |= _sentinel_options(library, found, options)
    return options


def _login(username: str, password: str) -> dict[str, Any]:
    # Not as they are: before version 8 redis-py shows them whenever it shows a pool, in its errors too.
    if not username and not password:
        return {}
    return {"credential_provider": UsernamePasswordCredentialProvider(username, password)}


# Sentinels


def _sentinel_options(library: Any, found: Address, options: dict[str, Any]) -> dict[str, Any]:
    """Return what makes a connection to a server one to the primary of a service."""
    tls = issubclass(options.get("connection_class", object), library.SSLConnection)
    asking = {
        **{name: value for name, value in options.items() if name.startswith(("socket_", "ssl_"))},
        **_login(found.sentinel_username, found.sentinel_password),
        "socket_timeout": CONNECT_TIMEOUT,
        "protocol": options["protocol"],
        "retry": options["retry"],
        "ssl": tls,
    }
    sentinel = library.sentinel
    return {
        "connection_class": sentinel.SentinelManagedSSLConnection if tls else sentinel.SentinelManagedConnection,
        "connection_pool": (Primary if library is redis else AsyncPrimary)(found, asking),
    }


# Clusters


def _cluster(engine: Engine) -> Cluster:
    options = _cluster_options(redis, engine)
    found = address(engine.url)
    scheme = found.url.partition("://")[0]
    return Cluster(
        seeds=found.hosts,
        # Without a URL redis-py makes pools of another class, which raise when they have no connection left.
        url=f"{scheme}://{_written(*found.hosts[0])}",
        connection_pool_class=functools.partial(redis.BlockingConnectionPool, timeout=TIMEOUT),
        max_connections=CONNECTIONS,
        **options,
    )


def _async_cluster(engine: Engine) -> AsyncCluster:
    options = _cluster_options(redis.asyncio, engine)
    tls = options.pop("connection_class", None) is not None
    return AsyncCluster(seeds=address(engine.url).hosts, turns=CONNECTIONS, ssl=tls, **options)


def _cluster_options(library: Any, engine: Engine) -> dict[str, Any]:
    options = {
        **_node_options(library, engine),
        "require_full_coverage": True,
        # A slot that has moved is noted, one by one. To read the whole map anew, as redis-py does after some of them,
        # its async client closes every connection, also those on which others wait for an answer.
        "reinitialize_steps": 0,
    }
    if redis.VERSION < (6,):
        options["cluster_error_retry_attempts"] = 0  # version 6 counts them by `retry`, and warns of this
    return options


def _node_options(library: Any, engine: Engine) -> dict[str, Any]:
    """Return what a connection to any node is given; what belongs to one node or to a pool is left out."""
    options = _connection_options(library, engine)
    return {name: value for name, value in options.items() if name not in NOT_OF_A_NODE}


def _written(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


# The embedded engine


class _EnsuredConnection(redis.UnixDomainSocketConnection):
    """A connection to the embedded engine, which is started where it does not run."""

    def __init__(self, *, folder: Path, **options: Any) -> None:
        super().__init__(path=str(folder / supervisor.SOCKET), **options)  # type: ignore[no-untyped-call]
        self._folder = folder

    def _connect(self) -> Any:
        try:
            return super()._connect()  # type: ignore[no-untyped-call]
        except OSError:
            embedded.ensure(self._folder)
            return super()._connect()  # type: ignore[no-untyped-call]


class _AsyncEnsuredConnection(redis.asyncio.UnixDomainSocketConnection):
    def __init__(self, *, folder: Path, **options: Any) -> None:
        super().__init__(path=str(folder / supervisor.SOCKET), **options)
        self._folder = folder

    async def _connect(self) -> None:
        try:
            await super()._connect()  # type: ignore[no-untyped-call]
        except OSError:
            await embedded.aensure(self._folder)
            await super()._connect()  # type: ignore[no-untyped-call]
