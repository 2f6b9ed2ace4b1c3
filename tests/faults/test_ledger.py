"""The judge can fail: else what it says of the others proves nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults.ledger import Account, Joined, Told, Verdict, judge

ACCEPTED = [1, 2, 3, 4, 5]
NOW = Joined(0)


@pytest.mark.parametrize(
    ("entries", "verdict"),
    [
        pytest.param([NOW, 1, 2, 3, 4, 5], Verdict(5), id="all of it"),
        pytest.param([Joined(2), 3, 4, 5], Verdict(3, missed=[1, 2]), id="joined later"),
        pytest.param([NOW, 1, 2, 4, 5], Verdict(4, silent=[3]), id="a hole"),
        pytest.param([NOW, 1, 2, 3, 4], Verdict(4, silent=[5]), id="no end"),
        pytest.param([NOW, 1, Told(), Joined(3), 4, 5], Verdict(3, missed=[2, 3]), id="told, and the hole after it"),
        pytest.param([NOW, 1, Told(), 3, Joined(3), 4, 5], Verdict(4, missed=[2]), id="told, and something late"),
        pytest.param([NOW, 1, 3, Told(), Joined(3), 4, 5], Verdict(4, silent=[2]), id="a hole before being told"),
        pytest.param([NOW, 1, Told(), Joined(3), 5], Verdict(2, [2, 3], [4]), id="a hole after the rejoin"),
        pytest.param([NOW, 1, Told()], Verdict(1, missed=[2, 3, 4, 5]), id="told, and never back"),
        pytest.param([NOW, 1, 2, 2, 3, 4, 5], Verdict(5, wrong=[2]), id="twice"),
        pytest.param([NOW, 1, 3, 2, 4, 5], Verdict(4, silent=[2], wrong=[2]), id="out of order"),
        pytest.param([NOW, 1, 2, 3, 4, 5, 6], Verdict(5, wrong=[6]), id="never sent"),
    ],
)
def test_the_judge_tells_what_was_missed_in_silence_from_what_was_announced(
    entries: list[Any], verdict: Verdict
) -> None:
    assert judge(Account("ada", "field:a", entries), ACCEPTED) == verdict
