"""Phoenix Channels for Django: a real-time feature as plain as a view."""

from . import topics
from .exceptions import (
    BadReturn,
    EngineFull,
    EngineUnavailable,
    InvalidEvent,
    InvalidTopic,
    Misconfigured,
    NotJoined,
    ProtocolError,
    RealtimeError,
    Refused,
    TopicInUse,
    Unencodable,
)
from .handlers import Channel, handle_in
from .protocol.messages import Reply
from .publish import abroadcast, broadcast
from .routing import Router, channel, include
from .socket import Socket

__version__ = "0.1.0"

__all__ = [
    "BadReturn",
    "Channel",
    "EngineFull",
    "EngineUnavailable",
    "InvalidEvent",
    "InvalidTopic",
    "Misconfigured",
    "NotJoined",
    "ProtocolError",
    "RealtimeError",
    "Refused",
    "Reply",
    "Router",
    "Socket",
    "TopicInUse",
    "Unencodable",
    "abroadcast",
    "broadcast",
    "channel",
    "handle_in",
    "include",
    "topics",
]
