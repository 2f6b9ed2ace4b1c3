"""The process that owns the embedded Valkey. Started by path, so it imports nothing but the standard library.

    python -I -S supervisor.py [--idle 30] FOLDER BINARY

FOLDER is private to one user and holds
  lock         an flock, held for as long as this process or its Valkey lives. The file stays for good: were it
               removed, one process could lock the removed file while another locks its successor
  pid          this process; SIGTERM or SIGINT ends it and Valkey
  valkey.sock  where Valkey listens
  log          what both have written since the last start
All are named relative to FOLDER: should it be deleted and made anew, we cannot touch what our successor puts there.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
import time

LOCK, PID, SOCKET, LOG = "lock", "pid", "valkey.sock", "log"
RETIRED = SOCKET + ".retired"
PERIOD = 1.0  # between two looks at who is connected
PATIENCE = 5.0  # for a predecessor that is just ending
START = 30.0  # for Valkey to answer; it takes 0.04 on a quiet machine
CONFIG = shlex.split(f"""
    --port 0 --unixsocket {SOCKET} --unixsocketperm 700
    --save '' --appendonly no --maxmemory-policy noeviction --loglevel warning
""")


def answers(path: str, timeout: float = 1.0) -> bool:
    """Return whether a server at this Unix socket replies to PING. Any reply will do: a busy server is there too."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(timeout)
        try:
            probe.connect(path)
            probe.sendall(b"PING\r\n")
            return bool(probe.recv(64))
        except OSError:
            return False


class Valkey:
    """The server, and the one connection through which we watch it."""

    def __init__(self, binary: str, lock: int) -> None:
        us = os.getpid()
        # The lock goes with it: should we be killed, our successor waits until Valkey, too, is gone.
        self.process = subprocess.Popen(
            [binary, *CONFIG],
            stdout=2,
            pass_fds=[lock],
            preexec_fn=lambda: die_with(us),  # noqa: PLW1509  (we have no threads)
        )
        self.guard = None if sys.platform == "linux" else Guard(self.process.pid)
        self.connection = socket.socket(socket.AF_UNIX)
        self.replies = self.connection.makefile("rb")

    def connect(self) -> None:
        deadline = time.monotonic() + START
        while self.process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                return self.connection.connect(SOCKET)
            time.sleep(0.005)
        sys.exit(f"supervisor: Valkey did not start (exit status {self.process.poll()})")

    def traffic(self) -> tuple[int, int]:
        """Return how many clients other than us are connected, and how many ever came."""
        # Not CLIENT LIST: INFO costs the same whether one client is connected or ten thousand.
        self.connection.sendall(b"INFO clients stats\r\n")
        header = self.replies.readline()
        if not header:
            raise ConnectionResetError("Valkey is gone")
        body = self.replies.read(int(header[1:]) + 2) if header.startswith(b"$") else b""
        fields = dict(line.split(b":", 1) for line in body.splitlines() if b":" in line)
        # No body: a script has run for seconds and Valkey answers -BUSY. Somebody is using it.
        return int(fields.get(b"connected_clients", 2)) - 1, int(fields.get(b"total_connections_received", 0))

    def shut_down(self) -> None:
        self.connection.settimeout(2)
        with contextlib.suppress(OSError):
            self.connection.sendall(b"SHUTDOWN NOSAVE\r\n")
            self.connection.recv(1)

    def kill(self) -> None:
        """End it for certain. Nothing is ever saved, so nothing is lost by it."""
        self.process.kill()
        self.process.wait()
        if self.guard:
            self.guard.dismiss()


# Valkey dies with us, even when we are killed


