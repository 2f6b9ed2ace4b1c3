"""Plan: what the processes of a soak are told when they start, and the orders that they get while they run."""

from __future__ import annotations

import msgspec

ORDERS = "soak:orders"  # the engine's channel on which they are given
GATHER, HUSH, LEAVE = "gather", "hush", "leave"

SAY = "new:message"


class Plan(msgspec.Struct, frozen=True):
    """number  of this crowd, which begins the names of its clients
    sockets  of this crowd
    ports    of the server processes; a client comes back to any of them
    topics   how many share most of the clients
    pace     seconds between two acts of one client, on the average
    late     seconds after which a message or a reply that was due is lost
    timeout  REALTIME["HEARTBEAT_TIMEOUT"] of the servers
    strict   as for the Ledger
    """

    seed: int
    number: int
    sockets: int
    ports: list[int]
    topics: int
    pace: float
    late: float
    timeout: float
    strict: bool


class Words(msgspec.Struct, frozen=True, gc=False):
    """What is said in a room: the publisher's n-th message there, sent `at` a time that all processes share."""

    publisher: str = msgspec.field(name="from")
    number: int = msgspec.field(name="n")
    sent: float = msgspec.field(name="at")
