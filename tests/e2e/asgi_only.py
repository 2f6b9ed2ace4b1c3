"""The lab's settings, with every frame sent through ASGI."""

from tests.e2e.settings import *  # noqa: F403
from tests.e2e.settings import REALTIME as LAB

REALTIME = {**LAB, "FAST_LANE": False}
