from __future__ import annotations

from realtime.protocol.limits import Allowance


def spent(allowance: Allowance, count: int, now: float) -> Allowance:
    for _ in range(count):
        allowance.spend(now)
    return allowance


def test_a_burst_is_served() -> None:
    assert not spent(Allowance(10, 5, now=0), 5, now=0).is_overdrawn


def test_more_than_a_burst_is_overdrawn_and_says_when_to_come_back() -> None:
    allowance = spent(Allowance(10, 5, now=0), 6, now=0)
    assert allowance.is_overdrawn
    assert not allowance.is_exhausted
    assert allowance.retry_after == 0.2


def test_who_does_not_listen_is_exhausted() -> None:
    assert not spent(Allowance(10, 5, now=0), 10, now=0).is_exhausted
    assert spent(Allowance(10, 5, now=0), 11, now=0).is_exhausted


def test_the_rate_is_served_for_ever() -> None:
    allowance = Allowance(10, 5, now=0)
    for number in range(1000):
        assert not spent(allowance, 1, now=number / 10).is_overdrawn


def test_a_pause_gives_back_a_burst_and_no_more() -> None:
    allowance = spent(Allowance(10, 5, now=0), 6, now=0)
    assert not spent(allowance, 5, now=100).is_overdrawn
    assert spent(allowance, 1, now=100).is_overdrawn


def test_who_waits_as_long_as_told_is_served() -> None:
    allowance = spent(Allowance(100, 8, now=0), 9, now=0.0037)
    assert allowance.is_overdrawn
    assert not spent(allowance, 1, now=0.0037 + allowance.retry_after).is_overdrawn
