"""What the chat makes of the names and the messages that people write."""

from __future__ import annotations

import pytest

from chatty.text import one_name, plain, shows

UNSEEN = {
    "nothing": "",
    "spaces": " \u00a0\u3000\n",
    "no width": "\u200b\u2060\ufeff",
    "joiners": "\u200c\u200d",
    "directions": "\u202e\u2066",
    "controls": "\x01\x7f",
    "a soft hyphen": "\u00ad",
    "a mark without a letter": "\u0301",
    "fillers of Hangul": "\u115f\u1160\u3164\uffa0",
    "the blank of Braille": "\u2800",
    "tags": "\U000e0041\U000e0fff",
}
NAMES = {
    "composed": ("e\u0301", "é"),
    "composed over what is taken out": ("e\u200b\u0301", "é"),
    "an end of our isolate": ("ada\u2069\u202e", "ada"),
    "the other way": ("\u202eada", "ada"),
    "lines": ("a\nb\tc\u2028d\x85e", "a b c d e"),
    "spaces": ("  a \u200b  b ", "a b"),
    "a NUL": ("\0ada\0", "ada"),
    "a filler": ("ada\u3164\u3164", "ada"),
    "Persian": ("می\u200cخواهم", "می\u200cخواهم"),
    "an emoji of several": ("👩\u200d💻", "👩\u200d💻"),
    "joiners at the ends": ("\u200dada\u200c", "ada"),
    "Hebrew": ("עדה", "עדה"),
    "cut where it was joined": ("a" * 39 + "\u200db", "a" * 39),
    "cut where there is a space": ("a" * 39 + " b", "a" * 39),
    "an emoji that Python 3.11 does not know": ("\U0001fae8", "\U0001fae8"),
}


@pytest.mark.parametrize("text", UNSEEN.values(), ids=UNSEEN)
def test_what_cannot_be_seen_is_no_message_and_no_name(text: str) -> None:
    assert not shows(text)
    assert one_name(text, 40) == ""
    assert shows(f"{text}a{text}")


@pytest.mark.parametrize(("text", "name"), NAMES.values(), ids=NAMES)
def test_a_name_is_one_composed_line_that_turns_and_hides_nothing(text: str, name: str) -> None:
    assert one_name(text, 40) == name
    assert shows(name)


def test_a_name_is_cut_and_no_more_is_read_of_it_than_ten_times_as_much() -> None:
    assert one_name("x" * 1000, 40) == "x" * 40
    assert one_name(" " * 399 + "x", 40) == "x"
    assert one_name(" " * 400 + "x", 40) == ""


def test_a_message_is_kept_as_it_was_written_but_for_its_ends_and_nul() -> None:
    assert plain(" e\u0301 \0\u202e \n") == "e\u0301 \u202e"
