"""The leader's lease: who may collect, and since when.

Safety never rests on it. Two that both believe to lead cannot harm each other, for every script of a leader compares
its term with the highest that its partition has seen (lua/fence.lua); the lease only saves work.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
from dataclasses import dataclass
from typing import Any

from .keys import Keys
from .scripts import Call, script


@dataclass(frozen=True, slots=True)
class Leader:
    """Who leads.

    holder  "host:pid:nonce"; see `identity`
    term    grows with every leader
    since   seconds of the engine's clock, as time.time()
    left    seconds until the lease ends if it is not renewed; 0 where that was not asked
    """

    holder: str
    term: int
    since: float
    left: float = 0.0

    @property
    def place(self) -> str:
        return place(self.holder)


def identity() -> str:
    """Return a name that no process has, had or will have: "web1:4242:9f3ac0de"."""
    host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:64] or "host"
    return f"{host}:{os.getpid()}:{secrets.token_hex(4)}"


def place(name: str) -> str:
    """Return what a person can find of a name: "web1:4242"."""
    return name.rpartition(":")[0]


def acquire(keys: Keys, holder: str, ttl: float, heard: int = 0) -> Call[Leader]:
    """Take the lease if it is free, or renew it for `ttl` seconds. Whoever leads now, the caller or another.

    heard  the highest term that has overruled the caller; a new one is higher, whatever became of the engine's clock
    """

    def read(answer: list[Any]) -> Leader:
        leads, term, since, *other = answer
        return Leader(holder if leads else other[0].decode(), int(term), int(since) / 1000)

    return Call.of(script("acquire"), (keys.lease, keys.term), (holder, round(ttl * 1000), heard), read)


def release(keys: Keys, holder: str) -> Call[bool]:
    """Whether the caller held it; those who stand by are told at once."""
    return Call.of(script("release"), (keys.lease,), (holder, keys.released), bool)


def leader(keys: Keys) -> Call[Leader | None]:
    return Call.of(script("leader"), (keys.lease,), (), _leader)


def _leader(answer: list[Any]) -> Leader | None:
    if not answer:
        return None
    term, holder, _, since = answer[0].decode().split("|")
    return Leader(holder, int(term), int(since) / 1000, max(0, answer[1]) / 1000)
