from django.apps import AppConfig

from . import conf


class RealtimeConfig(AppConfig):
    name = "realtime"
    verbose_name = "Realtime"

    def ready(self) -> None:
        conf.remember_debug()
