"""Cable: the way from a page to its server, which can be pulled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

from tests.proxy import Proxy

PATIENCE = 30.0


class Cable:
    """A way to a server that can be cut (connections break, new ones work) and unplugged (nothing works)."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._loop = asyncio.new_event_loop()  # in a thread: the browser has the main one
        self._thread = threading.Thread(target=self._loop.run_forever)

    @property
    def port(self) -> int:
        return self._proxy.port

    def __enter__(self) -> Cable:
        self._thread.start()
        self._run(self._proxy.__aenter__())
        return self

    def __exit__(self, *exc: object) -> None:
        self._run(self._proxy.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        self._loop.call_soon_threadsafe(self._proxy.cut)

    def unplug(self) -> None:
        self._loop.call_soon_threadsafe(self._proxy.refuse)

    def plug(self) -> None:
        self._loop.call_soon_threadsafe(self._proxy.admit)

    def _run(self, work: Coroutine[Any, Any, Any]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)
