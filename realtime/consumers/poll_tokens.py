"""The token of a client that polls: where its session is, signed, so that nobody comes by one but from us."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

from django.core.signing import BadSignature, TimestampSigner

from ..polls import Address
from .handshake import MAX_PARAMS

SALT = "realtime.longpoll"
MAX_AGE = 14 * 86400  # seconds. Source: phoenix 167c46950, lib/phoenix/transports/long_poll.ex.
HEADER = b"x-phoenix-longpoll-token"
PARAMETER = "token"  # of older clients, who may have one of that name for themselves, too
KIND = "longpoll"  # by which ours are known there


def issue(address: Address) -> str:
    return TimestampSigner(salt=SALT).sign(f"{KIND}.{address.node}.{address.session}")


def read(token: str) -> Address | None:
    """Return what we once issued; None for what is forged, or too old."""
    try:
        _, node, session = TimestampSigner(salt=SALT).unsign(token, max_age=MAX_AGE).split(".")
    except (BadSignature, ValueError):
        return None
    return Address(node, session)


def offered(scope: Mapping[str, Any]) -> str:
    """Return the token that came in the header, or else in the URL; "" for none."""
    for name, value in scope.get("headers", ()):
        if name == HEADER:
            return str(value.decode("latin-1"))
    return next((value for name, value in reversed(_pairs(scope)) if _is_ours(name, value)), "")


def without(scope: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scope with no token of ours in its URL, which a project would take for a parameter of its own."""
    pairs = _pairs(scope)
    rest = [(name, value) for name, value in pairs if not _is_ours(name, value)]
    return {**scope, "query_string": urlencode(rest).encode()} if len(rest) < len(pairs) else dict(scope)


# private


def _pairs(scope: Mapping[str, Any]) -> list[tuple[str, str]]:
    query = scope.get("query_string", b"").decode("ascii", "replace")
    try:
        return parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_PARAMS)
    except ValueError:  # too many; whoever reads the parameters refuses them
        return []


def _is_ours(name: str, value: str) -> bool:
    return name == PARAMETER and value.startswith(f"{KIND}.")
