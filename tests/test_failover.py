"""The demonstration of the topic servers keeps its promises, and leaves nothing running."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers import ROOT, wait_until

PATIENCE = 120.0
MARK = "REALTIME_FAILOVER_RUN"


@contextmanager
def demonstration(mark: str) -> Iterator[subprocess.Popen[str]]:
    """The demonstration in short, as a process; `mark` is in its environment and in that of all that it starts."""
    command = [sys.executable, "-m", "bench.failover", "--quick"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", MARK: mark}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()  # it ends what it has started


def running(mark: str) -> set[str]:
    """Return what runs with that mark."""
    found = set()
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{MARK}={mark}".encode() in (place / "environ").read_bytes().split(b"\0"):
                found.add((place / "cmdline").read_text().replace("\0", " "))
    return found


def test_a_killed_leader_and_a_paused_one_are_replaced_and_each_topic_is_collected_once() -> None:
    mark = secrets.token_hex(8)
    with demonstration(mark) as process:
        said, _ = process.communicate(timeout=PATIENCE)
    print(said)
    assert process.returncode == 0
    story = [
        r"server A \| leader, term \d+",
        r"server B \| standby behind",
        r"20,000 topics created in",
        r"count before: 20,200 topics",
        r"killed server A \(kill -9 \d+\)",
        r"server B \| leader, term \d+",
        r"new leader after \d\.\d s: server B",
        r"count after: 200 topics",
        r"paused server B",
        r"new leader after \d\.\d s: server C",
        r"in the name of server B, term \d+, is refused",
        r"resumed server B",
        r"server B \| demoted by term \d+",
        r"kept    another leads within 2 \+ 3 s after kill -9 +\d\.\d s",
        r"kept    topics without listeners go +0 of 20,000 left",
        r"kept    topics with listeners stay +200 of 200 left",
        r"kept    none is collected twice: the engine's ledger +20,000 collected",
        r"nothing is left running",
    ]
    assert re.search(".*".join(story), said, re.DOTALL)
    assert "Traceback" not in said
    assert not running(mark)


def test_ctrl_c_ends_all_that_it_has_started() -> None:
    mark = secrets.token_hex(8)
    with demonstration(mark) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "server B | standby" in line:
                break
        assert len(running(mark)) >= 3  # itself, two topic servers
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    wait_until(lambda: not running(mark), "nothing to be left")


BEGINNING = """
import os, signal, subprocess, sys
from bench import processes

class Popen(subprocess.Popen):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        os.kill(os.getpid(), signal.SIGINT)  # just then

processes.end_on_signals()
subprocess.Popen = Popen
processes.Process("-c", "import time; time.sleep(60)", tell=print)
"""


def test_a_process_that_is_begun_at_ctrl_c_is_not_left_behind() -> None:
    mark = secrets.token_hex(8)
    command = [sys.executable, "-c", BEGINNING]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, MARK: mark}, stderr=subprocess.DEVNULL, timeout=30, check=False
    )
    assert done.returncode in (1, 130, -signal.SIGINT)
    assert not running(mark)
