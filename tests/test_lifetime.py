"""What a server's process does once, before its first socket."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from django.core import mail

from realtime import lifetime


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is asked of the garbage collector."""
    asked: list[str] = []
    fake = SimpleNamespace(collect=lambda: asked.append("collect"), freeze=lambda: asked.append("freeze"))
    monkeypatch.setattr(lifetime, "gc", fake)
    lifetime.settle.cache_clear()
    yield asked
    lifetime.settle.cache_clear()


def test_what_is_loaded_is_collected_and_frozen_once(steps: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(mail, "outbox")
    lifetime.settle()
    lifetime.settle()
    assert steps == ["collect", "freeze"]


def test_nothing_is_frozen_in_a_test_run(steps: list[str]) -> None:
    lifetime.settle()
    assert steps == []
    assert gc.get_freeze_count() == 0
