"""{% load realtime %}{% realtime_script %}: the JavaScript client in a page."""

from __future__ import annotations

from typing import Any

from django import template

register = template.Library()


@register.inclusion_tag("realtime/script.html", takes_context=True)
def realtime_script(context: dict[str, Any]) -> dict[str, Any]:
    """Put the client into the page, as the global `Realtime`; modules import "realtime/realtime.js" instead.

    No inline script and no import map, so that a strict Content-Security-Policy lets it pass; where the page has a
    nonce (Django's csp_nonce, or django-csp's on the request) the tag carries it.
    """
    return {"nonce": context.get("csp_nonce") or getattr(context.get("request"), "csp_nonce", "")}
