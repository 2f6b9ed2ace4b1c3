"""The kinds of engine that a team may have: TLS, passwords, an ACL, sentinels, a cluster."""

from __future__ import annotations

import asyncio
import datetime
import gc
import ipaddress
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from redis.crc import key_slot

from realtime.engine import client as clients
from realtime.engine.client import Engine, publish, sync_client, translated
from realtime.engine.layer import RedisChannelLayer
from realtime.engine.scripts import Call, Script
from realtime.exceptions import EngineFull, EngineUnavailable
from tests import engines
from tests.ear import Ear
from tests.servers import free_port, wait_until

SECRET = "hunter2"
CHANNEL = "{rt:0}:bus:t"
SECOND = "{rt:1}:bus:t"  # of another node of a cluster


@asynccontextmanager
async def layer_at(url: str) -> AsyncIterator[RedisChannelLayer]:
    layer = RedisChannelLayer(engine=Engine(url), prefix="rt:asgi:")
    try:
        yield layer
    finally:
        await layer.aclose()
        gc.collect()  # what is not closed would warn here


async def works(url: str) -> None:
    """Everything that the project does with an engine: sync and async publishing, a listener, groups."""
    ear, engine = Ear(), Engine(url)
    async with layer_at(url) as layer:
        await layer.subscribe(CHANNEL, ear)
        await layer.publish(CHANNEL, b"async")
        assert await ear.next() == b"async"
        await asyncio.to_thread(lambda: publish(sync_client(engine), CHANNEL, b"sync"))
        assert await ear.next() == b"sync"
        name = await layer.new_channel()
        await layer.group_add("g", name)
        await layer.group_send("g", {"type": "grouped"})
        assert await layer.receive(name) == {"type": "grouped"}
    sync_client(engine).close()


def asked(*command: str | int) -> Call[Any]:
    return Call(command, lambda answer: answer)


async def until_published(layer: RedisChannelLayer, data: bytes, channel: str = CHANNEL) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                return await layer.publish(channel, data)
            except EngineUnavailable:
                await asyncio.sleep(0.05)


# Secrets and rights


@pytest.fixture(scope="session")
def guarded() -> Iterator[engines.Engine]:
    with engines.valkey(requirepass=SECRET) as engine:
        with engine.servers[0].client() as client:
            allow_ada(client)
        yield engine


def allow_ada(client: redis.Redis) -> None:
    client.execute_command("ACL", "SETUSER", "ada", "on", f">{SECRET}", *engines.ACL_RULES.split())


def with_login(url: str, login: str) -> str:
    return url.replace("://", f"://{login}@")


async def test_a_password(guarded: engines.Engine) -> None:
    await works(with_login(guarded.url, f":{SECRET}"))


async def test_a_user_that_may_do_no_more_than_it_must(guarded: engines.Engine) -> None:
    await works(with_login(guarded.url, f"ada:{SECRET}"))


async def test_such_a_user_reads_no_keys_and_channels_of_others(guarded: engines.Engine) -> None:
    async with layer_at(with_login(guarded.url, f"ada:{SECRET}")) as layer:
        with pytest.raises(EngineUnavailable, match="channel"):
            await layer.publish("others", b"x")
        with pytest.raises(EngineUnavailable, match="permission"):
            await layer.call(asked("GET", "others"))


