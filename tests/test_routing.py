from __future__ import annotations

import re
import sys
import types
from typing import Any

import pytest

from realtime import Channel, InvalidTopic, Misconfigured, Router, Socket, channel, include


class Room(Channel):
    pass


class Order(Channel):
    pass


@pytest.fixture
def router() -> Router:
    return Router(
        "/ws",
        [
            channel("rooms:lobby", Room, name="lobby"),
            channel("rooms:<part:room>", Room, name="room"),
            channel("orders:<int:number>", Order, name="order"),
            channel("orders:<int:number>:<slug:part>", Order, name="order"),
        ],
    )


@pytest.mark.parametrize(
    ("topic", "handler", "params"),
    [
        ("rooms:lobby", Room, {}),
        ("rooms:ada's", Room, {"room": "ada's"}),
        ("orders:7", Order, {"number": 7}),
        ("orders:7:lines", Order, {"number": 7, "part": "lines"}),
    ],
)
def test_a_topic_is_routed_with_its_values(router: Router, topic: str, handler: type, params: dict[str, Any]) -> None:
    match = router.resolve(topic)
    assert match is not None
    assert (match.channel, match.params) == (handler, params)


@pytest.mark.parametrize(
    "topic", ["rooms", "rooms:", "rooms:a:b", "rooms:a/b", "orders:x", "xrooms:lobby", "rooms:a\n"]
)
def test_other_topics_are_not_routed(router: Router, topic: str) -> None:
    assert router.resolve(topic) is None


def test_the_first_match_wins(router: Router) -> None:
    match = router.resolve("rooms:lobby")
    assert match is not None
    assert match.name == "lobby"


@pytest.mark.parametrize(
    ("name", "values", "topic"),
    [
        ("room", {"room": "lobby"}, "rooms:lobby"),
        ("order", {"number": 7}, "orders:7"),
        ("order", {"number": 7, "part": "lines"}, "orders:7:lines"),
    ],
)
def test_a_topic_is_built_from_its_route(router: Router, name: str, values: dict[str, Any], topic: str) -> None:
    assert router.topic(name, **values) == topic


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("nothing", {}, "no route is named 'nothing'; there are lobby, order, order, room"),
        ("room", {}, "'rooms:<part:room>' takes room, not nothing"),
        ("room", {"room": "a", "x": 1}, "takes room, not room, x"),
        ("room", {"room": "a b"}, "'rooms:a b' is not a topic that 'rooms:<part:room>' matches"),
        ("room", {"room": "a:b"}, "matches"),
        ("room", {"room": "x" * 255}, "matches"),
        ("order", {"number": "x"}, "matches"),
    ],
)
def test_what_no_route_can_build_is_an_error_that_says_why(
    router: Router, name: str, values: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidTopic, match=re.escape(says)):
        router.topic(name, **values)


def test_routes_of_another_module_are_included_under_a_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = types.ModuleType("shop_routing")
    shop.channels = [channel("orders:<int:number>", Order, name="order")]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "shop_routing", shop)
    router = Router("/ws", [channel("shop:", include("shop_routing")), include([channel("rooms:<part:room>", Room)])])
    assert router.topic("order", number=7) == "shop:orders:7"
    assert router.resolve("shop:orders:7") is not None
    assert router.resolve("rooms:lobby") is not None


def test_the_socket_is_open_at_two_paths() -> None:
    assert Router("/ws", []).paths == ("/ws/websocket", "/ws")


def test_polls_have_a_path_of_their_own() -> None:
    assert Router("/ws", []).longpoll == "/ws/longpoll"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: channel("rooms:<wat:room>", Room), "wat"),
        (lambda: channel("rooms:<room", Room), "rooms:<room"),
        (lambda: channel("rooms", Socket), "takes a Channel class"),  # type: ignore[arg-type]
        (lambda: channel("rooms", "RoomChannel"), "takes a Channel class"),  # type: ignore[arg-type]
        (lambda: Router("ws", []), 'mounted at a path like "/ws"'),
        (lambda: Router("/ws/", []), 'mounted at a path like "/ws"'),
        (lambda: Router("/ws", ["rooms"]), "made with channel"),
        (lambda: Router("/ws", [], socket=Room), "takes a Socket class"),  # type: ignore[arg-type]
        (lambda: include("json"), "no list named channels"),
    ],
)
def test_a_wrong_route_is_an_error_that_teaches(make: Any, says: str) -> None:
    with pytest.raises(Misconfigured, match=re.escape(says)):
        make()
