"""The soak's server: the sockets, and a census of the process at /census, which closes its connection."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import redis.asyncio

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bench.soak.settings")

from django.core.asgi import get_asgi_application

django = get_asgi_application()

from realtime.asgi import with_realtime  # noqa: E402

MALLINFO = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
OURS = ("realtime", "bench", "uvicorn", "websockets", "channels", "asgiref")

served = with_realtime(django)


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http" and scope["path"] == "/census":
        body = msgspec.json.encode(full_census() if scope["query_string"] == b"full" else census())
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
    else:
        await served(scope, receive, send)


def census() -> dict[str, Any]:
    """Return what the process has now; rss in bytes."""
    process = Path("/proc/self")
    return {
        "rss": int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
        "fds": len(list((process / "fd").iterdir())),
        "threads": len(list((process / "task").iterdir())),
        "tasks": len(asyncio.all_tasks()),
    }


def full_census() -> dict[str, Any]:
    """Return what is alive after a collection, with the free memory given back: it holds up the loop.

    live    class -> instances, of the classes of ours and of what we stand on
    engine  connections to the engine
    blocks  objects of Python of whatever kind
    heap    bytes that C code uses
    """
    gc.collect()
    trim()
    found = gc.get_objects()
    live = Counter(f"{kind.__module__}.{kind.__qualname__}" for kind in map(type, found) if is_ours(kind))
    engine = sum(1 for _ in connected(found))
    del found
    return {**census(), "blocks": sys.getallocatedblocks(), "heap": heap(), "engine": engine, "live": dict(live)}


def is_ours(kind: type) -> bool:
    return str(kind.__module__).partition(".")[0] in OURS


def connected(objects: list[Any]) -> Iterator[Any]:
    for each in objects:
        if isinstance(each, redis.asyncio.Connection | redis.asyncio.UnixDomainSocketConnection) and each.is_connected:
            yield each


def trim() -> None:
    """Give free memory back to the kernel, where the C library can: what is left is what is held."""
    with suppress(AttributeError):
        LIBC.malloc_trim(0)


def heap() -> int:
    """Return the bytes that are in use of what C code has asked for, 0 where the C library does not tell."""
    try:
        tell = LIBC.mallinfo2
    except AttributeError:
        return 0
    tell.restype = _Mallinfo
    return int(tell().uordblks)


class _Mallinfo(ctypes.Structure):
    """Source: mallinfo(3) of glibc 2.33."""

    _fields_ = [(name, ctypes.c_size_t) for name in MALLINFO]


LIBC = ctypes.CDLL(None)
