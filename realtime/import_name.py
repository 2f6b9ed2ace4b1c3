"""Other distributions that install a package named realtime, as the client that supabase needs does.

pip lets one overwrite files of the other without a word, so nothing else of ours is imported here.
"""

from __future__ import annotations

import re
from importlib.metadata import packages_distributions

OURS = "django-realtime-channels"


def other_owners() -> list[str]:
    """Return the names of the distributions besides ours; an editable install of ours is not among the owners."""
    owners = packages_distributions().get("realtime", ())
    return sorted({re.sub(r"[-_.]+", "-", name).lower() for name in owners} - {OURS})


def complaint(other: str) -> str:
    return f"The distribution {other!r} installs a package named realtime too: one overwrites or hides the other."


def remedy(other: str) -> str:
    return f"Uninstall {other}, then put our files back: pip install --force-reinstall --no-deps {OURS}."
