"""System checks: what is wrong with a project, told before anything starts, and what is right instead."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Warning
from django.utils.autoreload import DJANGO_AUTORELOAD_ENV

from . import asgi_source, conf, importing, static_files
from .engine.addresses import ADVICE, address
from .exceptions import Misconfigured
from .handlers import Channel
from .import_name import complaint, other_owners, remedy
from .routing import Route
from .shadows import hidden
from .signatures import faults, join_faults

TAG = "realtime"


def register() -> None:
    for check in (
        check_settings,
        check_router,
        check_engine,
        check_server,
        check_application,
        check_hosts,
        check_static,
        check_import_name,
    ):
        checks.register(check, TAG)


# The REALTIME setting


def check_settings(**kwargs: Any) -> list[CheckMessage]:
    given = getattr(settings, "REALTIME", {})
    if not isinstance(given, Mapping):
        hint = 'Write REALTIME = {"ROUTER": "yourproject.routing.router"}.'
        return [Error(f"REALTIME must be a dict, not {type(given).__name__}.", hint=hint, id="realtime.E001")]
    unknown = conf.unknown(given)
    known = {key: value for key, value in given.items() if key not in unknown}
    faults = conf.mistyped(known) or ({} if unknown else conf.unfit(conf.Settings(**known)))
    return [
        *(_no_key(key, hint) for key, hint in unknown.items()),
        *(
            Error(f"REALTIME[{key!r}] {fault}.", hint=_default(key), id="realtime.E001")
            for key, fault in faults.items()
        ),
    ]


def _no_key(key: object, hint: str) -> CheckMessage:
    return Error(f"REALTIME has no key {key!r}.", hint=f"{hint[0].upper()}{hint[1:]}", id="realtime.E001")


def _default(key: str) -> str:
    return f"The default is {getattr(conf.Settings(), key)!r}."


# The router, its routes and its channels


def check_router(**kwargs: Any) -> list[CheckMessage]:
    if check_settings():
        return []  # mend those first; nothing can be read from them
    try:
        conf.serializers()
    except Misconfigured as error:
        return [
            Error(f"{error}.", hint="It is the path of a class; see realtime.protocol.serializers.", id="realtime.E001")
        ]
    try:
        routes = conf.router().routes
    except Misconfigured as error:
        return [_no_router(error)]
    channels = dict.fromkeys(route.channel for route in routes)
    return [
        *_hidden_routes(routes),
        *(_greedy(route, name) for route in routes for name in _greedy_values(route)),
        *(_no_join(channel) for channel in channels if channel.join is Channel.join),
        *(_fault(channel, fault) for channel in channels for fault in faults(channel)),
        *(_fault(route.channel, fault) for route in routes for fault in join_faults(route)),
    ]


def _no_router(error: Misconfigured) -> CheckMessage:
    if error.__cause__ is not None and not isinstance(error.__cause__, ModuleNotFoundError):
        hint = "Mend what is named there. The setting is the path of a Router, as in 'yourproject.routing.router'."
    else:
        hint = (
            'Write router = Router("/ws", [channel("rooms:<part:room>", RoomChannel)]) in yourproject/routing.py, '
            'and REALTIME = {"ROUTER": "yourproject.routing.router"} in the settings.'
        )
    # An error would keep runserver from serving anything. The project's pages need no router, and the page at the
    # mount shows what is wrong with it.
    reloader = settings.DEBUG and os.environ.get(DJANGO_AUTORELOAD_ENV) == "true"
    return (Warning if reloader else Error)(str(error), hint=hint, id="realtime.E002")


def _hidden_routes(routes: list[Route]) -> Iterator[CheckMessage]:
    for route, earlier in hidden(routes):
        yield Error(
            f"The route {route.pattern!r} to {_name(route.channel)} is never reached: {earlier.pattern!r} to "
            f"{_name(earlier.channel)} comes first, and matches the same topics.",
            hint="Remove one of the two, give each a prefix of its own, or put the narrower pattern first.",
            id="realtime.E003",
        )


def _no_join(channel: type[Channel]) -> CheckMessage:
    return Error(
        f"{_name(channel)} has no join, so that nobody can join it.",
        hint="Write async def join(self, payload, …): it lets in by returning, and keeps out by raising Refused.",
        id="realtime.E004",
    )


def _fault(channel: type[Channel], fault: Any) -> CheckMessage:
    return Error(fault.problem, hint=fault.hint, obj=_name(channel), id="realtime.E005")


def _greedy_values(route: Route) -> list[str]:
    return [name for name, converter in route.converters.items() if re.fullmatch(converter.regex, "a:b")]


def _greedy(route: Route, name: str) -> CheckMessage:
    return Warning(
        f"{name!r} in the route {route.pattern!r} takes any number of parts, as in 'a:b'.",
        hint=f"Write <part:{name}>, which ends before the next ':'.",
        id="realtime.W005",
    )


def _name(channel: type[Channel]) -> str:
    return f"{channel.__module__}.{channel.__qualname__}"


# The engine


def check_engine(**kwargs: Any) -> list[CheckMessage]:
    if check_settings():
        return []
    url = conf.engine_url()
    if url and (fault := _fault_of(url)):
        return [Error(fault, hint=ADVICE, id="realtime.E006")]
    if not url and not conf.may_embed():
        return [
            Error(
                "With DEBUG off realtime needs an engine, and none is named.",
                hint="Set REDIS_URL (or REALTIME['URL']) to a Redis or Valkey, or REALTIME['EMBEDDED'] = True to run "
                "one inside the project on this one machine.",
                id="realtime.E006",
            )
        ]
    if not url and not conf.is_debug():  # as the project set it: a test runner turns DEBUG off
        return [
            Warning(
                "The embedded engine is used with DEBUG off: it serves this one machine only.",
                hint="Set REDIS_URL (or REALTIME['URL']) where several machines serve the project; where one does, "
                "silence this with SILENCED_SYSTEM_CHECKS = ['realtime.W002'].",
                id="realtime.W002",
            )
        ]
    return []


def _fault_of(url: str) -> str:
    """Return what is wrong with the URL, without any part of it, for its password."""
    try:
        address(url)
    except Misconfigured as error:
        return str(error).removesuffix(ADVICE).strip()
    return ""


# How the project is served


def check_server(**kwargs: Any) -> list[CheckMessage]:
    if not getattr(settings, "ASGI_APPLICATION", None):
        return [
            Warning(
                "ASGI_APPLICATION is not set, so that runserver serves no sockets.",
                hint='Write ASGI_APPLICATION = "yourproject.asgi.application", and there '
                "application = with_realtime(get_asgi_application()).",
                id="realtime.W004",
            )
        ]
    names = [app.name for app in apps.get_app_configs()]
    if names[:1] == ["daphne"]:
        return []
    state = "is not first" if "daphne" in names else "is missing"
    return [
        Warning(
            f"daphne {state} in INSTALLED_APPS: runserver may be one that speaks no WebSocket.",
            hint='Write INSTALLED_APPS = ["daphne", …]. If you develop with another ASGI server, silence this with '
            "SILENCED_SYSTEM_CHECKS = ['realtime.W001'].",
            id="realtime.W001",
        )
    ]


def check_application(**kwargs: Any) -> list[CheckMessage]:
    """Warn of an asgi.py as startproject leaves it."""
    path = getattr(settings, "ASGI_APPLICATION", None)
    if not path:
        return []  # see check_server
    try:
        if not asgi_source.is_bare(path):
            return []
    except Exception as error:  # the packages around it are the project's own code
        problem = f"ASGI_APPLICATION = {path!r} cannot be read: {importing.summary(error)}."
    else:
        problem = f"{path} is Django's own handler, which answers every WebSocket with an error."
    return [
        Warning(
            problem,
            hint="Write there django = get_asgi_application(), below it from realtime.asgi import with_realtime, and "
            "application = with_realtime(django). If your sockets are served by another application, "
            "silence this with SILENCED_SYSTEM_CHECKS = ['realtime.W007'].",
            id="realtime.W007",
        )
    ]


def check_hosts(**kwargs: Any) -> list[CheckMessage]:
    if "*" not in settings.ALLOWED_HOSTS:
        return []
    return [
        Warning(
            "ALLOWED_HOSTS has '*': pages of any host name that leads to this server may open its sockets.",
            hint="Name the hosts, as in ALLOWED_HOSTS = ['www.example.org']. A socket is opened for a page of its own "
            "host, and the host must be one of these.",
            id="realtime.W003",
        )
    ]


# Static files


def check_static(**kwargs: Any) -> list[CheckMessage]:
    """Warn where no server can find our client; with DEBUG on not here, for runserver can."""
    return [] if conf.is_debug() else unserved("With DEBUG off")


def unserved(when: str) -> list[CheckMessage]:
    if not (state := static_files.missing()):
        return []
    return [
        Warning(
            f"{when} no server can find {settings.STATIC_URL}realtime/realtime.js: {state}.",
            hint="Set STATIC_ROOT, run collectstatic, and let a web server or WhiteNoise serve that folder; or add "
            "whitenoise.middleware.WhiteNoiseMiddleware with WHITENOISE_USE_FINDERS = True. If the files are collected "
            "elsewhere, or no page of yours needs them, silence this with "
            "SILENCED_SYSTEM_CHECKS = ['realtime.W006'].",
            id="realtime.W006",
        )
    ]


# The name


def check_import_name(**kwargs: Any) -> list[CheckMessage]:
    return [Error(complaint(other), hint=remedy(other), id="realtime.E007") for other in other_owners()]
