"""The chat's settings for a soak: rooms of its own, topics that go soon, and little patience with silence."""

import logging
import os

from chatty.settings import *  # noqa: F403

REALTIME = {
    "ROUTER": "bench.soak.rooms.router",
    "COLLECT_AFTER": (0.5, 1.5),  # so that what a leak would keep is gone within the settling time
    "HEARTBEAT_TIMEOUT": float(os.environ.get("SOAK_TIMEOUT", "30")),
    "MAX_FRAME": 64 * 1024,
    "THREADS": 2,  # few, so that the first crowd has already started all of them
}
DEBUG = False
SECRET_KEY = "for a soak"
ALLOWED_HOSTS = ["127.0.0.1"]


def is_news(record: logging.LogRecord) -> bool:
    """Return whether to log it: not the crashes that clients ask for."""
    return not (record.exc_info and type(record.exc_info[1]).__name__ == "OnPurpose")


LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"news": {"()": "django.utils.log.CallbackFilter", "callback": is_news}},
    "formatters": {"line": {"format": "{levelname} {name} {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "filters": ["news"], "formatter": "line"}},
    "root": {"level": "WARNING", "handlers": ["console"]},
    "loggers": {"realtime": {"level": "WARNING"}},
}
