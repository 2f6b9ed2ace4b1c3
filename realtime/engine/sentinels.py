"""Connections to whichever server sentinels name as the primary of a service, asked at each connect."""

from __future__ import annotations

from typing import Any

import redis.asyncio.sentinel
import redis.sentinel

from .addresses import Address


class Primary:
    """Where the primary is: what redis-py's sentinel connections ask their pool.

    options  of a connection to a sentinel, as redis.Redis takes them

    The sentinels are asked over connections of that one question: connects are rare, and nothing is left to close.
    """

    is_master = True
    check_connection = False

    def __init__(self, address: Address, options: dict[str, Any]) -> None:
        self._address = address
        self._options = options

    def get_master_address(self) -> tuple[str, int]:
        asked = redis.sentinel.Sentinel(self._address.hosts, sentinel_kwargs=self._options)  # type: ignore[no-untyped-call]
        try:
            found: tuple[str, int] = asked.discover_master(self._address.service)  # type: ignore[no-untyped-call]
        except redis.sentinel.MasterNotFoundError:
            raise redis.ConnectionError(self._not_found()) from None
        finally:
            for sentinel in asked.sentinels:
                sentinel.close()
        return found

    def _not_found(self) -> str:
        # redis-py's own message shows all options of a connection; before version 8 its passwords too.
        names = ", ".join(f"{host}:{port}" for host, port in self._address.hosts)
        return f"no sentinel of {names} names a primary of {self._address.service!r} that is up, or lets us ask"


class AsyncPrimary(Primary):
    async def get_master_address(self) -> tuple[str, int]:  # type: ignore[override]
        asked = redis.asyncio.sentinel.Sentinel(self._address.hosts, sentinel_kwargs=self._options)  # type: ignore[no-untyped-call]
        try:
            found: tuple[str, int] = await asked.discover_master(self._address.service)
        except redis.asyncio.sentinel.MasterNotFoundError:
            raise redis.ConnectionError(self._not_found()) from None
        finally:
            for sentinel in asked.sentinels:
                await sentinel.aclose()
        return found