def die_with(parent: int) -> None:
    """Have the kernel kill this process, a child about to become Valkey, when `parent` ends."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1 is PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it ended before we asked
            os._exit(1)


class Guard:
    """Does the same where the kernel does not: a process that sees our end of a pipe close, and kills Valkey."""

    def __init__(self, valkey: int) -> None:
        ours, self.pipe = os.pipe()
        if os.fork() == 0:
            try:
                os.close(self.pipe)
                if not os.read(ours, 1):
                    os.kill(valkey, signal.SIGKILL)
            finally:
                os._exit(0)
        os.close(ours)

    def dismiss(self) -> None:
        with contextlib.suppress(OSError):
            os.write(self.pipe, b".")


# One supervisor per folder


def take_lock() -> int | None:
    """Return the lock, open and held, or None when another supervisor has it and its server answers."""
    import fcntl  # absent on Windows, where this file must still be importable

    lock = os.open(LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            if answers(SOCKET):
                return None
            time.sleep(0.02)
    sys.exit("supervisor: another one holds the lock, but its server does not answer")


def holds(lock: int) -> bool:
    """Return whether `lock` is still the folder's lock file. Somebody may have emptied the folder under us."""
    try:
        return os.path.samestat(os.stat(LOCK), os.fstat(lock))
    except FileNotFoundError:
        return False


def sweep() -> None:
    """Remove what a server leaves behind; only for the holder of the lock."""
    for name in (SOCKET, RETIRED, PID):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


def ready() -> None:
    """Tell the process that started us, if it is still there, and let go of its pipe."""
    with contextlib.suppress(OSError):
        os.write(1, b"ready")
    os.dup2(2, 1)


def retire(valkey: Valkey, arrivals: int) -> bool:
    """Take the socket out of reach and return True, or put it back if somebody came after the first `arrivals`."""
    os.rename(SOCKET, RETIRED)
    # Valkey accepts and reads in one turn of its loop, in any order: whoever connected before the rename has been
    # accepted by the end of the turn that answers the first question, and so is counted in the second answer.
    valkey.traffic()
    if valkey.traffic() == (0, arrivals):
        return True
    os.rename(RETIRED, SOCKET)
    return False


def watch(valkey: Valkey, lock: int, idle: float) -> str:
    """Return, when it is time to end, why: nobody for `idle` seconds, or Valkey or our files are gone."""
    seen, since = 0, time.monotonic()
    while holds(lock) and os.path.exists(SOCKET):
        try:
            clients, arrivals = valkey.traffic()
            if clients or arrivals != seen:
                seen, since = arrivals, time.monotonic()
            elif time.monotonic() - since >= idle and retire(valkey, arrivals):
                return f"no client for {idle:g} s"
        except OSError:
            return "Valkey is gone"
        select.select([valkey.connection], [], [], PERIOD)  # a pause, cut short by the end of Valkey
    return "the folder's files were removed"


def serve(valkey: Valkey, lock: int, idle: float) -> None:
    """Run until it is time to end, then end Valkey, whatever happens."""
    try:
        valkey.connect()
        ready()
        print("supervisor: ending,", watch(valkey, lock, idle), file=sys.stderr, flush=True)
    finally:
        if holds(lock):  # else Valkey would, as its last act, remove the socket of our successor
            valkey.shut_down()
        valkey.kill()


def own(lock: int, binary: str, idle: float) -> None:
    """Do what the holder of the lock is there for."""
    os.truncate(2, 0)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit("supervisor: ending, as told by a signal"))
    try:
        sweep()
        with open(PID, "w") as file:
            file.write(f"{os.getpid()}\n")
        serve(Valkey(binary, lock), lock, idle)
    finally:
        if holds(lock):
            sweep()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("binary")
    parser.add_argument("--idle", type=float, default=30.0)
    options = parser.parse_args()
    os.chdir(options.folder)
    if os.fork():  # nobody's child: whoever started us has only this short-lived process to wait for
        os._exit(0)
    os.umask(0o077)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # inherited from whichever thread started us
    lock = take_lock()
    if lock is None:
        ready()
    else:
        own(lock, os.path.abspath(options.binary), options.idle)


if __name__ == "__main__":
    main()
