"""The chat's settings. What realtime needs of a project is marked; the rest is what startproject writes."""

import os
import warnings
from pathlib import Path

from chatty.hosts import allowed_hosts, public

BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = os.environ.get("DEBUG", "1") == "1"
SECRET_KEY = os.environ.get("SECRET_KEY", "insecure-and-only-for-development" if DEBUG else "")
ALLOWED_HOSTS = allowed_hosts()
CSRF_TRUSTED_ORIGINS = [public()] if public() else []

INSTALLED_APPS = [
    "daphne",  # first, so that runserver speaks WebSocket
    "realtime",  # ← realtime
    "chatty",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
]

REALTIME = {"ROUTER": "chatty.routing.router"}  # ← realtime
ASGI_APPLICATION = "chatty.asgi.application"  # ← realtime

# Ordinary consumers may share the engine; realtime itself does not need this.
CHANNEL_LAYERS = {"default": {"BACKEND": "realtime.engine.layer.RedisChannelLayer"}}

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",  # static files, whatever serves and whether DEBUG is on
    "chatty.middleware.content_security_policy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "chatty.urls"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]

DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = True  # from where they are, so that nobody need collect them
# WhiteNoise 6 answers as under WSGI: Django reads such a file whole, and says so. Ours are small.
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")

USE_TZ = True
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
