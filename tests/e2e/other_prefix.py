from tests.e2e.settings import *  # noqa: F403
from tests.e2e.settings import REALTIME as LAB

REALTIME = {**LAB, "PREFIX": "other"}
