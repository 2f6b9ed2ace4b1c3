"""Connections to the engine, sync and async; an embedded one is started by whoever connects first."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
import redis.asyncio
from redis.backoff import NoBackoff

from ..exceptions import EngineFull, EngineUnavailable
from . import embedded, supervisor

CONNECT_TIMEOUT = 2.0
TIMEOUT = 5.0
CONNECTIONS = 32


@dataclass(frozen=True, slots=True)
class Engine:
    """Where the engine is: at a URL, or in a folder of this machine, started on demand.

    url     "redis://…", "rediss://…" or "unix://…"; empty for the embedded one
    folder  of the embedded one; see embedded.folder
    """

    url: str = ""
    folder: Path | None = None

    @property
    def partitions(self) -> int:
        return 1


@functools.cache
def sync_client(engine: Engine) -> redis.Redis:
    """Return the client that this process shares; any thread may use it, and a forked child gets new connections."""
    return redis.Redis(connection_pool=_pool(redis, _EnsuredConnection, engine))


def async_pool(engine: Engine) -> redis.asyncio.ConnectionPool:
    """Return a new pool for the running loop; whoever asks for it closes it."""
    pool: redis.asyncio.ConnectionPool = _pool(redis.asyncio, _AsyncEnsuredConnection, engine)
    return pool


@contextmanager
def translated() -> Iterator[None]:
    """Turn what redis-py raises when the engine is away into EngineUnavailable."""
    try:
        yield
    except redis.OutOfMemoryError as error:
        raise EngineFull(f"the engine is full: {error}") from error
    except (redis.RedisError, OSError) as error:
        raise EngineUnavailable(f"the engine does not answer: {error}") from error


# private


class _EnsuredConnection(redis.UnixDomainSocketConnection):
    """A connection to the embedded engine: every connect and reconnect first sees to it that it runs."""

    def __init__(self, *, folder: Path, **options: Any) -> None:
        super().__init__(path=str(folder / supervisor.SOCKET), **options)  # type: ignore[no-untyped-call]
        self._folder = folder

    def _connect(self) -> Any:
        embedded.ensure(self._folder)
        return super()._connect()  # type: ignore[no-untyped-call]


class _AsyncEnsuredConnection(redis.asyncio.UnixDomainSocketConnection):
    def __init__(self, *, folder: Path, **options: Any) -> None:
        super().__init__(path=str(folder / supervisor.SOCKET), **options)
        self._folder = folder

    async def _connect(self) -> None:
        await embedded.aensure(self._folder)
        await super()._connect()  # type: ignore[no-untyped-call]


def _pool(library: Any, ensured: type, engine: Engine) -> Any:
    """Return a pool of redis or redis.asyncio; whoever finds all its connections in use waits for one."""
    options: dict[str, Any] = {
        "max_connections": CONNECTIONS,
        "timeout": TIMEOUT,
        "socket_timeout": TIMEOUT,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "protocol": 2,
        # No retries: redis-py repeats even a command whose answer was lost, and a publish repeated is a duplicate.
        "retry": library.retry.Retry(NoBackoff(), 0),
    }
    if engine.folder is not None:
        return library.BlockingConnectionPool(connection_class=ensured, folder=engine.folder, **options)
    if engine.url.startswith(("redis://", "rediss://")):
        options["socket_keepalive"] = True
    return library.BlockingConnectionPool.from_url(engine.url, **options)
