"""What a handshake says: parameters, host and origin."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from django.conf import settings
from django.http.request import split_domain_port, validate_host
from django.utils.http import is_same_domain

MAX_PARAMS = 100
TOKEN_PREFIX = "base64url.bearer.phx."
URL_ALPHABET = str.maketrans("-_", "+/")
PORTS = {"http": 80, "https": 443}
SCHEMES = {"ws": "http", "wss": "https", "http": "http", "https": "https"}
DEVELOPMENT_HOSTS = [".localhost", "127.0.0.1", "[::1]"]  # as Django itself does


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


def offered_token(scope: Mapping[str, Any]) -> str | None:
    """Return the token that came as a subprotocol, where no log of URLs sees it; None for none, two, or garbage.

    Source: phoenix 1.8, assets/js/phoenix/socket.js, which writes standard base64 although it says base64url.
    """
    offered = [item for item in scope.get("subprotocols", ()) if item.startswith(TOKEN_PREFIX)]
    if len(offered) != 1:
        return None
    token = offered[0].removeprefix(TOKEN_PREFIX).translate(URL_ALPHABET)
    try:
        return base64.b64decode(token + "=" * (-len(token) % 4), validate=True).decode()
    except ValueError:
        return None


def origin_refusal(scope: Mapping[str, Any], also: Iterable[str] = (), *, require: bool = False) -> str | None:
    """Return why the page that opens this socket may not, with the setting that would admit it; or None.

    A browser sends the page's cookies along from whatever site the page is of, so the page must be of our own host, or
    of an origin that the settings name. No Origin at all is a native client, which has no cookies but its own.
    """
    hosts = _host(scope)
    origins = _origins(scope, hosts)
    if len(hosts) > 1 or len(origins) > 1:
        return "a doubled Host or Origin header"
    if hosts and not _host_is_ours(hosts[0]):
        return f"Host {hosts[0]!r:.80} is not in ALLOWED_HOSTS"
    if not origins:
        return "no Origin header, and REALTIME['REQUIRE_ORIGIN'] is on" if require else None
    try:
        allowed = _is_named(origins[0], also) or (bool(hosts) and _is_same(scope, origins[0], hosts[0]))
    except ValueError:
        return f"Origin {origins[0]!r:.80} is none"
    if allowed:
        return None
    return f"Origin {origins[0]!r:.80} is neither ours nor in CSRF_TRUSTED_ORIGINS or REALTIME['ALLOWED_ORIGINS']"


# private


def _origins(scope: Mapping[str, Any], hosts: list[str]) -> list[str]:
    """Return the origin of the page, once for each header that tells it.

    A GET has no Origin header when it comes from our own page, or from the <img> of another: browsers tell that apart
    in Sec-Fetch-Site over HTTPS, and in Referer.
    """
    origins = _header(scope, b"origin")
    if origins or scope.get("type") != "http":
        return origins
    site = _header(scope, b"sec-fetch-site")
    if site == ["same-origin"] and hosts:
        return [f"{_scheme(scope) or 'http'}://{hosts[0]}"]
    if site and site != ["none"]:
        return ["null"]
    return [_origin_of(page) for page in _header(scope, b"referer")]


def _origin_of(page: str) -> str:
    scheme, _, rest = page.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"


def _host(scope: Mapping[str, Any]) -> list[str]:
    forwarded = _header(scope, b"x-forwarded-host") if settings.USE_X_FORWARDED_HOST else []
    return forwarded or _header(scope, b"host")


def _host_is_ours(host: str) -> bool:
    domain, _ = split_domain_port(host)
    allowed = settings.ALLOWED_HOSTS
    if settings.DEBUG and not allowed:
        allowed = DEVELOPMENT_HOSTS
    return bool(domain) and validate_host(domain, allowed)


def _is_same(scope: Mapping[str, Any], origin: str, host: str) -> bool:
    """Return whether scheme, host and port are those that the client connects to."""
    scheme, *place = _parts(origin)
    ours = _scheme(scope) or scheme
    return scheme == ours and place == _parts(f"{ours}://{host}")[1:]


def _is_named(origin: str, also: Iterable[str]) -> bool:
    """Return whether the settings name this origin, as it is or (as Django reads it) by "https://*.example.com"."""
    scheme, host, port = _parts(origin)
    for named in (*also, *settings.CSRF_TRUSTED_ORIGINS):
        before, wildcard, domain = named.partition("://*.")
        if not wildcard and _parts(named) == [scheme, host, port]:
            return True
        if wildcard and before == scheme and is_same_domain(origin.partition("://")[2], f".{domain}"):
            return True
    return False


def _scheme(scope: Mapping[str, Any]) -> str | None:
    """Return "http" or "https", by the proxy's header if the project trusts it; None where the server does not tell."""
    if settings.SECURE_PROXY_SSL_HEADER:
        name, secure = settings.SECURE_PROXY_SSL_HEADER
        values = _header(scope, name.removeprefix("HTTP_").replace("_", "-").lower().encode())
        return "https" if values and values[0].split(",")[0].strip() == secure else "http"
    return SCHEMES.get(scope.get("scheme", ""))


def _parts(origin: str) -> list[Any]:
    """Return scheme, host and port. Raises ValueError for what is no origin."""
    parts = urlsplit(origin)
    if parts.scheme not in PORTS or not parts.hostname or parts.username is not None or parts.path or parts.query:
        raise ValueError("not an origin")
    return [parts.scheme, parts.hostname, parts.port or PORTS[parts.scheme]]


def _header(scope: Mapping[str, Any], name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope.get("headers", ()) if key == name]
