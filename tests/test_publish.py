"""broadcast() from everywhere: threads, loops, forks, transactions, plain processes, the command line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction

from realtime import (
    EngineUnavailable,
    InvalidEvent,
    InvalidTopic,
    Misconfigured,
    Unencodable,
    abroadcast,
    broadcast,
    conf,
)
from tests import engines

ROOT = Path(__file__).parents[1]


class Listener:
    """Hears every topic, without any server."""

    def __init__(self, url: str) -> None:
        self.client = engines.raw(url)
        self.pubsub = self.client.pubsub(ignore_subscribe_messages=True)
        self.pubsub.psubscribe(conf.keys().every_bus)
        self.pubsub.get_message(timeout=5)

    def heard(self, count: int) -> list[tuple[str, str, Any]]:
        """Return (topic, event, payload) of the next broadcasts; fails when there are not so many."""
        found = []
        while len(found) < count:
            message = self.pubsub.get_message(timeout=5)
            assert message is not None, f"heard only {found}"
            event, _, _, payload = json.loads(message["data"])
            found.append((conf.keys().topic_of(message["channel"].decode()), event, payload))
        return found

    def heard_nothing(self) -> bool:
        self.client.publish(conf.keys().bus("end"), '["end",null,null,{}]')
        return self.heard(1) == [("end", "end", {})]


@pytest.fixture
def listener(engine: str) -> Iterator[Listener]:
    listener = Listener(engine)
    yield listener
    listener.pubsub.close()
    listener.client.close()


def test_a_broadcast_from_plain_code_is_heard(listener: Listener) -> None:
    broadcast("rooms:lobby", "new:message", {"content": "hi"})
    assert listener.heard(1) == [("rooms:lobby", "new:message", {"content": "hi"})]


def test_no_payload_is_an_empty_one(listener: Listener) -> None:
    broadcast("rooms:lobby", "ping")
    assert listener.heard(1) == [("rooms:lobby", "ping", {})]


def test_many_threads_may_broadcast(listener: Listener) -> None:
    threads = [threading.Thread(target=broadcast, args=("t", "e", {"n": number})) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(payload["n"] for _, _, payload in listener.heard(40)) == list(range(40))


async def test_inside_a_running_loop_the_sync_verb_works_too(listener: Listener) -> None:
    broadcast("t", "e", {"n": 1})
    assert await asyncio.to_thread(listener.heard, 1) == [("t", "e", {"n": 1})]


def test_the_async_verb_works_in_any_loop(listener: Listener) -> None:
    async def main() -> None:
        for number in range(100):
            await abroadcast("t", "e", {"n": number})

    for _ in range(2):
        asyncio.run(main())
        assert [payload["n"] for _, _, payload in listener.heard(100)] == list(range(100))


def test_a_forked_child_may_broadcast_and_its_parent_still(listener: Listener) -> None:
    broadcast("t", "parent", {})  # a connection is open before the fork
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            broadcast("t", "child", {})
        os._exit(0)
    os.waitpid(child, 0)
    broadcast("t", "parent", {})
    assert [event for _, event, _ in listener.heard(3)] == ["parent", "child", "parent"]


# Transactions


@pytest.mark.django_db(transaction=True)
def test_inside_a_transaction_it_waits_for_the_commit(listener: Listener) -> None:
    payload = {"state": "as it was"}
    with transaction.atomic():
        broadcast("t", "inside", payload)
        payload["state"] = "changed later"
        broadcast("t", "at once", on_commit=False)
        with transaction.atomic():
            broadcast("t", "nested", {})
        assert listener.heard(1) == [("t", "at once", {})]
        assert listener.heard_nothing()
    assert listener.heard(2) == [("t", "inside", {"state": "as it was"}), ("t", "nested", {})]


@pytest.mark.django_db(transaction=True)
def test_a_rollback_sends_nothing(listener: Listener) -> None:
    with contextlib.suppress(ZeroDivisionError), transaction.atomic():
        broadcast("t", "rolled back", {})
        raise ZeroDivisionError
    assert listener.heard_nothing()


@pytest.mark.django_db(transaction=True)
def test_an_inner_rollback_sends_only_what_is_outside(listener: Listener) -> None:
    with transaction.atomic():
        broadcast("t", "outer", {})
        with contextlib.suppress(ZeroDivisionError), transaction.atomic():
            broadcast("t", "inner", {})
            raise ZeroDivisionError
    assert listener.heard(1) == [("t", "outer", {})]
    assert listener.heard_nothing()


@pytest.mark.django_db(transaction=True)
def test_an_error_is_raised_at_the_caller_not_at_the_commit(listener: Listener) -> None:
    with transaction.atomic(), pytest.raises(Unencodable):
        broadcast("t", "e", {"a": object()})


@pytest.mark.django_db(transaction=True)
def test_a_commit_stands_when_the_engine_is_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    away(monkeypatch)
    with transaction.atomic():
        broadcast("t", "e", {})
    assert "the engine does not answer" in caplog.text


# Errors


def away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "unix:///nowhere/at/all.sock")
    conf.engine.cache_clear()


def test_an_engine_that_is_away_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    away(monkeypatch)
    with pytest.raises(EngineUnavailable):
        broadcast("t", "e", {})
    with pytest.raises(EngineUnavailable):
        asyncio.run(abroadcast("t", "e", {}))


@pytest.mark.parametrize("topic", ["", "a b", "a\n", "phoenix", "x" * 256, 7, None])
def test_what_is_no_topic_is_an_error(topic: Any) -> None:
    with pytest.raises(InvalidTopic, match="1 to 255 bytes"):
        broadcast(topic, "e", {})


@pytest.mark.parametrize("event", ["", None, 7])
def test_what_is_no_event_is_an_error(event: Any) -> None:
    with pytest.raises(InvalidEvent, match="an event is a name"):
        broadcast("t", event, {})


def test_no_engine_with_debug_off_is_an_error_that_names_the_ways_out(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    monkeypatch.delenv("REDIS_URL")
    monkeypatch.setattr(conf, "_debug", False)
    settings.DEBUG = False
    conf.engine.cache_clear()
    with pytest.raises(Misconfigured, match=r"REDIS_URL.*EMBEDDED"):
        broadcast("t", "e", {})


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"PREFX": "a"}, "no key 'PREFX': did you mean 'PREFIX'?"),
        ({"router": "a"}, "did you mean 'ROUTER'?"),
        ({"WAT": 1}, "there are ROUTER"),
    ],
)
def test_an_unknown_key_of_the_setting_is_an_error(settings: Any, given: dict[str, Any], says: str) -> None:
    settings.REALTIME = given
    with pytest.raises(Misconfigured) as caught:
        conf.settings()
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("path", "says"),
    [("", "is missing"), ("no.such.module", "cannot be imported"), ("chatty.urls.urlpatterns", "must be a Router")],
)
def test_a_router_that_is_none_is_an_error(settings: Any, path: str, says: str) -> None:
    settings.REALTIME = {"ROUTER": path}
    with pytest.raises(Misconfigured, match=says):
        conf.router()


# Other processes


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "chatty.settings", **environment}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False
    )


PLAIN = """
import django
django.setup()
from realtime import broadcast
for number in range(1000):
    broadcast("t", "e", {"n": number})
