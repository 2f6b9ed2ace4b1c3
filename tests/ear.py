"""Ear: a listener that keeps what it hears."""

from __future__ import annotations

import asyncio


class Ear:
    def __init__(self) -> None:
        self.heard: asyncio.Queue[bytes] = asyncio.Queue()
        self.gaps: asyncio.Queue[None] = asyncio.Queue()

    def message(self, data: bytes) -> None:
        self.heard.put_nowait(data)

    def gap(self) -> None:
        self.gaps.put_nowait(None)

    async def next(self) -> bytes:
        return await asyncio.wait_for(self.heard.get(), 5)

    async def next_gap(self, patience: float = 5.0) -> None:
        await asyncio.wait_for(self.gaps.get(), patience)
