"""What a developer sees in the terminal, and what nobody should see in a log."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any

import msgspec

SECRETS = ("password", "passwd", "token", "secret", "authorization", "cookie", "session", "api_key", "apikey", "otp")
LENGTH = 200


def readable(payload: Any) -> str:
    """Return a payload for the log: JSON in short, with what is secret left out."""
    if isinstance(payload, bytes):
        return f"({len(payload)} bytes)"
    try:
        value = msgspec.json.decode(payload) if isinstance(payload, msgspec.Raw) else payload
        text = msgspec.json.encode(without_secrets(value)).decode()
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError):
        return "(unreadable)"
    return text if len(text) <= LENGTH else f"{text[:LENGTH]}…"


def without_secrets(value: Any) -> Any:
    """Return `value` with everything under a name that sounds like a secret replaced, at any depth."""
    if isinstance(value, Mapping):
        return {key: "[filtered]" if _is_secret(key) else without_secrets(part) for key, part in value.items()}
    if isinstance(value, list):
        return [without_secrets(part) for part in value]
    return value


def _is_secret(key: object) -> bool:
    name = str(key).lower().replace("-", "_")
    return any(word in name for word in SECRETS)


def show_under_runserver() -> None:
    """Show our lines in runserver's terminal, unless the project's LOGGING has said where they go."""
    logger = logging.getLogger("realtime")
    if "runserver" in sys.argv[1:2] and not logger.handlers and logger.level == logging.NOTSET:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("[{asctime}] {message}", "%d/%b/%Y %H:%M:%S", style="{"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
