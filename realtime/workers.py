"""Workers: the bounded pool of threads in which sync handlers and the ORM run."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, iscoroutinefunction, sync_to_async
from django.db import close_old_connections, connections

from .exceptions import ServerEnding

ENDS = "the server ends, and begins nothing any more"


class Unwanted(Exception):
    """What waited for a thread was not called, for by then nobody wanted it any more."""


class Workers:
    """Threads for what blocks, at most `size` of them, each bound to one running handler at a time.

    Django's thread-sensitive code (the ORM, async or not) would else share one thread with everything that Channels
    does in this process. Here all such code of one handler runs in one thread, as Django wants it, and handlers
    do not wait for each other as long as a thread is free. A handler that never blocks takes none. Use it on one loop.

    Once they are closed, or the interpreter ends, whatever would block raises ServerEnding.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._all: list[Executor] = []
        self._free: list[Executor] = []
        self._waiting: deque[_Seat] = deque()
        self._idle: dict[_Seat, None] = {}
        self._unused: list[tuple[_Context, _Seat]] = []
        self._is_closed = False

    async def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call an author's function, sync or async, and return what it returns."""
        return await self.run(iscoroutinefunction(function), function, args, kwargs)

    async def run(
        self,
        is_async: bool,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        is_wanted: Callable[[], bool] | None = None,
    ) -> Any:
        """The same, where it is known whether it is async.

        is_wanted  asked when a thread is free for a sync one; raises Unwanted where it is not
        """
        context, seat = self._unused.pop() if self._unused else self._new_seat()
        token = SyncToAsync.thread_sensitive_context.set(context)
        try:
            if is_async:
                return await function(*args, **kwargs)
            blocking = function if is_wanted is None else partial(_call_if, is_wanted, function)
            result = await sync_to_async(blocking)(*args, **kwargs)
            return await result if inspect.isawaitable(result) else result  # by a decorator that is not async
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise RuntimeError(f"{_name(function)} awaited something that was cancelled") from error
        except SystemExit as error:
            raise RuntimeError(f"{_name(function)} tried to end the process") from error
        finally:
            SyncToAsync.thread_sensitive_context.reset(token)
            # The two references are this function's: a task that outlives the handler would hold another.
            if seat.is_unused and sys.getrefcount(context) == 2 and len(self._unused) < self._size:
                self._unused.append((context, seat))
            else:
                seat.leave()

    def close(self) -> None:
        """End the threads as soon as they are idle."""
        self._is_closed = True
        for worker in self._all:
            with suppress(ServerEnding):
                _submit(worker, connections.close_all)
            worker.shutdown(wait=False)
        while self._waiting:
            self._waiting.popleft().give_up()
        self._all.clear()
        self._free.clear()
        self._unused.clear()

    # For its seats

    def grant(self, seat: _Seat) -> None:
        """Give `seat` a worker, now or when one is free."""
        if self._is_closed:
            seat.give_up()
        elif self._free:
            seat.take(self._free.pop())
        elif len(self._all) < self._size:
            worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="realtime")
            self._all.append(worker)
            seat.take(worker)
        else:
            self._waiting.append(seat)
            if self._idle:  # it is in a handler that waits for something else than the database
                self.give_back(self._idle.popitem()[0].release())

    def rest(self, seat: _Seat, *, idle: bool) -> None:
        """Take note of a seat that holds a worker and has nothing to do for it, or has again."""
        if not idle:
            self._idle.pop(seat, None)
        elif self._waiting:
            self.give_back(seat.release())
        else:
            self._idle[seat] = None

    def give_back(self, worker: Executor) -> None:
        """Take a worker back, once what it was given has returned: a handler may be gone before its thread is."""
        loop = asyncio.get_running_loop()
        if worker in self._all:  # else it was closed meanwhile
            try:
                tended = _submit(worker, close_old_connections)
            except ServerEnding:
                self._free_again(worker)  # to tell the next one
            else:
                tended.add_done_callback(lambda _: call_soon(loop, self._free_again, worker))

    # private

    def _new_seat(self) -> tuple[_Context, _Seat]:
        context, seat = _Context(), _Seat(self)
        SyncToAsync.context_to_thread_executor[context] = seat
        return context, seat

    def _free_again(self, worker: Executor) -> None:
        while self._waiting:
            seat = self._waiting.popleft()
            if seat.wants_worker:
                seat.take(worker)
                return
        if worker in self._all:
            self._free.append(worker)


