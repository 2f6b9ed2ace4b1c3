from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from realtime.framing import Burst
from realtime.outbox import Arrears, DirectOutbox, PolledOutbox, QueuedOutbox
from realtime.protocol.messages import Frame
from realtime.turn import Turn

# How much may wait


def test_the_largest_message_does_not_count() -> None:
    arrears = Arrears(10, 100)
    assert arrears.add([3, 5000, 97])
    assert not arrears.add([1])


def test_of_two_large_messages_one_counts() -> None:
    arrears = Arrears(10, 100)
    assert arrears.add([500])
    assert not arrears.add([101])


def test_what_is_the_largest_changes_as_they_are_read() -> None:
    arrears = Arrears(10, 100)
    assert arrears.add([500, 40, 60])
    arrears.read()
    assert arrears.add([60])
    assert not arrears.add([1])


def test_a_large_message_is_one_of_those_that_may_wait() -> None:
    arrears = Arrears(2, 100)
    assert arrears.add([500, 1])
    assert not arrears.add([1])


def test_what_is_left_tells_what_was_read() -> None:
    arrears = Arrears(3, 100)
    arrears.add([10, 20, 30])
    assert not arrears.settle(51)
    assert arrears.settle(30)  # all of the second, too
    assert arrears.add([1, 1])
    assert not arrears.add([1])


# Through ASGI


class Empty:
    """A transport in which nothing waits."""

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        pass


class Wire:
    """Writes to a list; `gate` is the peer that reads."""

    def __init__(self, max_messages: int = 10, max_bytes: int = 100) -> None:
        self.written: list[Frame] = []
        self.events: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.gone = False
        self.pause_after: Frame | None = None
        self.under_way = 0
        self.outbox = QueuedOutbox(
            self.write,
            wire=Empty(),
            max_messages=max_messages,
            max_bytes=max_bytes,
            on_full=lambda: self.events.append("full"),
            on_lost=lambda: self.events.append("lost"),
        )

    async def write(self, frame: Frame) -> None:
        self.under_way += 1
        assert self.under_way == 1
        await self.gate.wait()
        self.under_way -= 1
        if self.gone:
            raise OSError("gone")
        self.written.append(frame)
        if frame == self.pause_after:
            self.gate.clear()


async def test_frames_are_written_in_order_one_at_a_time() -> None:
    wire = Wire()
    wire.gate.clear()
    for number in range(5):
        wire.outbox.put(Burst(str(number)))
    await asyncio.sleep(0)
    wire.gate.set()
    await wire.outbox.drained()
    assert wire.written == ["0", "1", "2", "3", "4"]


async def test_no_task_is_left_when_all_is_written() -> None:
    wire = Wire()
    before = asyncio.all_tasks()
    wire.outbox.put(Burst("x"))
    await wire.outbox.drained()
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("frames", [["x"] * 12, ["y" * 60, "z" * 60, "z" * 60]], ids=["messages", "bytes"])
async def test_a_full_outbox_says_so_once_and_takes_no_more(frames: list[str]) -> None:
    wire = Wire()
    wire.gate.clear()
    for frame in frames:
        wire.outbox.put(Burst(frame))
        await asyncio.sleep(0)
    wire.outbox.put(Burst("x"))
    assert wire.events == ["full"]
    wire.gate.set()
    await asyncio.sleep(0.01)
    assert wire.written == []


async def test_a_message_may_be_larger_than_all_that_may_wait() -> None:
    wire = Wire()
    wire.gate.clear()
    for frame in ("reply", "s" * 5000, "d" * 90):
        wire.outbox.put(Burst(frame))
        await asyncio.sleep(0)
    assert wire.events == []
    wire.outbox.put(Burst("d" * 6))
    assert wire.events == ["full"]


async def test_how_long_the_frame_under_way_waits_is_known() -> None:
    now = asyncio.get_running_loop().time
    wire = Wire()
    wire.gate.clear()
    wire.pause_after = "one"
    wire.outbox.put(Burst("one", "two"))
    assert wire.outbox.stuck_for(now() + 5) >= 5
    later = now()
    wire.gate.set()
    while not wire.written:
        await asyncio.sleep(0)
    assert wire.outbox.stuck_for(later) <= 0
    wire.gate.set()
    await wire.outbox.drained()
    assert wire.outbox.stuck_for(now() + 5) == 0


