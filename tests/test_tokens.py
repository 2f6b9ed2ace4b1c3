"""Signed tokens: who somebody is, until when, and a newer one without a new socket."""

from __future__ import annotations

import asyncio
import base64
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import signing

from realtime import BadToken, Channel, Refused, Router, Socket, channel, tokens
from realtime.node import Node
from tests.test_channels import OK, refused
from tests.wire import Wire

Connect = Callable[..., Awaitable[Wire]]
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada", password="one")


# Signing


def test_a_token_says_who_and_until_when(ada: User) -> None:
    found = tokens.verify(tokens.sign(ada, max_age=100))
    assert found.user == ada
    assert 98 < found.expires - time.time() <= 100


@pytest.mark.parametrize("nobody", [None, User(username="new")], ids=["None", "not saved"])
def test_a_token_is_for_somebody(nobody: Any) -> None:
    with pytest.raises(TypeError, match="a user that is saved"):
        tokens.sign(nobody)


def said(token: str | None) -> str:
    with pytest.raises(BadToken) as caught:
        tokens.verify(token)
    return str(caught.value.response["reason"])


def test_what_is_no_token_is_refused(ada: User) -> None:
    good = tokens.sign(ada)
    assert said(None) == said("") == "token missing"
    for bad in ("x", good[:-1] + ("A" if good[-1] != "A" else "B"), "x" * 10_000, good + "ä", signing.dumps("x")):
        assert said(bad) == "token invalid"
    other = signing.Signer(salt="another").sign_object([str(ada.pk), time.time() + 100, ""])
    assert said(other) == "token invalid"
    odd = signing.Signer(salt=tokens.SALT).sign_object({"user": ada.pk})
    assert said(odd) == "token invalid"


def test_a_token_ends_with_its_time(ada: User) -> None:
    assert said(tokens.sign(ada, max_age=-1)) == "token expired"


def test_a_token_ends_with_the_password_the_account_and_the_user(ada: User) -> None:
    token = tokens.sign(ada)
    ada.set_password("two")
    ada.save()
    assert said(token) == "token revoked"
    token = tokens.sign(ada)
    ada.is_active = False
    ada.save()
    assert said(token) == "token revoked"
    ada.delete()
    assert said(token) == "token revoked"


# On a socket


class TokenSocket(Socket):
    async def connect(self, params: dict[str, Any]) -> None:
        await self.authenticate(self.auth_token)


class Room(Channel):
    async def join(self, payload: Any, name: str) -> Any:
        return {"user": self.user.username}


def routed(socket: type[Socket] = TokenSocket) -> Router:
    return Router("/ws", [channel("t:<part:name>", Room)], socket=socket)


def offer(token: str, alphabet: Callable[[bytes], bytes] = base64.urlsafe_b64encode) -> list[str]:
    return ["phoenix", f"base64url.bearer.phx.{alphabet(token.encode()).decode().rstrip('=')}"]


async def connected(connect: Connect, token: str, socket: type[Socket] = TokenSocket) -> Wire:
    wire: Wire = await connect(routed(socket), subprotocols=offer(token))
    return wire


async def test_a_token_lets_in_whom_it_names(connect: Connect, ada: User) -> None:
    wire = await connected(connect, tokens.sign(ada))
    assert await wire.join("t:a") == {"user": "ada"}


async def renewed(wire: Wire, payload: Any) -> Any:
    await wire.send(None, "r", "phoenix", "renew", payload)
    frame = await wire.receive()
    assert frame[:4] == [None, "r", "phoenix", "phx_reply"]
    return frame[4]


def age(wire: Wire) -> None:
    """Let the wheel of the node turn once, a long time later."""
    node = Node.current()
    for member in node.wheel.members():
        member.tick(node.wheel._due)


