"""Measure our server and its peers, and write what was found: into bench/results, where everything was measured.

    make bench, or python -m bench.run [--only fanout,echo] [--rounds 3]

It takes about 25 minutes, after the servers to compare with were installed (once, a minute or two). docs/benchmarks.md
says what is measured and how. Of a part (fewer rounds, or a work that broke off) the table is printed, and kept in
var/bench.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import redis

from bench import report
from bench.install import Missing, install
from bench.places import PARTIAL, PYTHON, RESULTS, ROOT, VAR
from bench.processes import Broken, end_on_signals, engine
from bench.records import ROUNDS, Found, Record, read, surroundings
from bench.servers import Running, end_group, running, settings_of
from bench.works import WORKS, Case, Work

FILES = 10_500  # open at once in one process: 10,000 sockets, and some
LONGEST = 240.0  # seconds of one run of the load client
PAUSE = 0.3


@dataclass(frozen=True, slots=True)
class Ground:
    """What every run stands on.

    engine  a client of it
    cookie  of a user who is logged in
    cores   the server's and the client's
    """

    engine: redis.Redis
    environment: dict[str, str]
    cookie: str
    cores: tuple[int, int]

    @property
    def engine_pid(self) -> int:
        return int(self.engine.info("server")["process_id"])


def prepare(client: redis.Redis, folder: Path) -> Ground:
    """Make a database with a user, and look what there is. Raises Broken."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise Broken("two cores are needed, one for the server and one for the client")
    environment = {"BENCH_DATABASE": str(folder / "chat.sqlite3"), "PYTHONDONTWRITEBYTECODE": "1"}
    login = subprocess.run(
        [PYTHON, "-m", "bench.chat.login"],
        cwd=ROOT,
        env={**os.environ, **environment, "DJANGO_SETTINGS_MODULE": "bench.chat.settings"},
        capture_output=True,
        text=True,
        check=False,
    )
    if login.returncode:
        raise Broken(f"no user could be made:\n{login.stderr}")
    return Ground(client, environment, login.stdout.strip(), (cores[0], cores[1]))


def raise_file_limit() -> None:
    """Raises Broken where the system allows too few open files."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < FILES:
        raise Broken(f"{FILES:,} open files are needed, and {most:,} allowed (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES if most == resource.RLIM_INFINITY else most, most))


# Running


def measure(work: Work, rounds: int, ground: Ground) -> Record:
    """Give every case its turn, round by round: A B C, A B C."""
    where = surroundings(f"Valkey {ground.engine.info('server').get('valkey_version', '?')}")
    record = Record(work, where, {case.label: [] for case in work.cases})
    for number in range(rounds):
        for case in work.cases:
            began = time.monotonic()
            found = run(work, case, ground)
            record.cases[case.label].append(found)
            say(f"  {work.name} {number + 1}/{rounds} {case.label}: {brief(found)} [{time.monotonic() - began:.0f} s]")
            time.sleep(PAUSE)
    record.where["machine"]["load_after"] = [round(value, 2) for value in os.getloadavg()]
    return record


def run(work: Work, case: Case, ground: Ground) -> Found:
    """Start the case's server on an empty engine, put the load on it, and return what the client found."""
    ground.engine.flushall()
    core = ground.cores[0] if case.pinned else None
    os.sched_setaffinity(ground.engine_pid, ground.cores if core is None else {core})
    try:
        with running(case.server, ground.environment, core) as server:
            return load(f"{work.load} {case.load}", case, server, ground)
    except Broken as error:
        return {"error": str(error)}


def load(options: str, case: Case, server: Running, ground: Ground) -> Found:
    """Run the load client. Raises Broken."""
    command = [sys.executable, "-m", "bench.client.load", *shlex.split(options)]
    command += ["--port", str(server.port), "--pid", str(server.pid), "--engine-pid", str(ground.engine_pid)]
    command += ["--protocol", case.server.protocol]
    if case.pinned:
        command += ["--core", str(ground.cores[1])]
    if case.server.settings:
        command += ["--cookie", ground.cookie]
    environment = {**os.environ, **ground.environment, **settings_of(case.server)}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as client:
        try:
            out, errors = client.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired as error:
            raise Broken(f"the load client took more than {LONGEST:g} s") from error
        finally:
            end_group(client)
    if client.returncode:
        raise Broken(f"the load client failed:\n{errors[-2000:]}")
    found: Found = json.loads(out)
    return found


def brief(found: Found) -> str:
    """Return the figures of one run that tell most, on a line."""
    if "error" in found:
        return f"FAILED, {found['error']}"
    wanted = (
        "deliveries_per_s",
        "answers_per_s",
        "cpu_us",
        "connects_per_s",
        "resident_kib_per_socket",
        "join_cpu_us",
        "lost",
    )
    told = [f"{name} {found[name]:,}" for name in wanted if name in found]
    if failures := found["failures"]:
        told.append(f"failures {failures}")
    return ", ".join(told)


def say(text: str) -> None:
    print(text, flush=True)


# The command


def chosen(names: str) -> list[Work]:
    """Return the works by their names, all of them for "". Raises Broken."""
    wanted = [name for name in names.split(",") if name] or list(WORKS)
    if unknown := [name for name in wanted if name not in WORKS]:
        raise Broken(f"no work is called {unknown[0]!r}; there are {', '.join(WORKS)}")
    return [WORKS[name] for name in wanted]


def bench(works: list[Work], rounds: int) -> None:
    """Measure the works, keep each as soon as it is done, and write the table and the plots. Raises Broken."""
    raise_file_limit()
    with engine() as client, tempfile.TemporaryDirectory(dir=VAR, prefix="run-") as folder:
        ground = prepare(client, Path(folder))
        records = read()
        for work in works:
            say(f"{work.title} ({work.name})")
            records[work.name] = measure(work, rounds, ground)
            records[work.name].write()
    say(f"\n{report.table(records)}\n")
    if kept := read():
        report.write(kept, RESULTS)
    if partial := [work.name for work in works if not records[work.name].is_complete]:
        report.write(records, PARTIAL)
        say(f"Not measured in full, so kept in {PARTIAL.relative_to(ROOT)}, not in bench/results: {', '.join(partial)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help=f"works to run, of {', '.join(WORKS)}")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    end_on_signals()
    began = time.monotonic()
    try:
        works = chosen(options.only)
        install()
        bench(works, options.rounds)
    except (Broken, Missing) as error:
        say(f"broken off: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted; nothing is left running")
        return 130
    say(f"{(time.monotonic() - began) / 60:.0f} minutes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
