"""Every server stands for election from its start on: it alone collects, before there is any socket."""

from __future__ import annotations

import signal

import pytest

from realtime.engine import election
from realtime.engine.client import Engine, sync_client
from realtime.engine.keys import Keys
from realtime.engine.registry import Registry
from tests.servers import Server, wait_until

SETTINGS = {"DJANGO_SETTINGS_MODULE": "tests.e2e.collecting"}


@pytest.mark.parametrize("kind", ["runserver", "daphne", "uvicorn"])
def test_a_server_alone_collects_and_hands_over_at_its_end(kind: str, engine: str) -> None:
    client = sync_client(Engine(engine))
    keys = Keys("collecting", Engine(engine).partitions)
    leader, count = election.leader(keys), Registry(keys).count()
    with Server(kind, **SETTINGS) as server:
        wait_until(lambda: leader.run(client) is not None, "a leader")
        server.manage("shell", "-v", "0", "-c", "from realtime import topics; topics.create('a', 'b', 'c')")
        wait_until(lambda: not any(call.run(client) for call in count), "the topics to be collected")
        server.stop(signal.SIGINT if kind == "runserver" else signal.SIGTERM)
        assert leader.run(client) is None
