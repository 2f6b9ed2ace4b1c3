"""The figures to reach, and whether they were: each a claim about what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench import servers
from bench.records import Missing, Record, Spread
from bench.servers import Server
from bench.works import WORKS

OURS = servers.REALTIME.name


@dataclass(frozen=True, slots=True)
class Verdict:
    measured: str
    is_reached: bool


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table.

    what   is measured
    reach  what it has to be
    works  that it needs
    judge  is given their records, in this order
    """

    what: str
    reach: str
    works: tuple[str, ...]
    judge: Callable[..., Verdict]

    def verdict(self, records: Mapping[str, Record]) -> Verdict | None:
        """Return None where it was not measured."""
        try:
            return self.judge(*(records[name] for name in self.works))
        except (KeyError, Missing):
            return None


# How to judge


def at_most(limit: float, path: str, other: Server, ours: Server = servers.REALTIME) -> Callable[[Record], Verdict]:
    """Judge how many times the other's figure ours is, where less is better."""

    def judge(record: Record) -> Verdict:
        ratio = record.ratio(ours.name, other.name, path)
        return Verdict(times(ratio, record, path, ours.name, other.name), ratio.middle <= limit)

    return judge


def at_least(limit: float, path: str, other: Server) -> Callable[[Record], Verdict]:
    """Judge how many times the other's figure ours is, where more is better."""

    def judge(record: Record) -> Verdict:
        ratio = record.ratio(OURS, other.name, path)
        return Verdict(times(ratio, record, path, OURS, other.name), ratio.middle >= limit)

    return judge


def cheaper(limit: float, ours: Server, other: Server) -> Callable[[Record], Verdict]:
    """Judge how many times our processor time for a delivery the other takes."""

    def judge(record: Record) -> Verdict:
        ratio = record.ratio(other.name, ours.name, "cpu_us")
        measured = f"1/{ratio.middle:.1f} (1/{ratio.high:.1f} to 1/{ratio.low:.1f})"
        return Verdict(f"{measured}; {pair(record, 'cpu_us', ours.name, other.name)} µs", ratio.middle >= limit)

    return judge


def times(ratio: Spread, record: Record, path: str, ours: str, other: str) -> str:
    return f"{ratio.middle:.2f} times ({ratio.low:.2f} to {ratio.high:.2f}); {pair(record, path, ours, other)}"


def pair(record: Record, path: str, ours: str, other: str) -> str:
    return f"{number(record.spread(ours, path).middle)} to {number(record.spread(other, path).middle)}"


def faults(record: Record, label: str) -> int:
    """Return how many deliveries were lost, came twice or out of order, in all rounds."""
    return sum(abs(record.total(label, kind)) for kind in ("lost", "doubled", "misordered"))


def told_faults(record: Record, label: str) -> str:
    return ", ".join(f"{record.total(label, kind):,} {kind}" for kind in ("lost", "doubled", "misordered"))


def last_of_the_crowd(record: Record) -> Verdict:
    """Judge against each server that somebody would use; the probe is told beside them."""
    path = "last_ms.p99"
    ours = record.spread(OURS, path)
    peers = {
        case.label: record.spread(case.label, path).middle
        for case in record.work.cases
        if case.label != OURS and not case.server.is_probe
    }
    probe = record.spread(servers.PROBE_C.name, path).middle
    best = min(peers, key=lambda label: peers[label])
    measured = (
        f"{told(ours)} ms; {best} {number(peers[best])} ms, the C probe {number(probe)} ms; {told_faults(record, OURS)}"
    )
    return Verdict(measured, ours.middle < peers[best] and not faults(record, OURS))


def rooms(record: Record) -> Verdict:
    late, share = record.spread(OURS, "delivery_ms.p99"), record.spread(OURS, "server_share")
    rate = record.spread(OURS, "published_per_s")
    measured = (
        f"{told(late)} ms, the server at {share.middle:.0%} of its core, {number(rate.middle)} publishes/s; "
        f"{told_faults(record, OURS)}"
    )
    return Verdict(
        measured, late.middle < 50 and share.middle < 0.8 and rate.middle > 1980 and not faults(record, OURS)
    )


def resident(label: str, limit: float) -> Callable[[Record], Verdict]:
    def judge(record: Record) -> Verdict:
        found = record.spread(label, "resident_kib_per_socket")
        ready = record.total(label, "ready") == record.total(label, "sockets")
        return Verdict(f"{told(found)} KiB" + ("" if ready else ", not all connected"), ready and found.middle <= limit)

    return judge


def sync_publish(record: Record) -> Verdict:
    ours = record.spread(OURS, "call_ms.p50")
    other = record.spread(servers.CHANNELS.name, "call_ms.p50")
    measured = (
        f"{ours.middle:.3f} ms ({ours.low:.3f} to {ours.high:.3f}); async_to_sync(group_send) {other.middle:.3f} ms"
    )
    return Verdict(measured, ours.middle <= 0.15 and not faults(record, OURS))


def flat(record: Record) -> Verdict:
    """Judge the dearest of the sizes against the cheapest."""
    ours, probe = growth(record, OURS), growth(record, servers.PROBE_C.name)
    factor = max(ours) / min(ours)
    costs = ", ".join(number(cost) for cost in ours)
    measured = f"{factor:.2f} times ({costs} µs); the C probe {max(probe) / min(probe):.2f} times"
    return Verdict(measured, factor <= 1.25)


def growth(record: Record, server: str) -> list[float]:
    """Return a delivery's processor time in µs at each size."""
    labels = [case.label for case in record.work.cases if case.server.name == server]
    return [record.spread(label, "cpu_us").middle for label in labels]


