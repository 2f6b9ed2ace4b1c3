"""The demo's settings as they are in production: DEBUG off, sessions and users in the database, logins wanted."""

import os

os.environ["DEBUG"] = "0"
os.environ.setdefault("SECRET_KEY", "of-the-bench-alone")

from chatty.settings import *  # noqa: F403

ALLOWED_HOSTS = ["127.0.0.1"]
ASGI_APPLICATION = "bench.chat.asgi.application"
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("BENCH_DATABASE", "bench.sqlite3")}
}
REALTIME = {
    "ROUTER": "bench.chat.routing.router",
    # One socket asks or publishes for hundreds of people here. The rate is counted all the same.
    "MESSAGE_RATE": 1e6,
    "MESSAGE_BURST": 1_000_000,
}
