"""Phoenix Channels for Django: a real-time feature as plain as a view."""

from . import tokens, topics
from .dismissal import adisconnect, akick, disconnect, kick
from .exceptions import (
    BadReturn,
    BadToken,
    EngineFull,
    EngineUnavailable,
    InvalidEvent,
    InvalidPresence,
    InvalidTopic,
    Misconfigured,
    NotJoined,
    NotTracked,
    ProtocolError,
    RealtimeError,
    Refused,
    TopicInUse,
    Unencodable,
)
from .handlers import Channel, handle_in, handle_info, handle_out, permission_required, user_passes_test
from .presence import Presence
from .protocol.messages import Reply
from .publish import abroadcast, broadcast
from .routing import Router, channel, include
from .socket import Socket

__version__ = "0.1.0"

__all__ = [
    "BadReturn",
    "BadToken",
    "Channel",
    "EngineFull",
    "EngineUnavailable",
    "InvalidEvent",
    "InvalidPresence",
    "InvalidTopic",
    "Misconfigured",
    "NotJoined",
    "NotTracked",
    "Presence",
    "ProtocolError",
    "RealtimeError",
    "Refused",
    "Reply",
    "Router",
    "Socket",
    "TopicInUse",
    "Unencodable",
    "abroadcast",
    "adisconnect",
    "akick",
    "broadcast",
    "channel",
    "disconnect",
    "handle_in",
    "handle_info",
    "handle_out",
    "include",
    "kick",
    "permission_required",
    "tokens",
    "topics",
    "user_passes_test",
]
