import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bench.chat.settings")
django = get_asgi_application()

from realtime.asgi import with_realtime  # noqa: E402

application = with_realtime(django)
