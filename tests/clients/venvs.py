"""A venv for each client from PyPI, for they do not get along: one is imported as `realtime`, as we are."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
VAR = HERE.parents[1] / "var" / "clients"  # git ignores it


def python_of(client: str) -> Path:
    """Return the Python of a venv that holds what CLIENT.txt names; it is made where there is none, or an old one.

    Raises subprocess.CalledProcessError where that fails, with what pip said in its `stderr`.
    """
    requirements = HERE / f"{client}.txt"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"  # tests may run on several side by side
    venv = VAR / f"{client}-{version}"
    VAR.mkdir(parents=True, exist_ok=True)
    with VAR.joinpath(f"{venv.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        mark = venv / ".made"
        wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
        if not (mark.exists() and mark.read_text() == wanted):
            make(venv, requirements)
            mark.write_text(wanted)
    return venv / "bin" / "python"


def make(venv: Path, requirements: Path) -> None:
    run(sys.executable, "-m", "venv", "--clear", venv)
    run(venv / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", requirements)


def run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
