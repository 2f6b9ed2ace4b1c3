"""The chat's settings with the lab's channels and short leases, which a test sets in the environment of a process."""

import os

from tests.e2e.settings import *  # noqa: F403

REALTIME = {
    "ROUTER": "tests.e2e.routing.router",
    "TOPIC_SERVER": False,  # only manage.py topicserver leads, so that a test knows who
    "LEASE": float(os.environ.get("TEST_LEASE", "2")),
    "NODE_LEASE": float(os.environ.get("TEST_NODE_LEASE", "2")),
    "COLLECT_AFTER": tuple(float(part) for part in os.environ.get("TEST_COLLECT_AFTER", "0 0").split()),
    "COLLECT_BATCH": int(os.environ.get("TEST_COLLECT_BATCH", "300")),
    "MESSAGE_RATE": 100_000.0,
}
