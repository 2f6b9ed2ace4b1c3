"""python speak_phxsocket.py URL: have two phxsocket clients in a topic of the lab, and print as JSON what came of it.

phxsocket speaks V1 with refs that are numbers, from 0 on.
"""

from __future__ import annotations

import faulthandler
import json
import sys
from queue import Queue
from typing import Any

from phxsocket import Client
from phxsocket.channel import Channel, ChannelConnectError

PATIENCE = 20.0
LIMIT = 40.0  # of all; it waits for answers without an end
LAST = {"last": True}


class Member:
    """A client in a topic, and what it hears there."""

    def __init__(self, url: str) -> None:
        self.client = Client(url)
        self.frames: Queue[Any] = Queue()
        self.client.on_message = self.frames.put
        self.client.heartbeat_interval = 0.05
        self.client.connect()
        self.heard: Queue[Any] = Queue()
        self.closed: Queue[Any] = Queue()

    def enter(self, topic: str) -> Any:
        self.channel: Channel = self.client.channel(topic)
        self.channel.on("shout", self.heard.put)
        self.channel.on_close = lambda: self.closed.put(None)
        return self.channel.join()

    def push(self, event: str, payload: Any) -> list[Any]:
        answer = self.channel.push(event, payload, reply=True).wait_for_response()
        return [answer["status"], answer["response"]]

    def until_last(self) -> list[Any]:
        """Return what was heard until now."""
        heard = [self.heard.get(timeout=PATIENCE)]
        while heard[-1] != LAST:
            heard.append(self.heard.get(timeout=PATIENCE))
        return heard


def converse(url: str) -> dict[str, Any]:
    ada, bob = Member(url), Member(url)
    came: dict[str, Any] = {"join": ["ok", ada.enter("lab:a")], "refused": refusal(bob)}
    bob.enter("lab:a")
    came["replies"] = [ada.push("echo", {"text": "grüß dich, 世界 👋"}), ada.push("refuse", {})]
    ada.push("shout", {"number": 1})
    ada.push("shout", LAST)
    came["heard"] = [ada.until_last(), bob.until_last()]
    came["left"] = leave(ada, bob)
    came["heartbeats"] = heartbeats(ada)
    ada.client.close()
    bob.client.close()
    return came


def refusal(member: Member) -> Any:
    try:
        return member.enter("lab:closed")
    except ChannelConnectError as error:
        return error.args[0]


def leave(who: Member, other: Member) -> list[Any]:
    """Return what the one who has left still hears of the other."""
    who.channel.leave()  # its result is of no use: it asks for a method that is not there
    who.closed.get(timeout=PATIENCE)
    other.push("shout", LAST)
    other.until_last()
    heard = who.heard
    who.enter("lab:b")
    who.push("echo", {})  # what was on its way is here by now
    return list(heard.queue)


def heartbeats(member: Member) -> list[Any]:
    """Return the topic, ref and payload of the answers to two heartbeats."""
    answers: list[Any] = []
    while len(answers) < 2:
        frame = member.frames.get(timeout=PATIENCE)
        if frame.topic == "phoenix":
            answers.append([type(frame.ref).__name__, frame.payload])
    return answers


faulthandler.dump_traceback_later(LIMIT, exit=True)  # shows what was waited for
print(json.dumps(converse(f"{sys.argv[1]}/websocket")))
