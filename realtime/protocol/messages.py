"""What travels: Message, Reply, Broadcast, and the names that the protocol keeps for itself."""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Any, TypeAlias

import msgspec

JOIN = "phx_join"
LEAVE = "phx_leave"
REPLY = "phx_reply"
CLOSE = "phx_close"
ERROR = "phx_error"
HEARTBEAT = "heartbeat"
RENEW = "renew"  # ours, on the reserved topic: {"token": …}
REFUSED = "refused"  # likewise, to a client that asked to be told why: {"reason": …}
PRESENCE_STATE = "presence_state"
PRESENCE_DIFF = "presence_diff"
RESERVED_TOPIC = "phoenix"
RESERVED_PREFIX = "phx_"

TOPIC_BYTES = 255
REF_BYTES = 255  # what a binary frame could carry; a join_ref is kept as long as its topic is joined


class CloseCode(IntEnum):
    """Why a socket is closed. 4000 to 4999: daphne sends no other code that every client comes back from."""

    DISMISSED = 4001  # by `disconnect`; come back
    SILENT = 4002  # no heartbeat
    SLOW = 4008  # the peer does not read
    BIG = 4009  # a frame over the limit
    RESTART = 4012  # the server ends; come back
    FLOOD = 4029  # too many messages
    UNDECODABLE = 4400
    EXPIRED = 4401  # what it came with, a token or a session, is not good any more; come back with another
    REFUSED = 4403  # before the accept, so that the handshake is answered 403
    NOT_FOUND = 4404  # likewise


# A ref is opaque: clients send strings, numbers or null and get back the very bytes they sent.
Ref: TypeAlias = msgspec.Raw | None
Frame: TypeAlias = str | bytes
# JSON as it is written, or the bytes of a binary frame.
Payload: TypeAlias = msgspec.Raw | bytes

# White space and control characters, C1 controls and line separators among them.
_UNFIT = re.compile(r"[\s\x00-\x1f\x7f-\x9f]")


class Message(msgspec.Struct, frozen=True):
    """One message from a client.

    topic     "rooms:lobby"; a client may send any JSON value here, only a fit string is ever routed
    payload   JSON as it came, decoded when a handler asks for it; or bytes
    ref       chosen by the client, unique per socket
    join_ref  ref of the join that opened the topic; None is served too
    Source: phoenix 167c46950, lib/phoenix/socket/message.ex.
    """

    topic: Any
    event: str
    payload: Payload
    ref: Ref = None
    join_ref: Ref = None


class Reply(msgspec.Struct, frozen=True):
    """An answer to a ref. Clients give meaning to "ok" and "error"; any other status travels as well.

        return Reply("later", {"position": 7})

    response  what JSON can carry, or bytes, which go as a binary frame
    """

    status: str
    response: Any = msgspec.field(default_factory=dict)


class Broadcast(msgspec.Struct, frozen=True):
    """One event for everybody on a topic; it has no ref, so one frame serves all.

    payload  a JSON object, encoded once by whoever sent it; or bytes
    sender   id of the channel that must not receive it (broadcast_from), or None
    mark     set by a node that waits for its own broadcast to come back, or None
    """

    topic: str
    event: str
    payload: Payload
    sender: str | None = None
    mark: str | None = None


def size_of(frame: Frame) -> int:
    """Return how many bytes `frame` is on the wire."""
    return len(frame) if isinstance(frame, bytes) or frame.isascii() else len(frame.encode())


def is_topic(value: object) -> bool:
    """Return whether `value` may name a topic: 1 to 255 bytes of UTF-8 without white space or control characters."""
    return isinstance(value, str) and value != RESERVED_TOPIC and not _UNFIT.search(value) and _fits(value)


def _fits(topic: str) -> bool:
    try:
        return 1 <= len(topic.encode()) <= TOPIC_BYTES
    except UnicodeEncodeError:  # a lone surrogate
        return False
