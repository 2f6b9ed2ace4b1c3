"""LongPollConsumer: Phoenix Channels over plain HTTP requests, for clients that no WebSocket reaches."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, MutableMapping
from typing import Any

import msgspec
from channels.consumer import AsyncConsumer

from .. import conf, lifetime
from ..connection import Connection
from ..exceptions import BadRequest, EngineUnavailable, Refused, ServerEnding
from ..node import Node
from ..polls import Address
from ..protocol.messages import CloseCode
from ..protocol.relay import BROKEN, GONE, NOTHING, Answer
from ..protocol.serializers import as_text
from ..routing import Router
from ..tasks import end
from . import poll_tokens
from .admission import Told, admit, check_origin
from .auth import holder
from .poll_bodies import BODY_FRAMES, frames_of, read_body

logger = logging.getLogger("realtime.socket")

ALLOWED = "GET, POST, OPTIONS"
FORBIDDEN, NOT_ALLOWED = 403, 405
AUTH_TOKEN = b"x-phoenix-authtoken"
HEADERS = {
    "content-type": "application/json",
    "cache-control": "no-store",
    "vary": "Origin",
    "x-content-type-options": "nosniff",
}
PREFLIGHT = {
    "access-control-allow-methods": ALLOWED,
    "access-control-allow-headers": "accept, content-type, x-phoenix-authtoken, x-phoenix-longpoll-token",
    "access-control-max-age": "3600",
}


class LongPollConsumer(AsyncConsumer):
    """One request. `with_realtime` mounts it; by hand it goes where any Channels consumer goes.

    URLRouter([path("ws/longpoll", LongPollConsumer.as_asgi())])

    The HTTP status is 200 and the real one in the JSON body, as phoenix.js reads it: {"status", "token", "messages"}.
    Source: phoenix 167c46950, lib/phoenix/transports/long_poll.ex, and 1.8.12 on the wire.
    """

    def __init__(self, router: Router | None = None) -> None:
        self._router = router or conf.router()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._scope: MutableMapping[str, Any] = scope
        self._receive = receive
        self._send = send
        self._headers = dict(HEADERS)
        self._close: dict[str, int] = {}  # what is said of the close of the session before
        if scope["method"] not in ALLOWED.split(", "):
            self._headers["allow"] = ALLOWED
            await self._respond(NOT_ALLOWED, http=NOT_ALLOWED)
            return
        self._node = node = Node.current()
        lifetime.watch(node)
        try:
            check_origin(scope, node)
        except Refused:
            await self._respond(FORBIDDEN)
            return
        if origin := self._header(b"origin"):
            self._headers |= {"access-control-allow-origin": origin, "access-control-allow-credentials": "true"}
        if scope["method"] == "OPTIONS":
            self._headers |= PREFLIGHT
            await self._respond(200)
        elif scope["method"] == "POST":
            await self._respond(await self._push())
        else:
            await self._poll()

    # GET

    async def _poll(self) -> None:
        token = poll_tokens.offered(self._scope)
        address = poll_tokens.read(token)
        if address is None:
            await self._begin()
        else:
            await self._wait(address, token)

    async def _wait(self, address: Address, token: str) -> None:
        """Answer with what comes, and let its session know whether that has arrived."""
        polls = self._node.polls
        number = polls.new_number()
        answer, is_delivered = None, False
        try:
            answer = await self._unless_left(polls.poll(address, holder(self._scope), number))
            if answer is not None:
                await self._answer(answer, token)
                is_delivered = True
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):
                await self._answer_cancelled(address, token)
            raise
        finally:
            if answer is None or answer.messages:
                polls.settle(address, number, is_delivered=is_delivered)

    async def _answer_cancelled(self, address: Address, token: str) -> None:
        if address.node == self._node.id and lifetime.is_daphne():
            # It ends: it cancels what serves its requests before it lets anybody else know.
            self._close = {"code": CloseCode.RESTART}
            await self._respond(BROKEN)
        else:
            await self._respond(NOTHING, token=token, messages=[])

    async def _answer(self, answer: Answer, token: str) -> None:
        if answer.code is not None:
            self._close = {"code": answer.code}
        if answer.status != GONE:
            await self._respond(answer.status, token=token, messages=answer.messages)
        elif self._node.polls.is_closed:
            await self._respond(BROKEN)  # not 410, upon which phoenix.js 1.7 goes on as if it were still joined
        else:
            await self._begin()

    async def _unless_left(self, polling: Coroutine[Any, Any, Answer]) -> Answer | None:
        """Return the answer; None when the client has left before it was there."""
        answering = asyncio.ensure_future(polling)
        leaving = asyncio.ensure_future(self._left())
        try:
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
            return None if leaving.done() else answering.result()
        finally:
            await end(answering, leaving)

    async def _left(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _begin(self) -> None:
        """Shake hands, and answer with the token of a new session: 410 tells the client that it is new."""
        node, began = self._node, asyncio.get_running_loop().time()
        try:
            node.polls.make_room()  # before anybody is asked
            scope = poll_tokens.without(self._scope)
            serializer, socket = await admit(scope, node, self._router, self._header(AUTH_TOKEN))
            session = await node.polls.begin(holder(scope))
        except Refused as refusal:
            logger.info("REFUSED %s: %s", self._scope["path"], refusal)
            told: dict[str, Any] = {"messages": [refusal.frame]} if isinstance(refusal, Told) else {}
            await self._respond(FORBIDDEN, **told)
            return
        except (BadRequest, EngineUnavailable, ServerEnding) as error:
            logger.info("REFUSED %s: %s", self._scope["path"], error)
            await self._respond(BROKEN)
            return
        session.connection = Connection(
            node,
            self._router,
            socket,
            as_text(serializer),
            outbox=session.make_outbox,
            close=session.close,
            abort=session.end,
            is_beating=False,
            began=began,
        )
        await self._respond(GONE, token=poll_tokens.issue(Address(node.id, session.id)), messages=[])

    # POST

    async def _push(self) -> int:
        """Hand the frames in the body to their session, and return what to answer."""
        address = poll_tokens.read(poll_tokens.offered(self._scope))
        if address is None:
            return GONE
        settings = self._node.settings
        try:
            body = await read_body(self._receive, BODY_FRAMES * settings.MAX_FRAME, settings.POLL_WINDOW)
            frames = frames_of(body, self._header(b"content-type") or "")
        except BadRequest as error:
            logger.info("refused what a client has sent: %s", error)
            return error.status
        answer = await self._node.polls.push(address, holder(self._scope), frames)
        return answer.status

    # private

    def _header(self, name: bytes) -> str | None:
        values = [value.decode("latin-1") for key, value in self._scope.get("headers", ()) if key == name]
        return values[0] if values else None

    async def _respond(self, status: int, *, http: int = 200, **more: Any) -> None:
        body = msgspec.json.encode({"status": status, **self._close, **more})
        headers = {**self._headers, "content-length": str(len(body))}
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": http, "headers": encoded})
        await self._send({"type": "http.response.body", "body": body})
