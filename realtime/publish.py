"""The verb for everybody outside a channel: broadcast to a topic, from any process of the cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from django.db import connections

from . import conf
from .engine.client import publish, sync_client, translated
from .node import Node
from .payloads import checked_topic, encode_event
from .protocol.bus import pack
from .protocol.messages import Broadcast


def broadcast(topic: str, event: str, payload: Any = None, *, on_commit: bool = True) -> None:
    """Send an event to everybody on `topic`, wherever they are connected.

    broadcast("rooms:lobby", "new:message", {"username": "shell", "content": "hello"})

    Works in any process and thread: a view, a task, a shell, a forked child, inside or outside a running loop. Inside
    a transaction it waits for the commit, and a rollback sends nothing; on_commit=False sends at once. The payload is
    encoded now, in any case: a JSON object, in which datetimes, UUIDs, Decimals, Structs and lazy strings may stand; or
    bytes, which go as a binary frame.

    Raises InvalidTopic, InvalidEvent and Unencodable; EngineUnavailable when the engine is away (after a commit that
    is logged instead, for what was committed stays so); Misconfigured when no engine is set.
    """
    message = _checked(topic, event, payload)
    after_commit(lambda: _send(message), on_commit)


async def abroadcast(topic: str, event: str, payload: Any = None) -> None:
    """Send an event to everybody on `topic`, without blocking the loop; see `broadcast`. Waits for no transaction."""
    message = _checked(topic, event, payload)
    if node := Node.running():
        await node.publish(message)
    else:
        await asyncio.to_thread(_send, message)


def after_commit(send: Callable[[], None], on_commit: bool = True) -> None:
    """Call `send` when the transaction that is open in this thread has committed; at once where there is none."""
    transaction = _open_transaction() if on_commit else None
    if transaction is None:
        send()
    else:
        transaction.on_commit(send, robust=True)


# private


def _checked(topic: str, event: str, payload: Any) -> Broadcast:
    return Broadcast(checked_topic(topic), event, encode_event(event, payload))


def _send(message: Broadcast) -> None:
    with translated():
        publish(sync_client(conf.engine()), conf.keys().bus(message.topic), pack(message))


def _open_transaction() -> Any:
    """Return the connection of this thread that is inside a transaction, or None."""
    return next((found for found in connections.all(initialized_only=True) if found.in_atomic_block), None)
