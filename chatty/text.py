"""What people write, before others get to read it."""

import re
import unicodedata

# They hold letters of Persian, and parts of emoji, apart or together: harmless within a name, and nothing alone.
JOINERS = "\u200c\u200d"
CONTROLS = {"Cc", "Cf", "Cs"}  # what turns the direction is among Cf, and what has no width

# By their categories letters, symbols or not yet known, and yet nothing is seen of them.
BLANK = re.compile("[\u115f\u1160\u2065\u2800\u3164\uffa0\ufff0-\ufff8\U0001d159\U000e0000-\U000e0fff]")


def plain(text: str) -> str:
    """Return a text as it is kept."""
    return text.replace("\0", "").strip()  # PostgreSQL keeps no NUL


def shows(text: str) -> bool:
    """Tell whether anything of a text is seen, as is nothing of spaces, controls, and marks without a letter."""
    return any(unicodedata.category(one)[0] not in "MZ" and not _hides(one) for one in text)


def one_name(text: str, longest: int) -> str:
    """Return a name of one line, composed (NFC), that neither turns nor hides what stands beside it.

    It is "" if nothing would be seen of it.
    """
    spaced = (" " if one.isspace() else one for one in text[: 10 * longest])  # no more, however much was sent
    kept = "".join(one for one in spaced if one in JOINERS or not _hides(one))
    name = unicodedata.normalize("NFC", " ".join(kept.split()))[:longest].strip(" " + JOINERS)
    return name if shows(name) else ""


def _hides(character: str) -> bool:
    return unicodedata.category(character) in CONTROLS or BLANK.match(character) is not None
