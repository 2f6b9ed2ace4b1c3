"""The chat's settings, for a server that leaves nothing behind."""

from chatty.settings import *  # noqa: F403

DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
REALTIME = {"ROUTER": "tests.browser.routing.router"}
