"""System checks: each thing that is wrong is told by its id, with a hint that names what is right."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, get_type_hints

import msgspec
import pytest
from django.contrib.staticfiles.views import serve
from django.core import checks, management
from django.urls import re_path
from django.utils.autoreload import BaseReloader

import realtime
from realtime import Channel, Misconfigured, Router, apps, channel, conf, handle_in
from tests.servers import ROOT

if TYPE_CHECKING:
    from decimal import Decimal

HERE = "tests.test_checks"


def told() -> list[tuple[str, str, str]]:
    """Return (id, message, hint) of what our checks say."""
    return [(found.id or "", found.msg, found.hint or "") for found in checks.run_checks(tags=["realtime"])]


def one(identity: str) -> str:
    """Return message and hint of the only thing said."""
    [(found, message, hint)] = told()
    assert found == identity
    assert hint
    return f"{message} {hint}"


def django(folder: Path, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of Django's on the project in `folder`, without a REDIS_URL."""
    environment = {"PYTHONPATH": os.pathsep.join((str(folder), str(ROOT))), **environment}
    kept = {key: value for key, value in os.environ.items() if key != "REDIS_URL"}
    return subprocess.run(
        [sys.executable, "-m", "django", command],
        cwd=folder,
        env={**kept, "DJANGO_SETTINGS_MODULE": "settings", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class Fine(Channel):
    async def join(self, payload: Any, **params: Any) -> None: ...


router = Router("/ws", [channel("fine:<part:name>", Fine)])


@pytest.fixture(autouse=True)
def project(settings: Any) -> None:
    settings.REALTIME = {"ROUTER": f"{HERE}.router"}


@pytest.fixture
def routed(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """routed(route, …) makes a router of these the project's."""

    def routed(*routes: Any) -> None:
        monkeypatch.setitem(globals(), "given", Router("/ws", list(routes)))
        settings.REALTIME = {"ROUTER": f"{HERE}.given"}

    return routed


@pytest.fixture
def module(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """module(text) makes a router's module of this text, below a package, the project's; returns its file."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "modules", sys.modules.copy())

    def module(text: str) -> Path:
        file = tmp_path / "shop_channels.py"
        file.write_text(text)
        (tmp_path / "shop_routing.py").write_text("from shop_channels import router\n")
        settings.REALTIME = {"ROUTER": "shop_routing.router"}
        return file

    return module


def test_a_sound_project_hears_nothing() -> None:
    assert told() == []


def test_the_chat_hears_nothing(settings: Any) -> None:
    settings.REALTIME = {"ROUTER": "chatty.routing.router"}
    assert told() == []


# E001


@pytest.mark.parametrize(
    "key, hint",
    [
        ("MAX_TOPIC", "Did you mean 'MAX_TOPICS'?"),
        ("router", "Did you mean 'ROUTER'?"),
        ("COLOUR", "There are ROUTER,"),
    ],
)
def test_an_unknown_key_is_told_with_what_was_meant(settings: Any, key: str, hint: str) -> None:
    settings.REALTIME = {"ROUTER": f"{HERE}.router", key: 1}
    said = one("realtime.E001")
    assert repr(key) in said and hint in said


def test_every_unknown_key_is_told_at_once(settings: Any) -> None:
    settings.REALTIME = {"MAX_TOPIC": 1, "PREFIXX": "", 3: 3}
    assert [found for found, _, _ in told()] == ["realtime.E001"] * 3


@pytest.mark.parametrize(
    "key, value, expected",
    [
        ("MAX_TOPICS", "100", "of type int, not str. The default is 100."),
        ("MAX_TOPICS", True, "of type int, not bool"),
        ("MESSAGE_RATE", None, "of type float, not NoneType"),
        ("EMBEDDED", "yes", "of type bool | None, not str"),
        ("ALLOWED_ORIGINS", "https://example.org", "of type tuple[str, ...], not str"),
        ("URL", 6379, "of type str, not int"),
        ("ROUTER", router, "of type str, not Router"),
    ],
)
def test_a_value_of_the_wrong_type_is_told(settings: Any, key: str, value: Any, expected: str) -> None:
    settings.REALTIME = {"ROUTER": f"{HERE}.router", key: value}
    assert expected in one("realtime.E001")


@pytest.mark.parametrize("key, value", [("MESSAGE_RATE", 5), ("EMBEDDED", None), ("ALLOWED_ORIGINS", ["https://a.b"])])
def test_a_value_that_serves_as_well_is_not_told(settings: Any, key: str, value: Any) -> None:
    settings.REALTIME = {"ROUTER": f"{HERE}.router", key: value}
    assert told() == []


UNFIT = [
    ("PREFIX", "", "must be 1 to 64 letters, digits, '_', '.' or '-'. The default is 'rt'."),
    ("PREFIX", "a b", "must be 1 to 64 letters"),
    ("PREFIX", "{a}", "must be 1 to 64 letters"),
    ("PREFIX", "a:b", "must be 1 to 64 letters"),
    ("PREFIX", "a\n", "must be 1 to 64 letters"),
    ("PREFIX", "x" * 65, "must be 1 to 64 letters"),
    ("POLL_SESSIONS", -1, "must be at least 0, not -1; with 0 there is no long polling. The default is 5000."),
    ("POLL_WINDOW", 0.01, "must be at least 0.1 s, not 0.01: phoenix.js gives a poll up after 20"),
    ("POLL_WINDOW", 16.0, "must be at most 15 s, not 16.0"),
    ("COLLECT_AFTER", (300.0, 60.0), "must be two numbers of seconds, the smaller first: (60, 300)"),
    ("COLLECT_AFTER", (-1.0, 60.0), "must be two numbers of seconds"),
    ("COLLECT_AFTER", (0.0, float("inf")), "must be two numbers of seconds"),
    ("COLLECT_AFTER", (float("nan"), 1.0), "must be two numbers of seconds"),
    ("COLLECT_BATCH", 0, "must be at least 1, not 0: the engine does nothing else meanwhile. The default is 300."),
    ("COLLECT_BATCH", 1001, "must be at most 1,000, not 1001"),
    ("LEASE", 0.9, "must be at least 1 s, not 0.9. The default is 10.0."),
    ("NODE_LEASE", -20.0, "must be at least 1 s, not -20.0"),
    ("RECHECK", 0, "must be at least 1 s, not 0"),
    ("PRESENCE_GRACE", -1.0, "must be at least 0 s, not -1.0. The default is 5.0."),
    ("THREADS", 0, "must be at least 1, not 0. The default is 8."),
    ("MAX_TOPICS", 0, "must be at least 1, not 0"),
    ("MAX_FRAME", -1, "must be at least 64 bytes, not -1: a heartbeat has to fit in"),
    ("MAX_FRAME", 63, "must be at least 64 bytes"),
    ("MAX_CRASHES", 0, "must be at least 1, not 0"),
    ("MESSAGE_RATE", 0, "must be at least 0.1 a second, not 0: a heartbeat is a message, too"),
    ("MESSAGE_RATE", float("inf"), "must be at most 1,000,000,000 a second, not inf"),
    ("MESSAGE_BURST", 0, "must be at least 1, not 0"),
    ("MAILBOX", 0, "must be at least 1, not 0"),
    ("OUTBOX_MESSAGES", 0, "must be at least 1, not 0"),
    ("OUTBOX_BYTES", 0, "must be at least 1 bytes, not 0"),
    ("SEND_TIMEOUT", 0, "must be at least 0.1 s, not 0"),
    ("HEARTBEAT_TIMEOUT", -5, "must be at least 1 s, not -5"),
    ("HEARTBEAT_TIMEOUT", float("inf"), "must be at most 31,622,400 s, not inf"),
    ("SHUTDOWN", 0, "must be at least 0.01 s, not 0"),
]
NUMBERS = [key for key, kind in get_type_hints(conf.Settings).items() if kind in (int, float)]


@pytest.mark.parametrize("key, value, expected", UNFIT, ids=[f"{key} {value!a:.20}" for key, value, _ in UNFIT])
def test_a_value_that_cannot_be_is_told_and_refused(settings: Any, key: str, value: Any, expected: str) -> None:
    settings.REALTIME = {"ROUTER": f"{HERE}.router", key: value}
    assert f"REALTIME[{key!r}] {expected}" in one("realtime.E001")
    with pytest.raises(Misconfigured) as caught:
        conf.settings()
    assert str(caught.value) == f"REALTIME[{key!r}] {conf.unfit(conf.Settings(**{key: value}))[key]}"


@pytest.mark.parametrize("key", NUMBERS)
def test_every_number_has_a_least_one_and_none_may_be_no_number(key: str) -> None:
    assert {found for found, _, _ in UNFIT} >= {key}
    for value in (-1, float("nan")):
        assert f"not {value}" in conf.unfit(replace(conf.Settings(), **{key: value}))[key]
    assert not conf.unfit(replace(conf.Settings(), **{key: conf.BOUNDS[key].least}))


def test_all_that_cannot_be_is_told_at_once(settings: Any) -> None:
    settings.REALTIME = {"PREFIX": "", "COLLECT_AFTER": (2, 1), "COLLECT_BATCH": 0, "LEASE": 0, "NODE_LEASE": 0}
    assert [found for found, _, _ in told()] == ["realtime.E001"] * 5


@pytest.mark.parametrize("window", [(60.0,), (1.0, 2.0, 3.0), 60.0, "60"], ids=str)
def test_the_time_of_collection_is_two_numbers(settings: Any, window: Any) -> None:
    settings.REALTIME = {"ROUTER": f"{HERE}.router", "COLLECT_AFTER": window}
    assert "REALTIME['COLLECT_AFTER'] must be of type tuple[float, float]" in one("realtime.E001")
    with pytest.raises(Misconfigured, match=r"COLLECT_AFTER|of a wrong type.*manage.py check"):
        conf.settings()


@pytest.mark.parametrize(
    "key, value",
    [
        ("PREFIX", "My-site_2.0"),
        ("PREFIX", "x" * 64),
        ("COLLECT_AFTER", (0, 0)),
        ("COLLECT_AFTER", [60, 300]),
        ("COLLECT_BATCH", 1),
        ("COLLECT_BATCH", 1000),
        ("LEASE", 1),
        ("PRESENCE_GRACE", 0),
    ],
)
def test_a_value_at_the_edge_is_not_told(settings: Any, key: str, value: Any) -> None:
    settings.REALTIME = {"ROUTER": f"{HERE}.router", key: value}
    assert told() == []
    assert getattr(conf.settings(), key) == value


def test_a_setting_that_is_no_dict_is_told(settings: Any) -> None:
    settings.REALTIME = [f"{HERE}.router"]
    assert "must be a dict, not list" in one("realtime.E001")


def test_what_is_wrong_in_the_setting_is_told_without_its_value(settings: Any) -> None:
    settings.REALTIME = {"ROUTER": f"{HERE}.router", "URL": b"redis://:hunter2@db"}
    assert "hunter2" not in one("realtime.E001")


# E002


def test_a_missing_router_is_told(settings: Any) -> None:
    settings.REALTIME = {}
    assert 'REALTIME = {"ROUTER": "yourproject.routing.router"}' in one("realtime.E002")


@pytest.mark.parametrize(
    "path, expected",
    [
        ("nowhere.router", "ModuleNotFoundError: No module named 'nowhere'"),
        ("router", "doesn't look like a module path"),
        (f"{HERE}.nothing", 'does not define a "nothing" attribute'),
        (f"{HERE}.Fine", "must be a Router, not"),
    ],
)
def test_a_router_that_is_not_there_is_told(settings: Any, path: str, expected: str) -> None:
    settings.REALTIME = {"ROUTER": path}
    assert expected in one("realtime.E002")


@pytest.mark.parametrize(
    "text, expected",
    [
        ("\n\nclass Shop(:\n", "SyntaxError: invalid syntax ({}, line 3)"),
        ("import nowhere\n", "ModuleNotFoundError: No module named 'nowhere' ({}, line 1)"),
        ("from realtime import Chanel\n", "ImportError: cannot import name 'Chanel' from 'realtime'"),
        ("\n1 / 0\n", "ZeroDivisionError: division by zero ({}, line 2)"),
        ("from realtime import channel\n\nchannel('a:<b', None)\n", "({}, line 3)"),
    ],
    ids=["syntax", "module", "name", "crash", "wrong route"],
)
def test_an_error_on_the_way_to_the_router_is_told_with_its_line(module: Any, text: str, expected: str) -> None:
    file = module(text)
    assert expected.format(file) in one("realtime.E002")


def test_runserver_goes_on_without_a_router(module: Any, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module("class Shop(:\n")
    settings.DEBUG = True
    monkeypatch.setenv("RUN_MAIN", "true")
    [found] = checks.run_checks(tags=["realtime"])
    assert (found.id, found.level) == ("realtime.E002", checks.WARNING)


def test_the_reloader_watches_where_the_error_is(module: Any) -> None:
    file, reloader = module("class Shop(:\n"), BaseReloader()
    apps.watch_broken_router(reloader)
    assert {file, file.parent / "shop_routing.py"} <= set(reloader.watched_files())


def test_the_reloader_watches_nothing_more_where_there_is_no_error() -> None:
    reloader = BaseReloader()
    apps.watch_broken_router(reloader)
    assert not reloader.directory_globs


# E003


@pytest.mark.parametrize(
    "earlier, later",
    [
        ("rooms:<part:room>", "rooms:<part:room>"),
        ("rooms:<part:room>", "rooms:<part:name>"),
        ("rooms:<part:room>", "rooms:<slug:name>"),
        ("rooms:<slug:room>", "rooms:<int:number>"),
        ("rooms:<slug:room>", "rooms:<uuid:room>"),
        ("rooms:<part:room>", "rooms:lobby"),
        ("rooms:<part:room>", "rooms:<slug:shop>-<slug:room>"),
        ("rooms:<int:a><int:b>", "rooms:42"),
        ("<path:all>", "rooms:<part:room>:<str:rest>"),
    ],
)
def test_a_route_that_is_never_reached_is_told(routed: Any, earlier: str, later: str) -> None:
    routed(channel(earlier, Fine), channel(later, Fine))
    found = [f"{message} {hint}" for identity, message, hint in told() if identity == "realtime.E003"]
    assert len(found) == 1
    assert repr(earlier) in found[0] and repr(later) in found[0] and "narrower pattern first" in found[0]


@pytest.mark.parametrize(
    "earlier, later",
    [
        ("rooms:lobby", "rooms:<part:room>"),
        ("rooms:<slug:room>", "rooms:<part:room>"),
        ("rooms:<int:room>", "rooms:<slug:room>"),
        ("rooms:<uuid:room>", "rooms:<slug:room>"),
        ("rooms:<part:room>", "rooms:<part:room>:admin"),
        ("rooms:<part:a>-<part:b>", "rooms:<part:room>"),
        ("rooms:<part:room>", "shops:<part:room>"),
        ("rooms:<int:a>:<part:b>", "rooms:<part:a>:<part:b>"),
    ],
)
def test_a_route_that_is_reached_is_not_told(routed: Any, earlier: str, later: str) -> None:
    routed(channel(earlier, Fine), channel(later, Fine))
    assert told() == []


# E004


class Closed(Channel):
    pass


class Inherits(Fine):
    pass


def test_a_channel_without_join_is_told_once(routed: Any) -> None:
    routed(channel("a", Closed), channel("b", Closed), channel("c", Inherits))
    assert f"{HERE}.Closed has no join" in (said := one("realtime.E004"))
    assert "async def join(self, payload, …)" in said


# E005


class TwoPayloads(Fine):
    @handle_in("event", "other")
    async def event(self, payload: Any, more: Any) -> None: ...


class NoSelf(Fine):
    @handle_in("event")
    async def event() -> None: ...  # type: ignore[misc]


class ByName(Fine):
    @handle_in("event")
    async def event(self, *, payload: Any) -> None: ...


class Greets(Fine):
    async def after_join(self, payload: Any, room: str) -> None: ...


class Ends(Fine):
    async def terminate(self) -> None: ...  # type: ignore[override]


@pytest.mark.parametrize(
    "handler, method, right",
    [
        (TwoPayloads, "TwoPayloads.event", "(self, payload), or (self)"),
        (NoSelf, "NoSelf.event", "(self, payload), or (self)"),
        (ByName, "ByName.event", "(self, payload), or (self)"),
        (Greets, "Greets.after_join", "(self, payload)"),
        (Ends, "Ends.terminate", "(self, reason)"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_a_method_that_cannot_be_called_is_told(routed: Any, handler: Any, method: str, right: str) -> None:
    routed(channel("a", handler))
    assert f"{HERE}.{method} cannot be called" in (said := one("realtime.E005"))
    assert f"Write its parameters as {right}" in said


class Plain(Channel):
    async def join(self, payload: Any) -> None: ...


class WantsRoom(Channel):
    async def join(self, payload: Any, room: str) -> None: ...


class NoPayload(Channel):
    async def join(self, room: str) -> None: ...


@pytest.mark.parametrize(
    "pattern, handler, right",
    [
        ("a:<part:room>", Plain, "(self, payload, room): what 'a:<part:room>' captures comes by name"),
        ("a:<part:name>", WantsRoom, "(self, payload, name)"),
        ("a:<part:room>:<part:name>", WantsRoom, "(self, payload, room, name)"),
        ("a", WantsRoom, "(self, payload)"),
        ("a:<part:room>", NoPayload, "(self, payload, room)"),
    ],
)
def test_a_join_that_does_not_take_what_the_route_captures_is_told(
    routed: Any, pattern: str, handler: Any, right: str
) -> None:
    routed(channel(pattern, handler))
    assert f"Write its parameters as {right}" in one("realtime.E005")


class Thing:
    """What JSON knows nothing of, such as a model."""


class Nested(msgspec.Struct):
    name: str
    inside: list[Nested | None]
    things: dict[str, Thing]


class Unresolved(Fine):
    @handle_in("event")
    async def event(self, amount: Decimal) -> None: ...


class Undecodable(Fine):
    @handle_in("event")
    async def event(self, thing: Thing) -> None: ...


class Deep(Fine):
    async def after_join(self, payload: Nested) -> None: ...


class Ambiguous(Fine):
    async def join(self, payload: Nested | Whole, **params: Any) -> None: ...


@dataclass
class Whole:
    name: str
    at: datetime
    kind: Literal["a", "b"] = "a"


class Typed(TypedDict, total=False):
    name: str


@pytest.mark.parametrize(
    "handler, expected",
    [
        (Unresolved, "Unresolved.event's payload cannot be resolved: name 'Decimal' is not defined"),
        (Undecodable, "Undecodable.event asks for a payload that cannot be decoded: JSON makes no <class"),
        (Deep, "Deep.after_join asks for a payload that cannot be decoded: JSON makes no <class"),
        (Ambiguous, "Ambiguous.join asks for a payload that cannot be decoded: "),
    ],
)
def test_a_payload_that_can_never_come_is_told(routed: Any, handler: Any, expected: str) -> None:
    routed(channel("a", handler))
    assert expected in one("realtime.E005")


class All(Channel):
    async def join(self, payload: Typed, room: str, **more: Any) -> None: ...
    def after_join(self, payload: Whole | None) -> None: ...
    def terminate(self, reason: str) -> None: ...

    @handle_in("a")
    async def a(self) -> None: ...
    @handle_in("b")
    def b(self, payload: dict[str, list[int]]) -> None: ...
    @handle_in("c")
    async def c(self, payload: bytes, unused: Any = None) -> None: ...
    @handle_in("d")
    async def d(self, *payload: Any) -> None: ...


def test_what_can_be_called_is_not_told(routed: Any) -> None:
    routed(channel("a:<part:room>", All), channel("b:<part:room>:<int:floor>", All))
    assert told() == []


# E006 and W002


@pytest.fixture
def production(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(conf, "_debug", False)
    monkeypatch.delenv("REDIS_URL")
    settings.DEBUG = False
    return settings


def test_with_debug_off_an_engine_must_be_named(production: Any) -> None:
    assert "Set REDIS_URL" in one("realtime.E006")


@pytest.mark.parametrize(
    "url",
    [
        "localhost:6379",
        "http://localhost",
        "//:hunter2@db",
        "redis+sentinel://:hunter2@db",
        "redis+cluster://u:hunter2/@",
    ],
)
def test_the_url_of_an_engine_must_be_one(production: Any, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    assert "redis://127.0.0.1:6379/0" in (said := one("realtime.E006"))
    assert said.count("redis+cluster://host1:6379") == 1
    assert "hunter2" not in said


def test_the_embedded_engine_is_doubted_with_debug_off(production: Any) -> None:
    production.REALTIME = {"ROUTER": f"{HERE}.router", "EMBEDDED": True}
    assert "silence this with SILENCED_SYSTEM_CHECKS" in one("realtime.W002")


def test_the_embedded_engine_is_not_doubted_where_a_test_runner_turned_debug_off(tmp_path: Path) -> None:
    """By Django's own runner, as startproject leaves a project; a test there gets its engine."""
    (tmp_path / "settings.py").write_text(
        "DEBUG, SECRET_KEY, INSTALLED_APPS = True, 'x', ['daphne', 'realtime']\n"
        "ASGI_APPLICATION, REALTIME = 'shop_asgi.application', {'ROUTER': 'shop_routing.router'}\n"
    )
    (tmp_path / "shop_asgi.py").write_text(SERVED)
    (tmp_path / "shop_routing.py").write_text("from realtime import Router\nrouter = Router('/ws', [])\n")
    (tmp_path / "test_shop.py").write_text(
        "from django.conf import settings\nfrom django.test import SimpleTestCase\nfrom realtime import conf\n"
        "class Test(SimpleTestCase):\n"
        "    def test(self):\n        assert not settings.DEBUG and conf.engine() and conf.router()\n"
    )
    done = django(tmp_path, "test")
    assert "System check identified no issues (0 silenced)." in done.stdout
    assert "\nOK\n" in done.stderr


@pytest.mark.parametrize("name", ["REDIS_URL", "URL"])
def test_an_engine_that_is_named_is_taken(production: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    if name == "URL":
        production.REALTIME = {"ROUTER": f"{HERE}.router", "URL": "rediss://db:6379"}
    else:
        monkeypatch.setenv("REDIS_URL", "redis://db:6379")
    assert told() == []


def test_with_debug_on_no_engine_need_be_named(production: Any, tmp_path: Path) -> None:
    production.DEBUG, production.BASE_DIR = True, tmp_path
    assert told() == []
    assert not list(tmp_path.iterdir())


# W006


@pytest.fixture
def uncollected(production: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A project as startproject makes it, with DEBUG off: nobody serves its static files."""
    monkeypatch.setenv("REDIS_URL", "redis://db:6379")
    production.MIDDLEWARE = [name for name in production.MIDDLEWARE if not name.startswith("whitenoise")]
    del production.WHITENOISE_USE_FINDERS
    return production


def test_static_files_that_no_server_can_find_are_told(uncollected: Any) -> None:
    assert "no server can find /static/realtime/realtime.js: STATIC_ROOT is not set" in (said := one("realtime.W006"))
    assert "SILENCED_SYSTEM_CHECKS = ['realtime.W006']" in said


def test_static_files_that_nobody_has_collected_are_told(uncollected: Any, tmp_path: Path) -> None:
    uncollected.STATIC_ROOT = tmp_path / "static"
    assert "STATIC_ROOT does not hold it" in one("realtime.W006")


urlpatterns = [re_path("^static/(?P<path>.*)$", serve, {"insecure": True})]
WHITENOISE = "whitenoise.middleware.WhiteNoiseMiddleware"


def test_whitenoise_that_serves_what_was_never_collected_is_told(uncollected: Any) -> None:
    uncollected.MIDDLEWARE = [WHITENOISE]
    one("realtime.W006")


@pytest.mark.parametrize("storage", ["StaticFilesStorage", "ManifestStaticFilesStorage"])
def test_static_files_that_were_collected_are_not_told(uncollected: Any, tmp_path: Path, storage: str) -> None:
    uncollected.STATIC_ROOT = tmp_path / "static"
    uncollected.STORAGES = {"staticfiles": {"BACKEND": f"django.contrib.staticfiles.storage.{storage}"}}
    management.call_command("collectstatic", interactive=False, verbosity=0)
    assert told() == []
    (tmp_path / "static" / "realtime" / "realtime.js").unlink()  # as WHITENOISE_KEEP_ONLY_HASHED_FILES does
    assert bool(told()) is (storage == "StaticFilesStorage")


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"DEBUG": True},
        {"STATIC_URL": "https://cdn.example/static/"},
        {"STATIC_URL": "//cdn.example/static/"},
        {"STATIC_URL": None},
        {"INSTALLED_APPS": ["daphne", "realtime", "django.contrib.auth", "django.contrib.contenttypes"]},
        {"STORAGES": {"staticfiles": {"BACKEND": "django.core.files.storage.InMemoryStorage"}}},
        {"STORAGES": {"staticfiles": {"BACKEND": "nowhere.Storage"}}},
        {"MIDDLEWARE": [WHITENOISE], "WHITENOISE_USE_FINDERS": True},
        {"MIDDLEWARE": [WHITENOISE], "WHITENOISE_AUTOREFRESH": True},
        {"ROOT_URLCONF": f"{HERE}"},
    ],
    ids=lambda given: ", ".join(f"{key} = {value}"[:50] for key, value in given.items()),
)
def test_static_files_that_are_none_of_our_business_are_not_told(uncollected: Any, elsewhere: dict[str, Any]) -> None:
    for key, value in elsewhere.items():
        setattr(uncollected, key, value)
    assert told() == []


# W001, W003, W004


OTHERS = ["realtime", "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"]


@pytest.mark.parametrize("apps, state", [([*OTHERS, "daphne"], "is not first"), (OTHERS, "is missing")])
def test_daphne_must_be_first(settings: Any, apps: list[str], state: str) -> None:
    settings.INSTALLED_APPS = apps
    assert f"daphne {state}" in (said := one("realtime.W001"))
    assert 'INSTALLED_APPS = ["daphne", …]' in said


def test_daphne_may_be_named_by_its_config(settings: Any) -> None:
    settings.INSTALLED_APPS = ["daphne.apps.DaphneConfig", *OTHERS]
    assert told() == []


@pytest.mark.parametrize("hosts", [["*"], ["example.org", "*"]])
def test_any_host_is_doubted(settings: Any, hosts: list[str]) -> None:
    settings.ALLOWED_HOSTS = hosts
    assert "ALLOWED_HOSTS = ['www.example.org']" in one("realtime.W003")


def test_a_project_without_asgi_is_told(settings: Any) -> None:
    settings.ASGI_APPLICATION = None
    assert "with_realtime(get_asgi_application())" in one("realtime.W004")


# W007


BARE = """
import os
from django.core.asgi import get_asgi_application
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
application = get_asgi_application()
"""
SERVED = (
    BARE
    + """
from realtime.asgi import with_realtime
application = with_realtime(application)
"""
)


@pytest.fixture
def asgi(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """asgi(text) makes ASGI_APPLICATION `application` of a module with this text."""
    monkeypatch.syspath_prepend(tmp_path)
    settings.ASGI_APPLICATION = "shop_asgi.application"
    return (tmp_path / "shop_asgi.py").write_text


@pytest.mark.parametrize(
    "text",
    [
        BARE,
        "import django.core.asgi\napplication = django.core.asgi.get_asgi_application()",
        "from django.core.handlers.asgi import ASGIHandler\napplication = ASGIHandler()",
        "from django.core.asgi import get_asgi_application\nhandler = application = get_asgi_application()",
    ],
    ids=["startproject", "by its module", "by its class", "two names"],
)
def test_an_application_that_is_no_more_than_djangos_is_told(asgi: Any, text: str) -> None:
    asgi(text)
    said = one("realtime.W007")
    assert "shop_asgi.application is Django's own handler" in said
    assert "django = get_asgi_application(), below it from realtime.asgi import with_realtime" in said
    assert "shop_asgi" not in sys.modules


@pytest.mark.parametrize(
    "text",
    [
        SERVED,
        BARE + "if True:\n    from realtime.asgi import with_realtime\n    application = with_realtime(application)",
        BARE.replace("application = get", "django = get") + "application = ProtocolTypeRouter({'http': django})",
        BARE.replace("application = get", "django = get") + "async def application(scope, receive, send): ...",
        BARE + "inner = application\nasync def application(scope, receive, send): ...",
        BARE + "from shop.other import application",
        BARE + "from shop import other as application",
        "from shop.other import *",
        "1 / 0",
    ],
    ids=["wrapped", "in an if", "router", "function", "over it", "import", "by a name", "unknown", "not run"],
)
def test_an_application_that_may_be_more_is_not_told(asgi: Any, text: str) -> None:
    asgi(text)
    assert told() == []


@pytest.mark.parametrize(
    "path, expected",
    [
        ("shop_asgi.application", "SyntaxError: '(' was never closed ({}, line 1)."),
        ("nowhere.asgi.application", "ModuleNotFoundError: No module named 'nowhere'."),
        ("tests.nowhere.application", "ModuleNotFoundError: No module named 'tests.nowhere'."),
        ("application", "ValueError: no module is named."),
    ],
)
def test_an_application_that_cannot_be_read_is_told(
    asgi: Any, settings: Any, tmp_path: Path, path: str, expected: str
) -> None:
    asgi("application = (")
    settings.ASGI_APPLICATION = path
    assert f"{path!r} cannot be read: {expected.format(tmp_path / 'shop_asgi.py')}" in one("realtime.W007")


def test_an_application_without_a_source_is_not_told(settings: Any) -> None:
    settings.ASGI_APPLICATION = "itertools.chain"
    assert told() == []


# W005


@pytest.mark.parametrize("pattern", ["rooms:<room>", "rooms:<str:room>", "rooms:<path:room>"])
def test_a_value_that_takes_colons_is_doubted(routed: Any, pattern: str) -> None:
    routed(channel(pattern, Fine))
    assert "Write <part:room>" in one("realtime.W005")


# E007


@pytest.mark.parametrize("owners", [[], ["django-realtime-channels"], ["django_realtime_channels"] * 2])
def test_our_own_distribution_may_own_the_name(monkeypatch: pytest.MonkeyPatch, owners: list[str]) -> None:
    monkeypatch.setattr("realtime.import_name.packages_distributions", lambda: {"realtime": owners})
    assert told() == []


def test_another_distribution_that_owns_the_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    owners = {"realtime": ["realtime", "django_realtime_channels"], "django": ["Django"]}
    monkeypatch.setattr("realtime.import_name.packages_distributions", lambda: owners)
    assert "Uninstall realtime" in one("realtime.E007")


def test_a_package_that_another_has_overwritten_says_so(tmp_path: Path) -> None:
    """As pip leaves it: their files over ours, and a record of both."""
    shutil.copytree(Path(realtime.__file__).parent, tmp_path / "realtime", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "realtime" / "__init__.py").write_text("")
    (tmp_path / "realtime" / "exceptions.py").write_text("class NotConnectedError(Exception): ...\n")
    info = tmp_path / "realtime-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: realtime\nVersion: 2.0\n")
    (info / "RECORD").write_text("realtime/__init__.py,,\nrealtime/exceptions.py,,\n")
    (tmp_path / "settings.py").write_text("SECRET_KEY = 'x'\nINSTALLED_APPS = ['realtime']\n")
    done = django(tmp_path, "check", PYTHONPATH=str(tmp_path))
    assert "(realtime.E007) The distribution 'realtime' installs a package named realtime too" in done.stderr
    assert "Uninstall realtime" in done.stderr.splitlines()[-1]
