from typing import Any

from django import forms
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError

from chatty.models import MEMBERS, NAME_LENGTH, ROOMS, Room


class RoomForm(forms.Form):
    """The name of a new room of `owner`."""

    name = forms.CharField(label="Name of a new room", max_length=NAME_LENGTH)

    def __init__(self, owner: Any, *args: Any) -> None:
        super().__init__(*args)
        self._owner = owner

    def clean(self) -> dict[str, Any]:
        if self._owner.owned_rooms.count() >= ROOMS:
            raise ValidationError(f"You have {ROOMS} rooms already, and one has to be deleted first.")
        return self.cleaned_data


class MemberForm(forms.Form):
    """The name of the account that becomes a member of `room`; `cleaned_data["username"]` is the user."""

    username = forms.CharField(
        label="Username",
        max_length=150,
        widget=forms.TextInput({"autocapitalize": "none", "autocomplete": "off", "spellcheck": "false"}),
    )

    def __init__(self, room: Room, *args: Any) -> None:
        super().__init__(*args)
        self._room = room

    def clean_username(self) -> Any:
        User = get_user_model()
        username = User.normalize_username(self.cleaned_data["username"])  # as the sign-up does
        user = User.objects.filter(username=username, is_active=True).first()
        if user is None:
            raise ValidationError(f"There is no account {username}.")
        if self._room.memberships.count() >= MEMBERS:
            raise ValidationError(f"A room has at most {MEMBERS} members.")
        return user
