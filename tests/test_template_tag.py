from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.template import Context, Template

TAG = "{% load realtime %}{% realtime_script %}"


def rendered(**context: Any) -> str:
    return Template(TAG).render(Context(context)).strip()


def test_the_client_is_put_into_the_page_without_inline_script() -> None:
    assert rendered() == '<script type="module" src="/static/realtime/global.js"></script>'


@pytest.mark.parametrize(
    "context",
    [{"csp_nonce": 'a"b'}, {"request": SimpleNamespace(csp_nonce='a"b')}],
    ids=["Django's context processor", "django-csp's request"],
)
def test_the_pages_nonce_is_carried_and_escaped(context: dict[str, Any]) -> None:
    expected = '<script type="module" src="/static/realtime/global.js" nonce="a&quot;b"></script>'
    assert rendered(**context) == expected


@pytest.mark.parametrize("name", ["realtime.js", "global.js", "realtime.d.ts"])
def test_what_pages_import_is_found_among_the_static_files(name: str) -> None:
    assert finders.find(f"realtime/{name}")
