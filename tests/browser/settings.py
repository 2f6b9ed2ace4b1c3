"""The chat's settings, with notes beside its rooms."""

from chatty.settings import *  # noqa: F403

REALTIME = {"ROUTER": "tests.browser.routing.router"}
