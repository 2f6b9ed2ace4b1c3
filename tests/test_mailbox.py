from __future__ import annotations

import asyncio

from realtime.mailbox import Mailbox


class Box(Mailbox[str]):
    """Ends at once, and never, but for being cancelled."""

    def __init__(self) -> None:
        super().__init__("first")
        self.ending = asyncio.Event()
        self.finished = 0
        self._wake()

    def _is_due(self) -> bool:
        return True

    async def _handle(self, item: str) -> None: ...

    async def _finish(self) -> None:
        self.finished += 1
        self.ending.set()
        try:
            await asyncio.Event().wait()
        finally:
            self._shut()


async def test_who_is_cancelled_while_it_ends_ends_once() -> None:
    box = Box()
    task = box._task
    assert task is not None
    await box.ending.wait()
    await box.wait(0)
    await asyncio.wait([task], timeout=5)
    assert box.is_over
    assert task.cancelled()  # and has not failed
    assert box.finished == 1
