"""A soak: thousands of sockets join, chat, leave and reconnect, and at the end nothing is left of them, nor was lost.

    make soak, or python -m bench.soak [--minutes 10] [--sockets 5000]; it needs Linux

Two server processes on an engine of their own, crowds of clients and a process that broadcasts from outside. A first
crowd comes and goes, and what the servers and the engine hold then is the measure of what they hold at the end. It
exits with 1 if a promise was broken, and leaves nothing running.
"""

from __future__ import annotations

import argparse
import os
import resource
import secrets
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

import msgspec

from bench.processes import ROOT, Broken, end_on_signals, engine
from bench.soak.soak import Soak, say

RESULTS = ROOT / "bench" / "results" / "soak.json"
FILES = 40_000  # descriptors that a process may want; as many as the system lets it


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="of the soak itself, without what is around it")
    parser.add_argument("--sockets", type=int, default=5000)
    parser.add_argument("--topics", type=int, default=300, help="that most clients share")
    parser.add_argument("--servers", type=int, default=2)
    parser.add_argument("--crowds", type=int, default=2, help="processes full of clients")
    parser.add_argument("--pace", type=float, help="seconds between two acts of one client (sockets / 400)")
    parser.add_argument("--late", type=float, default=10.0, help="seconds after which what has not come is lost")
    parser.add_argument("--timeout", type=float, default=30.0, help="HEARTBEAT_TIMEOUT of the servers")
    parser.add_argument("--strict", action="store_true", help="nothing may come between a leave's reply and its close")
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    parser.add_argument("--json", type=Path, default=RESULTS, help="where the figures go")
    found = parser.parse_args()
    found.pace = found.pace or max(0.5, found.sockets / 400)
    return found


def allow_many_files() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES if most == resource.RLIM_INFINITY else min(most, FILES), most))


def main() -> int:
    asked = options()
    os.environ |= {"DJANGO_SETTINGS_MODULE": "bench.soak.settings", "SOAK_TIMEOUT": str(asked.timeout)}
    allow_many_files()
    end_on_signals()
    try:
        with engine() as client, ExitStack() as stack:
            soak = Soak(asked, client, stack)
            try:
                soak.run()
            except Broken as error:
                soak.broken.append(f"The soak was broken off: {error}.")
    except KeyboardInterrupt:
        say("\ninterrupted; nothing is left running")
        return 128 + signal.SIGINT
    asked.json.parent.mkdir(parents=True, exist_ok=True)
    asked.json.write_bytes(msgspec.json.format(msgspec.json.encode(soak.results()), indent=2) + b"\n")
    say(f"\n{soak.table()}\n")
    for sentence in soak.verdict():
        say(sentence)
    return 1 if soak.verdict() else 0


if __name__ == "__main__":
    sys.exit(main())