"""


def test_a_plain_process_sends_a_thousand_in_order_and_exits(listener: Listener) -> None:
    finished = run("-W", "error", "-c", PLAIN)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert [payload["n"] for _, _, payload in listener.heard(1000)] == list(range(1000))


def test_the_shell_broadcasts(listener: Listener) -> None:
    finished = run("manage.py", "shell", "-c", "from realtime import broadcast; broadcast('t', 'e', {'n': 1})")
    assert finished.returncode == 0, finished.stderr
    assert listener.heard(1) == [("t", "e", {"n": 1})]


def test_the_command_broadcasts(listener: Listener) -> None:
    call_command("broadcast", "rooms:lobby", "new:message", '{"content": "hi"}')
    call_command("broadcast", "rooms:lobby", "ping")
    assert listener.heard(2) == [("rooms:lobby", "new:message", {"content": "hi"}), ("rooms:lobby", "ping", {})]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("t", "e", "{"), "not JSON"),
        (("t", "e", "[1]"), "must be a JSON object"),
        (("a b", "e", "{}"), "a topic is"),
    ],
)
def test_the_command_says_what_is_wrong(arguments: tuple[str, ...], says: str) -> None:
    with pytest.raises(CommandError, match=says):
        call_command("broadcast", *arguments)


def test_the_routes_are_listed() -> None:
    output = StringIO()
    call_command("channelroutes", stdout=output)
    assert output.getvalue().splitlines() == [
        "Mount  Pattern            Channel                            Name",
        "/ws    rooms:<part:room>  chatty.channels.rooms.RoomChannel  room",
    ]