@pytest.mark.parametrize("kind", ["server", "sentinel", "cluster"])
async def test_no_password_is_told(guarded: engines.Engine, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    caplog.set_level(logging.DEBUG)
    here = f"127.0.0.1:{guarded.servers[0].port}"
    url = {
        "server": f"redis://:{SECRET}x@{here}",
        "sentinel": f"redis+sentinel://:{SECRET}x@{here}/a?sentinel_username=u&sentinel_password={SECRET}x",
        "cluster": f"redis+cluster://:{SECRET}x@{here}",
    }[kind]
    told = [repr(Engine(url))]
    async with layer_at(url) as layer:
        listening = asyncio.create_task(layer.subscribe(CHANNEL, Ear()))
        with pytest.raises(EngineUnavailable) as caught:
            await layer.publish(CHANNEL, b"x")
        await asyncio.sleep(0.05)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    with pytest.raises(EngineUnavailable) as caught_too, translated():
        publish(sync_client(Engine(url)), CHANNEL, b"x")
    for error in (caught.value, caught_too.value):
        logging.getLogger("test").error("whole", exc_info=error)
        told.append(repr(error.__cause__))
    assert SECRET not in caplog.text + "".join(told)
    assert "no engine: " in caplog.text


# TLS


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Options of a server that speaks TLS; the certificate vouches for itself."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "engine")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    (folder / "cert").write_bytes(made.public_bytes(encoding))
    private = serialization.PrivateFormat.PKCS8
    (folder / "key").write_bytes(key.private_bytes(encoding, private, serialization.NoEncryption()))
    return {"tls_cert_file": folder / "cert", "tls_key_file": folder / "key", "tls_ca_cert_file": folder / "cert"}


def trusting(url: str, certificate: dict[str, Path]) -> str:
    return f"{url}?ssl_ca_certs={certificate['tls_cert_file']}&ssl_cert_reqs=required"


async def test_tls(certificate: dict[str, Path]) -> None:
    with engines.redis7(tls_port=0, **certificate) as engine:
        await works(trusting(engine.url, certificate))
        async with layer_at(engine.url) as layer:
            with pytest.raises(EngineUnavailable, match="certificate"):
                await layer.publish(CHANNEL, b"to somebody whom nobody vouches for")


async def test_tls_to_sentinels_and_servers(certificate: dict[str, Path]) -> None:
    with engines.sentinel(engines.redis_binary(), **certificate) as engine:
        await works(trusting(engine.url, certificate))


async def test_tls_to_a_cluster(certificate: dict[str, Path]) -> None:
    with engines.cluster(1, engines.redis_binary(), **certificate) as engine:
        await works(trusting(engine.url, certificate))


# Sentinels


async def test_a_service_of_sentinels() -> None:
    with engines.sentinel(requirepass=SECRET, masterauth=SECRET) as engine:
        url = with_login(engine.url, f":{SECRET}")
        await works(url + f"?sentinel_password={SECRET}")


async def test_a_failover_is_followed_and_told() -> None:
    with engines.sentinel() as engine:
        async with layer_at(engine.url) as layer:
            ear = Ear()
            await layer.subscribe(CHANNEL, ear)
            publish(sync_client(Engine(engine.url)), CHANNEL, b"1")
            await layer.publish(CHANNEL, b"2")
            assert [await ear.next(), await ear.next()] == [b"1", b"2"]
            engine.servers[0].kill()
            await ear.next_gap(20)
            await until_published(layer, b"3")
            assert await ear.next() == b"3"
            publish(sync_client(Engine(engine.url)), CHANNEL, b"4")
            assert await ear.next() == b"4"
        sync_client(Engine(engine.url)).close()


async def test_no_primary_is_an_engine_that_is_away() -> None:
    async with layer_at(f"redis+sentinel://127.0.0.1:{free_port()}/nobody") as layer:
        with pytest.raises(EngineUnavailable, match="names a primary of 'nobody'"):
            await layer.publish(CHANNEL, b"x")


# Clusters


@pytest.fixture(scope="module")
def cluster() -> Iterator[engines.Engine]:
    with engines.cluster() as engine:
        yield engine


async def test_a_cluster(cluster: engines.Engine) -> None:
    await works(cluster.url)


async def test_the_same_user_on_a_cluster(cluster: engines.Engine) -> None:
    with engines.nodes(cluster.url) as nodes:
        for node in nodes:
            allow_ada(node)
    await works(with_login(cluster.url, f"ada:{SECRET}"))


def at(server: engines.Server) -> str:
    """The cluster, by this node: who listens begins with it."""
    return f"redis+cluster://127.0.0.1:{server.port}"


def owner_of(engine: engines.Engine, channel: str) -> engines.Server:
    slot = key_slot(channel.encode())
    return next(
        server for number, server in enumerate(engine.servers) if slot < 16384 * (number + 1) // len(engine.servers)
    )


def owned_by(engine: engines.Engine, server: engines.Server) -> str:
    """A channel whose slot is there."""
    return next(name for n in range(100) if owner_of(engine, name := f"{{rt:{n}}}:bus:t") is server)


async def test_what_one_publishes_every_node_hears_in_order(cluster: engines.Engine) -> None:
    async with AsyncExitStack() as stack:
        speaker = await stack.enter_async_context(layer_at(cluster.url))
        ears = [Ear() for _ in cluster.servers]
        for server, ear in zip(cluster.servers, ears, strict=True):
            listener = await stack.enter_async_context(layer_at(at(server)))
            await listener.subscribe(CHANNEL, ear)
        with engines.nodes(cluster.url) as nodes:
            assert [len(node.pubsub_channels(CHANNEL)) for node in nodes] == [1, 1, 1]
        for number in range(300):
            await speaker.publish(CHANNEL, b"%d" % number)
        for ear in ears:
            assert [int(await ear.next()) for _ in range(300)] == list(range(300))


async def test_a_publish_goes_to_the_node_that_owns_the_slot(cluster: engines.Engine) -> None:
    async with layer_at(cluster.url) as layer:
        for server in cluster.servers:
            channel = owned_by(cluster, server)
            with server.client() as client:
                client.config_resetstat()
                await layer.publish(channel, b"x")
                await asyncio.to_thread(
                    lambda channel=channel: publish(sync_client(Engine(cluster.url)), channel, b"x")
                )
                assert client.info("commandstats")["cmdstat_publish"]["calls"] == 2


async def test_when_its_node_dies_a_listener_goes_on_at_another_and_is_told() -> None:
    with engines.cluster() as engine:
        first, other, _ = engine.servers
        channel = owned_by(engine, other)
        async with layer_at(at(first)) as listener, layer_at(engine.url) as speaker:
            ear = Ear()
            await listener.subscribe(channel, ear)
            await speaker.publish(channel, b"0")
            await listener.publish(channel, b"1")
            assert [await ear.next(), await ear.next()] == [b"0", b"1"]
            first.kill()
            await ear.next_gap()
            await until_published(speaker, b"2", channel)
            assert await ear.next() == b"2"
            await until_published(listener, b"3", channel)
            assert await ear.next() == b"3"
            with pytest.raises(EngineUnavailable):
                await speaker.publish(owned_by(engine, first), b"x")
            await speaker.publish(channel, b"4")
            assert await ear.next() == b"4"


async def test_a_cluster_that_was_away_is_found_again() -> None:
    with engines.cluster(1) as engine:
        address = Engine(engine.url)
        async with layer_at(engine.url) as layer:
            for _ in range(2):
                await until_published(layer, b"x")
                with translated():
                    await asyncio.to_thread(publish, sync_client(address), CHANNEL, b"x")
                engine.servers[0].kill()
                for _ in range(3):
                    with pytest.raises(EngineUnavailable):
                        await layer.publish(CHANNEL, b"x")
                    with pytest.raises(EngineUnavailable), translated():
                        publish(sync_client(address), CHANNEL, b"x")
                engine.servers[0].start()
                wait_until(engine.servers[0].answers, "the node to answer")
            await until_published(layer, b"x")
            publish(sync_client(address), CHANNEL, b"x")
        sync_client(address).close()


async def test_more_publish_at_once_than_there_are_connections(cluster: engines.Engine) -> None:
    async with layer_at(cluster.url) as layer:
        await asyncio.gather(*(layer.publish(CHANNEL, b"x") for _ in range(500)))
        with owner_of(cluster, CHANNEL).client() as client:
            assert len(client.client_list(_type="normal")) <= 2 * clients.CONNECTIONS


async def test_what_a_client_has_open_is_closed(cluster: engines.Engine) -> None:
    with engines.nodes(cluster.url) as nodes:

        def connected() -> list[int]:
            return [len(node.client_list()) for node in nodes]

        before = connected()
        async with layer_at(cluster.url) as layer:
            await layer.subscribe(CHANNEL, Ear())
            await asyncio.gather(*(layer.publish(f"{{rt:{n}}}:x", b"x") for n in range(100)))
            with pytest.raises(EngineUnavailable):
                await layer.call(asked("GET", CHANNEL, "nonsense"))
            assert sum(connected()) > sum(before)
        await asyncio.to_thread(wait_until, lambda: connected() == before, "the connections to end", 5)


async def test_a_moved_slot_is_followed(cluster: engines.Engine) -> None:
    source, target, _ = cluster.servers
    key, slot = (name := owned_by(cluster, source)), key_slot(name.encode())
    async with layer_at(cluster.url) as layer:
        await layer.publish(key, b"x")  # it has read the map
        with source.client() as here, target.client() as there:
            ids = [client.execute_command("CLUSTER MYID").decode() for client in (here, there)]

            def give(number: int) -> None:
                for client in (there, here):
                    client.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[number])

            give(1)
            try:
                await layer.call(asked("SET", key, "2", "PX", 5000))
                assert there.get(key) == b"2"
                there.delete(key)
            finally:
                give(0)
        await layer.call(asked("SET", key, "3", "PX", 1))


