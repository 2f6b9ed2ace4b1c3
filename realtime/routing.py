"""Router: from a topic to the channel class that handles it, and back."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, TypeAlias

from django.core.exceptions import ImproperlyConfigured
from django.urls import register_converter
from django.urls.converters import StringConverter, get_converters
from django.urls.resolvers import RoutePattern

from .exceptions import InvalidTopic, Misconfigured
from .handlers import Channel
from .protocol.messages import is_topic
from .socket import Socket

logger = logging.getLogger("realtime.socket")


class PartConverter(StringConverter):
    """One part of a topic. Django's own `str` would take "a:b" in one piece, for a topic has no slashes."""

    regex = r"[^:/\s]+"


if "part" not in get_converters():
    register_converter(PartConverter, "part")


@dataclass(frozen=True, slots=True)
class Match:
    """What handles a topic: the class, the values captured, the name of the route, and what it assigns."""

    channel: type[Channel]
    params: dict[str, Any]
    name: str | None
    assigns: Mapping[str, Any] = field(default_factory=dict)


class Route:
    """One pattern of topics, bound to a Channel class."""

    def __init__(
        self, pattern: str, channel: type[Channel], name: str | None = None, assigns: Mapping[str, Any] | None = None
    ) -> None:
        self.pattern = pattern
        self.channel = channel
        self.name = name
        self.assigns = dict(assigns or {})
        if {"<", ">"} & set(_PARAMETER.sub("", pattern)):
            raise Misconfigured(f"channel({pattern!r}): a value is captured as in <part:room>")
        try:
            self._matcher = RoutePattern(pattern, is_endpoint=True)
            self._matcher.regex  # noqa: B018  compiled now, so that a wrong pattern fails at its own line
        except ImproperlyConfigured as error:
            raise Misconfigured(f"channel({pattern!r}): {error}") from error

    @property
    def converters(self) -> dict[str, Any]:
        """What captures each value of a topic, by its name."""
        return self._matcher.converters

    def match(self, topic: str) -> Match | None:
        try:
            found = self._matcher.match(topic)
        except Exception:  # a converter of the project's own
            logger.exception("%r failed to match %r", self.pattern, topic)
            return None
        return Match(self.channel, found[2], self.name, self.assigns) if found else None

    def takes(self, values: dict[str, Any]) -> bool:
        return values.keys() == self.converters.keys()

    def filled(self, parts: Mapping[str, str]) -> str:
        """Return the pattern with these parts in the places of its values."""
        return _PARAMETER.sub(lambda found: parts[found[1]], self.pattern)

    def topic(self, values: dict[str, Any]) -> str:
        """Return the topic with these values in it. Raises InvalidTopic."""
        if not self.takes(values):
            raise InvalidTopic(f"{self.pattern!r} takes {_names(self.converters)}, not {_names(values)}")
        try:
            topic = self.filled({name: found.to_url(values[name]) for name, found in self.converters.items()})
        except (TypeError, ValueError) as error:
            raise InvalidTopic(f"{self.pattern!r} cannot carry {values!r}: {error}") from error
        if not is_topic(topic) or self._matcher.match(topic) is None:
            raise InvalidTopic(f"{topic!r} is not a topic that {self.pattern!r} matches")
        return topic


_PARAMETER = re.compile(r"<(?:[^>:]+:)?([^>]+)>")

Included: TypeAlias = Sequence["Route | Sequence[Any]"]


def channel(
    pattern: str,
    handler: type[Channel] | Included,
    *,
    name: str | None = None,
    assigns: Mapping[str, Any] | None = None,
) -> Route | list[Route]:
    """Bind topics that look like `pattern` to a Channel class, or put `pattern` before what is included.

    channel("rooms:<part:room>", RoomChannel, name="room")
    channel("shop:", include("shop.routing"))

    Converters are Django's (int, slug, uuid, …) and `part`: anything up to the next ":". The first match wins.

    assigns  what every channel of the route finds in its `assigns`, over what it has of the socket's
    """
    if isinstance(handler, type) and issubclass(handler, Channel):
        return Route(pattern, handler, name, assigns)
    if isinstance(handler, type) or not isinstance(handler, Sequence) or isinstance(handler, str):
        raise Misconfigured(f"channel({pattern!r}, …) takes a Channel class or include(…), not {handler!r}")
    return [
        Route(pattern + route.pattern, route.channel, route.name, {**(assigns or {}), **route.assigns})
        for route in _flat(handler)
    ]


def include(target: str | Included) -> Included:
    """Return the routes of another module, "shop.routing", which lists them as `channels`; or the list given."""
    if not isinstance(target, str):
        return target
    routes = getattr(import_module(target), "channels", None)
    if routes is None:
        raise Misconfigured(f"include({target!r}): the module has no list named channels")
    return list(routes)


class Router:
    """Where a project mounts its socket, and which channel handles which topic.

    router = Router("/ws", [channel("rooms:<part:room>", RoomChannel, name="room")], socket=UserSocket)

    mount   the path that clients are given: they connect to "/ws/websocket", to "/ws" itself, or poll "/ws/longpoll"
    socket  the Socket class: who may connect
    """

    def __init__(self, mount: str, routes: Included, *, socket: type[Socket] = Socket) -> None:
        if not mount.startswith("/") or mount.endswith("/"):
            raise Misconfigured(f'a router is mounted at a path like "/ws", not {mount!r}')
        if not (isinstance(socket, type) and issubclass(socket, Socket)):
            raise Misconfigured(f"Router(…, socket=…) takes a Socket class, not {socket!r}")
        self.mount = mount
        self.routes = list(_flat(routes))
        self.socket = socket

    @property
    def paths(self) -> tuple[str, ...]:
        return paths(self.mount)

    @property
    def longpoll(self) -> str:
        """The path for clients that poll."""
        return f"{self.mount}/longpoll"

    def resolve(self, topic: str) -> Match | None:
        """Return what handles `topic`, or None. The first route that matches wins."""
        return next((found for route in self.routes if (found := route.match(topic))), None)

    def topic(self, name: str, /, **values: Any) -> str:
        """Return the topic of the route `name`: router.topic("room", room="lobby"). Raises InvalidTopic."""
        named = [route for route in self.routes if route.name == name]
        if not named:
            raise InvalidTopic(f"no route is named {name!r}; there are {_names(r.name for r in self.routes if r.name)}")
        return next((route for route in named if route.takes(values)), named[0]).topic(values)


def paths(mount: str) -> tuple[str, ...]:
    """Return where a mount's WebSocket is served."""
    return (f"{mount}/websocket", mount)


def _flat(routes: Iterable[Any]) -> Iterator[Route]:
    for route in routes:
        if isinstance(route, Route):
            yield route
        elif isinstance(route, Iterable) and not isinstance(route, str):
            yield from _flat(route)
        else:
            raise Misconfigured(f"routes are made with channel(…), not {route!r}")


def _names(values: Iterable[Any]) -> str:
    return ", ".join(sorted(map(str, values))) or "nothing"
