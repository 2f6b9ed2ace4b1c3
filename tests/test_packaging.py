"""What a user gets from the wheel, and a packager from the sdist."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import venv
from email import message_from_string
from importlib.metadata import version
from pathlib import Path
from zipfile import ZipFile

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement

from tests.e2e.client import Client
from tests.oldest import oldest
from tests.servers import accepts, free_port, wait_until

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel_path(tmp_path_factory) -> str:
    return next(WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("wheel"))))


@pytest.fixture(scope="module")
def sdist_path(tmp_path_factory) -> str:
    return next(SdistBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("sdist"))))


@pytest.fixture(scope="module")
def wheel(wheel_path) -> ZipFile:
    with ZipFile(wheel_path) as wheel:
        yield wheel


@pytest.fixture(scope="module")
def sdist(sdist_path) -> set[str]:
    with tarfile.open(sdist_path) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


@pytest.fixture(scope="module")
def metadata(wheel):
    [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return message_from_string(wheel.read(name).decode())


def source(folder: str) -> set[str]:
    """The files of `folder` that git knows or would take; all but compiled ones where there is no git."""
    if (ROOT / ".git").exists():
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", folder]
        listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
        return {name for name in listed if name and (ROOT / name).exists()}
    files = (path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(ROOT).as_posix() for path in files}


def test_the_wheel_is_the_realtime_package_and_nothing_else(wheel):
    installed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert installed == source("realtime")


@pytest.mark.parametrize(
    "name",
    ["realtime/static/realtime/realtime.js", "realtime/templates/realtime/script.html", "realtime/py.typed"],
)
def test_the_wheel_carries(wheel, name):
    assert name in wheel.namelist()


def test_the_sdist_carries_the_tests_and_the_chat(sdist):
    assert source("tests") | source("chatty") | {"manage.py", "README.md", "LICENSE"} <= sdist


def test_the_license_is_named_and_carried(wheel, metadata):
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert [name for name in wheel.namelist() if name.endswith(".dist-info/licenses/LICENSE")]


FOREIGN = ("pytest", "playwright", "ruff", "mypy", "uvicorn", "uvloop", "httptools", "gunicorn", "whitenoise")


def test_no_package_of_tests_or_tools_comes_with_the_library(metadata):
    needed = {line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line}
    assert not [line for line in needed if line.startswith(FOREIGN)]


def test_what_serve_needs_comes_with_its_extra(metadata):
    extra = {line.partition(";")[0] for line in metadata.get_all("Requires-Dist") if "extra == 'serve'" in line}
    assert {re.split(r"[<>=]", line)[0] for line in extra} == {"uvicorn", "websockets", "uvloop", "httptools"}


def test_what_the_tests_run_on_is_what_pyproject_allows(metadata):
    """Each package in its oldest version where the venv was made with OLDEST=1: the lower bounds do not pretend."""
    needed = [Requirement(line) for line in metadata.get_all("Requires-Dist")]
    needed = [one for one in needed if one.marker is None or one.marker.evaluate({"extra": "test"})]
    assert {one.name.lower() for one in needed} - {metadata["Name"]} <= oldest().keys()
    constraints = Path(sys.prefix, "oldest.txt")
    if constraints.exists():
        assert constraints.read_text().split() == [f"{name}=={version}" for name, version in oldest().items()]
        needed = [Requirement(line) for line in constraints.read_text().split()]
    installed = {one.name: version(one.name) for one in needed}
    assert [one for one in needed if installed[one.name] not in one.specifier] == []


def test_both_pass_the_check_of_those_who_would_publish_them(wheel_path, sdist_path):
    command = [sys.executable, "-m", "twine", "check", "--strict", wheel_path, sdist_path]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


PROJECT = """
from django.conf import settings
settings.configure(DEBUG=True, ROOT_URLCONF="project", INSTALLED_APPS=["daphne", "realtime"],
                   ASGI_APPLICATION="project.application", REALTIME={"ROUTER": "project.router"})
from django.core.asgi import get_asgi_application
django, urlpatterns = get_asgi_application(), []
from realtime import Channel, Router, channel
class Room(Channel):
    async def join(self, payload, name): return {"welcome": name}
router = Router("/ws", [channel("rooms:<part:name>", Room)])
from realtime.asgi import with_realtime
application = with_realtime(django)
"""


async def test_a_fresh_venv_with_the_wheel_alone_runs_a_project_of_ten_lines(wheel_path, tmp_path, monkeypatch):
    python = tmp_path / "venv" / "bin" / "python"
    venv.create(tmp_path / "venv", with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", wheel_path], check=True)
    (tmp_path / "project.py").write_text(PROJECT)
    port = free_port()
    command = [python, "-m", "daphne", "-p", str(port), "project:application"]
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    server = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: accepts(port), "the project to answer")
        async with Client(f"ws://127.0.0.1:{port}/ws") as client:
            await client.send("1", "1", "rooms:lobby", "phx_join", {})
            assert (await client.receive())[4] == {"status": "ok", "response": {"welcome": "lobby"}}
    finally:
        server.terminate()
        server.wait(10)
