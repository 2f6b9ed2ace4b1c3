"""Revocation: what Django's signals tell of users and sessions is told to every node, whose guard looks again."""

from __future__ import annotations

import functools
import logging
from typing import Any

from django.apps import apps
from django.db.models.signals import m2m_changed, post_delete, post_save

from . import conf
from .engine.client import sync_client, translated
from .exceptions import RealtimeError
from .guard import hashed
from .publish import after_commit
from .warden import Recheck, tell

logger = logging.getLogger("realtime.socket")

# What of a user decides whether it may stay; that it has logged in, say, does not.
RIGHTS = {"password", "is_active", "is_staff", "is_superuser"}


def watch() -> None:
    """Listen to the signals of the users, groups and sessions that the project has. Once, when all apps are loaded."""
    if apps.is_installed("django.contrib.auth"):
        from django.contrib.auth import get_user_model
        from django.contrib.auth.models import Group
        from django.contrib.auth.signals import user_logged_out

        user = get_user_model()
        post_save.connect(_saved, dispatch_uid="realtime")  # of any model: a user may be saved through a proxy
        user_logged_out.connect(_logged_out, dispatch_uid="realtime")
        for owner, name in ((user, "groups"), (user, "user_permissions"), (Group, "permissions")):
            if through := getattr(getattr(owner, name, None), "through", None):
                m2m_changed.connect(_permissions_changed, through, dispatch_uid="realtime")
    post_delete.connect(_deleted, dispatch_uid="realtime")


def recheck(*, user: Any = None, session_key: str | None = None) -> None:
    """Let every node look again at the sockets of a user or of a session, at all where none is given.

    For what no signal tells, as a queryset's update, and what need not wait for REALTIME["RECHECK"]. Inside a
    transaction it waits for the commit. An engine that is away is logged, and no error: then the next look will do.
    """
    key = None if user is None else str(user.pk)
    after_commit(functools.partial(_tell, Recheck(key, None if session_key is None else hashed(session_key))))


# private


def _tell(command: Recheck) -> None:
    try:
        engine = conf.engine()
        if engine.runs:  # one that is embedded and does not run has no nodes, and is not started for this
            with translated():
                tell(conf.keys(), command).run(sync_client(engine))
    except RealtimeError as error:
        logger.warning("sockets of a user or session are not looked at before the next regular look: %s", error)


def _saved(instance: Any, created: bool, update_fields: Any, **kwargs: Any) -> None:
    from django.contrib.auth import get_user_model

    is_about_rights = update_fields is None or RIGHTS & set(update_fields)
    if not created and is_about_rights and isinstance(instance, get_user_model()):
        recheck(user=instance)


def _deleted(instance: Any, **kwargs: Any) -> None:
    from django.contrib.sessions.base_session import AbstractBaseSession  # imports models

    if isinstance(instance, AbstractBaseSession):
        recheck(session_key=instance.session_key)
    elif apps.is_installed("django.contrib.auth"):
        from django.contrib.auth import get_user_model
        from django.contrib.auth.models import Group, Permission

        if isinstance(instance, get_user_model()):
            recheck(user=instance)
        elif isinstance(instance, Group | Permission):
            recheck()


def _logged_out(request: Any, **kwargs: Any) -> None:
    if key := getattr(getattr(request, "session", None), "session_key", None):
        recheck(session_key=key)


def _permissions_changed(instance: Any, action: str, **kwargs: Any) -> None:
    if action.startswith("post_"):
        from django.contrib.auth import get_user_model

        recheck(user=instance if isinstance(instance, get_user_model()) else None)
