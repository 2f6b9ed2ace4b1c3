"""What topics cost: creating, keeping and collecting a million of them, and how long a takeover takes.

    make bench-topics, or python -m bench.topics [--topics 1000000] [--takeovers 3] [--json results.json]

Everything runs on this machine: an engine of its own (the embedded Valkey on its Unix socket), the topic servers as
processes. What is measured, and how:

create     topics.create in calls of 20,000, by the clock of the caller
memory     used_memory of the engine after, less before
scripts    of 500 topics (create) and 300 (collect), by the engine's own clock: SLOWLOG, told to note what takes 0.1 ms;
           and by the clock of a client that collects a batch after another
collection by one `manage.py topicserver`, until the last topic is gone, by the engine's ledger. Its share of the engine
           is the time that its scripts took (SLOWLOG) of the whole; beside it the processor time of the whole engine,
           and how long it waited for a core: what other processes of the machine add to the slowest scripts
others     a PING every 10 ms while it collects, by the clock of that client: what others feel of it
takeover   from kill -9 of the leader until the standby says that it leads, and until it has collected its first topic
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from bench.processes import ROOT, Broken, TopicServer, end_on_signals, engine, wait_until
from realtime import conf, topics
from realtime.announcements import Leading, Standby
from realtime.engine import election
from realtime.engine.registry import BATCH, Registry
from realtime.engine.scripts import script

RESULTS = ROOT / "bench" / "results" / "topics.json"
CALL = 20_000  # topics in one call of topics.create
SAMPLE = 100_000  # topics collected by a client that measures each script
AT_ONCE = (0.0, 0.0)  # a window: what is empty may be collected
PROBE = 0.01  # seconds between two PINGs
LOG = 20_000  # scripts that the engine remembers: each script of a million topics, and more
SLOW = 100  # microseconds. With 0 the engine notes each command inside of a script too, which slows it
LIMIT = 1800.0


def say(text: str) -> None:
    print(text, flush=True)


# Measuring


def spread(seconds: list[float]) -> dict[str, float]:
    """Return the figures of many measurements, in ms."""
    found = sorted(seconds)
    figures = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
    ms = {name: found[min(len(found) - 1, int(share * len(found)))] for name, share in figures.items()} | {
        "max": found[-1]
    }
    return {"count": len(found), **{name: round(value * 1000, 3) for name, value in ms.items()}}


@contextmanager
def logged(client: redis.Redis) -> Iterator[None]:
    """Let the engine note how long each script takes."""
    client.config_set("slowlog-max-len", LOG)
    client.config_set("slowlog-log-slower-than", SLOW)
    client.slowlog_reset()
    yield
    client.config_set("slowlog-log-slower-than", -1)


def durations(client: redis.Redis, name: str) -> list[float]:
    """Return the seconds that each run of a script took, by the engine's clock, and forget them."""
    begins = f"EVALSHA {script(name).sha}".encode()
    found = [each["duration"] / 1e6 for each in client.slowlog_get(LOG) if each["command"].startswith(begins)]
    client.slowlog_reset()
    return found


def processor_time(client: redis.Redis) -> float:
    used = client.info("cpu")
    return float(used["used_cpu_user"] + used["used_cpu_sys"])


