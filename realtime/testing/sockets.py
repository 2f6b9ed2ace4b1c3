"""A client's side of a socket and of the topics it has joined, for async tests."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from ..consumers.websocket import SocketConsumer
from ..exceptions import Refused
from ..protocol.messages import CLOSE, ERROR, HEARTBEAT, JOIN, LEAVE, REPLY, RESERVED_TOPIC
from .frames import frame
from .inbox import Inbox, Received, like, report
from .patterns import mismatch
from .threads import REFUSALS

if TYPE_CHECKING:
    from .client import AsyncRealtimeClient

# What a client sends, or the bus carries, to learn that all before it has arrived. No channel handles it.
FENCE = "realtime:fence"
# Why it may be answered before its turn.
TURNED_AWAY = ("too many messages", "overloaded")


class AsyncClientSocket:
    """One client's connection. `client.connect()` makes it.

    joined      topic -> what is joined and has neither been left nor ended by the server
    close_code  what the server closed it with, or None
    """

    def __init__(self, client: AsyncRealtimeClient, consumer: SocketConsumer, scope: MutableMapping[str, Any]) -> None:
        self.client = client
        self.inbox: Inbox[Received] = Inbox()
        self.joined: dict[str, AsyncClientChannel] = {}
        self.close_code: int | None = None
        self.sent: dict[str | None, str] = {}  # ref -> event, for what a failed test says
        self._refs = map(str, itertools.count(1))
        self._scope = scope
        self._input: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._opened = asyncio.Event()
        self._task = asyncio.create_task(consumer(scope, self._input.get, self._take), context=contextvars.Context())
        self._task.add_done_callback(lambda _: self._wake())

    async def open(self) -> None:
        """Shake hands. Raises Refused."""
        self._input.put_nowait({"type": "websocket.connect"})
        await self._opened.wait()
        if self._task.done():
            self._task.result()
        if not self.is_open:
            self.client.raise_crash("connect crashed")
            said = self._scope[REFUSALS]
            raise said[0] if said else Refused({"reason": "the handshake was refused", "code": self.close_code})

    @property
    def is_open(self) -> bool:
        return self.close_code is None and not self._task.done()

    async def join(self, topic: str, payload: Any = None) -> AsyncClientChannel:
        """Join, and return what was joined; its `response` is what the server answered.

        Raises Refused with the response of an error; AssertionError when the channel crashed.
        """
        ref = self.send(None, topic, JOIN, payload)
        joining = AsyncClientChannel(self, topic, ref)
        self.joined[topic] = joining  # before the answer: what an after_join pushes may be the next frame
        reply = await self.take_reply(ref)
        if reply.payload["status"] != "ok":
            if self.joined.get(topic) is joining:
                del self.joined[topic]
            self.client.raise_crash(f"the join of {topic} crashed")
            raise Refused(reply.payload["response"])
        joining.response = reply.payload["response"]
        return joining

    async def close(self) -> None:
        """Close as a client does, and return when all channels of this socket have terminated."""
        self._input.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await self._task
        self.joined.clear()
        await self.client.node.idle()

    async def assert_closed(self, code: int | None = None) -> int:
        """Wait until the server has closed this socket, and return the code."""
        __tracebackhide__ = True
        await self.inbox.take(lambda _: False, self.client.patience, is_over=lambda: not self.is_open)
        if self.close_code is None or code not in (None, self.close_code):
            came = "it is open" if self.close_code is None else f"it was closed with {self.close_code}"
            self.client.fail(f"Expected the socket to be closed{f' with {code}' if code else ''}: {came}")
        return self.close_code

    # For the topics

    def send(self, join_ref: str | None, topic: str, event: str, payload: Any = None) -> str:
        """Send one frame and return its ref; a join's ref is its join_ref too."""
        if not self.is_open:
            self.client.fail(f"Cannot send {event!r}: the socket is closed ({self.close_code or 'by this test'})")
        ref = next(self._refs)
        self.sent[ref] = event
        sent = frame(ref if event == JOIN else join_ref, ref, topic, event, payload)
        self._input.put_nowait({"type": "websocket.receive", "text" if isinstance(sent, str) else "bytes": sent})
        return ref

    async def take_reply(self, ref: str) -> Received:
        """Return the reply to `ref`, whatever it says."""
        __tracebackhide__ = True
        found = await self._reply(ref)
        if found is None:
            expected = f"Expected a reply to {self.sent.get(ref, 'what was never sent')!r} (ref {ref})"
            self.client.fail(report(expected, self.inbox.items, ..., "", self._but()))
        return found

    async def drain(self) -> None:
        """Return when every message sent so far has been handled, and what that pushed is here."""
        await asyncio.gather(
            *(self._fence(topic, FENCE) for topic in list(self.joined)), self._fence(RESERVED_TOPIC, HEARTBEAT)
        )

    async def hear_fence(self, topic: str, mark: str) -> None:
        """Return when the broadcast so marked has come, unless this topic ends before."""
        await self.inbox.take(
            lambda item: item.topic == topic and item.event == FENCE and item.payload["mark"] == mark,
            self.client.patience,
            is_over=lambda: topic not in self.joined or not self.is_open,
        )

    # private

    async def _fence(self, topic: str, event: str) -> None:
        """Return when what was sent to `topic` before has been handled."""
        while self.is_open:
            reply = await self._reply(self.send(None, topic, event))
            if reply is None and self.is_open:
                self.client.fail(f"A handler of {topic} has not returned in {self.client.patience:g} s")
            response = reply.payload["response"] if reply else {}
            if response.get("reason") not in TURNED_AWAY:
                return
            await asyncio.sleep(response.get("retry_after", 0.0) + 0.01)

    async def _reply(self, ref: str) -> Received | None:
        return await self.inbox.take(
            lambda item: item.event == REPLY and item.ref == ref, self.client.patience, is_over=lambda: not self.is_open
        )

    async def _take(self, event: MutableMapping[str, Any]) -> None:
        """Take what the server sends."""
        if event["type"] == "websocket.send":
            frame = event.get("text")
            self._arrived(Received.parse(event["bytes"] if frame is None else frame, self.sent))
        elif event["type"] == "websocket.close":
            self.close_code = event.get("code", 1000)
            self.joined.clear()
            self._input.put_nowait({"type": "websocket.disconnect", "code": self.close_code})
        if event["type"] != "websocket.send":
            self._wake()

    def _arrived(self, item: Received) -> None:
        current = self.joined.get(item.topic)
        if current is not None and item.event in (CLOSE, ERROR) and item.join_ref == current.join_ref:
            del self.joined[item.topic]
        self.inbox.put(item)

    def _wake(self) -> None:
        self._opened.set()
        self.inbox.wake()

    def _but(self) -> str:
        return "" if self.is_open else f", but the socket is closed ({self.close_code or 'by this test'})"


