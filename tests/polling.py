"""Poller: a client that polls, in this process, on the node that the test says: requests hop as between workers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import Any

from asgiref.testing import ApplicationCommunicator

from realtime.consumers.longpoll import LongPollConsumer
from realtime.node import Node
from realtime.routing import Router

PATIENCE = 5.0
NDJSON = "application/x-ndjson"

serving: ContextVar[Node | None] = ContextVar("serving", default=None)


def application(router: Router, node: Node | None = None) -> Any:
    """Return the consumer of a node, as a server calls it."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        serving.set(node)
        await LongPollConsumer(router)(scope, receive, send)

    return serve


class Answer:
    """What came back: the status of the body, and the HTTP status and headers."""

    def __init__(self, start: Any, body: Any) -> None:
        self.http = start["status"]
        self.headers = {name.decode(): value.decode() for name, value in start["headers"]}
        self.body = json.loads(body["body"])
        self.status = self.body["status"]
        self.token = self.body.get("token")
        self.messages = self.body.get("messages")

    @property
    def frames(self) -> list[Any]:
        return [json.loads(message) for message in self.messages]


class Request:
    """One request under way."""

    def __init__(self, router: Router, node: Node | None, scope: Mapping[str, Any], body: Iterable[bytes]) -> None:
        self._communicator = ApplicationCommunicator(application(router, node), dict(scope))
        self._parts = list(body)

    async def begin(self, parts: int | None = None) -> Request:
        """Send its body, or the first parts of it."""
        for number, part in enumerate(self._parts[:parts], 1):
            event = {"type": "http.request", "body": part, "more_body": number < len(self._parts)}
            await self._communicator.send_input(event)
        return self

    async def leave(self) -> None:
        """Be a client that goes away, and return when the server has done with it."""
        await self._communicator.send_input({"type": "http.disconnect"})
        await self._communicator.wait(PATIENCE)

    async def answer(self) -> Answer:
        start = await self._communicator.receive_output(PATIENCE)
        answer = Answer(start, await self._communicator.receive_output(PATIENCE))
        await self._communicator.wait(PATIENCE)
        return answer

    async def is_unanswered(self) -> bool:
        return await self._communicator.receive_nothing()

    async def cancel(self) -> Answer:
        """Be a server that ends, and return what it could still send."""
        self._communicator.future.cancel()
        await asyncio.wait([self._communicator.future])
        sent = self._communicator.output_queue
        return Answer(sent.get_nowait(), sent.get_nowait())


class Poller:
    """A client. `token` is what the server gave it last."""

    def __init__(
        self,
        router: Router,
        node: Node | None = None,
        query: str = "vsn=2.0.0",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.router = router
        self.node = node
        self.query = query
        self.headers = dict(headers or {})
        self.token: str | None = None

    def scope(self, method: str = "GET", headers: Mapping[str, str] | None = None, **more: Any) -> dict[str, Any]:
        """Return that of a request; a token in `headers` wins over its own."""
        named = {"host": "localhost", **self.headers, **(headers or {})}
        if self.token is not None:
            named.setdefault("x-phoenix-longpoll-token", self.token)
        return {
            "type": "http",
            "method": method,
            "path": self.router.longpoll,
            "query_string": self.query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in named.items()],
            **more,
        }

    async def begin(self, method: str = "GET", *body: bytes, **options: Any) -> Request:
        """Send a request, and return while it is under way."""
        scope = self.scope(method, **options)
        return await Request(self.router, self.node, scope, body or [b""]).begin()

    async def ask(self, method: str = "GET", *body: bytes, **options: Any) -> Answer:
        return await (await self.begin(method, *body, **options)).answer()

    async def open(self) -> Poller:
        answer = await self.ask()
        assert (answer.status, answer.messages) == (410, []), answer.body
        self.token = answer.token
        return self

    async def poll(self) -> list[Any]:
        """Return the frames that come."""
        answer = await self.ask()
        assert answer.status == 200, answer.body
        return answer.frames

    async def push(self, *frames: Any) -> int:
        """Send frames, text or binary ones in base64, and return the status."""
        lines = [frame if isinstance(frame, bytes) else json.dumps(frame).encode() for frame in frames]
        return (await self.ask("POST", b"\n".join(lines), headers={"content-type": NDJSON})).status

    async def join(self, topic: str, payload: Any = None) -> Any:
        """Join, and return the reply's response."""
        assert await self.push(["1", "1", topic, "phx_join", payload or {}]) == 200
        [[join_ref, ref, _, event, reply]] = await self.poll()
        assert (join_ref, ref, event, reply["status"]) == ("1", "1", "phx_reply", "ok")
        return reply["response"]
