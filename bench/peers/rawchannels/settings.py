"""The same project without realtime: its channel layer is channels_redis' pub/sub layer, on the same engine."""

import os

from bench.chat.settings import *  # noqa: F403
from bench.chat.settings import INSTALLED_APPS as BESIDE

INSTALLED_APPS = [app for app in BESIDE if app not in ("realtime", "chatty")]
MIDDLEWARE = []
ROOT_URLCONF = "bench.peers.rawchannels.asgi"
ASGI_APPLICATION = "bench.peers.rawchannels.asgi.application"
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [os.environ.get("REDIS_URL", "redis://localhost")]},
    }
}
