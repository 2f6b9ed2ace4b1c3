from typing import Any

from django.apps import AppConfig
from django.core.exceptions import ImproperlyConfigured
from django.utils.autoreload import BaseReloader, autoreload_started

from .import_name import complaint, other_owners, remedy

try:
    from . import checks, conf, importing, logs, revocation
    from .exceptions import Misconfigured
except ImportError as error:  # files of ours are overwritten, too many for a check to run
    for other in other_owners():
        raise ImproperlyConfigured(f"(realtime.E007) {complaint(other)} {remedy(other)}") from error
    raise


class RealtimeConfig(AppConfig):
    name = "realtime"
    verbose_name = "Realtime"

    def ready(self) -> None:
        conf.remember_debug()
        logs.show_under_runserver()
        checks.register()
        revocation.watch()
        autoreload_started.connect(watch_broken_router)


def watch_broken_router(sender: BaseReloader, **kwargs: Any) -> None:
    """Let runserver come back when the error is mended: a module that was never imported is not watched."""
    try:
        conf.router()
    except Misconfigured as error:
        for file in importing.files(error):
            sender.watch_dir(file.parent, file.name)
