"""The lab's settings, with little patience."""

from tests.e2e.settings import *  # noqa: F403
from tests.e2e.settings import REALTIME as LAB

REALTIME = {**LAB, "HEARTBEAT_TIMEOUT": 1.0, "MESSAGE_RATE": 20.0, "MESSAGE_BURST": 50}
