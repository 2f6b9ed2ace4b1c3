"""The lab's settings, where a client may send a megabyte, and the log tells how sockets are written to."""

from tests.e2e.settings import *  # noqa: F403
from tests.e2e.settings import REALTIME as LAB

REALTIME = {**LAB, "MAX_FRAME": 2**21}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"realtime.wire": {"handlers": ["console"], "level": "INFO"}},
}
