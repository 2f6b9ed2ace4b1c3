"""The servers that are compared: how each is started, on which core, and ended for sure."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.places import LOGS, NODE, PEERS, PROBE, PYTHON, ROOT
from bench.processes import Broken, wait_until

HOST = "127.0.0.1"
UVICORN_OPTIONS = (
    *("--host", HOST, "--port", "{port}", "--backlog", "4096"),
    *("--loop", "uvloop", "--http", "httptools", "--ws", "websockets-sansio", "--ws-per-message-deflate", "false"),
    *("--no-access-log", "--log-level", "warning"),
)


@dataclass(frozen=True, slots=True)
class Server:
    """One way to serve the chat.

    protocol  what the load client has to speak
    command   with {port} where the port belongs
    settings  of Django; "" where there is none
    is_probe  a limit to compare with; nobody would use it
    """

    name: str
    protocol: str
    command: tuple[str, ...]
    settings: str = ""
    is_probe: bool = False


def uvicorn(application: str, *options: str) -> tuple[str, ...]:
    """Return the command of every Python server but daphne: they all get the same options."""
    return (str(PYTHON), "-m", "uvicorn", application, *UVICORN_OPTIONS, *options)


def daphne(application: str) -> tuple[str, ...]:
    return (str(PYTHON), "-m", "daphne", "-b", HOST, "-p", "{port}", "-v", "0", application)


def realtime(name: str, command: tuple[str, ...]) -> Server:
    return Server(name, "phoenix", command, "bench.chat.settings")


def raw_channels(name: str, command: tuple[str, ...]) -> Server:
    return Server(name, "plain", command, "bench.peers.rawchannels.settings")


def probe(name: str, *command: str) -> Server:
    return Server(name, "phoenix", command, is_probe=True)


REALTIME = realtime("realtime", uvicorn("bench.chat.asgi:application"))
REALTIME_TWO = realtime("realtime, 2 workers", uvicorn("bench.chat.asgi:application", "--workers", "2"))
REALTIME_DAPHNE = realtime("realtime on daphne", daphne("bench.chat.asgi:application"))
CHANNELS = raw_channels("Channels consumer", uvicorn("bench.peers.rawchannels.asgi:application"))
CHANNELS_DAPHNE = raw_channels("Channels consumer on daphne", daphne("bench.peers.rawchannels.asgi:application"))
PYTHON_SOCKETIO = Server("python-socketio", "socketio", uvicorn("bench.peers.pysocketio:application"))
NODE_WS = Server("node ws", "plain", ("node", str(PEERS / "ws.cjs"), "{port}"))
NODE_SOCKETIO = Server("node socket.io", "socketio", ("node", str(PEERS / "socketio.cjs"), "{port}"))
PROBE_C = probe("probe: C", str(PROBE), "{port}")
PROBE_GATHERING = probe("probe: C, gathering", str(PROBE), "{port}", "gather")
PROBE_HUB = probe("probe: hub in Python", *uvicorn("bench.peers.hub:application"))
PROBE_BARE = probe("probe: bare ASGI", *uvicorn("bench.peers.bare:application"))


# Running one


@dataclass(frozen=True, slots=True)
class Running:
    pid: int
    port: int


@contextmanager
def running(server: Server, environment: dict[str, str], core: int | None = None) -> Iterator[Running]:
    """Run it until the block ends, on one core or wherever the kernel likes. Raises Broken, with its last words."""
    port = free_port()
    command = [part.format(port=port) for part in server.command]
    log = LOGS / f"{server.name.replace(' ', '-').replace(':', '')}.log"
    with process(pinned(command, core), {**environment, **settings_of(server)}, log) as started:
        wait_until(lambda: accepts(port) or started.poll() is not None, f"{server.name} to listen")
        if started.poll() is not None:
            raise Broken(f"{server.name} has ended:\n{log.read_text()[-2000:]}")
        yield Running(started.pid, port)


@contextmanager
def process(command: Sequence[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own: Ctrl-C reaches it through us alone, and all it started ends with it."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        started = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield started
    finally:
        started.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            started.wait(5)
        end_group(started)


def end_group(started: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a session, and wait until it is gone: it would take part of the next run's core."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            os.killpg(started.pid, signal.SIGKILL)
        except ProcessLookupError:
            break
        started.poll()
        time.sleep(0.02)
    started.wait(5)


def settings_of(server: Server) -> dict[str, str]:
    return {"NODE_PATH": str(NODE / "node_modules"), "DJANGO_SETTINGS_MODULE": server.settings}


def pinned(command: Sequence[str], core: int | None) -> list[str]:
    return [*([] if core is None else ["taskset", "-c", str(core)]), *command]


def free_port() -> int:
    with socket.socket() as found:
        found.bind((HOST, 0))
        return int(found.getsockname()[1])


def accepts(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True
