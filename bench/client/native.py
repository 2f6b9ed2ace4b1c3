"""The load client's sockets, which are in C (wsload.c), as Python sees them."""

from __future__ import annotations

import base64
import ctypes
import hashlib
import math
import time
from collections.abc import Iterable, Sequence
from enum import IntEnum

from bench.client.protocols import Step
from bench.places import WSLOAD

BUCKETS = 4096
MARK_LENGTH = 31
KEY = base64.b64encode(b"0123456789abcdef").decode()
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
HEARTBEATS = 30.0  # seconds between two of one socket, as in phoenix.js
AT_ONCE = 64  # handshakes under way
TICK = 0.1  # seconds between two slices of the sockets that send one

now = time.monotonic


class Role(IntEnum):
    SUBSCRIBER = 0
    PUBLISHER = 1
    ECHO = 2


class Counts(ctypes.Structure):
    """Since the start, over all sockets; wsload.c has the same fields in the same order."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            *("frames", "receives"),
            *("delivered", "doubled", "misordered", "foreign"),
            *("ready", "joins"),
            *("failed_connects", "failed_upgrades", "failed_joins", "timeouts", "closed_by_peer"),
            *("answered", "wrong_answers"),
            "last_delivery",
        )
    ]
    FAILURES = ("failed_connects", "failed_upgrades", "failed_joins", "timeouts", "closed_by_peer")

    def failures(self) -> dict[str, int]:
        return {name: count for name in self.FAILURES if (count := getattr(self, name))}


class Sockets:
    """Many sockets to one server on this machine. There can be one of it in a process.

    heartbeat  what each says every 30 s, evenly spread; "" for nothing
    engine_io  answer the heartbeats of the server, which are "2"
    """

    def __init__(
        self,
        port: int,
        capacity: int,
        path: str,
        headers: Sequence[str],
        *,
        heartbeat: str = "",
        engine_io: bool = False,
    ) -> None:
        self._library = ctypes.CDLL(str(WSLOAD))
        for name in ("load_counts", "load_delivery_times", "load_join_times", "load_echo_times"):
            kind = Counts if name == "load_counts" else ctypes.c_uint64
            getattr(self._library, name).restype = ctypes.POINTER(kind)
        accept = base64.b64encode(hashlib.sha1((KEY + GUID).encode()).digest())
        upgrade = upgrade_request(port, path, headers)
        if self._library.load_init(capacity, b"127.0.0.1", port, upgrade, accept, int(engine_io)) < 0:
            raise ValueError("the upgrade request is too long")
        self.counts: Counts = self._library.load_counts().contents
        self._heartbeat = heartbeat.encode()
        self._opened = 0
        self._next_tick = now() + TICK
        self._beats_due = 0.0
        self._next_to_beat = 0

    def open(
        self, number: int, role: Role, scripts: Iterable[Sequence[Step]], patience: float, at_once: int = AT_ONCE
    ) -> float:
        """Open sockets that take the scripts in turn; return the seconds it took until all were ready or had failed."""
        made = [self._script(steps) for steps in scripts]
        began = now()
        self._library.load_open(number, role, made[0], len(made), at_once)
        self._opened += number
        while now() < began + patience and not self._run_to_tick(began + patience, until_open=True):
            pass
        return now() - began

    def expect(self, sockets: int, messages: int) -> None:
        if not self._library.load_expect(sockets, messages):
            raise MemoryError("no room for the books")

    def send(self, index: int, text: bytes) -> None:
        self._library.load_send(index, text, len(text))

    def run(self, until: float, target: int = 0) -> None:
        """Run until then, or until so many deliveries were booked since the start."""
        while True:
            self._run_to_tick(until, target)
            if now() >= until or (target and self.counts.delivered >= target):
                return

    def start_echo(self, frame: bytes, ref_at: int, mark_at: int, want: str) -> None:
        self._library.load_echo(frame, ref_at, mark_at, want.encode())

    def stop_echo(self) -> None:
        self._library.load_echo_stop()

    def forget_times(self) -> None:
        self._library.load_forget_times()

    def times(self, kind: str) -> dict[str, float]:
        """Return percentiles in ms: of a "delivery" since it was sent, of a "join", of an "echo"."""
        return percentiles(getattr(self._library, f"load_{kind}_times")()[0:BUCKETS])

    def close(self) -> None:
        self._library.load_close_all()
        self._opened = 0
        self._beats_due = 0.0

    def _script(self, steps: Sequence[Step]) -> int:
        script: int = self._library.load_script()
        for step in steps:
            self._library.load_step(
                script, step.send.encode(), step.want.encode(), step.bad.encode(), int(step.is_join)
            )
        return script

    def _run_to_tick(self, until: float, target: int = 0, *, until_open: bool = False) -> bool:
        """Run, but no longer than until some have to send a heartbeat; return whether no handshake is under way."""
        if self._heartbeat and now() >= self._next_tick:
            self._beat_some()
        stop = min(until, self._next_tick) if self._heartbeat else until
        is_open = self._library.load_run(nanoseconds(stop), ctypes.c_uint64(target), int(until_open))
        return bool(is_open)

    def _beat_some(self) -> None:
        """Let as many sockets send theirs as have to in one tick."""
        self._next_tick += TICK
        self._beats_due += self._opened * TICK / HEARTBEATS
        while self._beats_due >= 1:
            self._beats_due -= 1
            self._next_to_beat = (self._next_to_beat + 1) % self._opened
            self.send(self._next_to_beat, self._heartbeat)


def upgrade_request(port: int, path: str, headers: Sequence[str]) -> bytes:
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Origin: http://127.0.0.1:{port}",
        f"Sec-WebSocket-Key: {KEY}",
        "Sec-WebSocket-Version: 13",
        *headers,
    ]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()


def mark(sent: float, number: int) -> bytes:
    """Return what a message carries so that its deliveries can be booked; books.h says how."""
    return b"@~@%016x%04x%08x" % (int(sent * 1e9), 0, number)


def percentiles(buckets: Sequence[int]) -> dict[str, float]:
    """Return percentiles in ms of a histogram of nanoseconds, each the upper end of its bucket."""
    count = sum(buckets)
    found: dict[str, float] = {"count": count}
    wanted = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    seen = 0
    for bucket, size in enumerate(buckets):
        seen += size
        for name in [name for name, share in wanted.items() if size and seen >= math.ceil(share * count)]:
            found[name] = round(upper_end(bucket) / 1e6, 4)
            del wanted[name]
    return found


def upper_end(bucket: int) -> int:
    return bucket if bucket < 64 else (64 + bucket % 64 + 1) << (bucket // 64 - 1)


def nanoseconds(seconds: float) -> ctypes.c_uint64:
    return ctypes.c_uint64(int(seconds * 1e9))
