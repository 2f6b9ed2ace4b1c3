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
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
            ]
        },
    }
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("DATABASE", BASE_DIR / "db.sqlite3"),
        "OPTIONS": {  # as the threads of several processes write: they read meanwhile, and wait for each other
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LOGIN_URL = "login"
LOGIN_REDIRECT_URL = LOGOUT_REDIRECT_URL = "lobby"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = True  # from where they are, so that nobody need collect them
# WhiteNoise 6 answers as under WSGI: Django reads such a file whole, and says so. Ours are small.
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")

USE_TZ = True
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
