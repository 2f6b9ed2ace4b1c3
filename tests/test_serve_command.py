"""manage.py serve: what it takes, what it chooses, and what it hands to uvicorn."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import uvicorn
from django.contrib.staticfiles.views import serve as static_file
from django.core.checks import run_checks
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError
from django.urls import re_path

from realtime.management.commands import serve
from tests.servers import ROOT

pytestmark = pytest.mark.django_db

urlpatterns = [re_path("^static/(?P<path>.*)$", static_file)]  # as staticfiles_urlpatterns() makes it


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Any:
    """served("8000", "--workers", "2") returns what uvicorn would be run with."""
    monkeypatch.setattr(serve, "connections", {})  # the test's own would be closed
    monkeypatch.setattr(serve.Command, "check_migrations", lambda self: None)
    given: dict[str, Any] = {}
    monkeypatch.setattr(uvicorn.main, "callback", lambda **options: given.update(options))

    def served(*arguments: str) -> dict[str, Any]:
        call_command("serve", *arguments)
        return given

    return served


def test_it_serves_the_projects_application_on_this_machine_alone(served: Any) -> None:
    given = served()
    assert (given["app"], given["host"], given["port"]) == ("chatty.asgi:application", "127.0.0.1", 8000)


def test_it_chooses_what_suits_many_sockets(served: Any) -> None:
    given = served()
    assert {key: given[key] for key in serve.DEFAULTS} == serve.DEFAULTS
    assert given["ws_max_size"] == 256 * 1024
    assert (given["loop"], given["http"], given["proxy_headers"]) == ("auto", "auto", True)


def test_every_default_is_of_an_option_that_uvicorn_has() -> None:
    assert serve.DEFAULTS.keys() <= {option.name for option in serve.uvicorn_options()}


def test_the_largest_frame_is_the_projects(served: Any, settings: Any) -> None:
    settings.REALTIME = {**settings.REALTIME, "MAX_FRAME": 1000}
    assert served()["ws_max_size"] == 1000


@pytest.mark.parametrize(
    ("arguments", "key", "value"),
    [
        (["--backlog", "7"], "backlog", 7),
        (["--backlog=7"], "backlog", 7),
        (["--access-log"], "access_log", True),
        (["--ws-per-message-deflate", "true"], "ws_per_message_deflate", True),
        (["--ws-max-size", "5"], "ws_max_size", 5),
        (["--ws", "wsproto"], "ws", "wsproto"),
        (["--workers", "3"], "workers", 3),
        (["--uds", "/run/chat.sock"], "uds", "/run/chat.sock"),
        (["--no-proxy-headers"], "proxy_headers", False),
        (["--header", "a:b", "--header", "c:d"], "headers", ("a:b", "c:d")),
        (["--forwarded-allow-ips", "10.0.0.0/8", "9000"], "forwarded_allow_ips", "10.0.0.0/8"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_the_user_says_is_taken(served: Any, arguments: list[str], key: str, value: Any) -> None:
    assert served(*arguments)[key] == value


def test_a_variable_is_taken_but_for_what_the_command_line_says(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UVICORN_BACKLOG", "7")
    monkeypatch.setenv("UVICORN_PORT", "7")
    given = served("9000")
    assert (given["backlog"], given["port"]) == (7, 9000)


@pytest.mark.parametrize(
    ("written", "host", "port"),
    [
        ("9000", "127.0.0.1", 9000),
        ("0:9000", "0.0.0.0", 9000),
        ("0.0.0.0:80", "0.0.0.0", 80),
        ("[::1]:9000", "::1", 9000),
        ("localhost:9000", "localhost", 9000),
    ],
)
def test_an_address_is_written_as_for_runserver(served: Any, written: str, host: str, port: int) -> None:
    given = served(written)
    assert (given["host"], given["port"]) == (host, port)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nonsense"], "'nonsense' is not a port number"),
        (["--port", "x"], "'x' is not a valid integer"),
        (["--loglevel", "info"], "--loglevel"),
    ],
)
def test_what_makes_no_sense_is_told(served: Any, arguments: list[str], told: str) -> None:
    with pytest.raises(CommandError, match=told):
        served(*arguments)


@pytest.mark.parametrize("path", [None, "application"])
def test_a_project_without_an_application_is_told(served: Any, settings: Any, path: str | None) -> None:
    settings.ASGI_APPLICATION = path
    with pytest.raises(CommandError, match=r"yourproject\.asgi\.application"):
        served()


def test_a_setting_that_is_wrong_is_told_without_checks_too(served: Any, settings: Any) -> None:
    settings.REALTIME = {"MAX_FRAMES": 1}
    with pytest.raises(CommandError, match="MAX_FRAME"):
        served("--skip-checks")


# Static files, with DEBUG on


@pytest.fixture
def fresh(settings: Any) -> Any:
    """A project as startproject makes it: runserver alone serves its static files."""
    settings.DEBUG = True
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if not name.startswith("whitenoise")]
    del settings.WHITENOISE_USE_FINDERS
    return settings


def test_with_debug_on_it_tells_that_nobody_serves_static_files(
    served: Any, fresh: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    served()
    debug, static = capsys.readouterr().err.splitlines()
    assert debug == serve.DEVELOPMENT
    assert "runserver alone: no server can find /static/realtime/realtime.js: STATIC_ROOT is not set. Set" in static
    assert "WHITENOISE_USE_FINDERS = True" in static


@pytest.mark.parametrize(
    "found",
    [
        {"MIDDLEWARE": ["whitenoise.middleware.WhiteNoiseMiddleware"]},  # which looks for them while DEBUG is on
        {"ROOT_URLCONF": "tests.test_serve_command"},
        {"SILENCED_SYSTEM_CHECKS": ["realtime.W006"]},
        {"STATIC_URL": "https://cdn.example/static/"},
    ],
    ids=", ".join,
)
def test_with_debug_on_it_tells_nothing_of_static_files_that_somebody_may_serve(
    served: Any, fresh: Any, found: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    for key, value in found.items():
        setattr(fresh, key, value)
    served()
    assert capsys.readouterr().err.splitlines() == [serve.DEVELOPMENT]


def test_with_debug_on_the_checks_leave_static_files_to_runserver(fresh: Any) -> None:
    assert not [found for found in run_checks(tags=["realtime"]) if found.id == "realtime.W006"]


def test_a_log_config_of_the_user_is_left_alone(served: Any) -> None:
    assert served("--log-config", "pyproject.toml")["log_config"] == "pyproject.toml"


def test_migrations_that_are_missing_are_told_and_a_database_that_is_away_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Away:
        def __init__(self, connection: Any) -> None:
            raise OperationalError("no route to it")

    monkeypatch.setattr("django.core.management.base.MigrationExecutor", Away, raising=False)
    monkeypatch.setattr("django.db.migrations.executor.MigrationExecutor", Away)
    closed: list[bool] = []
    monkeypatch.setattr(serve.connections, "close_all", lambda: closed.append(True))
    monkeypatch.setattr(uvicorn.main, "callback", lambda **options: None)
    call_command("serve", skip_checks=False)
    assert "The database does not answer: no route to it" in capsys.readouterr().err
    assert closed == [True]


WITHOUT_UVICORN = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("uvicorn", "click"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Nothing())
from importlib import util
find = util.find_spec
util.find_spec = lambda name, package=None: None if name == "uvicorn" else find(name, package)
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "chatty.settings"
from django.core.management import call_command, execute_from_command_line
execute_from_command_line(["manage.py", "serve", "--workers", "2"])
"""


def test_without_uvicorn_it_tells_what_to_install() -> None:
    command = [sys.executable, "-c", WITHOUT_UVICORN]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert 'pip install "django-realtime-channels[serve]"' in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 2


def test_without_uvicorn_a_caller_gets_a_command_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "find_spec", lambda name: None)
    with pytest.raises(CommandError, match=r'pip install "django-realtime-channels\[serve\]"'):
        call_command("serve")


def test_help_shows_the_options_of_uvicorn_with_our_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        serve.Command().run_from_argv(["manage.py", "serve", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for option in serve.uvicorn_options():
        assert option.opts[0] in shown
    assert "[default: 4096]" in shown and "[default: 127.0.0.1]" in shown and "MAX_FRAME" in shown
