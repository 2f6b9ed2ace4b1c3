"""The REALTIME setting: its keys, defaults and units, and what follows from them."""

from __future__ import annotations

import difflib
import functools
import math
import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import msgspec
from django.conf import settings as django_settings
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from . import importing
from .engine import embedded
from .engine.client import Engine
from .engine.keys import Keys
from .engine.registry import Registry
from .exceptions import Misconfigured
from .protocol.serializers import SERIALIZERS, Serializer
from .routing import Router

YEAR = 366 * 86400.0
VERBS = ("decode", "push", "reply", "close", "error", "fastlane")  # of a Serializer


@dataclass(frozen=True)
class Settings:
    """Defaults of the REALTIME dict. Times are seconds, sizes are bytes."""

    ROUTER: str = ""  # "chatty.routing.router"
    URL: str = ""  # of Redis or Valkey; $REDIS_URL where empty, then the embedded engine
    EMBEDDED: bool | None = None  # may the engine run inside the project; None: while DEBUG is on
    PREFIX: str = "rt"  # before every name in the engine; differs where projects share one
    TOPIC_SERVER: bool = True  # every node stands for election; False leaves that to manage.py topicserver
    COLLECT_AFTER: tuple[float, float] = (60.0, 300.0)  # a topic nobody listens to, at the earliest and the latest
    COLLECT_BATCH: int = 300  # topics in one step
    LEASE: float = 10.0  # of the topic server that leads; another takes over when it is not renewed
    NODE_LEASE: float = 20.0  # a node that is silent for this long is declared dead; the same in every process
    PRESENCE_GRACE: float = 5.0  # that who is present outlives a lost socket; 0 for not at all
    SERIALIZERS: Mapping[str, str] = field(default_factory=dict)  # more versions to speak: {"3.0": "path.to.a.Class"}
    ALLOWED_ORIGINS: tuple[str, ...] = ()  # of pages elsewhere that may connect; CSRF_TRUSTED_ORIGINS may too
    REQUIRE_ORIGIN: bool = False  # refuse clients that send none, as native ones do
    MAX_TOPICS: int = 100  # per socket, as in Phoenix
    MAX_FRAME: int = 256 * 1024  # from a client
    MESSAGE_RATE: float = 100.0  # from a client, a second in the long run
    MESSAGE_BURST: int = 500  # from a client, at once; as many more are answered "too many messages", then it is closed
    MAILBOX: int = 1000  # messages that may wait for one channel's handler; more are answered "overloaded"
    MAX_CRASHES: int = 5  # of one topic on one socket in a minute; then its client is told not to come back
    OUTBOX_MESSAGES: int = 1000  # waiting for a socket that reads slowly; more closes it
    OUTBOX_BYTES: int = 4 * 1024 * 1024  # the same, beside the largest of those messages
    FAST_LANE: bool = True  # write to, and read from, the transport of servers that are known; False: all through ASGI
    SEND_TIMEOUT: float = 10.0  # for one frame to be taken by the peer's side; longer closes the socket
    HEARTBEAT_TIMEOUT: float = 60.0  # no frame for this long: the socket is closed; clients send one each 30 s
    RECHECK: float = 30.0  # between two looks at sessions, users and permissions of what is connected
    POLL_WINDOW: float = 10.0  # of a request that waits for something; a client that sends none for 1.5 of it has gone
    POLL_SESSIONS: int = 5000  # of clients that poll, in one process; with 0 there is no long polling
    THREADS: int = 8  # for sync handlers and the ORM, per process; each may hold a database connection
    SHUTDOWN: float = 5.0  # for a handler to return and a channel to terminate, once its socket is gone


class Bounds(NamedTuple):
    """What a number of the settings may be.

    why  follows what is told of one beyond them
    """

    least: float
    most: float = math.inf
    unit: str = ""
    why: str = ""

    def fault(self, value: float) -> str:
        """Return what is wrong with `value`, or ""."""
        if self.least <= value <= self.most:  # which NaN is not
            return ""
        bound = f"most {self.most:,.12g}" if value > self.most else f"least {self.least:,.12g}"
        return f"must be at {bound}{self.unit}, not {value!r}{self.why}"


