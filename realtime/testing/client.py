"""AsyncRealtimeClient: what opens sockets in an async test, hears the bus, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import base64
import contextvars
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from typing import Any, NoReturn
from unittest.mock import patch
from urllib.parse import urlencode

import redis
from asgiref.sync import sync_to_async

from .. import conf, lifetime
from ..consumers.handshake import TOKEN_PREFIX
from ..consumers.websocket import SocketConsumer
from ..engine.client import connector, translated
from ..engine.registry import Registry
from ..exceptions import EngineUnavailable
from ..node import Node
from ..payloads import decoder, encode
from ..protocol.bus import unpack
from ..protocol.messages import Broadcast
from ..routing import Router
from .crashes import Crashes
from .database import Loan, commits
from .erase import erase
from .inbox import Heard, Inbox, like, report
from .patterns import mismatch
from .sockets import FENCE, AsyncClientSocket
from .threads import REFUSALS, AsyncPortal, OneThread

# How long a positive assertion waits for what does not come. Only a test that fails takes that long.
PATIENCE = 5.0


class AsyncRealtimeClient:
    """Opens sockets on the running loop, through the consumer, the project's router and the real engine.

    async with AsyncRealtimeClient() as client:
        socket = await client.connect(user=ada)

    Each has the engine to itself: its names are under a prefix that nobody else uses. An exception of a channel that
    the test did not expect is raised at the end, as Django's test client raises those of a view.
    """

    def __init__(self, *, executor: Executor | None = None) -> None:
        self.patience = PATIENCE
        self.crashes = Crashes()
        self.sockets: list[AsyncClientSocket] = []
        self._heard: Inbox[Heard] = Inbox()
        self._isolation = ExitStack()
        self._is_isolated = False
        self._executor = executor
        self._loan = None if executor else Loan()

    async def __aenter__(self) -> AsyncRealtimeClient:
        if Node.running():
            raise RuntimeError("this loop has a client already; one is enough, it may connect as often as you like")
        async with AsyncExitStack() as stack:
            stack.callback(self.release)
            self.isolate()
            self._loop = asyncio.get_running_loop()
            if self._loan is not None:
                await sync_to_async(self._loan.lend)()
                stack.push_async_callback(sync_to_async(self._loan.take_back))
            stack.enter_context(self.crashes.watched())
            self.node = Node.current()
            stack.push_async_callback(self.node.stop)
            one = OneThread(self._executor or AsyncPortal(), self.crashes.add)
            self.node.employ(one)
            self.node.guard.employ(one)
            await stack.enter_async_context(_ear(self.node, self._heard))
            self._open = stack.pop_all()
        return self

    async def __aexit__(self, *error: Any) -> None:
        async with self._open:
            for socket in self.sockets:
                await socket.close()
        if error[0] is None:
            self.raise_crash("A channel crashed, and the test did not expect it")

    def isolate(self) -> None:
        """Keep what is broadcast from now on inside this test; `__aenter__` does it if nobody did before."""
        if not self._is_isolated:
            self._is_isolated = True
            self._isolation.enter_context(_prefix())
            self._isolation.enter_context(commits())
            self._isolation.enter_context(patch.object(lifetime, "watch", lambda node: None))  # no server ends here

    def release(self) -> None:
        self._is_isolated = False
        self._isolation.close()

    # Verbs

    async def connect(
        self,
        *,
        user: Any = None,
        params: Mapping[str, Any] | None = None,
        session: Any = None,
        auth_token: str | None = None,
        headers: Mapping[str, str] | None = None,
        router: Router | None = None,
    ) -> AsyncClientSocket:
        """Open a socket. Raises Refused with what the Socket's `connect` said; AssertionError when it crashed.

        user        who it is, whatever the session says
        params      what a client appends to the URL; strings, or dicts of them
        session     a session, as Django's test client has it: `connect(session=client.session)` after a login
        auth_token  phoenix.js' authToken
        headers     of the handshake: {"origin": "https://elsewhere.example"}
        router      instead of the project's
        """
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError(
                "this client was made on another loop than the test's: let both have the same loop scope, "
                "or write `async with AsyncRealtimeClient() as client` in the test"
            )
        self.node.settings = conf.settings()  # a test may have overridden some of them meanwhile
        router = router or conf.router()
        scope: dict[str, Any] = {
            "type": "websocket",
            "scheme": "ws",
            "path": router.paths[0],
            "root_path": "",
            "query_string": _query({"vsn": "2.0.0", **(params or {})}),
            "headers": [(k.lower().encode(), v.encode()) for k, v in {"host": "testserver", **(headers or {})}.items()],
            "client": ["127.0.0.1", 0],
            "server": ["testserver", 80],
            "subprotocols": [] if auth_token is None else ["phoenix", _offer(auth_token)],
            REFUSALS: [],
        }
        if user is not None:
            scope |= {"user": user, "session": {}}
        if session is not None:
            scope["session"] = session
        socket = AsyncClientSocket(self, SocketConsumer(router), scope)
        self.sockets.append(socket)
        await socket.open()
        return socket

    async def settle(self) -> None:
        """Return when all that was sent so far has been handled, and has arrived.

        That is: every handler that a push or join has set off has returned, and what those handlers or anybody
        else broadcast before is with its listeners. What a handler left to a task or a timer is not waited for.
        """
        await self._drain()
        mark = secrets.token_hex(4)
        for topic in {topic for socket in self.sockets for topic in socket.joined}:
            await self._publish(topic, mark)
            for socket in self.sockets:
                await socket.hear_fence(topic, mark)
        await self._publish(FENCE, mark)
        await self._heard.take(lambda item: item.topic == FENCE and item.payload["mark"] == mark, self.patience)
        await self._drain()

    async def assert_broadcast(self, topic: str, event: str, pattern: Any = ...) -> Any:
        """Wait for a broadcast to `topic`, joined by somebody or not; return its payload."""
        __tracebackhide__ = True
        found = await self._heard.take(lambda item: _fits(item, topic, event, pattern), self.patience)
        if found is None:
            came = [item for item in self._heard.items if item.event != FENCE]
            self.fail(report(f"Expected a broadcast {event!r}{like(pattern)} on {topic}", came, pattern, event))
        return found.payload

    async def refute_broadcast(self, topic: str, event: str, pattern: Any = ...) -> None:
        """Fail if, once all that was sent has been handled, there is such a broadcast."""
        __tracebackhide__ = True
        await self.settle()
        found = self._heard.find(lambda item: _fits(item, topic, event, pattern))
        if found is not None:
            self.fail(f"Expected no broadcast {event!r}{like(pattern)} on {topic}, got {found}")

    # For the sockets

    def fail(self, message: str) -> NoReturn:
        __tracebackhide__ = True
        crash = self.crashes.take()
        raise AssertionError(f"{message}\nA channel crashed: {crash!r}" if crash else message) from crash

    def raise_crash(self, message: str) -> None:
        """Raise what a channel raised, if anything."""
        if self.crashes:
            self.fail(message)

    # private

    async def _drain(self) -> None:
        for socket in self.sockets:
            await socket.drain()

    async def _publish(self, topic: str, mark: str) -> None:
        await self.node.publish(Broadcast(topic, FENCE, encode({"mark": mark})))


@asynccontextmanager
async def _ear(node: Node, inbox: Inbox[Heard]) -> AsyncIterator[None]:
    """Hear every broadcast under the test's prefix, whoever has joined."""

    async def listen() -> None:
        while True:
            with suppress(redis.TimeoutError, TimeoutError):
                _, _, channel, data = await connection.read_response(timeout=60.0, disconnect_on_error=False)
                topic = node.keys.topic_of(channel.decode())
                broadcast = unpack(topic, data)
                inbox.put(Heard(topic, broadcast.event, decoder(Any)(broadcast.payload)))

    async with AsyncExitStack() as stack:
        connection = connector(conf.engine())()
        stack.push_async_callback(connection.disconnect)
        with translated():
            await connection.connect()
            await connection.send_command("PSUBSCRIBE", node.keys.every_bus)
            await connection.read_response(timeout=PATIENCE)  # the confirmation
        task = asyncio.create_task(listen(), context=contextvars.Context())
        stack.push_async_callback(asyncio.wait, [task])
        stack.callback(task.cancel)
        yield


