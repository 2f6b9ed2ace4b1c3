"""What nodes tell each other about long polls: who asks, and what is answered. MessagePack, with the kind first."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from ..exceptions import ProtocolError

OK, NOTHING, TIMEOUT, GONE, BROKEN = 200, 204, 408, 410, 500


class Poll(msgspec.Struct, tag="poll", array_like=True, frozen=True):
    """Answer with what waits for a session, as soon as there is something.

    asker   the node that has the request
    number  of the request, at that node
    holder  who must be the session's; see PolledSession
    """

    asker: str
    number: int
    session: str
    holder: str


class Push(msgspec.Struct, tag="push", array_like=True, frozen=True):
    """Take these frames of a session's client.

    frames  of Frame; msgspec knows no union of str and bytes
    """

    asker: str
    number: int
    session: str
    holder: str
    frames: list[Any]


class Settle(msgspec.Struct, tag="settle", array_like=True, frozen=True):
    """A poll is over: its client was written the messages, or will not be, and they are the next poll's."""

    asker: str
    number: int
    session: str
    is_delivered: bool


class Heard(msgspec.Struct, tag="heard", array_like=True, frozen=True):
    """The session is here, and the poll waits."""

    number: int


class Answer(msgspec.Struct, tag="answer", array_like=True, frozen=True):
    """The answer to a Poll or a Push; one with messages is to be settled.

    status  200, 204 (nothing came), 408 (not in time), 410 (no such session), 500 (the engine is away)
    code    of the close, beside a 410 where the server has closed the session while it was polled
    """

    number: int
    status: int
    messages: list[str] = []
    code: int | None = None


Request: TypeAlias = Poll | Push
Note: TypeAlias = Poll | Push | Settle | Heard | Answer

encode = msgspec.msgpack.Encoder().encode
_notes = msgspec.msgpack.Decoder(Note)


def decode(data: bytes) -> Note:
    """Return the note in `data`. Raises ProtocolError: anyone who reaches the engine can publish."""
    try:
        found: Note = _notes.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"undecodable note: {error}") from None
    if isinstance(found, Push) and not all(isinstance(frame, (str, bytes)) for frame in found.frames):
        raise ProtocolError("frames that are none")
    return found
