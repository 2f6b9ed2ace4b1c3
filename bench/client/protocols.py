"""How the servers want to be spoken to: the same acts in the words of Phoenix, of plain JSON and of socket.io."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol as Interface


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a handshake: what to send ("" for nothing), what the answer holds, and what it does if it is bad."""

    send: str
    want: str
    bad: str = ""
    is_join: bool = False


@dataclass(frozen=True, slots=True)
class Template:
    """A message with room for what differs: before + ref + between + content + after.

    between  None: there is no ref either
    """

    before: str
    between: str | None
    after: str

    def fill(self, ref: bytes, content: bytes) -> bytes:
        named = b"" if self.between is None else ref + self.between.encode()
        return self.before.encode() + named + content + self.after.encode()


class Protocol(Interface):
    path: str
    heartbeat: str  # "" where the client sends none
    engine_io: bool  # answer "2" with "3", the transport's own heartbeat
    answer: str  # what the answer to an echo is known by
    greeting: tuple[Step, ...]

    def join(self, number: int, topic: str) -> Step:
        """Return how to join the n-th topic of a socket, from 1."""
        ...

    def message(self, topic: str) -> Template: ...

    def echo(self, topic: str) -> Template: ...


class Phoenix:
    path = "/ws/websocket?vsn=2.0.0"
    heartbeat = '[null,"hb","phoenix","heartbeat",{}]'
    engine_io = False
    answer = "phx_reply"
    greeting: tuple[Step, ...] = ()

    def join(
        self, number: int, topic: str, payload: Mapping[str, str] = MappingProxyType({}), want: str = "phx_reply"
    ) -> Step:
        send = json.dumps([str(number), str(number), topic, "phx_join", dict(payload)])
        return Step(send, want, bad='"error"', is_join=True)

    def message(self, topic: str, event: str = "new:message") -> Template:
        return Template('["1","', f'","{topic}","{event}",{{"content":"', '","username":"ada"}]')

    def echo(self, topic: str) -> Template:
        return Template('["1","', f'","{topic}","echo",{{"content":"', '"}]')


class PlainJSON:
    """What people make up where there is no protocol: {"type": "message", "topic": …}."""

    path = "/ws"
    heartbeat = ""
    engine_io = False
    answer = '"echo"'
    greeting: tuple[Step, ...] = ()

    def join(self, number: int, topic: str) -> Step:
        return Step(json.dumps({"type": "join", "topic": topic}), '"joined"', is_join=True)

    def message(self, topic: str) -> Template:
        return Template(f'{{"type":"message","topic":"{topic}","content":"', None, '","username":"ada"}')

    def echo(self, topic: str) -> Template:
        return Template('{"type":"echo","ref":"', '","content":"', '"}')


class SocketIO:
    path = "/socket.io/?EIO=4&transport=websocket"
    heartbeat = ""
    engine_io = True
    answer = "43"
    greeting = (Step("", "pingInterval"), Step("40", "40{"))

    def join(self, number: int, topic: str) -> Step:
        return Step(f'42{number}["join",{json.dumps({"topic": topic})}]', f"43{number}[", is_join=True)

    def message(self, topic: str) -> Template:
        return Template(f'42["message",{{"topic":"{topic}","content":"', None, '","username":"ada"}]')

    def echo(self, topic: str) -> Template:
        return Template("42", '["echo",{"content":"', '"}]')


PROTOCOLS: dict[str, Protocol] = {"phoenix": Phoenix(), "plain": PlainJSON(), "socketio": SocketIO()}
