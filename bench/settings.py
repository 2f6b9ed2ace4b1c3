"""The chat's settings, with topics that anyone may join, and a server process that leaves the lead to topic servers."""

import os

from chatty.settings import *  # noqa: F403

REALTIME = {
    "ROUTER": "bench.routing.router",
    "TOPIC_SERVER": False,
    "LEASE": float(os.environ.get("BENCH_LEASE", "10")),
}
ALLOWED_HOSTS = ["127.0.0.1"]
