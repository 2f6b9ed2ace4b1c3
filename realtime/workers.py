"""Workers: the bounded pool of threads in which sync handlers and the ORM run."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, iscoroutinefunction, sync_to_async
from django.db import close_old_connections, connections


class Workers:
    """Threads for what blocks, at most `size` of them, each bound to one running handler at a time.

    Django's thread-sensitive code (the ORM, async or not) would else share one thread with everything that Channels
    does in this process. Here all such code of one handler runs in one thread, as Django wants it, and handlers
    do not wait for each other as long as a thread is free. A handler that never blocks takes none. Use it on one loop.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._all: list[ThreadPoolExecutor] = []
        self._free: list[ThreadPoolExecutor] = []
        self._waiting: deque[_Seat] = deque()

    async def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call an author's function, sync or async, and return what it returns."""
        with self._seated():
            if iscoroutinefunction(function):
                return await function(*args, **kwargs)
            return await sync_to_async(function)(*args, **kwargs)

    def close(self) -> None:
        """End the threads as soon as they are idle."""
        for worker in self._all:
            worker.submit(connections.close_all)
            worker.shutdown(wait=False)
        self._all.clear()
        self._free.clear()

    # private

    @contextmanager
    def _seated(self) -> Iterator[None]:
        context, seat = _Context(), _Seat(self)
        SyncToAsync.context_to_thread_executor[context] = seat
        token = SyncToAsync.thread_sensitive_context.set(context)
        try:
            yield
        finally:
            SyncToAsync.thread_sensitive_context.reset(token)
            seat.leave()

    def grant(self, seat: _Seat) -> None:
        """Give `seat` a worker, now or when one is free."""
        if self._free:
            seat.take(self._free.pop())
        elif len(self._all) < self._size:
            worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="realtime")
            self._all.append(worker)
            seat.take(worker)
        else:
            self._waiting.append(seat)

    def give_back(self, worker: ThreadPoolExecutor) -> None:
        if worker not in self._all:
            return  # closed meanwhile
        worker.submit(close_old_connections)
        while self._waiting:
            seat = self._waiting.popleft()
            if seat.wants_worker:
                seat.take(worker)
                return
        self._free.append(worker)


class _Context(ThreadSensitiveContext):
    """What asgiref looks a handler's executor up by; must not be referred to by it, or neither would ever go."""


class _Seat(Executor):
    """The executor of one handler's run: takes a worker when first asked, gives it back at the end."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._worker: ThreadPoolExecutor | None = None
        self._jobs: list[tuple[Future[Any], Callable[[], Any]]] = []
        self._left = False

    @property
    def wants_worker(self) -> bool:
        return bool(self._jobs)

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        job = partial(function, *args, **kwargs)
        if self._left:
            return self._alone(job)
        if self._worker is not None:
            return self._worker.submit(job)
        future: Future[Any] = Future()
        self._jobs.append((future, job))
        if len(self._jobs) == 1:
            self._workers.grant(self)
        return future

    def take(self, worker: ThreadPoolExecutor) -> None:
        self._worker = worker
        for future, job in self._jobs:
            worker.submit(_run, future, job)
        self._jobs.clear()

    def leave(self) -> None:
        self._left = True
        for future, _ in self._jobs:
            future.cancel()
        self._jobs.clear()
        if self._worker is not None:
            self._workers.give_back(self._worker)
            self._worker = None

    def _alone(self, job: Callable[[], Any]) -> Future[Any]:
        """Run the job of a task that outlived its handler, on a seat of its own."""
        seat = _Seat(self._workers)
        future = seat.submit(job)
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(seat.leave))
        return future


def _run(future: Future[Any], job: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(job())
    except BaseException as error:
        future.set_exception(error)
