"""The plugin in projects of others: whatever plugins they have, whether they use it or not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SETTINGS = """
SECRET_KEY = "x"
INSTALLED_APPS = ["realtime"]
REALTIME = {"ROUTER": "routing.router"}
DATABASES = {}
USE_TZ = True
"""
ROUTING = """
from realtime import Channel, Router, broadcast, channel, handle_in

class Echo(Channel):
    def join(self, payload):
        return {}

    @handle_in("echo")
    def echo(self, payload):
        return payload

router = Router("/ws", [channel("echo", Echo)])
"""
SYNC = """
def test_sync(realtime_client):
    room = realtime_client.connect().join("echo")
    room.assert_reply(room.push("echo", {"n": 1}), "ok", {"n": 1})
"""
ASYNC = """
import pytest

@pytest.mark.asyncio
async def test_async(async_realtime_client):
    room = await (await async_realtime_client.connect()).join("echo")
    await room.assert_reply(await room.push("echo", {"n": 1}), "ok", {"n": 1})
"""
PLAIN = """
import sys

def test_plain():
    from django.conf import settings
    assert not settings.configured
    assert not [name for name in sys.modules if name.startswith("realtime.testing.")]
"""
MIXIN = """
from django.test import SimpleTestCase
from realtime import broadcast
from realtime.testing import RealtimeMixin

class Tests(RealtimeMixin, SimpleTestCase):
    def test_sync(self):
        room = self.realtime_client.connect().join("echo")
        broadcast("echo", "news")
        room.assert_push("news")

    async def test_async(self):
        room = await (await self.async_realtime_client.connect()).join("echo")
        await room.assert_reply(await room.push("echo", {"n": 1}), "ok", {"n": 1})
"""


def run(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    env |= {"DJANGO_SETTINGS_MODULE": "settings", **environment}
    env.pop("PYTEST_ADDOPTS", None)
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "settings.py").write_text(SETTINGS)
    (tmp_path / "routing.py").write_text(ROUTING)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nDJANGO_SETTINGS_MODULE = settings\nasyncio_default_fixture_loop_scope = function\n"
    )
    return tmp_path


def test_it_works_in_a_project_without_a_database(project: Path) -> None:
    (project / "test_it.py").write_text(SYNC + ASYNC)
    finished = run(project, "-W", "error", "-m", "pytest", "-q")
    assert "2 passed" in finished.stdout, finished.stdout + finished.stderr


def test_a_project_that_does_not_use_it_does_not_notice_it(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(PLAIN)
    finished = run(tmp_path, "-m", "pytest", "-q", DJANGO_SETTINGS_MODULE="")
    assert "1 passed" in finished.stdout, finished.stdout + finished.stderr


def test_djangos_own_runner(project: Path) -> None:
    (project / "test_it.py").write_text(MIXIN)
    finished = run(project, "-m", "django", "test", "--settings", "settings")
    assert "Ran 2 tests" in finished.stderr, finished.stdout + finished.stderr
    assert finished.returncode == 0, finished.stderr
