"""The lab's settings, where only time bounds what waits for a socket."""

from tests.e2e.settings import *  # noqa: F403
from tests.e2e.settings import REALTIME as LAB

REALTIME = {**LAB, "OUTBOX_MESSAGES": 10**9, "OUTBOX_BYTES": 10**9, "SEND_TIMEOUT": 1.0}