# What is below takes nobody in, holds up everything, or is no number at all; what is above, a loop cannot wait for.
BOUNDS = {
    "COLLECT_BATCH": Bounds(1, 1000, why=": the engine does nothing else meanwhile"),
    "LEASE": Bounds(1, YEAR, " s"),
    "NODE_LEASE": Bounds(1, YEAR, " s"),
    "PRESENCE_GRACE": Bounds(0, YEAR, " s"),
    "MAX_TOPICS": Bounds(1),
    "MAX_FRAME": Bounds(64, unit=" bytes", why=": a heartbeat has to fit in"),
    "MESSAGE_RATE": Bounds(0.1, 1e9, " a second", ": a heartbeat is a message, too"),
    "MESSAGE_BURST": Bounds(1),
    "MAILBOX": Bounds(1),
    "MAX_CRASHES": Bounds(1),
    "OUTBOX_MESSAGES": Bounds(1),
    "OUTBOX_BYTES": Bounds(1, unit=" bytes"),
    "SEND_TIMEOUT": Bounds(0.1, YEAR, " s"),
    "HEARTBEAT_TIMEOUT": Bounds(1, YEAR, " s"),
    "RECHECK": Bounds(1, YEAR, " s"),
    "POLL_WINDOW": Bounds(0.1, 15, " s", ": phoenix.js gives a poll up after 20"),
    "POLL_SESSIONS": Bounds(0, why="; with 0 there is no long polling"),
    "THREADS": Bounds(1),
    "SHUTDOWN": Bounds(0.01, YEAR, " s"),
}


@functools.cache
def settings() -> Settings:
    """Return the REALTIME setting. Raises Misconfigured for a key that does not exist."""
    given = getattr(django_settings, "REALTIME", {})
    if not isinstance(given, Mapping):
        raise Misconfigured(f"REALTIME must be a dict, not {type(given).__name__}")
    for key, hint in unknown(given).items():
        raise Misconfigured(f"REALTIME has no key {key!r}: {hint}")
    for key, fault in mistyped(given).items():
        raise Misconfigured(f"REALTIME[{key!r}] {fault}")
    found = Settings(**given)
    for key, fault in unfit(found).items():
        raise Misconfigured(f"REALTIME[{key!r}] {fault}")
    return found


def mistyped(given: Mapping[str, Any]) -> dict[str, str]:
    """Return which values are of a wrong type, each with why: never the value, which may be a URL with a password."""
    types = get_type_hints(Settings)
    faults = {}
    for key, value in given.items():
        try:
            msgspec.convert(value, types[key])
        except msgspec.ValidationError:
            faults[key] = f"must be of type {Settings.__annotations__[key]}, not {type(value).__name__}"
    return faults


def unfit(found: Settings) -> dict[str, str]:
    """Return which values, though of the right type, cannot be, each with why."""
    faults = {}
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", found.PREFIX):
        faults["PREFIX"] = "must be 1 to 64 letters, digits, '_', '.' or '-'"
    if len(found.COLLECT_AFTER) != 2 or not 0 <= found.COLLECT_AFTER[0] <= found.COLLECT_AFTER[1] <= YEAR:
        faults["COLLECT_AFTER"] = "must be two numbers of seconds, the smaller first: (60, 300)"
    if wrong := [version for version in found.SERIALIZERS if not re.fullmatch(r"[0-9]+\.[0-9]+", version)]:
        faults["SERIALIZERS"] = f"must be of versions like '3.0', which speaks to 3.0.x, not {wrong[0]!r:.40}"
    for key, bounds in BOUNDS.items():
        if fault := bounds.fault(getattr(found, key)):
            faults[key] = fault
    return faults


