"""Print the oldest version of each package that pyproject.toml allows, as constraints for pip."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def oldest() -> dict[str, str]:
    """Return what "name>=version" says of the library's own packages and of those of every extra but the tools."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {**project["optional-dependencies"], "dev": []}
    found: dict[str, str] = {}
    for requirement in [*project["dependencies"], *(line for lines in extras.values() for line in lines)]:
        if requirement.startswith(project["name"]):  # its own extra, within another
            continue
        match = re.match(r"([\w-]+)(?:\[[\w,-]+\])?>=([\d.]+)", requirement)
        assert match, f"{requirement!r} does not begin with the oldest version"
        name, version = match[1].lower(), match[2]
        assert found.setdefault(name, version) == version, f"{name} has two oldest versions"
    return found


if __name__ == "__main__":
    print("\n".join(f"{name}=={version}" for name, version in oldest().items()))