@contextmanager
def _prefix() -> Iterator[None]:
    """Give the engine's names a prefix of this test's own, whatever else of the setting a test overrides."""
    read, prefix = conf.settings, f"rt-test-{secrets.token_hex(8)}"

    def settings() -> conf.Settings:
        found = read()
        return replace(found, PREFIX=prefix, EMBEDDED=True if found.EMBEDDED is None else found.EMBEDDED)

    def registry() -> Registry:
        was_asked.append(True)
        return make()

    make, was_asked = conf.registry, list[bool]()
    settings.cache_clear = read.cache_clear  # type: ignore[attr-defined]
    with patch.object(conf, "settings", settings), patch.object(conf, "registry", registry):
        yield
        if was_asked:
            with suppress(EngineUnavailable):
                erase()
    conf.engine.cache_clear()  # with DEBUG off there may be none outside of tests


def _fits(item: Heard, topic: str, event: str, pattern: Any) -> bool:
    return item.topic == topic and item.event == event and mismatch(pattern, item.payload) is None


def _offer(token: str) -> str:
    return TOKEN_PREFIX + base64.b64encode(token.encode()).decode().rstrip("=")


def _query(params: Mapping[str, Any]) -> bytes:
    return urlencode(list(_flat(params))).encode()


def _flat(params: Mapping[str, Any], inside: str = "") -> Iterator[tuple[str, str]]:
    """Yield names and values as phoenix.js writes nested ones: a[b]=c."""
    for key, value in params.items():
        name = f"{inside}[{key}]" if inside else key
        if isinstance(value, Mapping):
            yield from _flat(value, name)
        else:
            yield name, str(value)