def unknown(given: Iterable[object]) -> dict[object, str]:
    """Return which of these keys do not exist, each with what may have been meant."""
    known = [field.name for field in fields(Settings)]
    hints = {}
    for key in given:
        if key not in known:
            close = difflib.get_close_matches(str(key).upper(), known, 1)
            hints[key] = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
    return hints


@functools.cache
def router() -> Router:
    """Return the project's router. Raises Misconfigured when the setting names none."""
    path = settings().ROUTER
    if not path:
        raise Misconfigured('REALTIME = {"ROUTER": "yourproject.routing.router"} is missing from the settings')
    try:
        found = import_string(path)
    except Exception as error:  # the project's own code may raise anything
        raise Misconfigured(f"REALTIME['ROUTER'] = {path!r} cannot be imported: {importing.summary(error)}") from error
    if not isinstance(found, Router):
        raise Misconfigured(f"REALTIME['ROUTER'] = {path!r} must be a Router, not {found!r:.80}")
    return found


@functools.cache
def serializers() -> dict[str, Serializer]:
    """Return what is spoken, by version: "2.0". Raises Misconfigured for a class that cannot be used."""
    found = dict(SERIALIZERS)
    for version, path in settings().SERIALIZERS.items():
        try:
            made = import_string(path)()
        except Exception as error:  # the project's own code may raise anything
            raise Misconfigured(
                f"REALTIME['SERIALIZERS'][{version!r}] = {path!r} cannot be made: {importing.summary(error)}"
            ) from error
        if missing := [verb for verb in VERBS if not callable(getattr(made, verb, None))]:
            raise Misconfigured(f"REALTIME['SERIALIZERS'][{version!r}] = {path!r} lacks {', '.join(missing)}")
        found[version] = made
    return found


@functools.cache
def engine() -> Engine:
    """Return where the engine is. Raises Misconfigured where none is named and none may be started."""
    if url := engine_url():
        return Engine(url)
    if not may_embed():
        raise Misconfigured(
            "with DEBUG off realtime needs an engine: set REDIS_URL (or REALTIME['URL']) to a Redis or Valkey, "
            "or REALTIME['EMBEDDED'] = True to run one inside the project on this one machine"
        )
    return Engine(folder=embedded.folder(project_folder()))


def keys() -> Keys:
    """Return the project's names in the engine. Raises Misconfigured."""
    return Keys(settings().PREFIX, engine().partitions)


def registry() -> Registry:
    """Return what there is to ask of the engine about topics and nodes. Raises Misconfigured."""
    return Registry(keys(), settings().COLLECT_AFTER)


def engine_url() -> str:
    """Return the URL of the engine, or "" for the embedded one."""
    return settings().URL or os.environ.get("REDIS_URL", "")


def may_embed() -> bool:
    """Return whether the engine may run inside the project."""
    allowed = settings().EMBEDDED
    return is_debug() if allowed is None else allowed


def is_debug() -> bool:
    """Return DEBUG as the project set it."""
    return _debug or bool(django_settings.DEBUG)


def project_folder() -> Path:
    """Return the folder that holds manage.py: BASE_DIR, or the one above the settings' package."""
    if base := getattr(django_settings, "BASE_DIR", None):
        return Path(base)
    module = sys.modules.get(os.environ.get("DJANGO_SETTINGS_MODULE", ""))
    path = getattr(module, "__file__", None)
    return Path(path).resolve().parent.parent if path else Path.cwd()


def remember_debug() -> None:
    """Keep DEBUG as the project set it: test runners turn it off, and tests need an engine all the same."""
    global _debug
    _debug = bool(django_settings.DEBUG)


def forget(*, setting: str, **kwargs: Any) -> None:
    """Read the setting anew; tests override it."""
    if setting == "REALTIME":
        for cached in (settings, router, serializers, engine):
            cached.cache_clear()


_debug = False
setting_changed.connect(forget)
