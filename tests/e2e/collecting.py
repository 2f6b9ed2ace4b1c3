"""The chat's settings, with topics that are collected at once."""

from chatty.settings import *  # noqa: F403

REALTIME = {"ROUTER": "chatty.routing.router", "COLLECT_AFTER": (0.0, 0.1), "PREFIX": "collecting"}
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
