"""The chat's settings, with channels that misbehave on request beside its rooms."""

from chatty.settings import *  # noqa: F403

REALTIME = {"ROUTER": "tests.e2e.routing.router"}
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
