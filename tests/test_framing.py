from __future__ import annotations

import pytest

from realtime.framing import Burst, framed


@pytest.mark.parametrize(
    ("length", "head"),
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65535, b"\x81\x7e\xff\xff"),
        (65536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_a_text_frame_is_whole_unmasked_and_uncompressed(length: int, head: bytes) -> None:
    assert framed("x" * length) == head + b"x" * length


@pytest.mark.parametrize(
    ("length", "head"),
    [
        (0, b"\x82\x00"),
        (125, b"\x82\x7d"),
        (126, b"\x82\x7e\x00\x7e"),
        (65535, b"\x82\x7e\xff\xff"),
        (65536, b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_a_binary_frame_differs_in_its_opcode(length: int, head: bytes) -> None:
    assert framed(b"\xff" * length) == head + b"\xff" * length


def test_the_length_is_that_of_the_utf8() -> None:
    assert framed("ä€") == b"\x81\x05\xc3\xa4\xe2\x82\xac"


def test_a_burst_is_its_frames_one_after_the_other() -> None:
    assert Burst("a", b"b", "c").framed == b"\x81\x01a\x82\x01b\x81\x01c"


def test_a_burst_is_framed_once() -> None:
    burst = Burst("a", "b")
    assert burst.framed is burst.framed


def test_a_burst_knows_how_long_each_of_its_frames_has_become() -> None:
    assert Burst("a", b"b" * 126, "€").sizes == [3, 130, 5]
    assert Burst("€").sizes == [5]
