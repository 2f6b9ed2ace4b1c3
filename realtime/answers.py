"""What an author's return value means for the client."""

from __future__ import annotations

import inspect
import logging
from typing import Any

import msgspec
from django.core.exceptions import PermissionDenied

from .exceptions import BadReturn, EngineFull, EngineUnavailable, Refused, ServerEnding, Unencodable
from .payloads import BYTES, encode, encode_reply
from .protocol.messages import Reply

logger = logging.getLogger("realtime.channel")

FORBIDDEN = {"reason": "forbidden"}

# What is no crash of a handler: its client is answered an error, and the channel lives on.
REFUSALS = (Refused, PermissionDenied, EngineUnavailable, ServerEnding)

PAYLOAD = "a payload (dict, Struct, dataclass, list, text or number)"
RIGHT = {
    "join": f"None, {PAYLOAD} for the join's response, or it raises Refused",
    "event": f'None (no reply), bytes or {PAYLOAD} for reply ok, Reply("status", payload), or it raises Refused',
}


def join_reply(result: Any, name: str) -> Reply:
    """Return the reply that a join's return value stands for. Raises BadReturn and Unencodable."""
    if isinstance(result, Reply):
        raise BadReturn(_text(result, name, "join"))
    _check(result, name, "join")
    return Reply("ok", encode({} if result is None else result))


def event_reply(result: Any, name: str) -> Reply | None:
    """Return the reply that a handler's return value stands for; None is no reply. Raises BadReturn and Unencodable."""
    if result is None:
        return None
    if type(result) is dict:  # which most are
        return Reply("ok", encode(result))
    if isinstance(result, Reply):
        return encode_reply(result.status, result.response)
    if not isinstance(result, BYTES):
        _check(result, name, "event")
    return encode_reply("ok", result)


def refusal_response(error: Refused, name: str) -> msgspec.Raw:
    """Return what a refusal says; that it cannot be sent must not make it a crash."""
    try:
        return encode(error.response)
    except Unencodable as fault:
        logger.error("%s refused with what cannot be sent: %s", name, fault)
        return encode({"reason": "refused"})


def refusal(error: BaseException, name: str) -> msgspec.Raw | dict[str, Any]:
    """Return the response to what one of REFUSALS has ended."""
    if isinstance(error, Refused):
        return refusal_response(error, name)
    return FORBIDDEN if isinstance(error, PermissionDenied) else unavailable(error)


def unavailable(error: BaseException) -> dict[str, Any]:
    """Return the response to what cannot be done now, for the engine is away or the server ends."""
    return {"reason": "overloaded" if isinstance(error, EngineFull) else "unavailable"}


def blame(reason: str, error: Exception, *, debug: bool) -> dict[str, Any]:
    """Return what the client is told of a crash: a short reason; the exception's text only to the developer."""
    return {"reason": reason, "detail": f"{type(error).__name__}: {error}"} if debug else {"reason": reason}


def _check(result: Any, name: str, kind: str) -> None:
    """Refuse what JSON might carry, but no author can have meant."""
    wrong = isinstance(result, (bool, tuple, bytes, BaseException, type)) or inspect.isawaitable(result)
    if inspect.iscoroutine(result):
        result.close()  # or Python would warn of it as well
    if wrong:
        raise BadReturn(_text(result, name, kind))


def _text(result: Any, name: str, kind: str) -> str:
    return f"{name} returned {result!r:.80}; it may return {RIGHT[kind]}"
