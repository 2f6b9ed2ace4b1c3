"""Where blocking code runs in a test: in the thread of the test's own, on its connections, inside its transaction."""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, TypeVar

from asgiref.sync import sync_to_async

from ..exceptions import EngineUnavailable, Refused
from ..socket import Socket
from ..workers import Unwanted, Workers, run_job

T = TypeVar("T")

# The key of a list in a test socket's scope: the wire does not carry why a handshake was refused.
REFUSALS = "realtime.testing.refusals"


class OneThread(Workers):
    """Workers with one thread that is not theirs.

    raised  told of what an author's function raises that is no answer
    """

    def __init__(self, executor: Executor, raised: Callable[[BaseException], None]) -> None:
        super().__init__(1)
        self._executor = executor
        self._raised = raised

    async def run(self, is_async: bool, function: Callable[..., Any], *more: Any) -> Any:
        try:
            return await super().run(is_async, function, *more)
        except Refused as refusal:
            socket = getattr(function, "__self__", None)
            if isinstance(socket, Socket):
                socket.scope[REFUSALS].append(refusal)
            raise
        except (EngineUnavailable, Unwanted):
            raise
        except Exception as error:
            self._raised(error)
            raise

    def grant(self, seat: Any) -> None:
        seat.take(self._executor)

    def give_back(self, worker: Executor) -> None:
        """Keep no connection tidy here: the test's own must stay open."""

    def close(self) -> None:
        """End no thread: the one is the test's."""


class AsyncPortal(Executor):
    """Runs jobs where `sync_to_async` of the running test does."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        work = self._do(future, partial(function, *args, **kwargs))
        task = asyncio.create_task(work, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return future

    async def _do(self, future: Future[Any], job: Callable[[], Any]) -> None:
        try:
            await sync_to_async(run_job)(future, job)
        except BaseException as error:  # the thread is gone
            if not future.done():
                future.set_exception(error)


class Portal(Executor):
    """A loop in a thread of its own, for a test that has none; jobs run in the thread that waits for it, the test's."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()), name="realtime test", daemon=True)

    def __enter__(self) -> Portal:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *error: Any) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._jobs.put(partial(run_job, future, partial(function, *args, **kwargs)))
        return future

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what `work` does, and do the jobs that come up meanwhile."""
        assert self._loop is not None
        done = asyncio.run_coroutine_threadsafe(work, self._loop)
        done.add_done_callback(lambda _: self._jobs.put(None))
        while not done.done():
            if job := self._jobs.get():
                job()
        return done.result()

    # private

    async def _live(self) -> None:
        self._end = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._ready.set()
        await self._end.wait()
