"""The chat in production's clothes: DEBUG off, static files under hashed names.

STATIC_ROOT    where `collectstatic` puts them, and where they are served from
AGGREGATE      1: the imports inside of modules are rewritten to hashed names, too
"""

import os

from django.contrib.staticfiles.storage import ManifestStaticFilesStorage

from tests.browser.settings import *  # noqa: F403

DEBUG = False
SECRET_KEY = "of a test"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "tests.browser.manifest_urls"
STATIC_ROOT = os.environ["STATIC_ROOT"]


class Storage(ManifestStaticFilesStorage):
    support_js_module_import_aggregation = os.environ["AGGREGATE"] == "1"


STORAGES = {"staticfiles": {"BACKEND": "tests.browser.manifest_settings.Storage"}}
