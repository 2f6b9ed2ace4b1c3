from __future__ import annotations

from typing import Any

import msgspec
from django.core.management.base import BaseCommand, CommandError, CommandParser

from realtime import RealtimeError, broadcast


class Command(BaseCommand):
    help = "Broadcast an event to everybody on a topic, wherever they are connected."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("topic", help='such as "rooms:lobby"')
        parser.add_argument("event", help='such as "new:message"')
        parser.add_argument("payload", nargs="?", default="{}", help="a JSON object; {} if left out")

    def handle(self, *args: Any, topic: str, event: str, payload: str, **options: Any) -> None:
        try:
            broadcast(topic, event, msgspec.json.decode(payload))
        except msgspec.DecodeError as error:
            raise CommandError(f"the payload is not JSON: {error}") from error
        except RealtimeError as error:
            raise CommandError(str(error)) from error
