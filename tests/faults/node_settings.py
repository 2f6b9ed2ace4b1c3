"""The chat's settings with short leases, for clusters that lose a node; NODE_SETTINGS (JSON) changes them."""

import json
import os

from chatty.settings import *  # noqa: F403

REALTIME = {
    "ROUTER": "tests.faults.node_routing.router",
    "TOPIC_SERVER": False,
    "LEASE": 1.0,
    "NODE_LEASE": 2.0,
    "COLLECT_AFTER": (60.0, 300.0),
    # What a node has heard late comes to its clients all at once, and slow readers are not what is tried here.
    "OUTBOX_MESSAGES": 100_000,
    "OUTBOX_BYTES": 256 * 2**20,
    **json.loads(os.environ.get("NODE_SETTINGS", "{}")),
}
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {
        "realtime": {"level": "WARNING", "handlers": ["console"], "propagate": False},  # daphne has one of its own
        "realtime.node": {"level": "INFO"},
        "realtime.topicserver": {"level": "INFO"},
    },
}
