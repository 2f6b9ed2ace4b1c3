"""Clients of a cluster, and the connection that listens to any one of its nodes."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from typing import Any, TypeVar

import redis
import redis.asyncio
from redis.asyncio.cluster import AsyncCommandsParser  # type: ignore[attr-defined]
from redis.exceptions import RedisClusterException

from ..lanes import Lanes
from ..tasks import end
from .addresses import Host
from .scripts import Call

T = TypeVar("T")


class Cluster(redis.RedisCluster):
    """redis-py's client, which finds back to the first nodes when every node that it knew is gone."""

    def __init__(self, *, seeds: Sequence[Host], **options: Any) -> None:
        self._seeds = seeds
        super().__init__(startup_nodes=self._startup_nodes(), **options)

    def execute_command(self, *args: Any, **options: Any) -> Any:
        try:
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        except RedisClusterException:
            # Before version 6 redis-py forgets every node that fails, until it knows none to ask.
            first = {node.name: node for node in self._startup_nodes()}
            self.nodes_manager.startup_nodes = {**first, **self.nodes_manager.startup_nodes}
            raise

    def _startup_nodes(self) -> list[Any]:
        return [redis.cluster.ClusterNode(*seed) for seed in self._seeds]  # type: ignore[no-untyped-call]


class AsyncCluster(redis.asyncio.RedisCluster):
    """redis-py's client, with the manners that ours need.

    turns  how many commands may be under way; the others wait, where redis-py's raises MaxConnectionsError
    """

    def __init__(self, *, seeds: Sequence[Host], turns: int, **options: Any) -> None:
        nodes = [redis.asyncio.cluster.ClusterNode(host, port) for host, port in seeds]
        super().__init__(startup_nodes=nodes, max_connections=2**31, **options)
        self.commands_parser = _LazyCommands()
        self._turns = asyncio.Semaphore(turns)
        self._seeds = dict(self.nodes_manager.startup_nodes)

    async def initialize(self, *args: Any, **options: Any) -> Any:
        # redis-py forgets the first nodes, and before version 6 every node that fails, until it knows none to ask.
        if self._initialize:
            for name, node in self._seeds.items():
                self.nodes_manager.startup_nodes.setdefault(name, node)
        return await super().initialize(*args, **options)

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        async with self._turns:
            await self.initialize()  # redis-py 8 sends the first commands, which have no map yet, to any node
            return await super().execute_command(*args, **options)

    async def aclose(self) -> None:
        """Close every connection; redis-py closes none of a client that has met a failure and not asked again."""
        await super().aclose()
        await self.nodes_manager.aclose()
        await self.nodes_manager.aclose("startup_nodes")
        await asyncio.gather(*getattr(self.nodes_manager, "_background_tasks", ()), return_exceptions=True)


class Spread:
    """Runs the calls of a loop at the nodes that have their keys.

    patience  seconds for one call, a free turn included
    """

    def __init__(self, client: AsyncCluster, patience: float) -> None:
        self._client = client
        self._patience = patience
        self._lanes = Lanes()
        self._tasks: set[asyncio.Task[Any]] = set()
        self.is_open = True

    def call(self, call: Call[T]) -> asyncio.Future[T]:
        task = asyncio.ensure_future(self._publish(call) if call.command[0] == "PUBLISH" else self._run(call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def aclose(self) -> None:
        await end(*self._tasks)
        await self._client.aclose()

    # private

    async def _run(self, call: Call[T]) -> T:
        async with asyncio.timeout(self._patience):
            return await call.arun(self._client)

    async def _publish(self, call: Call[T]) -> T:
        """Publish at the node that owns the channel's slot, one after the other.

        Any node would spread it, and redis-py takes any: but what one publisher sends to a topic is to be heard in
        order, also beside what scripts publish, which run where the topic's keys are.
        """
        channel = str(call.command[1])
        async with asyncio.timeout(self._patience), self._lanes.of(channel):
            await self._client.initialize()  # reads the map of slots, if there is none or a node has failed
            node = self._client.get_node_from_key(channel)
            return call.read(await self._client.execute_command(*call.command, target_nodes=node))


class _LazyCommands(AsyncCommandsParser):
    """Asks for the table of commands at the first command that needs it: scripts and publishing do not.

    redis-py asks for it whenever it reads the cluster's map, of one certain node, and cannot go on if that one is down.
    """

    def __init__(self) -> None:
        super().__init__()
        self._once = asyncio.Lock()  # the table is long: many that read it at once hold up the loop for seconds

    async def initialize(self, node: Any = None) -> None:
        if node is None:
            await super().initialize()
        else:
            self.node = node

    async def get_keys(self, *args: Any) -> Any:
        async with self._once:
            if not self.commands:
                await super().initialize()
        return await super().get_keys(*args)


# Listening


class AnyNode:
    """Makes connections, each to the next node that answers: what is published at one node is heard at all of them.

    seeds    the nodes to begin with; those that an answering node knows are tried too
    options  of a redis-py connection; connection_class among them where it speaks TLS
    """

    def __init__(self, seeds: Sequence[Host], options: dict[str, Any]) -> None:
        self._options = dict(options)
        tls = issubclass(self._options.pop("connection_class", object), redis.asyncio.SSLConnection)
        self._class = _ToAnyNodeByTLS if tls else _ToAnyNode
        self._nodes = deque(random.sample(seeds, len(seeds)))  # so that the processes spread over them

    def __call__(self) -> Any:
        self._nodes.rotate(-1)  # not the one that may just have failed
        return self._class(nodes=self._nodes, **self._options)


class _ToAnyNode(redis.asyncio.Connection):
    def __init__(self, *, nodes: deque[Host], **options: Any) -> None:
        super().__init__(**options)
        self._nodes = nodes

    async def connect(self) -> None:
        for untried in range(len(self._nodes) - 1, -1, -1):
            self.host, self.port = self._nodes[0]
            try:
                await super().connect()  # type: ignore[no-untyped-call]
                await self._learn()
                return
            except (redis.RedisError, OSError):
                await self.disconnect(nowait=True)
                if not untried:
                    raise
                self._nodes.rotate(-1)

    async def _learn(self) -> None:
        """Take note of the other nodes: the first ones may all be down the next time."""
        await self.send_command("CLUSTER SLOTS")
        for _, _, *nodes in await self.read_response():
            for host, port, *_ in nodes:
                # An empty name stands for the one that we have connected to.
                if host and (found := (host.decode(), port)) not in self._nodes:
                    self._nodes.append(found)


class _ToAnyNodeByTLS(_ToAnyNode, redis.asyncio.SSLConnection):
    pass
