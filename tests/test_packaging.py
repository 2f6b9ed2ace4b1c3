"""What a user gets from the wheel, and a packager from the sdist."""

from __future__ import annotations

import subprocess
import tarfile
from email import message_from_string
from pathlib import Path
from zipfile import ZipFile

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> ZipFile:
    with ZipFile(next(WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("wheel"))))) as wheel:
        yield wheel


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> set[str]:
    path = next(SdistBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("sdist"))))
    with tarfile.open(path) as archive:
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


@pytest.mark.parametrize("name", ["realtime/static/realtime/realtime.js", "realtime/py.typed"])
def test_the_wheel_carries(wheel, name):
    assert name in wheel.namelist()


def test_the_sdist_carries_the_tests_and_the_chat(sdist):
    assert source("tests") | source("chatty") | {"manage.py", "README.md", "LICENSE"} <= sdist


def test_the_license_is_named_and_carried(wheel, metadata):
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert [name for name in wheel.namelist() if name.endswith(".dist-info/licenses/LICENSE")]


def test_no_package_of_tests_or_tools_comes_with_the_library(metadata):
    needed = {line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line}
    assert not [line for line in needed if line.startswith(("pytest", "playwright", "ruff", "mypy", "uvicorn"))]
