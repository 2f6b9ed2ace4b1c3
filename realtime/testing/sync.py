"""The same in sync tests: each verb waits in the test's thread, which does meanwhile what the handlers block for."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from contextlib import ExitStack
from typing import Any, TypeVar

from ..exceptions import Refused
from ..routing import Router
from .client import AsyncRealtimeClient
from .sockets import AsyncClientChannel, AsyncClientSocket
from .threads import Portal

T = TypeVar("T")


class RealtimeClient:
    """Opens sockets on a loop of its own; see AsyncRealtimeClient.

    with RealtimeClient() as client:
        socket = client.connect(user=ada)

    Sync handlers and the ORM run in the thread of the test, while it waits in a verb: on its database connections,
    inside its transaction, and never beside it.
    """

    def __enter__(self) -> RealtimeClient:
        with ExitStack() as stack:
            self._portal = stack.enter_context(Portal())
            self._client = AsyncRealtimeClient(executor=self._portal)
            stack.callback(self._client.release)
            self._client.isolate()
            self.run(self._client.__aenter__())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        __tracebackhide__ = True
        with self._stack:
            self.run(self._client.__aexit__(*error))

    @property
    def patience(self) -> float:
        """How long a positive assertion waits for what does not come."""
        return self._client.patience

    @patience.setter
    def patience(self, seconds: float) -> None:
        self._client.patience = seconds

    def connect(
        self,
        *,
        user: Any = None,
        params: Mapping[str, Any] | None = None,
        session: Any = None,
        auth_token: str | None = None,
        headers: Mapping[str, str] | None = None,
        router: Router | None = None,
    ) -> ClientSocket:
        """Open a socket; see AsyncRealtimeClient.connect. Raises Refused."""
        __tracebackhide__ = True
        opening = self._client.connect(
            user=user, params=params, session=session, auth_token=auth_token, headers=headers, router=router
        )
        return ClientSocket(self, self.run(opening))

    def settle(self) -> None:
        """Return when all that was sent so far has been handled, and has arrived."""
        __tracebackhide__ = True
        self.run(self._client.settle())

    def assert_broadcast(self, topic: str, event: str, pattern: Any = ...) -> Any:
        """Wait for a broadcast to `topic`, joined by somebody or not; return its payload."""
        __tracebackhide__ = True
        return self.run(self._client.assert_broadcast(topic, event, pattern))

    def refute_broadcast(self, topic: str, event: str, pattern: Any = ...) -> None:
        __tracebackhide__ = True
        self.run(self._client.refute_broadcast(topic, event, pattern))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        __tracebackhide__ = True
        try:
            return self._portal.run(work)
        except (AssertionError, Refused) as error:
            raise error.with_traceback(None) from error.__cause__  # what happened on the loop explains nothing


class ClientSocket:
    """One client's connection. `client.connect()` makes it."""

    def __init__(self, client: RealtimeClient, socket: AsyncClientSocket) -> None:
        self.client = client
        self._socket = socket

    def join(self, topic: str, payload: Any = None) -> ClientChannel:
        """Join, and return what was joined; its `response` is what the server answered.

        Raises Refused with the response of an error; AssertionError when the channel crashed.
        """
        __tracebackhide__ = True
        return ClientChannel(self, self.client.run(self._socket.join(topic, payload)))

    def close(self) -> None:
        """Close as a client does, and return when all channels of this socket have terminated."""
        __tracebackhide__ = True
        self.client.run(self._socket.close())

    def assert_closed(self, code: int | None = None) -> int:
        """Wait until the server has closed this socket, and return the code."""
        __tracebackhide__ = True
        return self.client.run(self._socket.assert_closed(code))


class ClientChannel:
    """One topic, joined by one client. `socket.join(topic)` makes it."""

    def __init__(self, socket: ClientSocket, channel: AsyncClientChannel) -> None:
        self.socket = socket
        self.topic = channel.topic
        self.response = channel.response
        self._channel = channel
        self._run = socket.client.run

    def push(self, event: str, payload: Any = None) -> str:
        """Send an event, and return the ref that `assert_reply` takes. Waits for nothing."""
        __tracebackhide__ = True
        return self._run(self._channel.push(event, payload))

    def leave(self) -> None:
        """Leave, and return when the channel has terminated."""
        __tracebackhide__ = True
        self._run(self._channel.leave())

    def assert_reply(self, ref: str, status: str = "ok", pattern: Any = ...) -> Any:
        """Wait for the reply to a push, and return its response."""
        __tracebackhide__ = True
        return self._run(self._channel.assert_reply(ref, status, pattern))

    def refute_reply(self, ref: str, status: str | None = None, pattern: Any = ...) -> None:
        """Fail if, once all that was sent has been handled, there is a reply to this push."""
        __tracebackhide__ = True
        self._run(self._channel.refute_reply(ref, status, pattern))

    def assert_push(self, event: str, pattern: Any = ...) -> Any:
        """Wait for an event of this topic, pushed or broadcast, that reaches this client; return its payload."""
        __tracebackhide__ = True
        return self._run(self._channel.assert_push(event, pattern))

    def refute_push(self, event: str, pattern: Any = ...) -> None:
        """Fail if, once all that was sent has been handled and has arrived, there is such an event."""
        __tracebackhide__ = True
        self._run(self._channel.refute_push(event, pattern))

    def assert_broadcast(self, event: str, pattern: Any = ...) -> Any:
        """Wait for a broadcast to this topic, whomever it reaches; return its payload."""
        __tracebackhide__ = True
        return self._run(self._channel.assert_broadcast(event, pattern))

    def refute_broadcast(self, event: str, pattern: Any = ...) -> None:
        """Fail if, once all that was sent has been handled, there is such a broadcast to this topic."""
        __tracebackhide__ = True
        self._run(self._channel.refute_broadcast(event, pattern))
