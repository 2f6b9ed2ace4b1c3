"""The bus on a real engine: confirmed subscriptions, reported gaps, and ordinary consumers beside us."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import redis
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.testing import WebsocketCommunicator

from realtime.engine import subscriptions
from realtime.engine.client import Engine
from realtime.engine.layer import RedisChannelLayer
from realtime.exceptions import EngineUnavailable
from tests import engines
from tests.ear import Ear
from tests.proxy import Proxy


def layer_at(url: str) -> RedisChannelLayer:
    return RedisChannelLayer(engine=Engine(url), prefix="test:")


@pytest.fixture(params=["the tests' engine", "Redis"], autouse=True)
def engine(request: pytest.FixtureRequest, engine: str) -> str:
    """Each test on both: the bundled Valkey or what the tests run on, and the Redis that is installed here."""
    return request.getfixturevalue("redis_url") if request.param == "Redis" else engine


@pytest.fixture
def server(engine: str) -> Iterator[str]:
    """The URL of one server, for a proxy."""
    with engines.one_server(engine) as url:
        yield url


@pytest.fixture
async def layer(engine: str) -> AsyncIterator[RedisChannelLayer]:
    layer = layer_at(engine)
    yield layer
    await layer.aclose()


@pytest.fixture
def client(engine: str) -> Iterator[redis.Redis]:
    with engines.raw(engine) as client:
        yield client


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def test_what_is_published_is_heard_in_order(layer: RedisChannelLayer) -> None:
    ear = Ear()
    await layer.subscribe("a", ear)
    for number in range(100):
        await layer.publish("a", b"%d" % number)
    assert [int(await ear.next()) for _ in range(100)] == list(range(100))


async def test_a_subscription_is_live_when_it_returns_even_on_a_slow_link(server: str) -> None:
    with engines.raw(server) as near:
        async with Proxy(engines.place(server), delay=0.02) as proxy:
            layer = layer_at(f"redis://127.0.0.1:{proxy.port}")
            for number in range(40):
                ear = Ear()
                await layer.subscribe(f"slow:{number}", ear)
                near.publish(f"slow:{number}", "heard")  # at once, over a faster link
                assert await ear.next() == b"heard"
            await layer.aclose()


async def test_unsubscribing_ends_it(layer: RedisChannelLayer, engine: str) -> None:
    ear = Ear()
    await layer.subscribe("b", ear)
    await layer.unsubscribe("b")
    await until(lambda: engines.listeners(engine, "b") == 0)


async def test_many_subscribe_at_once(layer: RedisChannelLayer, client: redis.Redis) -> None:
    ears = [Ear() for _ in range(1000)]
    await asyncio.gather(*(layer.subscribe(f"many:{number}", ear) for number, ear in enumerate(ears)))
    client.publish("many:999", "x")
    assert await ears[999].next() == b"x"


async def test_a_lost_connection_is_made_again_and_every_channel_told(
    layer: RedisChannelLayer, client: redis.Redis, engine: str
) -> None:
    ears = [Ear(), Ear()]
    for number, ear in enumerate(ears):
        await layer.subscribe(f"c{number}", ear)
    engines.deafen(engine)
    for number, ear in enumerate(ears):
        await asyncio.wait_for(ear.gaps.get(), 5)
        client.publish(f"c{number}", "after")  # the gap is over when it is told
        assert await ear.next() == b"after"


async def test_who_asks_after_one_that_was_cancelled_is_the_one_who_hears(server: str) -> None:
    async with Proxy(engines.place(server)) as proxy:
        proxy.refuse()
        layer, gone, there = layer_at(f"redis://127.0.0.1:{proxy.port}"), Ear(), Ear()
        waiting = asyncio.create_task(layer.subscribe("i", gone))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        proxy.admit()
        await layer.subscribe("i", there)
        await layer.publish("i", b"x")
        assert await there.next() == b"x"
        assert gone.heard.empty()
        await layer.aclose()


async def test_a_channel_whose_subscription_was_never_confirmed_is_told_of_no_gap(server: str) -> None:
    async with Proxy(engines.place(server)) as proxy:
        proxy.refuse()
        layer, ear = layer_at(f"redis://127.0.0.1:{proxy.port}"), Ear()
        waiting = asyncio.create_task(layer.subscribe("d", ear))
        await asyncio.sleep(0.1)
        proxy.admit()
        await asyncio.wait_for(waiting, 5)
        await layer.publish("d", b"x")
        assert await ear.next() == b"x"
        assert ear.gaps.empty()
        await layer.aclose()


async def test_an_engine_that_is_away_refuses_in_time_and_leaves_nothing(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Proxy(engines.place(server)) as proxy:
        proxy.refuse()
        layer = layer_at(f"redis://127.0.0.1:{proxy.port}")
        with monkeypatch.context() as patch, pytest.raises(EngineUnavailable):
            patch.setattr(subscriptions, "TIMEOUT", 0.2)
            await layer.subscribe("e", Ear())
        with pytest.raises(EngineUnavailable):
            await layer.publish("e", b"x")
        proxy.admit()
        await layer.subscribe("f", Ear())
        assert engines.listeners(server, "e") == 0
        await layer.aclose()


async def test_a_connection_that_falls_silent_is_given_up(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "QUIET", 0.1)
    async with Proxy(engines.place(server)) as proxy:
        layer, ear = layer_at(f"redis://127.0.0.1:{proxy.port}"), Ear()
        await layer.subscribe("g", ear)
        await asyncio.sleep(0.5)
        assert ear.gaps.empty()  # it answers its pings
        proxy.freeze()  # nothing comes through any more, and nobody says so
        await asyncio.wait_for(ear.gaps.get(), 5)
        await layer.aclose()


async def test_a_listener_that_fails_hears_on(layer: RedisChannelLayer, caplog: pytest.LogCaptureFixture) -> None:
    class Deaf(Ear):
        def message(self, data: bytes) -> None:
            super().message(data)
            raise RuntimeError("deaf")

    ear = Deaf()
    await layer.subscribe("h", ear)
    for data in (b"1", b"2"):
        await layer.publish("h", data)
        assert await ear.next() == data
    assert "RuntimeError: deaf" in caplog.text


async def test_what_has_arrived_together_is_heard_in_one_turn(layer: RedisChannelLayer, client: redis.Redis) -> None:
    ear = Ear()
    await layer.subscribe("i", ear)
    with client.pipeline(transaction=True) as together:
        for number in range(50):
            together.publish("i", str(number))
        together.execute()
    async with asyncio.timeout(5):
        while ear.heard.empty():
            await asyncio.sleep(0)
    assert ear.heard.qsize() == 50


# Ordinary consumers


class Chat(AsyncJsonWebsocketConsumer):
    groups = ("chat",)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.channel_layer.group_send("chat", {"type": "chat.message", "text": content})

    async def chat_message(self, event: Any) -> None:
        await self.send_json(event["text"])


@pytest.mark.django_db  # channels tends the connections of the thread it shares
async def test_an_ordinary_consumer_uses_the_layer_for_its_groups() -> None:
    """Through CHANNEL_LAYERS, as chatty names it."""
    first, second = (WebsocketCommunicator(Chat.as_asgi(), "/chat") for _ in range(2))
    assert (await first.connect())[0]
    assert (await second.connect())[0]
    await first.send_json_to("hello")
    assert await first.receive_json_from(5) == "hello"
    assert await second.receive_json_from(5) == "hello"
    await first.disconnect()
    await second.disconnect()


async def test_the_layer_keeps_the_channel_layers_contract(layer: RedisChannelLayer) -> None:
    name = await layer.new_channel()
    await layer.send(name, {"type": "direct", "n": 1})
    assert await layer.receive(name) == {"type": "direct", "n": 1}
    await layer.group_add("g", name)
    await layer.group_send("g", {"type": "grouped"})
    assert await layer.receive(name) == {"type": "grouped"}
    await layer.group_discard("g", name)
    await layer.group_send("g", {"type": "unheard"})
    await layer.send(name, {"type": "last"})
    assert await layer.receive(name) == {"type": "last"}
    assert set(layer.extensions) == {"groups", "flush"}
    await layer.flush()
