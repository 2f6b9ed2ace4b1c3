"""Every name that we use in the engine, in one place.

All of them begin with the project's prefix and a partition in braces, the part that Redis Cluster hashes, so that
one script can touch whatever belongs to a topic. There is one partition as long as there is one engine.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keys:
    """prefix  REALTIME["PREFIX"]; two projects with different ones can share an engine"""

    prefix: str

    def bus(self, topic: str) -> str:
        """The pub/sub channel that carries the broadcasts of a topic."""
        return f"{{{self.prefix}:0}}:bus:{topic}"

    @property
    def layer(self) -> str:
        """The prefix of the channels and groups of ordinary consumers."""
        return f"{self.prefix}:asgi:"
