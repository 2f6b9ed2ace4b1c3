"""Install what the bench compares with and measures with: a venv, Node packages, two programs in C.

    python -m bench.install

Everything goes under var/bench, at the versions of bench/peers; what is there already and up to date stays. Needs
Python's venv, gcc, node and npm.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.places import CLIENT, NODE, PEERS, PROBE, PYTHON, ROOT, VAR, VENV, WSLOAD

NODE_FILES = [PEERS / "package.json", PEERS / "package-lock.json", ROOT / ".npmrc"]
WARNINGS = ["-Wall", "-Wextra"]


class Missing(Exception):
    """A program that the bench needs is not installed, or failed."""


def install() -> None:
    """Make everything that is not there or out of date. Raises Missing."""
    VAR.mkdir(parents=True, exist_ok=True)
    install_python()
    install_node()
    compile_probe()
    compile_client()


def install_python() -> None:
    requirements = PEERS / "requirements.txt"
    mark = VENV / ".made"
    wanted = digest([requirements], sys.version)
    if PYTHON.exists() and is_marked(mark, wanted):
        return
    print(f"Installing the servers in Python into {VENV.relative_to(ROOT)} (a minute, once)", flush=True)
    run([sys.executable, "-m", "venv", "--clear", VENV])
    run([PYTHON, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "-r", requirements])
    mark.write_text(wanted)


def install_node() -> None:
    mark = NODE / ".made"
    wanted = digest(NODE_FILES)
    if is_marked(mark, wanted):
        return
    print(f"Installing the servers in Node into {NODE.relative_to(ROOT)}", flush=True)
    NODE.mkdir(exist_ok=True)
    for path in NODE_FILES:
        shutil.copy(path, NODE)
    run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], folder=NODE)
    mark.write_text(wanted)


def compile_probe() -> None:
    compile_c(PEERS / "probe.c", PROBE)


def compile_client() -> None:
    compile_c(CLIENT / "wsload.c", WSLOAD, "-shared", "-fPIC")


def compile_c(source: Path, program: Path, *options: str) -> None:
    """Compile one file, unless all the C of its folder is as it was."""
    mark = program.with_name(f"{program.name}.made")
    wanted = digest(sorted(source.parent.glob("*.[ch]")))
    if program.exists() and is_marked(mark, wanted):
        return
    program.parent.mkdir(parents=True, exist_ok=True)
    made = program.with_name(f"{program.name}.{os.getpid()}")  # then moved, for another process may run the old one
    run(["gcc", "-O2", *WARNINGS, *options, "-o", made, source])
    made.replace(program)
    mark.write_text(wanted)


# private


def run(command: Sequence[str | Path], folder: Path = ROOT) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True)
    except FileNotFoundError as error:
        raise Missing(f"{command[0]} is needed, and not installed") from error
    except subprocess.CalledProcessError as error:
        raise Missing(f"{' '.join(map(str, command))} failed") from error


def digest(paths: Sequence[Path], also: str = "") -> str:
    return hashlib.sha256(b"\0".join([*(path.read_bytes() for path in paths), also.encode()])).hexdigest()


def is_marked(mark: Path, wanted: str) -> bool:
    return mark.exists() and mark.read_text() == wanted


if __name__ == "__main__":
    try:
        install()
    except Missing as error:
        sys.exit(f"bench: {error}")