async def test_a_socket_ends_with_its_token_unless_it_was_renewed(
    connect: Connect, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, lost = await connected(connect, tokens.sign(ada)), await connected(connect, tokens.sign(ada))
    assert await renewed(kept, {"token": tokens.sign(ada, max_age=9000)}) == OK
    now = time.time() + 5000
    monkeypatch.setattr("realtime.connection.time.time", lambda: now)
    age(lost)
    assert await lost.closed() == 4401
    await kept.ping()


async def test_what_does_not_renew(connect: Connect, ada: User) -> None:
    bob = await User.objects.acreate(username="bob")
    wire = await connected(connect, tokens.sign(ada))
    assert await renewed(wire, {"token": tokens.sign(bob)}) == refused("another user's token")
    assert await renewed(wire, {"token": "x"}) == refused("token invalid")
    assert await renewed(wire, {"token": tokens.sign(ada, max_age=-1)}) == refused("token expired")
    assert (await renewed(wire, {}))["response"] == {"reason": "bad payload", "detail": "token: required"}
    assert (await renewed(wire, 7))["status"] == "error"
    await wire.ping()


async def test_a_socket_without_a_token_has_nothing_to_renew(connect: Connect, ada: User) -> None:
    wire = await connect(routed(Socket))
    assert await renewed(wire, {"token": tokens.sign(ada)}) == refused("nothing to renew")


async def test_one_at_a_time_is_renewed_and_none_once_it_is_to_go(connect: Connect, ada: User) -> None:
    go, renewals = asyncio.Event(), []

    class Slow(Socket):
        async def renew(self, token: str) -> None:
            renewals.append(token)
            await go.wait()

    wire = await connect(routed(Slow))
    for number in range(5):
        await wire.send(None, str(number), "phoenix", "renew", {"token": str(number)})
    answers = [await wire.receive() for _ in range(4)]
    assert [frame[4] for frame in answers] == [refused("overloaded")] * 4
    go.set()
    assert (await wire.receive())[4] == OK
    [member] = Node.current().wheel.members()
    member.receive('[null,"9","phoenix","renew",{"token":"late"}]')  # type: ignore[attr-defined]
    member.dismiss()  # type: ignore[attr-defined]
    assert await wire.closed() == 4001
    await Node.current().idle()
    assert renewals == ["0"]


async def test_none_is_renewed_that_waits_for_a_thread_until_it_is_to_go(
    connect: Connect, ada: User, settings: Any
) -> None:
    settings.REALTIME = {**settings.REALTIME, "THREADS": 1}
    renewals: list[str] = []

    class Sync(Socket):
        def renew(self, token: str) -> None:
            renewals.append(token)

    wire = await connect(routed(Sync))
    node, held = Node.current(), threading.Event()
    busy = asyncio.create_task(node.workers.call(held.wait, 5))
    await wire.send(None, "1", "phoenix", "renew", {"token": "late"})
    while not node.workers._waiting:
        await asyncio.sleep(0)
    [member] = node.wheel.members()
    member.dismiss()  # type: ignore[attr-defined]
    held.set()
    assert await wire.closed() == 4001
    await asyncio.gather(busy, node.idle())
    assert renewals == []


async def test_an_older_token_shortens_nothing(connect: Connect, ada: User) -> None:
    wire = await connected(connect, tokens.sign(ada, max_age=9000))
    assert await renewed(wire, {"token": tokens.sign(ada, max_age=5)}) == OK
    [member] = Node.current().wheel.members()
    assert member.socket.expires > time.time() + 8000  # type: ignore[attr-defined]


def test_a_token_outlives_a_change_of_the_key(ada: User, settings: Any) -> None:
    token = tokens.sign(ada)
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "another"
    assert tokens.verify(token).user == ada


async def test_an_author_may_have_tokens_of_another_kind(connect: Connect, ada: User) -> None:
    class Own(Socket):
        def renew(self, token: str) -> None:
            if token == "bad":
                raise Refused("no", retry=False)
            if token == "worse":
                raise LookupError

    wire = await connect(routed(Own))
    assert await renewed(wire, {"token": "good"}) == OK
    assert await renewed(wire, {"token": "bad"}) == refused("no", retry=False)
    assert await renewed(wire, {"token": "worse"}) == refused("renew crashed")


async def test_a_token_is_in_no_log(connect: Connect, ada: User, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    token = tokens.sign(ada)
    wire = await connected(connect, token)
    await renewed(wire, {"token": token + "x"})
    await renewed(wire, {"token": tokens.sign(ada)})
    assert token[:20] not in caplog.text


@pytest.mark.parametrize(("attribute", "wrong"), [("expires", "tomorrow"), ("name", 7)])
async def test_what_connect_leaves_behind_is_checked(
    connect: Connect, caplog: pytest.LogCaptureFixture, attribute: str, wrong: Any
) -> None:
    class Odd(Socket):
        async def connect(self, params: dict[str, Any]) -> None:
            if attribute == "expires":
                self.expires = wrong

        def id(self) -> Any:
            return wrong if attribute == "name" else None

    with pytest.raises(AssertionError, match="refused with 4403"):
        await connect(routed(Odd))
    assert f"{wrong!r}; it" in caplog.text


# Told why


@pytest.mark.parametrize("asks", [True, False])
async def test_who_asks_is_told_why_it_is_refused(connect: Connect, asks: bool) -> None:
    class Picky(Socket):
        async def connect(self, params: dict[str, Any]) -> None:
            raise Refused("login required", retry=False)

    if not asks:
        with pytest.raises(AssertionError, match="refused with 4403"):
            await connect(routed(Picky))
        return
    wire = await connect(routed(Picky), query="vsn=2.0.0&refusal=1")
    said = {"reason": "login required", "retry": False}
    assert await wire.receive() == [None, None, "phoenix", "refused", said]
    assert await wire.closed() == 4403


async def test_a_page_of_another_origin_is_told_nothing(connect: Connect) -> None:
    with pytest.raises(AssertionError, match="refused with 4403"):
        await connect(routed(Socket), query="vsn=2.0.0&refusal=1", headers=[(b"origin", b"https://evil.example")])
