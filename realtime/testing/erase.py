"""What a test leaves in the registry under its own prefix, removed."""

from __future__ import annotations

from .. import conf
from ..engine.client import sync_client, translated
from ..engine.keys import Partition
from ..topics import ask
from ..topics import list as topics

PAGE = 1000


def erase() -> None:
    """Remove every key of the registry under the prefix of the setting. Raises EngineUnavailable."""
    registry = conf.registry()
    keys = registry.keys
    names = [keys.lease, keys.term]
    for partition in keys.partitions():
        names += _names(partition)
        for node in ask(registry.nodes(partition)):
            names += [partition.held(node.name), partition.tracked(node.name)]
    after = ""
    while page := topics(limit=PAGE, after=after):
        names += [record for topic in page for record in keys.of(topic).records(topic)]
        after = page[-1]
    with translated():
        client = sync_client(conf.engine())
        for name in names:  # one by one: they are few, and in a cluster not all in one place
            client.unlink(name)


def _names(partition: Partition) -> list[str]:
    p = partition
    return [p.topics, p.created, p.due, p.nodes, p.fence, p.window, p.ledger]