class AsyncClientChannel:
    """One topic, joined by one client. `socket.join(topic)` makes it.

    response  of the join
    """

    def __init__(self, socket: AsyncClientSocket, topic: str, join_ref: str) -> None:
        self.socket = socket
        self.topic = topic
        self.join_ref = join_ref
        self.response: Any = None

    async def push(self, event: str, payload: Any = None) -> str:
        """Send an event, and return the ref that `assert_reply` takes. Waits for nothing."""
        return self.socket.send(self.join_ref, self.topic, event, payload)

    async def leave(self) -> None:
        """Leave, and return when the channel has terminated."""
        await self.socket.take_reply(self.socket.send(self.join_ref, self.topic, LEAVE))
        await self._take(lambda item: item.event == CLOSE)

    async def assert_reply(self, ref: str, status: str = "ok", pattern: Any = ...) -> Any:
        """Wait for the reply to a push, and return its response."""
        __tracebackhide__ = True
        reply = await self.socket.take_reply(ref)
        same = reply.payload["status"] == status
        why = mismatch(pattern, reply.payload["response"]) if same else None
        if why or not same:
            expected = f"Expected a reply {status!r}{like(pattern)} to {reply.to!r}, got {reply}"
            self.client.fail(expected + (f"\n    <- {why}" if why else ""))
        return reply.payload["response"]

    async def refute_reply(self, ref: str, status: str | None = None, pattern: Any = ...) -> None:
        """Fail if, once all that was sent has been handled, there is a reply to this push."""
        __tracebackhide__ = True
        await self.client.settle()
        found = self.socket.inbox.find(
            lambda item: (
                item.event == REPLY
                and item.ref == ref
                and status in (None, item.payload["status"])
                and mismatch(pattern, item.payload["response"]) is None
            )
        )
        if found is not None:
            self.client.fail(f"Expected no reply{like(pattern)} to {found.to!r}, got {found}")

    async def assert_push(self, event: str, pattern: Any = ...) -> Any:
        """Wait for an event of this topic, pushed or broadcast, that reaches this client; return its payload."""
        __tracebackhide__ = True
        found = await self._take(lambda item: item.event == event and mismatch(pattern, item.payload) is None)
        if found is None:
            came = [item for item in self.socket.inbox.items if item.topic == self.topic]
            self.client.fail(
                report(f"Expected a push {event!r}{like(pattern)} on {self.topic}", came, pattern, event, self._but())
            )
        if event == ERROR:
            self.client.crashes.take()  # it was expected
        return found.payload

    async def refute_push(self, event: str, pattern: Any = ...) -> None:
        """Fail if, once all that was sent has been handled and has arrived, there is such an event."""
        __tracebackhide__ = True
        await self.client.settle()
        found = self.socket.inbox.find(
            lambda item: self._is_mine(item) and item.event == event and mismatch(pattern, item.payload) is None
        )
        if found is not None:
            self.client.fail(f"Expected no push {event!r}{like(pattern)} on {self.topic}, got {found}")

    async def assert_broadcast(self, event: str, pattern: Any = ...) -> Any:
        """Wait for a broadcast to this topic, whomever it reaches; return its payload."""
        __tracebackhide__ = True
        return await self.client.assert_broadcast(self.topic, event, pattern)

    async def refute_broadcast(self, event: str, pattern: Any = ...) -> None:
        __tracebackhide__ = True
        await self.client.refute_broadcast(self.topic, event, pattern)

    # private

    @property
    def client(self) -> AsyncRealtimeClient:
        return self.socket.client

    async def _take(self, fits: Any) -> Received | None:
        return await self.socket.inbox.take(
            lambda item: self._is_mine(item) and fits(item), self.client.patience, is_over=lambda: not self._is_joined
        )

    def _is_mine(self, item: Received) -> bool:
        """Return whether `item` is for this join of the topic; what was broadcast carries no join_ref."""
        return item.topic == self.topic and item.event != REPLY and item.join_ref in (None, self.join_ref)

    @property
    def _is_joined(self) -> bool:
        return self.socket.is_open and self.socket.joined.get(self.topic) is self

    def _but(self) -> str:
        return "" if self._is_joined else ", but this topic is not joined any more"
