"""A process beside the server that lists who is present, from sync code: what a view, a task or a shell would do.

    python -m bench.client.lister --topic people:0

It tells how long a list takes, and how large it is: as JSON, as each who joins is sent it.
"""

from __future__ import annotations

import argparse
import json
import time

import django
import msgspec

from bench.client.measuring import percentiles

TIMES = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topic", required=True)
    options = parser.parse_args()
    django.setup()
    from realtime import Presence, conf
    from realtime.engine.client import sync_client
    from realtime.engine.presences import Presences

    entries = Presence.list_of(options.topic)  # connects
    took = []
    for _ in range(TIMES):
        began = time.monotonic()
        entries = Presence.list_of(options.topic)
        took.append(time.monotonic() - began)
    number = Presences(conf.keys()).load(options.topic).run(sync_client(conf.engine())).number
    state = len(msgspec.json.encode(entries))
    print(json.dumps({"list_ms": percentiles(took), "present": len(entries), "state_bytes": state, "diffs": number}))


if __name__ == "__main__":
    main()