async def test_what_was_written_waits_no_more() -> None:
    wire = Wire()
    for _ in range(3):
        wire.outbox.put(Burst(*["y" * 40] * 3))
        await wire.outbox.drained()
    assert (wire.events, len(wire.written)) == ([], 9)


async def test_a_peer_that_is_gone_is_told_once() -> None:
    wire = Wire()
    wire.gone = True
    wire.outbox.put(Burst("x"))
    wire.outbox.put(Burst("y"))
    await asyncio.sleep(0.01)
    wire.outbox.put(Burst("z"))
    assert (wire.events, wire.written) == (["lost"], [])


# Past ASGI


class Lane:
    """A transport that keeps what it is given until the peer reads."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.waiting = 0
        self.is_read = True
        self.is_open = True

    def is_closing(self) -> bool:
        return not self.is_open

    def write(self, data: bytes) -> None:
        self.written.append(data)
        if not self.is_read:
            self.waiting += len(data)

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def abort(self) -> None:
        pass


class Direct:
    """A DirectOutbox on such a lane; nothing is written before `turn.end()`."""

    def __init__(self, max_messages: int = 10, max_bytes: int = 100) -> None:
        self.lane = Lane()
        self.turn = Turn()
        self.events: list[str] = []
        self.outbox = self.another(max_messages, max_bytes)

    def another(self, max_messages: int = 10, max_bytes: int = 100) -> DirectOutbox:
        return DirectOutbox(
            self.lane,
            turn=self.turn,
            max_messages=max_messages,
            max_bytes=max_bytes,
            on_full=lambda: self.events.append("full"),
            on_lost=lambda: self.events.append("lost"),
        )

    def put(self, *frames: Frame) -> None:
        """Put each in a turn of its own."""
        for frame in frames:
            self.outbox.put(Burst(frame))
            self.turn.end()


@pytest.fixture
async def direct() -> Direct:
    return Direct()


async def test_the_frames_of_a_turn_are_one_write_and_need_no_task(direct: Direct) -> None:
    before = asyncio.all_tasks()
    direct.outbox.put(Burst("a"))
    direct.outbox.put(Burst("b", "c"))
    assert direct.lane.written == []
    direct.turn.end()
    assert direct.lane.written == [b"\x81\x01a\x81\x01b\x81\x01c"]
    assert asyncio.all_tasks() == before


async def test_what_is_alone_in_its_turn_is_written_at_once(direct: Direct) -> None:
    """A broadcast, that is: whatever else is put off would have to go with it."""
    seen: list[list[bytes]] = []

    def dispatch(*frames: Frame) -> None:
        direct.outbox.put(Burst(*frames))
        seen.append(list(direct.lane.written))

    direct.turn.put_off(lambda: dispatch("a"))
    direct.turn.end()
    direct.turn.put_off(lambda: dispatch("b"))
    direct.turn.put_off(lambda: dispatch("c"))
    direct.turn.end()
    assert seen == [[b"\x81\x01a"]] * 3
    assert direct.lane.written == [b"\x81\x01a", b"\x81\x01b\x81\x01c"]


async def test_the_bytes_of_a_burst_are_shared_by_all_who_get_it(direct: Direct) -> None:
    burst = Burst("a", "b")
    for outbox in (direct.outbox, direct.another()):
        outbox.put(burst)
    direct.turn.end()
    first, second = direct.lane.written
    assert first is second


@pytest.mark.parametrize("frames", [["x"] * 12, ["y" * 60, "z" * 60, "z" * 60]], ids=["messages", "bytes"])
async def test_what_the_peer_does_not_read_is_bounded(direct: Direct, frames: list[str]) -> None:
    direct.lane.is_read = False
    direct.put(*frames)
    assert direct.events == ["full"]
    written = len(direct.lane.written)
    direct.put("x")
    assert len(direct.lane.written) == written


async def test_a_message_may_be_larger_than_all_that_the_peer_may_owe(direct: Direct) -> None:
    direct.lane.is_read = False
    direct.put("s" * 5000)
    direct.lane.waiting -= 500
    direct.put("d" * 48, "d" * 48)  # 50 bytes on the wire
    assert direct.events == []
    direct.put("d")
    assert direct.events == ["full"]


@pytest.mark.parametrize(("sizes", "events"), [((5000, 40, 50), []), ((60, 60, 60), ["full"])])
async def test_the_messages_of_a_turn_are_bounded_though_nothing_waits(
    direct: Direct, sizes: tuple[int, ...], events: list[str]
) -> None:
    for size in sizes:
        direct.outbox.put(Burst("x" * size))
    direct.turn.end()
    assert direct.events == events
    assert bool(direct.lane.written) is not bool(events)


async def test_a_burst_is_no_single_message(direct: Direct) -> None:
    direct.lane.is_read = False
    direct.put("x")
    direct.outbox.put(Burst(*["y" * 60] * 3))
    direct.turn.end()
    assert direct.events == ["full"]


async def test_what_a_turn_has_left_behind_is_known_message_by_message(direct: Direct) -> None:
    direct.lane.is_read = False
    for frame in ("s" * 500, "d" * 38, "d" * 38):
        direct.outbox.put(Burst(frame))
    direct.turn.end()
    direct.put("d" * 18)
    assert direct.events == []
    direct.put("d")
    assert direct.events == ["full"]


async def test_a_peer_that_is_behind_but_reads_is_not_closed(direct: Direct) -> None:
    direct.lane.is_read = False
    for _ in range(50):
        direct.put("xx")  # 4 bytes on the wire
        direct.lane.waiting = min(direct.lane.waiting, 20)
    assert direct.events == []


async def test_how_long_the_oldest_frame_waits_is_known(direct: Direct) -> None:
    now = asyncio.get_running_loop().time
    direct.put("read")
    assert direct.outbox.stuck_for(now() + 5) == 0
    direct.lane.is_read = False
    direct.put("one", "two")
    assert direct.outbox.stuck_for(now() + 5) == pytest.approx(5, abs=1)
    direct.lane.waiting = 5  # the first was taken
    assert direct.outbox.stuck_for(now() + 5) == 0
    assert direct.outbox.stuck_for(now() + 7) == pytest.approx(2, abs=1)
    direct.lane.waiting = 0
    assert direct.outbox.stuck_for(now() + 5) == 0


async def test_a_peer_that_caught_up_owes_nothing_of_before(direct: Direct) -> None:
    direct.lane.is_read = False
    direct.put("one", "two")
    direct.lane.waiting = 0
    direct.put("x" * 50)
    assert direct.outbox.stuck_for(asyncio.get_running_loop().time() + 5) == pytest.approx(0, abs=1)


async def test_nothing_is_written_to_a_socket_that_is_not_open(direct: Direct) -> None:
    direct.lane.is_open = False
    direct.put("x", "y")
    assert (direct.events, direct.lane.written) == (["lost"], [])


def close(direct: Direct) -> None:
    direct.outbox.close()


def lose(direct: Direct) -> None:
    direct.lane.is_open = False


@pytest.mark.parametrize("end", [close, lose])
async def test_what_waits_for_the_end_of_the_turn_is_dropped_with_the_socket(
    direct: Direct, end: Callable[[Direct], None]
) -> None:
    direct.outbox.put(Burst("x"))
    end(direct)
    direct.turn.end()
    await direct.outbox.drained()
    assert direct.lane.written == []


async def test_drained_writes_at_once_and_waits_for_the_peer(direct: Direct) -> None:
    direct.lane.is_read = False
    direct.outbox.put(Burst("x"))
    draining = asyncio.create_task(direct.outbox.drained())
    await asyncio.sleep(0)
    assert direct.lane.written == [b"\x81\x01x"]
    assert not draining.done()
    direct.lane.waiting = 0
    await asyncio.wait_for(draining, 5)
    direct.turn.end()
    assert len(direct.lane.written) == 1


# Polls


class Polled:
    """An outbox that is fetched from, and what it has told."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.outbox = PolledOutbox(
            lambda: self.events.append("ready"),
            share=10,
            max_messages=5,
            max_bytes=100,
            on_full=lambda: self.events.append("full"),
            on_lost=lambda: self.events.append("lost"),
        )

    def put(self, *frames: Frame) -> None:
        self.outbox.put(Burst(*frames))


