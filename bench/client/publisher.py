"""A process beside the server that publishes by a schedule, from sync code: what a view, a task or a shell would do.

    python -m bench.client.publisher --topics 1000 --rate 2000 --messages 20000 [--through channels]

It says "ready", waits for a line, sends to each topic in turn and then tells how long its calls took. A message that is
late is sent at once and carries the time at which it was due. `load.py listen` starts it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import django

from bench.client.measuring import percentiles
from bench.client.native import MARK_LENGTH, mark

Publish = Callable[[str, dict[str, Any]], None]


def through_realtime() -> Publish:
    from realtime import broadcast

    return lambda topic, payload: broadcast(topic, "new:message", payload)


def through_channels() -> Publish:
    """What the documentation of Channels says."""
    from asgiref.sync import async_to_sync
    from channels.layers import get_channel_layer

    send = async_to_sync(get_channel_layer().group_send)
    return lambda topic, payload: send(topic.replace(":", "."), {"type": "chat.message", "topic": topic, **payload})


THROUGH = {"realtime": through_realtime, "channels": through_channels}


def publish(send: Publish, options: argparse.Namespace) -> dict[str, Any]:
    """Send all messages by their schedule; return the figures of the calls."""
    padding = "x" * (options.size - MARK_LENGTH)
    took, lags = [], []
    began = time.monotonic()
    for number in range(options.messages):
        due = began + number / options.rate
        if (early := due - time.monotonic()) > 0:
            time.sleep(early)
        content = mark(due, number // options.topics).decode() + padding
        before = time.monotonic()
        send(f"room:{number % options.topics}", {"content": content, "username": "ada"})
        took.append(time.monotonic() - before)
        lags.append(before - due)
    seconds = time.monotonic() - began
    return {
        "call_ms": percentiles(took),
        "lag_ms": percentiles(lags),
        "published_per_s": round(options.messages / seconds, 1),
        "publisher_share": round(time.process_time() / seconds, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topics", type=int, default=1)
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--through", choices=THROUGH, default="realtime")
    options = parser.parse_args()
    django.setup()
    send = THROUGH[options.through]()
    for _ in range(10):
        send("room:0", {"content": "warm", "username": "ada"})  # the books know nothing of it
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(publish(send, options)))


if __name__ == "__main__":
    main()
