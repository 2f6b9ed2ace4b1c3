"""A venv is made once for each list of requirements, and whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients import venvs


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What has been made, in the place of pip: the contents of the lists."""
    made: list[str] = []

    def make(venv: Path, requirements: Path) -> None:
        venv.mkdir(exist_ok=True)
        made.append(requirements.read_text())
        if "missing" in made[-1]:
            raise OSError("no such package")

    monkeypatch.setattr(venvs, "HERE", tmp_path)
    monkeypatch.setattr(venvs, "VAR", tmp_path / "var")
    monkeypatch.setattr(venvs, "make", make)
    return made


def test_it_is_made_once_and_anew_for_another_list(made: list[str], tmp_path: Path) -> None:
    for requirements in ("a==1", "a==1", "a==2"):
        tmp_path.joinpath("client.txt").write_text(requirements)
        python = venvs.python_of("client")
    assert made == ["a==1", "a==2"]
    assert python.is_relative_to(tmp_path / "var")


def test_one_that_could_not_be_made_is_tried_again(made: list[str], tmp_path: Path) -> None:
    tmp_path.joinpath("client.txt").write_text("missing==1")
    for _ in range(2):
        with pytest.raises(OSError, match="no such package"):
            venvs.python_of("client")
    assert len(made) == 2
