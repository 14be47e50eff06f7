"""Opaque page tokens: a position, sealed against being misread. They survive a restart, and any node can read them.

A token carries a checksum over its scope (the operation and whatever else the list depends on), so that a token that
was cut, altered or taken from another list is refused rather than misread. It is no secret and grants nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

_CHECK_BYTES = 6


class BadToken(ValueError):
    """A token that this list did not give out. The caller answers with its service's own error."""


def encode(scope: str, position: bytes | str) -> str:
    """The token for "continue after `position`" in the list that `scope` names."""
    raw = position.encode() if isinstance(position, str) else position
    return base64.urlsafe_b64encode(_check(scope, raw) + raw).decode().rstrip("=")


def decode(scope: str, token: str) -> bytes:
    """The position in a token. Raises BadToken."""
    try:
        raw = base64.urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
    except (binascii.Error, ValueError):
        raise BadToken(token) from None
    check, position = raw[:_CHECK_BYTES], raw[_CHECK_BYTES:]
    if check != _check(scope, position):
        raise BadToken(token)
    return position


def _check(scope: str, position: bytes) -> bytes:
    return hashlib.blake2b(scope.encode() + b"\0" + position, digest_size=_CHECK_BYTES).digest()
