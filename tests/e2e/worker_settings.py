"""The chat's settings, with a channel that tells in which process it runs.

ENGINE_BESIDE    a folder: the engine runs inside the project, below it
"""

import os
from pathlib import Path

from chatty.settings import *  # noqa: F403

ROOT_URLCONF = "tests.e2e.worker_routing"
REALTIME = {"ROUTER": "tests.e2e.worker_routing.router"}
if "ENGINE_BESIDE" in os.environ:
    BASE_DIR = Path(os.environ["ENGINE_BESIDE"])
    REALTIME["EMBEDDED"] = True
