"""Where the bench keeps what it installs: all of it under var/bench, which git ignores."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
PEERS = ROOT / "bench" / "peers"
CLIENT = ROOT / "bench" / "client"
RESULTS = ROOT / "bench" / "results"

VAR = ROOT / "var" / "bench"
VENV = VAR / "venv"
PYTHON = VENV / "bin" / "python"  # of every server in Python, ours too
NODE = VAR / "node"
PROBE = VAR / "probe"
WSLOAD = VAR / "wsload.so"
LOGS = VAR / "logs"
PARTIAL = VAR / "partial"  # results of a run that was no whole one