def waited(client: redis.Redis) -> float:
    """Return the seconds that the engine wanted a core and had none, or 0 where the kernel does not tell."""
    try:
        return int(Path(f"/proc/{client.info('server')['process_id']}/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


class Probe:
    """with Probe() as probe: another client, that asks for no more than an answer."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Probe:
        self._thread.start()
        return self

    def __exit__(self, *about: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        with redis.Redis.from_url(os.environ["REDIS_URL"]) as client:
            client.ping()
            while not self._ended.wait(PROBE):
                began = time.perf_counter()
                client.ping()
                self.seconds.append(time.perf_counter() - began)


# The bench


class Bench:
    """Its steps, in their order; what they find is in `results`."""

    def __init__(self, count: int, takeovers: int, client: redis.Redis) -> None:
        self.results: dict[str, Any] = {"machine": machine(client), "topics": count}
        self._count = count
        self._takeovers = takeovers
        self._client = client
        self._registry = Registry(conf.keys(), AT_ONCE)
        self._partition = self._registry.keys.partition(0)
        self._size = conf.settings().COLLECT_BATCH

    def run(self) -> None:
        self.lead()
        self.create()
        self.measure_scripts()
        self.collect()
        self.take_over()
        self.results["machine"]["load_after"] = load()

    def lead(self) -> None:
        """Be the leader, who says for how long a topic stays empty."""
        self._leader = topics.ask(election.acquire(self._registry.keys, election.identity(), LIMIT))
        topics.ask(self._registry.govern(self._partition, self._leader.term, self._leader.holder))

    def create(self) -> None:
        say(f"creating {self._count:,} topics ...")
        before = self._memory()
        # Not `logged`: that would count as memory of the topics.
        began = time.perf_counter()
        make(self._count, "rooms:{:07d}")
        seconds = time.perf_counter() - began
        self.results["create"] = {
            "seconds": round(seconds, 2),
            "a_second": round(self._count / seconds),
            "topics_a_call": CALL,
            "topics_a_script": BATCH,
        }
        memory = self._memory() - before
        self.results["memory"] = {"bytes": memory, "bytes_a_topic": round(memory / self._count)}

    def measure_scripts(self) -> None:
        """Add a sample to the topics, and collect as many, one script after another."""
        sample = min(SAMPLE, self._count)
        say(f"creating and collecting {sample:,} more, measuring each script ...")
        with logged(self._client):
            make(sample, "more:{:07d}")
            created = durations(self._client, "create")
            seen = []
            left = sample
            while left > 0:
                size = min(self._size, left)
                call = self._registry.collect(self._partition, self._leader.term, self._leader.holder, size)
                began = time.perf_counter()
                batch = topics.ask(call)
                seen.append(time.perf_counter() - began)
                left -= len(batch.topics)
            collected = durations(self._client, "collect")
        self.results["create_script_ms"] = spread(created)
        self.results["collect_script_ms"] = {"topics_a_script": self._size, **spread(collected)}
        self.results["collect_round_trip_ms"] = spread(seen)
        topics.ask(election.release(self._registry.keys, self._leader.holder))

    def collect(self) -> None:
        waiting = topics.count()
        say(f"one topic server collects {waiting:,} ...")
        with logged(self._client), Probe() as probe:
            before, used, wait = self._collected(), processor_time(self._client), waited(self._client)
            with TopicServer(AT_ONCE, lambda line: None) as server:
                began, _ = server.wait_for(Leading)
                wait_until(lambda: self._collected() - before >= waiting, "the last topic to be collected", LIMIT)
                seconds = time.monotonic() - began
                used, wait = processor_time(self._client) - used, waited(self._client) - wait
            scripts = durations(self._client, "collect")
        self.results["collection"] = {
            "seconds": round(seconds, 1),
            "a_second": round(waiting / seconds),
            "script_ms": spread(scripts),
            "share_of_the_engine": round(sum(scripts) / seconds, 3),
            "processor_share_of_the_engine": round(used / seconds, 3),
            "seconds_the_engine_waited_for_a_core": round(wait, 2),
            "ping_of_another_client_ms": spread(probe.seconds),
        }

    def take_over(self) -> None:
        say(f"{self._takeovers} takeovers after kill -9 ...")
        leads, collects = [], []
        servers = [TopicServer(AT_ONCE, lambda line: None)]
        try:
            servers[0].wait_for(Leading)
            for number in range(self._takeovers):
                leader = servers[-1]
                standby = TopicServer(AT_ONCE, lambda line: None)
                servers.append(standby)
                standby.wait_for(Standby)
                time.sleep(number / self._takeovers * conf.settings().LEASE / 3)  # at different moments of a renewal
                killed = time.monotonic()
                leader.kill()
                before = self._collected()
                make(1000, f"take-{number}:{{:04d}}")
                self._wait_for_more_than(before)
                collects.append(time.monotonic() - killed)
                leads.append(standby.wait_for(Leading)[0] - killed)
        finally:
            for server in servers:
                server.end()
        self.results["takeover"] = {
            "lease": conf.settings().LEASE,
            "until_another_leads": [round(seconds, 2) for seconds in leads],
            "until_its_first_collection": [round(seconds, 2) for seconds in collects],
        }

    def _wait_for_more_than(self, collected: int) -> None:
        wait_until(lambda: self._collected() > collected, "the first collection", 60)

    def _collected(self) -> int:
        return topics.ask(self._registry.ledger(self._partition))["collected"]

    def _memory(self) -> int:
        return int(self._client.info("memory")["used_memory"])


def make(count: int, pattern: str) -> None:
    for start in range(0, count, CALL):
        topics.create(*(pattern.format(number) for number in range(start, min(start + CALL, count))))


def machine(client: redis.Redis) -> dict[str, Any]:
    about = client.info("server")
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "engine": f"Valkey {about['valkey_version']}"
        if "valkey_version" in about
        else f"Redis {about['redis_version']}",
        "load_before": load(),
    }


def load() -> list[float]:
    """Return how many processes wanted a core in the last 1, 5 and 15 minutes."""
    return [round(average, 2) for average in os.getloadavg()]


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


# The table


def table(results: dict[str, Any]) -> str:
    memory, created, collection, takeover = (results[key] for key in ("memory", "create", "collection", "takeover"))
    rows = [
        (f"create {results['topics']:,} topics", f"{created['seconds']} s, {created['a_second']:,} a second"),
        ("memory", f"{memory['bytes_a_topic']} bytes a topic, {memory['bytes'] / 2**20:.0f} MiB"),
        (f"create script, {created['topics_a_script']} topics", times(results["create_script_ms"])),
        (
            f"collect script, {results['collect_script_ms']['topics_a_script']} topics",
            times(results["collect_script_ms"]),
        ),
        ("  as its client sees it", times(results["collect_round_trip_ms"])),
        ("collect all of them", f"{collection['seconds']} s, {collection['a_second']:,} a second"),
        ("  its scripts", times(collection["script_ms"])),
        (
            "  share of the engine's time",
            f"{collection['share_of_the_engine']:.1%}; "
            f"the whole engine used {collection['processor_share_of_the_engine']:.1%} of a core, "
            f"and waited {collection['seconds_the_engine_waited_for_a_core']} s for one",
        ),
        ("  another client's PING meanwhile", times(collection["ping_of_another_client_ms"])),
        ("another leads after kill -9", f"{between(takeover['until_another_leads'])}, lease {takeover['lease']:g} s"),
        ("  and has collected its first topic", between(takeover["until_its_first_collection"])),
    ]
    width = max(len(what) for what, _ in rows)
    return "\n".join(f"{what:<{width}}  {seen}" for what, seen in rows)


def times(figures: dict[str, float]) -> str:
    return f"p50 {figures['p50']} ms, p99 {figures['p99']} ms, longest {figures['max']} ms"


def between(found: list[float]) -> str:
    return f"{min(found):.1f} to {max(found):.1f} s ({len(found)} times)"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topics", type=int, default=1_000_000)
    parser.add_argument("--takeovers", type=int, default=3)
    parser.add_argument("--json", type=Path, default=RESULTS, help="where the figures go")
    options = parser.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "bench.settings"
    end_on_signals()
    try:
        with engine() as client:
            bench = Bench(options.topics, options.takeovers, client)
            bench.run()
    except Broken as error:
        say(f"broken off: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted; nothing is left running")
        return 130
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(bench.results, indent=2) + "\n")
    say(f"\n{table(bench.results)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