def test_many_threads_and_a_forked_child_publish(cluster: engines.Engine) -> None:
    engine = Engine(cluster.url)
    with engines.raw(cluster.url) as client, client.pubsub(ignore_subscribe_messages=True) as heard:
        heard.subscribe(CHANNEL)
        heard.get_message(timeout=5)
        threads = [
            threading.Thread(target=lambda n=n: publish(sync_client(engine), CHANNEL, b"%d" % n)) for n in range(100)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if (child := os.fork()) == 0:
            try:
                publish(sync_client(engine), CHANNEL, b"100")
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        publish(sync_client(engine), CHANNEL, b"101")
        messages = [heard.get_message(timeout=5) for _ in range(102)]
        assert sorted(int(message["data"]) for message in messages) == list(range(102))
    sync_client(engine).close()


def test_topics_are_split_on_a_cluster_alone() -> None:
    assert Engine("redis+cluster://a").partitions == 16
    assert {Engine("redis://a").partitions, Engine(folder=Path("/a")).partitions} == {1}


# All of them


@pytest.fixture(params=["server", "cluster"])
def either(request: pytest.FixtureRequest, cluster: engines.Engine) -> Iterator[tuple[str, engines.Server]]:
    """An engine's URL, and the server of it that owns SECOND."""
    if request.param == "cluster":
        yield cluster.url, owner_of(cluster, SECOND)
    else:
        with engines.valkey() as engine:
            yield engine.url, engine.servers[0]


def test_what_may_have_been_published_is_not_published_again(
    either: tuple[str, engines.Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "TIMEOUT", 0.2)
    url, server = either
    engine = Engine(url + "?client_name=hasty")  # not the client of the other tests, with its own limit
    with engines.raw(url) as client, client.pubsub(ignore_subscribe_messages=True) as ear:
        ear.subscribe(SECOND)
        ear.get_message(timeout=5)
        publish(sync_client(engine), SECOND, b"before")
        with server.stalled(), pytest.raises(EngineUnavailable), translated():
            publish(sync_client(engine), SECOND, b"its answer is late")
        publish(sync_client(engine), SECOND, b"after")
        heard = [message["data"] for _ in range(4) if (message := ear.get_message(timeout=0.3))]
    sync_client(engine).close()
    assert heard == [b"before", b"its answer is late", b"after"]


async def test_nor_by_the_async_client(either: tuple[str, engines.Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "TIMEOUT", 0.2)
    url, server = either
    ear = Ear()
    async with layer_at(url) as layer:
        await layer.subscribe(SECOND, ear)
        await layer.publish(SECOND, b"before")
        with server.stalled(), pytest.raises(EngineUnavailable):
            await layer.publish(SECOND, b"its answer is late")
        await until_published(layer, b"after", SECOND)
        assert [await ear.next() for _ in range(3)] == [b"before", b"its answer is late", b"after"]
        await asyncio.sleep(0.1)
        assert ear.heard.empty()


async def test_a_call_is_given_up_when_its_time_is_over_and_so_are_those_behind_it(
    either: tuple[str, engines.Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "TIMEOUT", 0.5)
    url, _ = either
    async with layer_at(url) as layer:
        began = time.monotonic()
        asked_for = [layer.call(asked("BLPOP", SECOND, 2)) for _ in range(clients.CONNECTIONS)]
        *given_up, behind = await asyncio.gather(*asked_for, layer.publish(SECOND, b"x"), return_exceptions=True)
        assert {str(error) for error in given_up} == {"the engine does not answer: in time"}
        if behind is None:  # in a cluster it has its turn where its own time ends a moment after theirs
            assert "cluster" in url
        else:
            assert str(behind) == "the engine does not answer: in time"
        assert time.monotonic() - began < 1.5
        assert await layer.call(asked("GET", SECOND)) is None


async def test_a_script_is_loaded_where_it_is_missing(either: tuple[str, engines.Server]) -> None:
    url, server = either
    text = "return redis.call('PUBLISH', KEYS[1], ARGV[1])"
    ear = Ear()
    async with layer_at(url) as layer:
        await layer.subscribe(SECOND, ear)
        with server.client() as client:
            client.script_flush()
        await layer.call(Call.of(Script(text), (SECOND,), ("async",), int))
        await asyncio.to_thread(Call.of(Script(f"{text} "), (SECOND,), ("sync",), int).run, sync_client(Engine(url)))
        assert [await ear.next(), await ear.next()] == [b"async", b"sync"]
    sync_client(Engine(url)).close()


async def test_a_full_engine_says_so(either: tuple[str, engines.Server]) -> None:
    url, server = either
    with server.client() as client:
        client.config_set("maxmemory", 1)
        try:
            async with layer_at(url) as layer:
                with pytest.raises(EngineFull, match="maxmemory"):
                    await layer.call(asked("SET", SECOND, "x"))
                with pytest.raises(EngineFull):
                    await layer.call(asked("EVAL", "return redis.call('SET', KEYS[1], 'x')", 1, SECOND))
                await layer.publish(SECOND, b"x")
        finally:
            client.config_set("maxmemory", 0)
