"""The page as the server renders it; what it does in a browser is in tests/browser."""

from __future__ import annotations

import re

import pytest
from django.test import Client


@pytest.fixture
def page(client: Client) -> str:
    return client.get("/").content.decode()


def test_the_lobby_is_the_first_page(page: str) -> None:
    assert 'data-topic="rooms:lobby"' in page
    assert "<h1>lobby</h1>" in page


def test_every_room_has_a_page(client: Client) -> None:
    assert 'data-topic="rooms:other"' in client.get("/rooms/other/").content.decode()


@pytest.mark.parametrize(("length", "status"), [(249, 200), (250, 404)])
def test_a_room_whose_name_no_topic_could_have_has_none(client: Client, length: int, status: int) -> None:
    assert client.get(f"/rooms/{'x' * length}/").status_code == status


def test_the_page_says_where_the_socket_is(page: str) -> None:
    assert 'data-socket="/ws"' in page


def test_nothing_in_the_page_is_inline(page: str) -> None:
    assert re.findall(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=|javascript:", page) == []


def test_the_policy_allows_what_is_ours_and_nothing_inline(client: Client) -> None:
    policy = client.get("/").headers["Content-Security-Policy"]
    assert "script-src 'self'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in policy


def test_every_field_has_a_label(page: str) -> None:
    fields = re.findall(r'<input id="([^"]+)"', page)
    assert fields == re.findall(r'<label for="([^"]+)"', page) == ["username", "message"]


def test_a_page_that_does_not_exist_is_guarded_too(client: Client) -> None:
    response = client.get("/nowhere/")
    assert response.status_code == 404
    assert "Content-Security-Policy" in response.headers
