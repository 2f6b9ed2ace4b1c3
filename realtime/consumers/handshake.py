"""What a handshake says: parameters, protocol version, origin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from django.conf import settings
from django.http.request import split_domain_port, validate_host

MAX_PARAMS = 100
PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def query_params(query: bytes) -> dict[str, Any]:
    """Return the parameters of a URL, nested where they are written a[b]=c. Raises ValueError for too many.

    Source: phoenix 167c46950, assets/js/phoenix/ajax.js, serialize.
    """
    params: dict[str, Any] = {}
    for key, value in parse_qsl(query.decode("ascii", "replace"), keep_blank_values=True, max_num_fields=MAX_PARAMS):
        first, *rest = key.replace("]", "").split("[")
        at = params
        for name in [first, *rest][:-1]:
            inner = at.get(name)
            at[name] = at = inner if isinstance(inner, dict) else {}
        at[[first, *rest][-1]] = value
    return params


def origin_is_allowed(scope: Mapping[str, Any], also: Iterable[str] = ()) -> bool:
    """Return whether the page that opens this socket may: one of our own host, or of an origin named in the settings.

    No Origin at all is a native client, which carries no cookies that are not its own.
    """
    origins = _header(scope, b"origin")
    hosts = _header(scope, b"host")
    if not origins:
        return True
    if len(origins) != 1 or len(hosts) != 1 or not _host_is_ours(hosts[0]):
        return False
    try:
        origin = urlsplit(origins[0])
        same = _host_and_port(origin.scheme, origin.netloc) == _host_and_port(origin.scheme, hosts[0])
    except ValueError:
        return False
    return same or origins[0] in {*also, *settings.CSRF_TRUSTED_ORIGINS}


def _host_is_ours(host: str) -> bool:
    domain, _ = split_domain_port(host)
    allowed = settings.ALLOWED_HOSTS
    if settings.DEBUG and not allowed:
        allowed = [".localhost", "127.0.0.1", "[::1]"]  # as Django itself does
    return bool(domain) and validate_host(domain, allowed)


def _host_and_port(scheme: str, netloc: str) -> tuple[str | None, int | None]:
    parts = urlsplit(f"//{netloc}")
    if parts.username is not None:
        raise ValueError("an origin names no user")
    return parts.hostname, parts.port or PORTS.get(scheme)


def _header(scope: Mapping[str, Any], name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope.get("headers", ()) if key == name]
