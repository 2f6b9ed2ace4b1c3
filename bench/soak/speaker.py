"""Speaker: a process that broadcasts from outside, with consecutive numbers in each topic, while the crowds talk.

python -m bench.soak.speaker SEED TOPICS RATE
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from contextlib import suppress
from random import Random

import django
import redis

from bench.soak.plan import GATHER, HUSH, LEAVE, ORDERS, SAY, Words
from realtime import broadcast

NAME = "outside"


def speak(orders: redis.client.PubSub, random: Random, topics: int, rate: float) -> None:
    """Return when the process that has started this one is gone."""
    said: Counter[str] = Counter()
    parent = os.getppid()
    is_speaking = False
    while os.getppid() == parent:
        message = orders.get_message(timeout=random.uniform(0.5, 1.5) / rate)
        if message and message["type"] == "message":
            is_speaking = {GATHER: True, HUSH: False, LEAVE: False}[message["data"].decode()]
        elif is_speaking:
            topic = f"soak:{random.randrange(topics)}"
            said[topic] += 1
            broadcast(topic, SAY, Words(NAME, said[topic], time.monotonic()))


def main() -> None:
    django.setup()
    seed, topics, rate = sys.argv[1:]
    with (
        redis.Redis.from_url(os.environ["REDIS_URL"]) as client,
        client.pubsub() as orders,
        suppress(KeyboardInterrupt),
    ):
        orders.subscribe(ORDERS)
        print("ready", flush=True)
        speak(orders, Random(f"{seed}/{NAME}"), int(topics), float(rate))


if __name__ == "__main__":
    main()
