"""Routes that are never reached, because one before them takes all their topics."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from .routing import Route

# Parts of topics that tell the known converters apart: a pattern that takes all of these takes all that the converter
# does, be it in one piece or cut somewhere.
_INT = ("0", "7", "42")
_SLUG = (*_INT, "a", "Z", "-", "_", "a-_Z0")
_PART = (*_SLUG, ".", "é", "a.é")
_STR = (*_PART, ":", "a:é")
_PATH = (*_STR, "/", "a/é")
_UUID = ("00000000-0000-4000-8000-000000000000", "fedcba98-7654-4321-8fed-cba987654321")
SAMPLES = {"int": _INT, "slug": _SLUG, "part": _PART, "str": _STR, "path": _PATH, "uuid": _UUID}

_VALUE = re.compile(r"<(?:([^>:]+):)?([^>]+)>")


def hidden(routes: list[Route]) -> Iterator[tuple[Route, Route]]:
    """Yield each route that is never reached, with the one before it that takes its topics."""
    for number, route in enumerate(routes):
        if (earlier := next((earlier for earlier in routes[:number] if hides(earlier, route)), None)) is not None:
            yield route, earlier


def hides(earlier: Route, later: Route) -> bool:
    """Return whether `earlier` matches every topic that `later` matches; False where that cannot be told."""
    if _shape(earlier) == _shape(later):
        return True
    kinds = [kind or "str" for kind, _ in _VALUE.findall(later.pattern)]
    if not SAMPLES.keys() >= set(kinds):
        return False  # a converter of the project's own
    return all(earlier.match(topic) for topic in _topics(later, kinds))


def _topics(route: Route, kinds: list[str]) -> Iterable[str]:
    """Yield topics of every sort that `route` matches; each value shows all its samples, beside different ones."""
    names = list(route.converters)
    for turn in range(max((len(SAMPLES[kind]) for kind in kinds), default=1)):
        parts = [SAMPLES[kind][(turn + place) % len(SAMPLES[kind])] for place, kind in enumerate(kinds)]
        yield route.filled(dict(zip(names, parts, strict=True)))


def _shape(route: Route) -> str:
    """Return the pattern without the names of its values: "rooms:<part>"."""
    return _VALUE.sub(lambda found: f"<{found[1] or 'str'}>", route.pattern)
