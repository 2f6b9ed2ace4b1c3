"""Every error that realtime raises: one family, so that `except RealtimeError` catches all of it."""

from __future__ import annotations

from typing import Any


class RealtimeError(Exception):
    """Base of every error raised by realtime."""


class Misconfigured(RealtimeError):
    """A setting, a route or a channel class is wrong; the message says what was expected."""


class ProtocolError(RealtimeError):
    """A frame that cannot be understood: the peer's fault, and the end of its socket.

    reason      short, for the log; never holds the frame
    close_code  4000 to 4999, because daphne can send no other code that clients come back from
    """

    def __init__(self, reason: str, close_code: int = 4400) -> None:
        super().__init__(reason)
        self.reason = reason
        self.close_code = close_code


class Refused(RealtimeError):
    """An answer, not a crash: raise it in `connect`, `join` or an event handler to say no.

        raise Refused("unauthorized")                        # {"reason": "unauthorized"}
        raise Refused({"reason": "full", "seats": 0}, retry=False)

    response  what the client receives as the error's response, a JSON object
    retry     False travels in the response, and tells clients that know it not to ask again
    """

    def __init__(self, response: str | dict[str, Any] = "refused", *, retry: bool | None = None) -> None:
        answer: dict[str, Any] = {"reason": response} if isinstance(response, str) else dict(response)
        if retry is not None:
            answer["retry"] = retry
        super().__init__(answer.get("reason", "refused"))
        self.response = answer


class BadToken(Refused):
    """A token of `realtime.tokens` is missing, was not signed by us, has expired, or was revoked."""


class BadRequest(RealtimeError):
    """A request of a client that polls cannot be taken, and nothing of it was.

    status  what it is answered
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class NotJoined(RealtimeError):
    """A channel was asked to push or reply before its join was answered, or to reply to nothing."""


class InvalidPresence(RealtimeError):
    """A key or a meta that nobody can be tracked with."""


class NotTracked(RealtimeError):
    """A channel was asked to update what it does not track."""


class Unencodable(RealtimeError):
    """A payload holds something that JSON cannot carry; the message names the key."""


class BadReturn(RealtimeError):
    """A join or a handler returned what means nothing; the message lists what would."""


class InvalidTopic(RealtimeError):
    """A topic's name breaks the rules, or no route builds it from the values given."""


class TopicInUse(RealtimeError):
    """A topic that somebody listens to is not deleted."""


class InvalidEvent(RealtimeError):
    """What was to be sent is no event that an author may send."""


class EngineUnavailable(RealtimeError):
    """Redis or Valkey does not answer. Nothing was sent; try again, or go on without."""


class ServerEnding(RealtimeError):
    """This server ends, and begins nothing any more that needs a thread: the ORM, or a sync method."""


class EngineFull(EngineUnavailable):
    """Redis or Valkey has no room (maxmemory) for what would be new; leaving and collecting go on."""
