"""Silence: by the caller's clock alone, and by nothing but whether a sign of life has changed."""

from __future__ import annotations

from realtime.silence import Silence

PATIENCE, STEP = 20.0, 4.0


class Watch:
    """A leader that looks each two seconds, unless it is told to sleep."""

    def __init__(self) -> None:
        self.silence: Silence[str] = Silence(PATIENCE, STEP)
        self.now = 1000.0
        self.silence.look([], self.now)

    def look(self, after: float = 2.0, /, **nodes: int) -> list[str]:
        self.now += after
        return self.silence.look(nodes.items(), self.now)

    def looks(self, seconds: float, **nodes: int) -> list[list[str]]:
        """Look each two seconds for so long, and return what was found each time."""
        return [self.look(**nodes) for _ in range(round(seconds / 2))]


def test_a_sign_of_life_that_stays_the_same_for_the_patience_is_death() -> None:
    watch = Watch()
    watch.look(web1=5)
    assert watch.looks(18, web1=5) == [[]] * 9
    assert watch.look(web1=5) == ["web1"]


def test_the_first_look_at_a_node_adds_nothing() -> None:
    watch = Watch()
    watch.looks(100)
    assert watch.looks(20, web1=5) == [[]] * 10
    assert watch.look(web1=5) == ["web1"]


def test_a_dead_node_stays_dead_as_long_as_it_is_there() -> None:
    watch = Watch()
    watch.looks(22, web1=5)
    assert watch.looks(6, web1=5) == [["web1"]] * 3


def test_a_sign_of_life_begins_anew_also_when_the_engines_clock_was_set_back() -> None:
    for seen in (6, 4, 0):
        watch = Watch()
        watch.looks(20, web1=5)
        assert watch.looks(20, web1=seen) == [[]] * 10, seen
        assert watch.look(web1=seen) == ["web1"]


def test_each_node_has_a_silence_of_its_own() -> None:
    watch = Watch()
    watch.look(web1=5, web2=5)
    watch.looks(10, web1=5, web2=5)
    assert watch.looks(10, web1=5, web2=6)[-1] == ["web1"]
    assert watch.looks(12, web1=5, web2=6)[-2:] == [["web1"], ["web1", "web2"]]


def test_who_was_declared_dead_is_dead_at_once() -> None:
    watch = Watch()
    assert watch.look(web1=-1, web2=5) == ["web1"]


def test_a_node_that_is_declared_dead_meanwhile_is_dead_at_once() -> None:
    watch = Watch()
    watch.looks(4, web1=5)
    assert watch.look(web1=-1) == ["web1"]


def test_a_leader_that_slept_adds_no_more_than_a_step() -> None:
    watch = Watch()
    watch.look(web1=5)
    assert watch.look(3600.0, web1=5) == []
    assert watch.looks(14, web1=5) == [[]] * 7
    assert watch.look(web1=5) == ["web1"]


def test_after_forgetting_it_begins_anew_with_all_of_them() -> None:
    watch = Watch()
    watch.looks(20, web1=5, web2=5)
    watch.silence.forget()
    assert watch.look(3600.0, web1=5, web2=5) == []
    assert watch.looks(18, web1=5, web2=5) == [[]] * 9
    assert watch.look(web1=5, web2=5) == ["web1", "web2"]


def test_a_node_that_vanished_and_came_back_begins_anew() -> None:
    watch = Watch()
    watch.looks(20, web1=5)
    watch.look()
    assert watch.looks(20, web1=5) == [[]] * 10
    assert watch.look(web1=5) == ["web1"]
