"""manage.py topicserver as processes: who leads, who stands by, and how each of them ends."""

from __future__ import annotations

import json
import os
import signal
from contextlib import ExitStack
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from realtime import conf, topics
from realtime.engine import election
from realtime.engine.registry import Registry
from tests import engines
from tests.commands import Command, run

pytestmark = pytest.mark.usefixtures("empty_engine")

OTHER = "elsewhere:17:00c0ffee"


def call(*arguments: str) -> list[str]:
    """Run the command in this process, and return the lines that it writes."""
    output = StringIO()
    call_command("topicserver", *arguments, stdout=output)
    return output.getvalue().splitlines()


def fails(*arguments: str) -> str:
    with pytest.raises(CommandError) as caught:
        call(*arguments)
    return str(caught.value)


def create_due(*names: str) -> None:
    """Create topics that may be collected at once."""
    for made in Registry(conf.keys(), (0.0, 0.0)).create(names):
        topics.ask(made)


def events(command: Command) -> list[dict[str, Any]]:
    return [json.loads(line) for line in command.lines]


def has_processes(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


# Two of them


def test_the_second_stands_by_and_leads_when_the_first_ends() -> None:
    with ExitStack() as stack:
        first = stack.enter_context(Command("topicserver", "--collect-after", "0", "0"))
        first.until("leader, term ")
        second = stack.enter_context(Command("topicserver", "--json"))
        second.until('"standby"')
        topics.create("a")  # with this project's time, a minute and more: the leader's holds
        first.until("collected 1 topic")
        assert first.end(signal.SIGTERM) == 0
        second.until('"leading"')
        leader = topics.leader()
        assert leader is not None and leader.holder.split(":")[1] == str(second.pid)
        assert second.end(signal.SIGINT) == 0
        assert topics.leader() is None
        term = first.lines[0].removeprefix("leader, term ")
        assert first.lines[1:] == ["collected 1 topic", f"handed over, term {term} is at its end"]
        standby, leading, released = events(second)
        assert [standby["event"], leading["event"], released["event"]] == ["standby", "leading", "released"]
        assert (standby["term"], standby["holder"].split(":")[1]) == (int(term), str(first.pid))
        assert int(term) < leading["term"] == released["term"] == leader.term
        assert (first.errors, second.errors) == ("", "")
        assert not has_processes(first.pid) and not has_processes(second.pid)


def test_it_waits_for_an_engine_that_is_away_at_the_start() -> None:
    port = engines.port_of_our_own()
    with Command("topicserver", REDIS_URL=f"redis://127.0.0.1:{port}") as server:
        server.until("waiting for the engine: ")
        with engines.valkey(port=port):
            server.until("leader, term ")
            assert server.end(signal.SIGTERM) == 0
            assert server.lines[-1].startswith("handed over, term ")
        assert server.output.count("waiting for the engine") == 1
        assert "Traceback" not in server.errors


# --once


def test_once_collects_what_is_due_and_hands_over() -> None:
    create_due("a", "b")
    topics.create("later")
    leading, collected, released = call("--once")
    assert leading.startswith("leader, term ") and released.startswith("handed over, term ")
    assert collected == "collected 2 topics"
    assert topics.list() == ["later"]
    assert topics.leader() is None


def test_once_takes_dead_nodes_out_of_their_topics() -> None:
    registry, place = conf.registry(), conf.keys().of("a")
    topics.ask(registry.beat(place, OTHER, is_new=True))
    topics.ask(registry.join("a", OTHER, 1, 1))
    [node] = topics.nodes()
    topics.ask(registry.reap(place, 1, "an earlier leader", OTHER, node.seen, 0))  # it is dead, and nothing more
    found = [json.loads(line) for line in call("--once", "--json")]
    assert [event["event"] for event in found] == ["leading", "removed", "released"]
    assert (found[1]["node"], found[1]["topics"], found[1]["is_over"]) == (OTHER, ["a"], True)
    assert topics.nodes() == []


def test_once_behind_another_exits_with_3() -> None:
    create_due("a")
    topics.ask(election.acquire(conf.keys(), OTHER, 60.0))
    finished = run("topicserver", "--once")
    assert finished.returncode == 3, finished.stderr
    assert finished.stdout.startswith("standby behind elsewhere:17, term ")
    assert topics.exists("a")
    leader = topics.leader()
    assert leader is not None and leader.holder == OTHER


def test_once_without_an_engine_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{engines.port_of_our_own()}")
    conf.engine.cache_clear()
    assert fails("--once").startswith("the engine does not answer")


# --dry-run


def test_a_dry_run_tells_what_is_due_and_changes_nothing(engine: str) -> None:
    create_due("a", "b")
    topics.create("later")
    before = everything(engine)
    now, then = call("--dry-run")
    assert now == "2 topics would be collected now, 1 later"
    assert then.startswith("the next of them in ")
    [found] = map(json.loads, call("--dry-run", "--json"))
    assert 0 < found.pop("next_in") <= conf.settings().COLLECT_AFTER[1]
    assert found == {"event": "due", "now": 2, "later": 1}
    assert everything(engine) == before


def test_a_dry_run_of_nothing_says_so() -> None:
    assert call("--dry-run") == ["0 topics would be collected now, 0 later"]


def everything(url: str) -> dict[bytes, Any]:
    with engines.nodes(url) as found:
        return {key: node.dump(key) for node in found for key in node.scan_iter()}


# What it is given


@pytest.mark.parametrize("earliest, latest", [("3", "1"), ("-1", "5"), ("0", "-1"), ("nan", "1"), ("0", "inf")])
def test_times_that_cannot_be_are_refused(earliest: str, latest: str) -> None:
    assert fails("--dry-run", "--collect-after", earliest, latest) == (
        "--collect-after takes two numbers of seconds, the smaller first: --collect-after 10 20"
    )


def test_what_is_no_number_is_refused() -> None:
    assert "invalid float value: 'soon'" in fails("--collect-after", "soon", "later")
