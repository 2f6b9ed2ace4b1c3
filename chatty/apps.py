from django.apps import AppConfig


class ChattyConfig(AppConfig):
    name = "chatty"

    def ready(self) -> None:
        from chatty import signals  # noqa: F401  it connects them
