from __future__ import annotations

import copy
import logging
from argparse import Action, ArgumentParser, Namespace
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.management.commands.runserver import naiveip_re
from django.db import DatabaseError, connections

from realtime import RealtimeError, checks, conf

if TYPE_CHECKING:
    from click import Option

INSTALL = 'serve needs uvicorn and websockets: pip install "django-realtime-channels[serve]"'
DEVELOPMENT = "DEBUG is on: errors show your code and settings to whoever causes them. Turn it off in production."

# Where neither the command line nor a variable UVICORN_… says otherwise. Sizes and times were measured with 800 sockets
# that had joined a topic each, on uvicorn 0.54 with uvloop.
DEFAULTS: dict[str, Any] = {
    "ws": "websockets-sansio",  # 27 KiB a socket; "websockets" takes 34, a sixth longer to open one, and is deprecated
    "ws_per_message_deflate": False,  # 39 KiB a socket more, for frames that are mostly too short to shrink
    # A ping and its pong cost 50 µs. Our own sockets need none, for HEARTBEAT_TIMEOUT ends those whose peer is gone;
    # those of a project's other consumers have nothing else.
    "ws_ping_interval": 60.0,
    "backlog": 4096,  # after a restart all clients come back at once; the kernel takes no more than somaxconn anyway
    "access_log": False,
    "timeout_graceful_shutdown": 5,  # handlers have no longer (SHUTDOWN), and docker stop kills after 10
    "timeout_worker_healthcheck": 30,  # for a worker to start as well; uvicorn's 5 are few for a large project
}


class Command(BaseCommand):
    help = (
        "Serve the project in production: uvicorn with settings made for many sockets, and any number of workers. "
        "A worker that dies is replaced; SIGTERM and Ctrl-C end all of them; SIGHUP replaces them one by one, where "
        "there are several."
    )
    requires_migrations_checks = True

    def add_arguments(self, parser: CommandParser) -> None:
        if not (find_spec("uvicorn") and find_spec("websockets")):
            parser.error(INSTALL)
        parser.usage = "%(prog)s [[ADDRESS:]PORT] [OPTION ...]"  # not all fifty of them before each error
        parser.add_argument(
            "addrport", nargs="?", metavar="[ADDRESS:]PORT", help="as for runserver; 127.0.0.1:8000 if left out"
        )
        parser.set_defaults(given=[])
        group = parser.add_argument_group(
            "options of uvicorn", "Each may come from a variable, too: UVICORN_WORKERS=4."
        )
        for option in uvicorn_options():
            _add(group, option)

    def check_migrations(self) -> None:
        """Tell of migrations that are not applied. Sockets need no database, so that one that is away stops nothing."""
        try:
            super().check_migrations()
        except DatabaseError as error:
            self.stderr.write(f"The database does not answer: {error}".rstrip())
        finally:
            connections.close_all()  # this process may do no more than watch its workers

    def handle(self, *args: Any, addrport: str | None, given: list[str], **options: Any) -> None:
        from click import ClickException
        from uvicorn import main

        arguments = [application(), *address(addrport), *given]
        try:
            defaults = {**DEFAULTS, "ws_max_size": conf.settings().MAX_FRAME}
            context = main.make_context("manage.py serve", arguments, default_map=defaults)
        except ClickException as error:
            raise CommandError(error.format_message()) from error
        except RealtimeError as error:
            raise CommandError(str(error)) from error
        if not context.params["access_log"] and context.params["log_config"] is None:
            context.params["log_config"] = logging_without_sockets()
        if settings.DEBUG:
            self._warn_of_development()
        with context:
            main.invoke(context)

    def _warn_of_development(self) -> None:
        """Tell of what DEBUG shows; and of static files, which the checks take to be runserver's while it is on."""
        self.stderr.write(DEVELOPMENT)
        for found in checks.unserved("Static files are served by runserver alone:"):
            if not found.is_silenced():
                self.stderr.write(f"{found.msg} {found.hint}")


# What the project says


def application() -> str:
    """Return ASGI_APPLICATION as uvicorn writes it. Raises CommandError."""
    path = getattr(settings, "ASGI_APPLICATION", None) or ""
    module, _, name = path.rpartition(".")
    if not module:
        raise CommandError(f"ASGI_APPLICATION must be like 'yourproject.asgi.application', not {path!r}.")
    return f"{module}:{name}"


def address(addrport: str | None) -> list[str]:
    """Return what runserver takes, "8000", "0:8000" or "[::1]:8000", as options of uvicorn. Raises CommandError."""
    if addrport is None:
        return []
    found = naiveip_re.match(addrport)
    if found is None:
        raise CommandError(f"{addrport!r} is not a port number or an address:port pair.")
    host = found["addr"]
    host = "0.0.0.0" if host == "0" else host and host.strip("[]")
    return [*(["--host", host] if host else []), "--port", found["port"]]


# What uvicorn takes


class _Given(Action):
    """Keeps an option as it was written, for uvicorn to read."""

    def __call__(
        self, parser: ArgumentParser, namespace: Namespace, values: Any, option_string: str | None = None
    ) -> None:
        written: Sequence[str] = [] if values is None else values
        namespace.given = [*namespace.given, option_string, *written]


def uvicorn_options() -> list[Option]:
    from click import Option
    from uvicorn import main

    ours = {"version"}  # Django has it
    return [option for option in main.params if isinstance(option, Option) and option.name not in ours]


def _add(group: Any, option: Option) -> None:
    name = option.name or ""
    default = DEFAULTS.get(name, option.default if option.show_default else None)
    if name == "ws_max_size":
        default = "MAX_FRAME of the settings"
    shown = "" if default is None or default == "" else f" [default: {default}]"
    choices = getattr(option.type, "choices", None)
    group.add_argument(
        *option.opts,
        *option.secondary_opts,
        action=_Given,
        dest="given",
        nargs=0 if option.is_flag else 1,
        metavar="|".join(choices) if choices else option.metavar or name.upper(),
        help=f"{option.help or ''}{shown}".replace("%", "%%"),
    )


# What is logged


class WithoutSockets(logging.Filter):
    """Drops the three lines that uvicorn writes of each WebSocket, whatever --access-log says.

    One bears the whole URL, with a token perhaps; and at 10,000 sockets they are all there is to read.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        text = str(record.msg)
        return not (text in ("connection open", "connection closed") or '"WebSocket %s"' in text)


def logging_without_sockets() -> dict[str, Any]:
    from uvicorn.config import LOGGING_CONFIG

    config = copy.deepcopy(LOGGING_CONFIG)
    config["filters"] = {"sockets": {"()": f"{WithoutSockets.__module__}.{WithoutSockets.__qualname__}"}}
    config["handlers"]["default"]["filters"] = ["sockets"]
    return config
