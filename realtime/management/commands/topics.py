from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from itertools import chain
from typing import Any, NoReturn

import msgspec
from django.core.management.base import BaseCommand, CommandError, CommandParser

from realtime import RealtimeError, TopicInUse, topics
from realtime.announcements import amount, clock
from realtime.engine.election import place
from realtime.management.arguments import lines_of, seconds, whole
from realtime.management.shown import Progress, age, some, table
from realtime.payloads import checked_topic

BATCH = 5000  # names that are created between two looks at the clock
PAGE = 1000

NOBODY_LEADS = (
    "nobody leads, so empty topics and dead nodes stay: start a server, or manage.py topicserver "
    "(after a crash another leads by itself, within LEASE + 3 s)"
)
# Django takes them from the whole line; its parser of the command takes them before a subcommand only.
OPTIONS = ("--settings", "--pythonpath", "-v", "--verbosity")
FLAGS = ("--traceback", "--no-color", "--force-color", "--skip-checks")


class Command(BaseCommand):
    help = "Look at the topics of the cluster, its nodes and its leader; create and delete topics."

    def add_arguments(self, parser: CommandParser) -> None:
        self._parser = parser
        parser.set_defaults(run=None)
        commands = parser.add_subparsers(title="what to do", metavar="COMMAND")

        def add(name: str, run: Callable[..., None], text: str) -> Any:
            command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
            command.set_defaults(run=run)
            command.add_argument("--json", action="store_true", help="write one JSON document")
            _add_options_of_django(command)
            return command

        command = add("list", self._list, "list the topics in the order of their names")
        _add_prefix(command, "only those that begin so")
        command.add_argument("--limit", type=whole, default=PAGE, metavar="N", help=f"at most so many ({PAGE})")
        command.add_argument("--after", default="", metavar="TOPIC", help="those that follow it: the next page")

        command = add("count", self._count, "count the topics")
        _add_prefix(command, "only those that begin so")
        text = "look again each second, or so many, and tell when the number has changed, until Ctrl-C"
        command.add_argument("--watch", type=seconds, nargs="?", const=1.0, metavar="SECONDS", help=text)

        command = add("show", self._show, "show who listens to a topic, and when it may be collected")
        command.add_argument("topic", metavar="TOPIC")

        command = add("create", self._create, "create topics; those that exist begin their time anew")
        command.add_argument("names", nargs="*", metavar="NAME")
        command.add_argument("--file", metavar="PATH", help="a file of more names, one a line; - for standard input")

        command = add("delete", self._delete, "delete topics that nobody listens to; exits with 1 if somebody does")
        command.add_argument("names", nargs="*", metavar="NAME")
        _add_prefix(command, "also all that begin so")

        add("nodes", self._nodes, "list the nodes, with their last sign of life and how many topics they hold")
        add("leader", self._leader, "show the topic server that leads; exits with 1 if none does")

    def handle(self, *args: Any, run: Callable[..., None] | None, **options: Any) -> None:
        if run is None:
            self.stderr.write(self._parser.format_help(), str)
            sys.exit(2)
        self._as_json: bool = options["json"]
        try:
            run(**options)
        except RealtimeError as error:
            raise CommandError(str(error)) from error

    # What there is

    def _list(self, *, prefix: str, limit: int, after: str, **options: Any) -> None:
        found = topics.list(prefix, limit + 1, after)
        names, more = found[:limit], found[limit:]
        self._write({"topics": names, "next": names[-1] if more else None}, names)
        if more and not self._as_json:
            # Not among the names, which another program may read.
            self.stdout.flush()
            given = f" --prefix={shlex.quote(prefix)}" if prefix else ""
            given += f" --limit={limit}" if limit != PAGE else ""
            self.stderr.write(f"there are more: manage.py topics list{given} --after={shlex.quote(names[-1])}", str)

    def _count(self, *, prefix: str, watch: float | None, **options: Any) -> None:
        if watch is None:
            number = topics.count(prefix)
            self._write({"count": number}, [str(number)])
            return
        with contextlib.suppress(KeyboardInterrupt):
            for at, number in _changes(prefix, watch):
                self._write({"at": at, "count": number}, [f"{clock(at)}  {number}"])

    def _show(self, *, topic: str, **options: Any) -> None:
        found = topics.show(topic)
        if found is None:
            self._nothing(f"there is no topic {topic!r}")
        count = sum(found.nodes.values())
        facts = [
            ("Topic", topic),
            ("Age", age(found.age)),
            ("Listeners", f"{count:,}"),
            ("Collected", _collected(found.due)),
        ]
        nodes = [("Node", "Listeners"), *((place(node), f"{number:,}") for node, number in found.nodes.items())]
        lines = chain(table(facts), ["", *table(nodes)] if found.nodes else [])
        self._write({"topic": topic, "age": found.age, "due": found.due, "count": count, "nodes": found.nodes}, lines)

    def _nodes(self, **options: Any) -> None:
        nodes = topics.nodes()
        rows = [("Node", "Name", "Seen", "Topics")]
        for node in nodes:
            seen = "dead" if node.is_dead else f"{age(node.silent)} ago"
            rows.append((place(node.name), node.name, seen, f"{node.topics:,}"))
        found = [
            {
                "name": node.name,
                "place": place(node.name),
                "dead": node.is_dead,
                "silent": None if node.is_dead else node.silent,
                "topics": node.topics,
            }
            for node in nodes
        ]
        self._write(found, table(rows) if nodes else ["there are no nodes: a process is one from its first join on"])

    def _leader(self, **options: Any) -> None:
        leader = topics.leader()
        if leader is None:
            self._nothing(NOBODY_LEADS)
        facts = [
            ("Leader", leader.place),
            ("Term", str(leader.term)),
            ("Since", time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(leader.since))),
            ("Lease", f"{leader.left:.1f} s left"),
        ]
        self._write({**asdict(leader), "place": leader.place}, table(facts))

    # Changes

    def _create(self, *, names: list[str], file: str | None, **options: Any) -> None:
        if not names and file is None:
            raise CommandError("name the topics, or a file of their names with --file")
        wanted = list(dict.fromkeys(map(checked_topic, [*names, *(lines_of(file) if file else [])])))
        new = 0
        with Progress(self.stderr) as progress:
            for start in range(0, len(wanted), BATCH):
                progress.tell(f"created {start:,} of {amount(len(wanted), 'topic')}")
                new += topics.create(*wanted[start : start + BATCH])
        self._write({"new": new, "named": len(wanted)}, [f"{amount(new, 'new topic')}, of {len(wanted):,} named"])

    def _delete(self, *, names: list[str], prefix: str, **options: Any) -> None:
        if not names and not prefix:
            raise CommandError("name the topics, or what they begin with, with --prefix")
        wanted = dict.fromkeys(map(checked_topic, names))
        deleted, missing, refused = 0, [], []
        with Progress(self.stderr) as progress:
            for name in chain(wanted, _each(prefix) if prefix else ()):
                try:
                    if topics.delete(name):
                        deleted += 1
                    elif name in wanted:  # else it was collected meanwhile
                        missing.append(name)
                except TopicInUse:
                    refused.append(name)
                progress.tell(f"deleting: {amount(deleted, 'topic')} so far")
        lines = [f"deleted {amount(deleted, 'topic')}"]
        if missing:
            lines.append(f"not deleted, because there was none: {some(missing)}")
        self._write({"deleted": deleted, "missing": missing, "refused": refused}, lines)
        if refused:
            raise CommandError(f"not deleted, because somebody listens: {some(refused)}")

    # private

    def _write(self, document: Any, lines: Iterable[str]) -> None:
        """Write the document for programs, or the lines for people."""
        try:
            for line in [msgspec.json.encode(document).decode()] if self._as_json else lines:
                self.stdout.write(line)
            self.stdout.flush()
        except BrokenPipeError:  # `| head` has read enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _nothing(self, message: str) -> NoReturn:
        """Say that there is not what was asked for, and exit with 1."""
        self._write(None, [])
        raise CommandError(message)


def _add_prefix(command: CommandParser, text: str) -> None:
    command.add_argument("--prefix", default="", metavar="PREFIX", help=text)


def _add_options_of_django(command: CommandParser) -> None:
    for option in OPTIONS:
        command.add_argument(option, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    for flag in FLAGS:
        command.add_argument(flag, action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def _changes(prefix: str, pause: float) -> Iterator[tuple[float, int]]:
    """Yield the time and the number of topics, now and whenever it is another; for ever."""
    last = None
    while True:
        number = topics.count(prefix)
        if number != last:
            yield time.time(), number
        last = number
        time.sleep(pause)


def _collected(due: float | None) -> str:
    if due is None:
        return "not while somebody listens"
    return f"in {age(due)}, unless somebody comes" if due > 0 else "from now on, unless somebody comes"


def _each(prefix: str) -> Iterator[str]:
    """Yield every topic that begins so, page by page."""
    after = ""
    while page := topics.list(prefix, PAGE, after):
        yield from page
        after = page[-1]
