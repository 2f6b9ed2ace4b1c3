"""Scenarios of JavaScript clients, played in a process of Node against a real server."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.servers import ROOT, Server

PACKAGES = ["phoenix", "phoenix-1.7", "@supabase/realtime-js", "ws"]
MISSING = "Node or its packages not found: install Node 20 or later, and run `npm ci`"
PATIENCE = 120.0  # more than a scenario has (waiting.mjs), for it can say what it waited for

# With DEBUG on, clients are shown the text of exceptions.
PRODUCTION = {"DEBUG": "0", "SECRET_KEY": "of these tests"}


def find_node() -> str:
    """Return the path of Node, or skip the test where it or a package is missing."""
    path = shutil.which("node")
    if path is None or not all((ROOT / "node_modules" / package).is_dir() for package in PACKAGES):
        pytest.skip(MISSING)
    return path


def lab_server(kind: str, engine_url: str) -> Server:
    """Return a server of the lab (routing.py), not yet started."""
    return Server(kind, DJANGO_SETTINGS_MODULE="tests.e2e.settings", REDIS_URL=engine_url, **PRODUCTION)


def perform(node: str, script: Path, client: str, server: Server, scenario: str, **asked: Callable[[], None]) -> Any:
    """Run `script` with one of its clients, do what it asks for, and return the result of the scenario.

    Each line that it prints is JSON: {"ask": one of `asked`} wants that done, and a line back; {"result": …} is last.
    """
    command = [node, str(script), client, server.socket_url, scenario]
    result = None
    with (
        tempfile.TemporaryFile("w+") as complaints,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, text=True
        ) as process,
    ):
        limit = threading.Timer(PATIENCE, process.kill)
        limit.start()
        try:
            for line in process.stdout:
                said = json.loads(line)
                if "ask" in said:
                    asked[said["ask"]]()
                    print("done", file=process.stdin, flush=True)
                else:
                    result = said["result"]
            code = process.wait()
        finally:
            process.kill()
            limit.cancel()
            limit.join()
        complaints.seek(0)
        assert code == 0, f"{scenario} ended with {code}\n{complaints.read()}"
    return result
