"""Tokens: who somebody is, signed, for clients that have no cookie of a session.

    token = tokens.sign(request.user, max_age=3600)                 # in a view; the client offers it as authToken

    class UserSocket(Socket):
        async def connect(self, params):
            await self.authenticate(self.auth_token)

A token is signed and not encrypted: its holder can read whose it is, and until when. It ends with its max_age, with the
user's password, and when the user is deactivated.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
from django.core import signing

from .exceptions import BadToken

SALT = "realtime.tokens"
MAX_AGE = 3600.0
LONGEST = 4096  # characters of what may be one


class _Claims(msgspec.Struct, frozen=True, array_like=True):
    user: str
    expires: float
    stamp: str


@dataclass(frozen=True, slots=True)
class Token:
    """A token that is good.

    user     whose it is
    expires  when it ends, in seconds since the epoch
    """

    user: Any
    expires: float


def sign(user: Any, *, max_age: float = MAX_AGE) -> str:
    """Return a token for a user, good for `max_age` seconds. Raises TypeError for one who is not saved."""
    if getattr(user, "pk", None) is None:
        raise TypeError(f"a token is for a user that is saved, not for {user!r:.80}")
    claims = _Claims(str(user.pk), time.time() + max_age, stamp(user))
    return signing.Signer(salt=SALT).sign_object(msgspec.to_builtins(claims))


def verify(token: str | None) -> Token:
    """Return what a token says. Asks the database, so it blocks. Raises BadToken, which as an answer says why."""
    claims = _claims(token)
    if claims.expires <= time.time():
        raise BadToken("token expired")
    user = _active(claims.user)
    if user is None or not any(hmac.compare_digest(claims.stamp, one) for one in _stamps(user)):
        raise BadToken("token revoked")
    return Token(user, claims.expires)


def stamp(user: Any) -> str:
    """Return what changes with a user's password; "" for users without one."""
    return next(_stamps(user))


# private


def _claims(token: str | None) -> _Claims:
    if not token:
        raise BadToken("token missing")
    try:
        if len(token) > LONGEST:
            raise signing.BadSignature
        return msgspec.convert(signing.Signer(salt=SALT).unsign_object(token), _Claims)
    except (signing.BadSignature, msgspec.ValidationError, ValueError):  # what was signed in an older form, too
        raise BadToken("token invalid") from None


def _active(key: str) -> Any:
    """Return the user of that primary key, if it may log in."""
    from django.contrib.auth import get_user_model  # imports models, so only where they are installed

    model = get_user_model()
    try:
        user = model._default_manager.get(pk=key)
    except (model.DoesNotExist, ValueError, TypeError):
        return None
    return user if user.is_active else None


def _stamps(user: Any) -> Iterator[str]:
    """Yield that of SECRET_KEY, then those of SECRET_KEY_FALLBACKS: what those have signed is good, too."""
    if make := getattr(user, "get_session_auth_hash", None):
        yield make()[:16]
        yield from (old[:16] for old in user.get_session_auth_fallback_hash())
    else:
        yield ""
