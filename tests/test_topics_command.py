"""manage.py topics: what it shows to people and to programs, and how it exits."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from realtime import conf, topics
from realtime.engine import election
from realtime.engine.scripts import Call
from realtime.management import shown
from tests import engines
from tests.commands import Command, run
from tests.servers import ROOT

pytestmark = pytest.mark.usefixtures("empty_engine")

WEB1, WEB2 = "web1:4242:9f3ac0de", "web2:17:00c0ffee"


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def call(*arguments: str, stderr: StringIO | None = None) -> list[str]:
    """Run the command, and return the lines that it writes."""
    output = StringIO()
    call_command("topics", *arguments, stdout=output, stderr=stderr or StringIO())
    return output.getvalue().splitlines()


def document(*arguments: str) -> Any:
    """Run the command with --json, and return what it says."""
    [line] = call(*arguments, "--json")
    return json.loads(line)


def fails(*arguments: str) -> str:
    with pytest.raises(CommandError) as caught:
        call(*arguments)
    assert caught.value.returncode == 1
    return str(caught.value)


def bear(*names: str) -> None:
    for partition in conf.keys().partitions():
        for name in names:
            topics.ask(conf.registry().beat(partition, name, is_new=True))


def join(topic: str, node: str, listeners: int = 1) -> None:
    assert topics.ask(conf.registry().join(topic, node, 1, listeners))


# list


def test_the_names_are_listed_one_a_line() -> None:
    topics.create("b", "a", "c:1", "c:2")
    assert call("list") == ["a", "b", "c:1", "c:2"]
    assert call("list", "--prefix", "c:") == ["c:1", "c:2"]
    assert call("list", "--after", "c:1") == ["c:2"]


def test_the_next_page_is_hinted_at_beside_the_names() -> None:
    topics.create("c:1", "c:it's", "c:x")
    hint = StringIO()
    assert call("list", "--prefix", "c:", "--limit", "2", stderr=hint) == ["c:1", "c:it's"]
    given = ["manage.py", "topics", "list", "--prefix=c:", "--limit=2", "--after=c:it's"]
    assert hint.getvalue().startswith("there are more: ") and hint.getvalue().count("\n") == 1
    assert shlex.split(hint.getvalue().removeprefix("there are more: ")) == given
    assert call(*given[2:], stderr=hint) == ["c:x"]
    assert hint.getvalue().count("\n") == 1


def test_a_page_for_programs_names_the_next() -> None:
    topics.create("a", "b", "c")
    assert document("list", "--limit", "2") == {"topics": ["a", "b"], "next": "b"}
    assert document("list", "--after", "b") == {"topics": ["c"], "next": None}


@pytest.mark.parametrize(
    "arguments, says",
    [
        (("list", "--limit", "0"), "must be a whole number, 1 or more, not '0'"),
        (("list", "--limit", "many"), "must be a whole number, 1 or more, not 'many'"),
        (("count", "--watch", "0"), "must be a number of seconds, more than 0"),
        (("count", "--watch", "nan"), "must be a number of seconds, more than 0"),
        (("count", "--watch", "soon"), "must be a number of seconds, more than 0"),
    ],
)
def test_a_number_that_makes_no_sense_is_refused(arguments: tuple[str, ...], says: str) -> None:
    assert says in fails(*arguments)


# count


def test_topics_are_counted() -> None:
    topics.create(*(f"rooms:{number}" for number in range(1234)), "shop")
    assert call("count") == ["1235"]
    assert call("count", "--prefix", "rooms:") == ["1234"]
    assert document("count") == {"count": 1235}


def test_the_count_is_watched_until_it_is_interrupted() -> None:
    with (
        Command("topics", "count", "--watch", "0.05") as people,
        Command("topics", "count", "--watch", "0.05", "--prefix", "a", "--json") as program,
    ):
        people.until("  0")
        program.until('"count":0')
        topics.create("a")
        people.until("  1")
        program.until('"count":1')
        topics.create("b")
        people.until("  2")
        assert [each.end(signal.SIGINT) for each in (people, program)] == [0, 0]
        assert (people.errors, program.errors) == ("", "")
        assert [line.split("  ")[1] for line in people.lines] == ["0", "1", "2"]
        assert [json.loads(line)["count"] for line in program.lines] == [0, 1]
        assert json.loads(program.lines[0])["at"] > 1e9


# show


def test_an_empty_topic_shows_when_it_may_be_collected(settings: Any) -> None:
    settings.REALTIME = {**settings.REALTIME, "COLLECT_AFTER": (125, 125)}
    topics.create("rooms:1")
    assert call("show", "rooms:1") == [
        "Topic      rooms:1",
        "Age        0 s",
        "Listeners  0",
        "Collected  in 2 min, unless somebody comes",
    ]
    found = document("show", "rooms:1")
    assert 0 <= found.pop("age") < 60 < found.pop("due") <= 125
    assert found == {"topic": "rooms:1", "count": 0, "nodes": {}}


def test_a_topic_whose_time_has_come_shows_it(settings: Any) -> None:
    settings.REALTIME = {**settings.REALTIME, "COLLECT_AFTER": (0, 0)}
    topics.create("a")
    assert call("show", "a")[-1] == "Collected  from now on, unless somebody comes"


def test_who_listens_is_shown_by_node(partitions: int) -> None:
    bear(WEB1, WEB2)
    join("rooms:1", WEB1, 1200)
    join("rooms:1", WEB2, 34)
    assert call("show", "rooms:1")[2:] == [
        "Listeners  1,234",
        "Collected  not while somebody listens",
        "",
        "Node       Listeners",
        "web1:4242  1,200",
        "web2:17    34",
    ]
    found = document("show", "rooms:1")
    assert (found["count"], found["nodes"], found["due"]) == (1234, {WEB1: 1200, WEB2: 34}, None)


def test_a_topic_that_does_not_exist_is_told_and_exits_with_1() -> None:
    assert fails("show", "nowhere") == "there is no topic 'nowhere'"
    finished = run("topics", "show", "nowhere", "--json")
    assert (finished.returncode, json.loads(finished.stdout)) == (1, None)
    assert "there is no topic 'nowhere'" in finished.stderr and "Traceback" not in finished.stderr


# create


def test_topics_are_created_and_the_new_ones_counted() -> None:
    assert call("create", "a", "b", "a") == ["2 new topics, of 2 named"]
    assert call("create", "b", "c") == ["1 new topic, of 2 named"]
    assert document("create", "c") == {"new": 0, "named": 1}


def test_names_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "names"
    file.write_bytes("rooms:1\r\n\n  rooms:é  \n".encode())
    assert call("create", "a", "--file", str(file)) == ["3 new topics, of 3 named"]
    assert topics.list() == ["a", "rooms:1", "rooms:é"]


def test_names_come_from_standard_input() -> None:
    finished = run("topics", "create", "--file", "-", given="".join(f"rooms:{number}\n" for number in range(12_000)))
    assert (finished.returncode, finished.stdout) == (0, "12,000 new topics, of 12,000 named\n")
    assert topics.count("rooms:") == 12_000


def test_a_wrong_name_creates_none(tmp_path: Path) -> None:
    (tmp_path / "names").write_text("a\nb c\n")
    assert "a topic is 1 to 255 bytes" in fails("create", "--file", str(tmp_path / "names"))
    assert topics.count() == 0


@pytest.mark.parametrize("content", [None, b"\xff\n"], ids=["missing", "not UTF-8"])
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, content: bytes | None) -> None:
    if content:
        (tmp_path / "names").write_bytes(content)
    assert "names cannot be read: " in fails("create", "--file", str(tmp_path / "names"))


@pytest.mark.parametrize("what", ["create", "delete"])
def test_something_must_be_named(what: str) -> None:
    assert fails(what).startswith("name the topics, or ")


# delete


def test_topics_are_deleted() -> None:
    topics.create("a", "b", "c", "d")
    assert call("delete", "a", "b", "a") == ["deleted 2 topics"]
    assert call("delete", "c", "x") == ["deleted 1 topic", "not deleted, because there was none: x"]
    assert document("delete", "d", "y") == {"deleted": 1, "missing": ["y"], "refused": []}
    assert topics.count() == 0


def test_all_that_begin_so_are_deleted_page_by_page(partitions: int) -> None:
    topics.create(*(f"rooms:{number}" for number in range(2500)), "shop")
    assert call("delete", "--prefix", "rooms:") == ["deleted 2,500 topics"]
    assert topics.list() == ["shop"]


def test_those_that_somebody_listens_to_are_refused_and_told() -> None:
    bear(WEB1)
    for number in range(12):
        join(f"rooms:{number:02}", WEB1)
    topics.create("rooms:empty")
    said = fails("delete", "--prefix", "rooms:")
    assert said.startswith("not deleted, because somebody listens: rooms:00, rooms:01,")
    assert said.endswith("rooms:09 and 2 more")
    assert topics.count() == 12


def test_a_program_reads_of_all_that_were_refused() -> None:
    bear(WEB1)
    join("a", WEB1)
    topics.create("b")
    output = StringIO()
    with pytest.raises(CommandError, match="not deleted, because somebody listens: a"):
        call_command("topics", "delete", "a", "b", "--json", stdout=output)
    assert json.loads(output.getvalue()) == {"deleted": 1, "missing": [], "refused": ["a"]}


# nodes


def test_no_nodes_are_said_to_be_none() -> None:
    assert call("nodes") == ["there are no nodes: a process is one from its first join on"]
    assert document("nodes") == []


def test_nodes_are_shown_with_what_they_hold_in_all_partitions(partitions: int) -> None:
    bear(WEB2, WEB1)
    for number in range(40):
        join(f"rooms:{number}", WEB1)
    place = conf.keys().of("rooms:1")
    topics.ask(Call(("ZADD", place.nodes, -1, WEB2), int))
    assert call("nodes") == [
        "Node       Name                Seen     Topics",
        "web1:4242  web1:4242:9f3ac0de  0 s ago  40",
        "web2:17    web2:17:00c0ffee    dead     0",
    ]
    first, second = document("nodes")
    assert 0 <= first.pop("silent") < 60
    assert first == {"name": WEB1, "place": "web1:4242", "dead": False, "topics": 40}
    assert second == {"name": WEB2, "place": "web2:17", "dead": True, "silent": None, "topics": 0}


# leader


def test_the_leader_is_shown(partitions: int) -> None:
    leader = topics.ask(election.acquire(conf.keys(), WEB1, 30.0))
    lines = [line.split(maxsplit=1) for line in call("leader")]
    assert [name for name, _ in lines] == ["Leader", "Term", "Since", "Lease"]
    assert (lines[0][1], lines[1][1]) == ("web1:4242", str(leader.term))
    assert lines[3][1].endswith(" s left")
    found = document("leader")
    assert 0 < found.pop("left") <= 30
    assert found == {"holder": WEB1, "place": "web1:4242", "term": leader.term, "since": leader.since}


def test_that_nobody_leads_is_told_and_exits_with_1() -> None:
    output = StringIO()
    with pytest.raises(CommandError, match="nobody leads, so "):
        call_command("topics", "leader", "--json", stdout=output)
    assert json.loads(output.getvalue()) is None


# All of them


def test_python_may_call_it_with_options_by_name() -> None:
    topics.create("a", "b")
    output = StringIO()
    call_command("topics", "list", after="a", json=True, stdout=output)
    assert json.loads(output.getvalue()) == {"topics": ["b"], "next": None}


def test_alone_it_shows_its_help_and_exits_with_2() -> None:
    errors = StringIO()
    with pytest.raises(SystemExit, match="2"):
        call(stderr=errors)
    assert all(
        f"    {name} " in errors.getvalue() for name in ("list", "count", "show", "create", "delete", "nodes", "leader")
    )


@pytest.mark.parametrize(
    "arguments", [("list",), ("count", "--watch"), ("show", "a"), ("nodes",), ("leader",)], ids=str
)
def test_an_engine_that_is_away_is_told(monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]) -> None:
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{engines.port_of_our_own()}")
    conf.engine.cache_clear()
    assert fails(*arguments).startswith("the engine does not answer")


@pytest.mark.parametrize(
    "seconds, words",
    [
        (-0.4, "0 s"),
        (0.9, "0 s"),
        (12.7, "12 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (172_799, "47 h"),
        (172_800, "2 days"),
        (1e9, "11,574 days"),
    ],
)
def test_ages_are_told_in_words(seconds: float, words: str) -> None:
    assert shown.age(seconds) == words


# Progress


def test_on_a_terminal_progress_is_shown_on_one_line_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shown, "LIVELY", 0.0)
    terminal = Terminal()
    assert call("create", *(f"a:{number}" for number in range(6000)), stderr=terminal) == [
        "6,000 new topics, of 6,000 named"
    ]
    call("delete", "--prefix", "a:599", stderr=terminal)
    said = terminal.getvalue()
    assert "\r\x1b[Kcreated 5,000 of 6,000 topics" in said and "\r\x1b[Kdeleting: 11 topics so far" in said
    assert said.endswith("\r\x1b[K") and "\n" not in said


def test_elsewhere_progress_is_told_of_what_takes_long_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = StringIO()
    call("create", "a", stderr=errors)
    assert errors.getvalue() == ""
    monkeypatch.setattr(shown, "SHORT", 0.0)
    call("delete", "a", stderr=errors)
    assert errors.getvalue() == "deleting: 1 topic so far\n"


# Beside Django's own options, and in a pipe


def test_djangos_options_may_stand_last() -> None:
    topics.create("a")
    assert run("topics", "count", "--settings", "chatty.settings", "--no-color", "-v", "2").stdout == "1\n"


def test_a_reader_that_has_read_enough_is_no_error() -> None:
    topics.create(*(f"t:{number:05}" for number in range(20_000)))
    command = f"{sys.executable} manage.py topics list --limit 20000 | head -1"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("t:00000\n", "")


@pytest.mark.parametrize(
    "arguments", [["list", "--prefix", "\udcff"], ["list", "--after", "\udcff"], ["count", "--prefix", "\udcff"]]
)
def test_a_prefix_that_is_no_text_is_refused(arguments: list[str]) -> None:
    with pytest.raises(CommandError, match="not UTF-8"):
        call(*arguments)