class _Context(ThreadSensitiveContext):
    """What asgiref looks a handler's executor up by; must not be referred to by it, or neither would ever go."""


class _Seat(Executor):
    """The executor of one handler's run: takes a worker when first asked, gives it back at the end.

    Or before that, to one who waits, while the handler asks nothing of it and no transaction is open.
    """

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._worker: Executor | None = None
        self._jobs: list[tuple[Future[Any], Callable[[], Any]]] = []
        self._running = 0
        self._left = False
        self.is_unused = True  # so far it was not asked for anything

    @property
    def wants_worker(self) -> bool:
        return bool(self._jobs)

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        job = partial(function, *args, **kwargs)
        self.is_unused = False
        if self._left:
            return self._alone(job)
        future: Future[Any] = Future()
        self._jobs.append((future, job))
        if self._worker is not None:
            self._workers.rest(self, idle=False)
            self.take(self._worker)
        elif len(self._jobs) == 1:
            self._workers.grant(self)
        return future

    def take(self, worker: Executor) -> None:
        self._worker = worker
        returned = partial(call_soon, asyncio.get_running_loop(), self._returned)
        while self._jobs:
            future, job = self._jobs.pop(0)
            try:
                _submit(worker, _run, future, job, returned)
                self._running += 1
            except ServerEnding:
                _give_up(future)

    def give_up(self) -> None:
        """Let whoever waits for a job know that it is never done."""
        for future, _ in self._jobs:
            _give_up(future)
        self._jobs.clear()

    def release(self) -> Executor:
        """Part with the worker; another is taken when there is something to do again."""
        worker, self._worker = self._worker, None
        assert worker is not None
        return worker

    def leave(self) -> None:
        self._left = True
        if self.is_unused:
            return
        self._workers.rest(self, idle=False)
        for future, _ in self._jobs:
            future.cancel()
        self._jobs.clear()
        if self._worker is not None:
            self._workers.give_back(self.release())

    def _returned(self, in_transaction: bool) -> None:
        self._running -= 1
        if not self._running and not self._left and not in_transaction and self._worker is not None:
            self._workers.rest(self, idle=True)

    def _alone(self, job: Callable[[], Any]) -> Future[Any]:
        """Run the job of a task that outlived its handler, on a seat of its own."""
        seat = _Seat(self._workers)
        future = seat.submit(job)
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: call_soon(loop, seat.leave))
        return future


def _submit(worker: Executor, job: Callable[..., Any], *args: Any) -> Future[Any]:
    """Raises ServerEnding."""
    try:
        return worker.submit(job, *args)
    except RuntimeError as error:
        # Of the executor, or of the interpreter: it shuts all executors before it asks anybody else to end, while the
        # loop of runserver goes on. Nothing but the text tells either from a system that has no more threads.
        if "shutdown" not in str(error):
            raise
        raise ServerEnding(ENDS) from error


def _give_up(future: Future[Any]) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(ServerEnding(ENDS))


def run_job(future: Future[Any], job: Callable[[], Any]) -> None:
    """Do `job`, and let `future` tell how it went."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(job())
    except BaseException as error:
        future.set_exception(error)


def _run(future: Future[Any], job: Callable[[], Any], returned: Callable[[bool], None]) -> None:
    run_job(future, job)
    returned(any(connection.in_atomic_block for connection in connections.all(initialized_only=True)))


def _call_if(is_wanted: Callable[[], bool], function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not is_wanted():
        raise Unwanted
    return function(*args, **kwargs)


def call_soon(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *args: Any) -> None:
    """Call back on the loop, if it is still there."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(callback, *args)


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function))
