import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatty.settings")
django = get_asgi_application()  # first: it sets Django up, and what follows needs that

from realtime.asgi import with_realtime  # noqa: E402

application = with_realtime(django)
