"""What the URL of an engine says: one server, a service that sentinels watch, or a cluster. Connects to nothing."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from redis.connection import parse_url

from ..exceptions import Misconfigured

Host = tuple[str, int]

FORMS = (
    "redis://127.0.0.1:6379/0",
    "unix:///path/of.sock",
    "redis+sentinel://host1:26379,host2:26379/service_name",
    "redis+cluster://host1:6379,host2:6379",
)
ADVICE = (
    f"Write it as in {', '.join(FORMS[:-1])} or {FORMS[-1]}; rediss in place of redis speaks TLS. A user and a "
    "password stand before the hosts, as in user:password@, with each of :/?#[]@ in them as a percent code."
)
KINDS: dict[str, Literal["server", "sentinel", "cluster"]] = {
    "redis": "server",
    "rediss": "server",
    "unix": "server",
    "redis+sentinel": "sentinel",
    "rediss+sentinel": "sentinel",
    "redis+cluster": "cluster",
    "rediss+cluster": "cluster",
}
PORTS = {"server": 6379, "sentinel": 26379, "cluster": 6379}


@dataclass(frozen=True, slots=True)
class Address:
    """What a URL says.

    kind     one server, a service of sentinels, or a cluster
    url      as redis-py reads it: redis://…, rediss://… or unix://…, with the user, the password, the options, the
             database and one host, the first
    hosts    the sentinels, or the nodes of the cluster to begin with; the server
    service  what the sentinels call it
    sentinel_username, sentinel_password  for the sentinels themselves
    """

    kind: Literal["server", "sentinel", "cluster"]
    url: str = field(repr=False)
    hosts: tuple[Host, ...] = ()
    service: str = ""
    sentinel_username: str = ""
    sentinel_password: str = field(default="", repr=False)


@functools.cache
def address(url: str) -> Address:
    """Return what the URL says. Raises Misconfigured; the message holds no part of the URL, for its password."""
    try:
        found = _read(url)
        options: dict[str, Any] = dict(parse_url(found.url))  # type: ignore[no-untyped-call]
    except ValueError:  # its message may hold the half of a password
        raise _malformed("cannot be read") from None
    if found.kind == "cluster" and options.get("db"):
        raise _malformed("names a database, and a cluster has none but 0")
    return found


# private


def _read(url: str) -> Address:
    scheme, _, rest = url.partition("://")
    kind = KINDS.get(scheme.lower())
    if kind is None:
        raise _malformed(f"must begin with {', '.join(f'{known}://' for known in KINDS)}")
    plain = scheme.lower().partition("+")[0]
    parts = urlsplit(f"{plain}://{rest}")
    if plain == "unix":
        if not parts.path:
            raise _malformed("names no path")
        return Address("server", f"unix://{rest}")
    login, _, names = parts.netloc.rpartition("@")
    hosts = tuple(_host(name, PORTS[kind]) for name in names.split(","))
    first = f"{login}@{names.split(',')[0]}" if login else names.split(",")[0]
    if kind == "sentinel":
        return _sentinel(parts._replace(netloc=first), hosts)
    if kind == "server" and len(hosts) > 1:
        raise _malformed("names several hosts, and is of one server")
    if kind == "cluster" and parts.path not in ("", "/", "/0"):
        raise _malformed("names a database, and a cluster has none but 0")
    return Address(kind, urlunsplit(parts._replace(netloc=first)), hosts)


def _sentinel(parts: SplitResult, hosts: tuple[Host, ...]) -> Address:
    service, _, database = parts.path.removeprefix("/").partition("/")
    if not service:
        raise _malformed("names no service after the sentinels")
    if database and not database.isdecimal():
        raise _malformed("names a database that is no number")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    username, password = options.pop("sentinel_username", ""), options.pop("sentinel_password", "")
    url = urlunsplit(parts._replace(path=f"/{database}", query=urlencode(options)))
    return Address("sentinel", url, hosts, unquote(service), username, password)


def _host(name: str, port: int) -> Host:
    parts = urlsplit(f"//{name}")
    if not parts.hostname:
        raise _malformed("names no host")
    return unquote(parts.hostname), parts.port or port


def _malformed(fault: str) -> Misconfigured:
    return Misconfigured(f"REDIS_URL, or REALTIME['URL'], {fault}. {ADVICE}")
