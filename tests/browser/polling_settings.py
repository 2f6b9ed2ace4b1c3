"""The chat's settings, with a database that several servers share, and the npm package phoenix among the static files.

DATABASE    the file of it
"""

import os

from tests.browser.settings import *  # noqa: F403
from tests.browser.settings import BASE_DIR, STATICFILES_DIRS

DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DATABASE"]}}
ROOT_URLCONF = "tests.browser.polling_urls"
STATICFILES_DIRS = [*STATICFILES_DIRS, ("npm", BASE_DIR / "node_modules" / "phoenix" / "priv" / "static")]
