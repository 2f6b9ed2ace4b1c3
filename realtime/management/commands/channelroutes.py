from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from realtime import RealtimeError, conf
from realtime.management.shown import table


class Command(BaseCommand):
    help = "List what the router handles: mount, pattern of topics, channel class, name."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            router = conf.router()
        except RealtimeError as error:
            raise CommandError(str(error)) from error
        rows = [("Mount", "Pattern", "Channel", "Name")]
        for route in router.routes:
            handler = f"{route.channel.__module__}.{route.channel.__qualname__}"
            rows.append((router.mount, route.pattern, handler, route.name or ""))
        for line in table(rows):
            self.stdout.write(line)