async def test_what_is_there_to_fetch_is_told_once() -> None:
    polled = Polled()
    polled.put("a", "b")
    polled.put("c")
    assert polled.events == ["ready"]
    assert polled.outbox.fetch() == ["a", "b", "c"]
    polled.put("d")
    assert polled.events == ["ready", "ready"]


async def test_what_did_not_arrive_is_fetched_again_before_what_came_since() -> None:
    polled = Polled()
    polled.put("a", "b")
    polled.outbox.fetch()
    polled.put("c")
    assert not polled.outbox.has_some
    polled.outbox.settle(arrived=False)
    assert polled.outbox.has_some
    assert polled.outbox.fetch() == ["a", "b", "c"]
    polled.outbox.settle(arrived=True)
    assert not polled.outbox.has_some


async def test_a_share_is_fetched_at_a_time_and_a_frame_at_least() -> None:
    polled = Polled()
    fetched = []
    polled.put("x" * 30, "é" * 3, "é" * 2, "é")
    while polled.outbox.has_some:
        fetched.append([len(frame) for frame in polled.outbox.fetch()])
        polled.outbox.settle(arrived=True)
    assert fetched == [[30], [3, 2], [1]]


@pytest.mark.parametrize("frames", [["a"] * 6, ["é" * 51] * 2], ids=["messages", "bytes"])
async def test_a_full_polled_outbox_says_so_once_and_keeps_nothing(frames: list[str]) -> None:
    polled = Polled()
    polled.put(*frames)
    polled.put("a")
    assert polled.events == ["full"]
    assert not polled.outbox.has_some


