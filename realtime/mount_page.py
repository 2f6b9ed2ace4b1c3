"""What a browser sees where sockets are mounted: the routes, or why there are none."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseNotAllowed
from django.template import Context, Engine

from . import conf, importing
from .exceptions import Misconfigured
from .routing import Router

PLAIN = {"content_type": "text/plain; charset=utf-8"}
# The page is markup and nothing else, and may be no part of another.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def mount_page(found: Router | Misconfigured) -> Any:
    """Return an ASGI application that answers plain HTTP requests for the mount.

    found  the project's router, or why there is none
    """

    async def respond(scope: Any, receive: Any, send: Any) -> None:
        response = answer(ASGIRequest(scope, BytesIO()), found)
        response.headers["Content-Length"] = str(len(response.content))
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.items()]
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else response.content})

    return respond


def answer(request: HttpRequest, found: Router | Misconfigured) -> HttpResponse:
    """Return a page for the developer; a word, and nothing of the project, where DEBUG is off."""
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"], "Only a WebSocket is served here.\n", headers=HEADERS, **PLAIN)
    try:
        host = request.get_host()
    except DisallowedHost:
        host = ""
    if not settings.DEBUG or not host:
        return HttpResponseBadRequest("This is a WebSocket, not a page.\n", headers=HEADERS, **PLAIN)
    prefix = request.META.get("SCRIPT_NAME", "")
    if isinstance(found, Misconfigured):
        context: dict[str, Any] = {"error": found, "excerpt": importing.excerpt(found)}
    else:
        mount = prefix + found.mount
        url = f"{'wss' if request.is_secure() else 'ws'}://{host}{mount}/websocket?vsn=2.0.0"
        longpoll = prefix + found.longpoll if conf.settings().POLL_SESSIONS else ""
        rows = [_row(route) for route in found.routes]
        context = {"mount": mount, "url": url, "longpoll": longpoll, "routes": rows}
    html = _engine.get_template("realtime/mount.html").render(Context(context))
    return HttpResponse(html, status=500 if "error" in context else 200, headers=HEADERS)


def _row(route: Any) -> dict[str, Any]:
    return {
        "pattern": route.pattern,
        "channel": f"{route.channel.__module__}.{route.channel.__qualname__}",
        "name": route.name or "",
        "events": list(route.channel.handlers),
    }


# Of our own: the project's may be Jinja2, or not look into the folders of apps.
_engine = Engine(dirs=[str(Path(__file__).parent / "templates")])
