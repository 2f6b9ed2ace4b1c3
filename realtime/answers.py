"""What an author's return value means for the client."""

from __future__ import annotations

import inspect
from typing import Any

from .exceptions import BadReturn
from .payloads import encode
from .protocol.messages import Reply

PAYLOAD = "a payload (dict, Struct, dataclass, list, text or number)"
RIGHT = {
    "join": f"None, {PAYLOAD} for the join's response, or it raises Refused",
    "event": f'None (no reply), {PAYLOAD} for reply ok, Reply("status", payload), or it raises Refused',
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
    if isinstance(result, Reply):
        return Reply(result.status, encode(result.response))
    if type(result) is not dict:
        _check(result, name, "event")
    return Reply("ok", encode(result))


def _check(result: Any, name: str, kind: str) -> None:
    """Refuse what JSON might carry, but no author can have meant."""
    wrong = isinstance(result, (bool, tuple, bytes, BaseException, type)) or inspect.isawaitable(result)
    if inspect.iscoroutine(result):
        result.close()  # or Python would warn of it as well
    if wrong:
        raise BadReturn(_text(result, name, kind))


def _text(result: Any, name: str, kind: str) -> str:
    return f"{name} returned {result!r:.80}; it may return {RIGHT[kind]}"
