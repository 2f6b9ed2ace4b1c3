"""Gauge: what the server processes and the engine hold, and whether it has grown."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from typing import Any

import msgspec
import redis

MIB = 2**20
# Python's objects are counted exactly; caches of the standard library and of Django fill up by chance. One object more
# for each socket that came would be far more than that.
BLOCKS = 2_000
# What C code has asked for, with the tables of Python's sets and dicts: they grow with the largest crowd there was. It
# is less than 50 bytes for each of the sockets that come in ten minutes; with few of them it moves by 60 KiB.
HEAP = 2 * MIB
# Resident is also what is free, but in a page with something that is not. That grows with the first crowds (by a dozen
# MiB from the start of the process), then moves up and down by two or three MiB from one crowd to the next.
RSS = 8 * MIB
# The engine's memory without its topics and clients moves by its own bookkeeping: buffers, tables that shrink later.
ENGINE_MEMORY = 1 * MIB
# What redis-py's pools may add when more happens at once than ever before. They never shrink, and there are two of 32
# in a process: a large first crowd fills the one that joins go through; the other, of the leases, has two or three.
POOLED = 32
THREADS = 8  # of the pool, which gets another when those it has are busy

# What a server has of its own comes when it is needed: the scripts that it has used, what it knows when it leads.
KIND = 10
# What there is of a socket, a channel or a topic: nothing, once all have left.
NONE = (
    "bench.soak.rooms.SoakChannel",
    "realtime.actor.Actor",
    "realtime.connection.Connection",
    "realtime.consumers.websocket.SocketConsumer",
    "realtime.hub._Topic",
    "realtime.outbox.DirectOutbox",
    "realtime.protocol.session.Session",
    "realtime.socket.Socket",
)


class Server(msgspec.Struct):
    """What a server process tells of itself; see bench.soak.asgi. What is 0 or empty was not asked."""

    rss: int
    fds: int
    threads: int
    tasks: int
    blocks: int = 0
    heap: int = 0
    engine: int = 0
    live: dict[str, int] = {}


class Engine(msgspec.Struct):
    """channels  subscribed to; memory  bytes"""

    clients: int
    channels: list[str]
    patterns: int
    keys: list[str]
    memory: int


class Reading(msgspec.Struct):
    servers: list[Server]
    engine: Engine


# Reading


def read(ports: list[int], client: redis.Redis, *, full: bool = False) -> Reading:
    """ports  of the servers; full  also what is alive in them, which holds them up"""
    return Reading([read_server(port, full=full) for port in ports], read_engine(client))


def read_server(port: int, *, full: bool) -> Server:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/census{'?full' if full else ''}", timeout=60) as answer:
        return msgspec.json.decode(answer.read(), type=Server)


def read_engine(client: redis.Redis) -> Engine:
    pipeline: Any = client.pipeline(transaction=False)
    pipeline.info("clients").info("memory").pubsub_channels().pubsub_numpat()
    clients, memory, channels, patterns = pipeline.execute()
    return Engine(
        clients=clients["connected_clients"],
        channels=sorted(name.decode() for name in channels),
        patterns=patterns,
        keys=sorted(name.decode() for name in client.scan_iter(count=1000)),
        memory=memory["used_memory"],
    )


# Comparing


def grown(before: Reading, after: Reading) -> list[str]:
    """Return what is there more than before, a sentence each; nothing where all is flat."""
    found = [
        f"server {number}: {what}"
        for number, (then, now) in enumerate(zip(before.servers, after.servers, strict=True), 1)
        for what in server_grown(then, now)
    ]
    return found + [f"engine: {what}" for what in engine_grown(before, after)]


def is_empty(reading: Reading) -> bool:
    """Return whether nothing is left of sockets and topics: each topic has been collected."""
    lives = any(server.live.get(kind) for server in reading.servers for kind in NONE)
    return not lives and not any(key.endswith((":topics", ":due")) for key in reading.engine.keys)


def server_grown(before: Server, after: Server) -> Iterator[str]:
    yield from more("tasks", before.tasks, after.tasks)
    yield from more("threads", before.threads, after.threads, THREADS)
    yield from more("file descriptors beside those to the engine", before.fds - before.engine, after.fds - after.engine)
    yield from more("connections to the engine", before.engine, after.engine, POOLED)
    yield from more("Python objects", before.blocks, after.blocks, BLOCKS)
    yield from more("bytes in the heap", before.heap, after.heap, HEAP)
    yield from more("bytes resident", before.rss, after.rss, RSS)
    for kind, count in sorted(after.live.items()):
        if kind in NONE:
            yield from more(f"instances of {kind}", 0, count)
        else:
            yield from more(f"instances of {kind}", before.live.get(kind, 0), count, KIND)


def engine_grown(before: Reading, after: Reading) -> Iterator[str]:
    then, now = before.engine, after.engine
    yield from more("clients beside the servers'", others(before), others(after))
    yield from new("channels", then.channels, now.channels)
    yield from more("patterns", then.patterns, now.patterns)
    yield from new("keys", then.keys, now.keys)
    yield from more("bytes of memory", then.memory, now.memory, ENGINE_MEMORY)


def others(reading: Reading) -> int:
    """Return how many of the engine's clients are not connections that a server knows of."""
    return reading.engine.clients - sum(server.engine for server in reading.servers)


def more(what: str, before: int, after: int, allowed: int = 0) -> Iterator[str]:
    if after > before + allowed:
        yield f"{after:,} {what}, and {before:,} before" + (f" ({allowed:,} more are allowed)" if allowed else "")


def new(what: str, before: list[str], after: list[str]) -> Iterator[str]:
    if added := sorted(set(after) - set(before)):
        yield f"{len(added):,} {what} that were not there before, as {', '.join(added[:3])}"