async def test_a_message_may_be_larger_than_all_that_may_wait_for_a_poll() -> None:
    polled = Polled()
    polled.put("reply", "s" * 5000)
    polled.outbox.fetch()
    polled.put("d" * 95)
    assert "full" not in polled.events
    polled.put("d")
    assert "full" in polled.events


@pytest.mark.parametrize(("arrived", "is_full"), [(None, True), (False, True), (True, False)])
@pytest.mark.parametrize(("frame", "times"), [("a", 5), ("x" * 30, 4)], ids=["messages", "bytes"])
async def test_what_was_fetched_counts_until_it_has_arrived(
    frame: str, times: int, arrived: bool | None, is_full: bool
) -> None:
    polled = Polled()
    for _ in range(times):
        polled.put(frame)
    while polled.outbox.has_some and arrived:
        polled.outbox.fetch()
        polled.outbox.settle(arrived=arrived)
    polled.outbox.fetch()
    if arrived is not None:
        polled.outbox.settle(arrived=arrived)
    polled.put(frame)
    assert ("full" in polled.events) is is_full


async def test_it_is_known_for_how_long_nobody_has_said_what_became_of_a_fetch() -> None:
    polled = Polled()
    now = asyncio.get_running_loop().time()
    polled.put("a")
    assert polled.outbox.stuck_for(now + 7) == 0
    polled.outbox.fetch()
    assert 6 < polled.outbox.stuck_for(now + 7) <= 7
    polled.outbox.settle(arrived=False)
    assert polled.outbox.stuck_for(now + 7) == 0


async def test_it_is_drained_once_everything_has_arrived() -> None:
    polled = Polled()
    await polled.outbox.drained()
    polled.put("a")
    waiting = asyncio.create_task(polled.outbox.drained())
    for arrived in (False, True):
        await asyncio.sleep(0)
        assert not waiting.done()
        polled.outbox.fetch()
        polled.outbox.settle(arrived=arrived)
    await asyncio.wait_for(waiting, 5)


async def test_one_that_is_closed_is_drained() -> None:
    polled = Polled()
    polled.put("a")
    waiting = asyncio.create_task(polled.outbox.drained())
    await asyncio.sleep(0)
    polled.outbox.fetch()
    polled.outbox.close()
    polled.outbox.settle(arrived=False)
    await asyncio.wait_for(waiting, 5)
    await asyncio.wait_for(polled.outbox.drained(), 5)
    assert not polled.outbox.has_some
