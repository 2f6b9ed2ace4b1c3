"""What goes over the sockets of real servers: which servers, what is said, and what must hold of what is heard."""

from __future__ import annotations

import itertools
import json
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from uvicorn.config import WS_PROTOCOLS

from realtime import broadcast
from tests.e2e.client import Client
from tests.e2e.raw import CLOSE, TEXT, Raw
from tests.servers import Server
from tests.tunnel import certificate

# Each server that has a fast lane, in the ways in which what is under its `send` differs: who keeps the state, whose
# transport it is, and whether it encrypts.
LANES = [
    "daphne",
    "daphne TLS",
    "uvicorn --ws websockets --loop asyncio --http h11",
    "uvicorn --ws websockets --loop uvloop --http httptools TLS",
    "uvicorn --ws wsproto --loop uvloop --http h11",
    "uvicorn --ws wsproto --loop asyncio --http httptools TLS",
]
if "websockets-sansio" in WS_PROTOCOLS:  # the oldest uvicorn has only the other two
    LANES += [
        "uvicorn --ws websockets-sansio --loop uvloop --http httptools",
        "uvicorn --ws websockets-sansio --loop asyncio --http h11 TLS",
    ]
FALLBACKS = ["granian", "hypercorn"]


@contextmanager
def serving(kind: str, **environment: str) -> Iterator[Server]:
    """Serve as one of the names above says."""
    name, *options = kind.removesuffix(" TLS").split()
    with tempfile.NamedTemporaryFile() as pem:
        path = ""
        if kind.endswith(" TLS"):
            pem.write(certificate("127.0.0.1"))
            pem.flush()
            path = pem.name
        with Server(name, *options, certificate=path, **environment) as server:
            yield server


@contextmanager
def shouting() -> Iterator[None]:
    """Shout bursts in lab:a, without end."""
    stop = threading.Event()

    def shout() -> None:
        for number in itertools.count():
            broadcast("lab:a", "shout", {"n": number, "fill": "x" * (number % 300)})
            if number % 30 == 0:
                stop.wait(0.01)
            if stop.is_set():
                return

    thread = threading.Thread(target=shout)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


async def joined(server: Server, *headers: bytes) -> Raw:
    raw = await Raw.to(server.port, *headers, **server.trust)
    raw.say("1", "1", "lab:a", "phx_join", {})
    while b"phx_reply" not in (await raw.receive())[1]:
        pass
    return raw


async def talk(client: Client) -> None:
    """Hear pushes, replies and broadcasts in the order in which the channel made them."""
    await client.join("lab:a")
    for number in range(100):
        for event in ("whisper", "echo", "shout"):
            await client.send("1", f"{number}", "lab:a", event, {"n": number})
    for number in range(100):
        ok = {"status": "ok", "response": {}}
        assert [await client.receive() for _ in range(4)] == [
            ["1", None, "lab:a", "whisper", {"n": number}],
            ["1", f"{number}", "lab:a", "phx_reply", {"status": "ok", "response": {"n": number}}],
            [None, None, "lab:a", "shout", {"n": number}],
            ["1", f"{number}", "lab:a", "phx_reply", ok],
        ]


def check(frames: list[tuple[int, bytes]], code: int | None = None) -> None:
    """Every frame is a whole text frame, uncompressed, with nothing missing between; the last, and only it, a close."""
    first, data = frames[-1]
    assert first == CLOSE | 0x80, frames[-3:]
    assert code is None or int.from_bytes(data[:2], "big") == code
    assert {first for first, _ in frames[:-1]} <= {0x80 | TEXT}
    numbers = [payload["n"] for *_, event, payload in (json.loads(data) for _, data in frames[:-1]) if event == "shout"]
    assert all(later == earlier + 1 for earlier, later in itertools.pairwise(numbers))
