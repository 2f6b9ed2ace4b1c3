"""{% load realtime %}{% realtime_script %}: the JavaScript client in a page."""

from __future__ import annotations

from typing import Any

from django import template
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()


@register.simple_tag(takes_context=True)
def realtime_script(context: dict[str, Any]) -> SafeString:
    """Put the client into the page, as the global `Realtime`; modules import "realtime/realtime.js" instead.

    No inline script and no import map, so that a strict Content-Security-Policy lets it pass; where the page has a
    nonce (Django's csp_nonce, or django-csp's on the request) the tag carries it.
    """
    nonce = context.get("csp_nonce") or getattr(context.get("request"), "csp_nonce", "")
    attribute = format_html(' nonce="{}"', nonce) if nonce else ""
    return format_html('<script type="module" src="{}"{}></script>', static("realtime/global.js"), attribute)
