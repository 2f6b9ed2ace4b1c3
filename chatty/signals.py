"""Whoever may be in a room no more is thrown out of it, as soon as that is committed."""

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.db import transaction
from django.db.models.signals import m2m_changed, post_delete
from django.dispatch import receiver

from chatty.channels.rooms import RIGHTS, RIGHTS_CHANGED
from chatty.models import Membership, Room
from chatty.routing import router, socket_id
from realtime import broadcast, kick

User = get_user_model()


@receiver(post_delete, sender=Membership)
def member_removed(instance: Membership, **kwargs: Any) -> None:
    """One by one, in bulk, with the room or with the user: Django sends the signal for each."""
    kick(socket_id(instance.user_id), router.topic("room", room=instance.room_id), "no longer a member")


@receiver(post_delete, sender=Room)
@receiver(post_delete, sender=Group)
@receiver(post_delete, sender=Permission)
def looked_at_again(**kwargs: Any) -> None:
    """Let the channels of moderators look again whether they may be where they are; no membership tells of them."""
    # Robust, for the rights have changed, whether or not the engine is there to tell it.
    transaction.on_commit(lambda: broadcast(RIGHTS, RIGHTS_CHANGED, on_commit=False), robust=True)


@receiver(m2m_changed, sender=User.groups.through)
@receiver(m2m_changed, sender=User.user_permissions.through)
@receiver(m2m_changed, sender=Group.permissions.through)
def permissions_changed(action: str, **kwargs: Any) -> None:
    if action in ("post_remove", "post_clear"):
        looked_at_again()