def capacity(record: Record, label: str) -> list[float]:
    """Return what the workers would deliver in a second with a core each, by the processor time of the busiest.

    Here they share two cores with the client, so the clock would tell what the client leaves them. A worker that got
    more than its share of the sockets holds the others up: what it took counts for all.
    """
    delivered, spent = record.values(label, "delivered"), record.values(label, "server_cpu_of_each.0")
    return [count / busiest for count, busiest in zip(delivered, spent, strict=True)]


def workers(record: Record) -> Verdict:
    pairs = zip(capacity(record, "2 workers"), capacity(record, "1 worker"), strict=True)
    factor = Spread.of([two / one for two, one in pairs])
    by_clock = record.ratio("2 workers", "1 worker", "deliveries_per_s").middle
    measured = (
        f"{factor.middle:.2f} times ({factor.low:.2f} to {factor.high:.2f}) by the busier one's processor time; "
        f"{by_clock:.2f} times by the clock, the client on the same two cores"
    )
    return Verdict(measured, factor.middle >= 1.7 and not faults(record, "2 workers"))


CROWD = "10,000 present"


def diffs(record: Record) -> Verdict:
    """Judge what a diff costs for each who gets it by what a broadcast costs to the same sockets."""
    ratio = record.spread(CROWD, "diff_in_broadcasts")
    last, spoken = (record.spread(CROWD, f"{kind}.last_ms.p50").middle for kind in ("track", "broadcast"))
    cost, base = (record.spread(CROWD, f"{kind}.cpu_us").middle for kind in ("track", "broadcast"))
    measured = (
        f"{ratio.middle:.2f} times ({ratio.low:.2f} to {ratio.high:.2f}); {number(cost)} to {number(base)} µs, "
        f"{number(last)} to {number(spoken)} ms until the last has it; {told_faults(record, CROWD)}"
    )
    all_are_in = record.total(CROWD, "ready") == record.total(CROWD, "sockets") + record.rounds  # and who speaks
    return Verdict(measured, ratio.middle <= 1.25 and all_are_in and not faults(record, CROWD))


def filling(record: Record) -> Verdict:
    ratio = record.ratio(CROWD, "100 present", "join_cpu_us")
    joins = record.spread(CROWD, "present").middle / record.spread(CROWD, "diffs").middle
    measured = f"{times(ratio, record, 'join_cpu_us', CROWD, '100 present')} µs, {joins:.1f} joins in a diff"
    return Verdict(measured, ratio.middle <= 5)


# How to say it


def told(found: Spread) -> str:
    return f"{number(found.middle)} ({number(found.low)} to {number(found.high)})"


def number(value: float) -> str:
    """Return it with three digits that count, or as a whole number."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


# The figures

CPU = "cpu_us"
FIGURES = (
    Figure(
        "fan-out, 1,000 sockets in one topic, one message under way: server CPU per delivery",
        "at most 1.45 times the C probe's",
        ("fanout",),
        at_most(1.45, CPU, servers.PROBE_C),
    ),
    Figure("", "no more than node ws", ("fanout",), at_most(1.0, CPU, servers.NODE_WS)),
    Figure(
        "",
        "at most 1/25 of the Channels consumer's, same server, same engine",
        ("fanout",),
        cheaper(25, servers.REALTIME, servers.CHANNELS),
    ),
    Figure(
        "the same under daphne",
        "at most 1/12 of the Channels consumer's on daphne",
        ("fanout",),
        cheaper(12, servers.REALTIME_DAPHNE, servers.CHANNELS_DAPHNE),
    ),
    Figure(
        "fan-out with 16 messages under way: deliveries/s",
        "at least 6 times node ws",
        ("gathering",),
        at_least(6, "deliveries_per_s", servers.NODE_WS),
    ),
    Figure(
        "p99 from the publish to the last of 10,000 sockets",
        "below every peer; none lost, doubled or out of order",
        ("crowd",),
        last_of_the_crowd,
    ),
    Figure(
        "1,000 topics of 10 sockets, 2,000 publishes/s from another process: p99",
        "below 50 ms, the server under 80 % of its core; nothing lost",
        ("rooms",),
        rooms,
    ),
    Figure(
        "echo with reply, 50 connections: answers/s",
        "at least 5 times the Channels consumer",
        ("echo",),
        at_least(5, "answers_per_s", servers.CHANNELS),
    ),
    Figure("", "at least 0.6 of node ws", ("echo",), at_least(0.6, "answers_per_s", servers.NODE_WS)),
    Figure(
        "connects and joins per second",
        "at least 3 times the Channels consumer",
        ("connects",),
        at_least(3, "connects_per_s", servers.CHANNELS),
    ),
    Figure(
        "resident memory per idle socket of 10,000, one topic", "at most 28 KiB", ("memory",), resident("one topic", 28)
    ),
    Figure("with three topics", "at most 32 KiB", ("memory",), resident("three topics", 32)),
    Figure("publish from sync code, engine on a Unix socket", "at most 0.15 ms", ("publish",), sync_publish),
    Figure("CPU per delivery at 100, 1,000, 10,000 sockets", "flat within 25 %", ("growth",), flat),
    Figure(
        "presence, 10,000 in one topic: server CPU per delivered diff",
        "at most 1.25 times a broadcast's to the same sockets",
        ("presence",),
        diffs,
    ),
    Figure("filling it: server CPU per join and track", "at most 5 times that of 100", ("presence",), filling),
    Figure("2 workers on 2 cores: deliveries/s", "at least 1.7 times one worker", ("workers",), workers),
)
assert {name for figure in FIGURES for name in figure.works} <= WORKS.keys()
