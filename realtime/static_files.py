"""Whether whoever serves the project can find our client among its static files. (runserver always does.)"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.urls import resolve


def missing() -> str:
    """Return why no server can find it; "" where one may.

    Whether nginx or a CDN serves STATIC_URL nobody can see from here. But it can only serve what was collected, so that
    nothing is missing once STATIC_ROOT holds the file, and where files go elsewhere than below a path of this host.
    """
    if not apps.is_installed("django.contrib.staticfiles") or not _are_collected():
        return ""
    root = settings.STATIC_ROOT
    if root and any(Path(root, "realtime").glob("realtime*.js")):  # its name may be hashed
        return ""
    return "STATIC_ROOT does not hold it" if root else "STATIC_ROOT is not set"


def _are_collected() -> bool:
    """Return whether static files are expected below a path of this host, and are served from STATIC_ROOT alone."""
    from django.contrib.staticfiles.storage import StaticFilesStorage, staticfiles_storage

    url = urlsplit(settings.STATIC_URL or "")
    if url.netloc or not url.path:
        return False
    try:
        if not isinstance(staticfiles_storage, StaticFilesStorage):
            return False
    except ImproperlyConfigured:  # as the checks of staticfiles tell
        return False
    return not (_has_whitenoise() or _has_view(url.path))


def _has_whitenoise() -> bool:
    """Return whether WhiteNoise serves them from where they are, as it does while DEBUG is on unless told."""
    finds = (getattr(settings, f"WHITENOISE_{name}", settings.DEBUG) for name in ("USE_FINDERS", "AUTOREFRESH"))
    return any(finds) and any("whitenoise" in name.lower() for name in settings.MIDDLEWARE)


def _has_view(path: str) -> bool:
    """Return whether the project's URLs do, as those of staticfiles_urlpatterns() while DEBUG is on."""
    from django.contrib.staticfiles.views import serve

    try:
        return resolve(f"{path}realtime/realtime.js").func is serve
    except Exception:  # nothing there, or an error in the project's URLs, which Django's own checks tell
        return False
