from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import Any

import msgspec
from django.core.management.base import BaseCommand, CommandError, CommandParser

from realtime import RealtimeError, conf, topics
from realtime.announcements import Event, amount
from realtime.engine.layer import RedisChannelLayer
from realtime.engine.registry import Registry
from realtime.topicserver import TopicServer

LEADS_ANOTHER = 3


class Command(BaseCommand):
    help = (
        "Compete to be the topic server, which collects topics that nobody listens to and takes dead nodes out of "
        "theirs. Exits with 0 at SIGTERM and Ctrl-C, after handing over; with 1 when something is wrong; with 3 when "
        "--once finds that another leads."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--collect-after",
            nargs=2,
            type=float,
            metavar=("EARLIEST", "LATEST"),
            help="seconds that a topic stays empty before it is collected; holds for the topics of every process "
            "while this one leads, from then on (COLLECT_AFTER of the settings)",
        )
        parser.add_argument("--once", action="store_true", help="collect what is due now, and end")
        parser.add_argument("--dry-run", action="store_true", help="tell what is due, and change nothing")
        parser.add_argument("--json", action="store_true", help="write one JSON object a line, with the topics' names")

    def handle(self, *args: Any, **options: Any) -> None:
        self.as_json: bool = options["json"]
        try:
            registry = self._registry(options["collect_after"])
            if options["dry_run"]:
                self._tell_due(registry)
                return
            leads = asyncio.run(self._serve(registry, once=options["once"]))
        except RealtimeError as error:
            raise CommandError(str(error)) from error
        if not leads:
            sys.exit(LEADS_ANOTHER)

    def _registry(self, window: list[float] | None) -> Registry:
        if window is None:
            return conf.registry()
        earliest, latest = window
        if not 0 <= earliest <= latest <= conf.YEAR:
            raise CommandError("--collect-after takes two numbers of seconds, the smaller first: --collect-after 10 20")
        return Registry(conf.keys(), (earliest, latest))

    def _tell_due(self, registry: Registry) -> None:
        found = [topics.ask(registry.waiting(partition)) for partition in registry.keys.partitions()]
        now, later = sum(each[0] for each in found), sum(each[1] for each in found)
        next_in = min((each[2] for each in found if each[2] is not None), default=None)
        if self.as_json:
            self.stdout.write(json.dumps({"event": "due", "now": now, "later": later, "next_in": next_in}))
            return
        self.stdout.write(f"{amount(now, 'topic')} would be collected now, {later:,} later")
        if next_in is not None:
            self.stdout.write(f"the next of them in {next_in:.0f} s")

    async def _serve(self, registry: Registry, *, once: bool) -> bool:
        """Compete until told to stop; with `once`, return whether the lead was free."""
        settings = conf.settings()
        layer = RedisChannelLayer(engine=conf.engine(), prefix=registry.keys.layer)
        server = TopicServer(
            registry,
            lambda call: layer.call(call, aside=True),
            bus=layer,
            lease=settings.LEASE,
            node_lease=settings.NODE_LEASE,
            batch=settings.COLLECT_BATCH,
            tell=self._tell,
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, server.stop)
        try:
            if once:
                return await server.run_once()
            await server.run()
            return True
        finally:
            await layer.aclose()

    def _tell(self, event: Event) -> None:
        if self.as_json:
            self.stdout.write(msgspec.json.encode(event).decode())
        else:
            self.stdout.write(str(event))
        self.stdout.flush()
