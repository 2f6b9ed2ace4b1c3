"""How the methods of a channel must be written: what would fail no sooner than a client calls them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import msgspec
import msgspec.inspect

from .exceptions import Misconfigured
from .handlers import Channel, Handler
from .payloads import decoder
from .routing import Route

FITTING = "Annotate it with nothing, dict, bytes, or with a msgspec Struct, a dataclass or a TypedDict."


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a method, and what is right."""

    problem: str
    hint: str


def faults(channel: type[Channel]) -> Iterator[Fault]:
    """Yield what is wrong with the methods of `channel`, but for the values that its `join` takes of a route."""
    marked = chain(channel.handlers.values(), channel.interceptors.values(), channel.listeners.values())
    for function in dict.fromkeys(handler.function for handler in marked):
        yield from _payload_faults(Handler(function), "(self, payload), or (self) where the payload does not matter")
    if channel.greeter is not None:
        yield from _payload_faults(channel.greeter, "(self, payload)")
    if (refusal := _refusal(channel.terminate, "left")) is not None:
        yield _misfit(f"{channel.__module__}.{channel.__qualname__}.terminate", refusal, "(self, reason)")
    if channel.join is not Channel.join and _arguments(channel.joiner):
        yield from _annotation_faults(channel.joiner)


def join_faults(route: Route) -> Iterator[Fault]:
    """Yield why `join` cannot be called with what `route` captures."""
    join = route.channel.joiner
    if (refusal := _refusal(join.function, *_arguments(join), **dict.fromkeys(route.converters))) is not None:
        right = f"({', '.join(['self', 'payload', *route.converters])}): what {route.pattern!r} captures comes by name"
        yield _misfit(join.name, refusal, right)


# private


def _payload_faults(handler: Handler, right: str) -> Iterator[Fault]:
    arguments = _arguments(handler)
    if (refusal := _refusal(handler.function, *arguments)) is not None:
        yield _misfit(handler.name, refusal, right)
    elif arguments:
        yield from _annotation_faults(handler)


def _misfit(name: str, refusal: str, right: str) -> Fault:
    return Fault(f"{name} cannot be called: {refusal}", f"Write its parameters as {right}.")


def _arguments(handler: Handler) -> tuple[Any, ...]:
    """Return a payload, if the method is called with one."""
    return (None,) if handler.takes_payload else ()


def _refusal(function: Callable[..., Any], *args: Any, **kwargs: Any) -> str | None:
    """Return why `function` cannot be called with an instance and these; None if it can."""
    try:
        inspect.signature(function).bind(None, *args, **kwargs)
    except (TypeError, ValueError) as error:
        return str(error)
    return None


def _annotation_faults(handler: Handler) -> Iterator[Fault]:
    """Yield why no payload becomes what the method's annotation says."""
    try:
        kind = handler.kind
    except Misconfigured as error:
        yield Fault(str(error), "Import the name where the class is defined, not under `if TYPE_CHECKING:`.")
        return
    try:
        decoder(kind)
        unknown = list(_unknown(msgspec.inspect.type_info(kind)))
    except Exception as error:  # whatever msgspec says of it
        yield Fault(f"{handler.name} asks for a payload that cannot be decoded: {error}", FITTING)
    else:
        for other in dict.fromkeys(unknown):
            yield Fault(f"{handler.name} asks for a payload that cannot be decoded: JSON makes no {other!r}", FITTING)


def _unknown(info: Any) -> Iterator[type]:
    """Yield the classes inside a type that msgspec has no rule for: it takes an instance, and JSON has none."""
    seen: dict[int, Any] = {}
    waiting = [info]
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue  # a type may hold itself
        seen[id(part)] = part
        if isinstance(part, msgspec.inspect.CustomType):
            yield part.cls
        if isinstance(part, tuple):
            waiting.extend(part)
        elif isinstance(part, (msgspec.inspect.Type, msgspec.inspect.Field)):
            waiting.extend(getattr(part, name) for name in part.__struct_fields__ if name not in ("default", "cls"))
