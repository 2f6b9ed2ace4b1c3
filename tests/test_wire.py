from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import pytest

from realtime import wire


class Protocol:
    """Has a transport, and an ASGI send, as uvicorn's do."""

    def __init__(self, transport: Any) -> None:
        self.transport = transport

    async def send(self, message: Any) -> None:
        pass


class Wrapper:
    """What channels' session middleware puts around a send."""

    def __init__(self, send: Any) -> None:
        self.real_send = send

    async def send(self, message: Any) -> None:
        pass


ASYNCIO = SimpleNamespace(get_write_buffer_size=lambda: 7, abort=lambda: None)
TWISTED = SimpleNamespace(dataBuffer=b"12345", offset=2, _tempDataLen=4, abortConnection=lambda: None)


async def reply(protocol: Any, message: Any) -> None:
    pass


@pytest.mark.parametrize(
    "send",
    [
        Protocol(ASYNCIO).send,
        Wrapper(Protocol(ASYNCIO).send).send,
        functools.partial(reply, Protocol(TWISTED)),
        Wrapper(Wrapper(functools.partial(reply, Protocol(TWISTED))).send).send,
    ],
    ids=["uvicorn", "uvicorn, wrapped", "daphne", "daphne, wrapped twice"],
)
def test_the_backlog_is_read_under_what_is_wrapped(send: Any) -> None:
    found = wire.find(send)
    assert found is not None
    assert found.backlog() == 7


@pytest.mark.parametrize(
    "send",
    [
        reply,
        functools.partial(reply),
        functools.partial(reply, object()),
        Protocol(None).send,
        functools.partial(reply, Protocol(SimpleNamespace(abortConnection=lambda: None))),
    ],
    ids=["a function", "an empty partial", "no protocol", "no transport", "another transport"],
)
def test_an_unknown_server_has_no_wire(send: Any) -> None:
    assert wire.find(send) is None
