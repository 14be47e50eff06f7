"""Small bodies encrypted for the store.

    salt (16 bytes)  count u64  AES-256-GCM ciphertext and tag

The key is derived from the data key and the salt; the count is the nonce, which under one salt is never used twice.
Bound to its owner's name, so that a body cannot stand in for another's.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

from cryptography.exceptions import InvalidTag

from penstock.blobs.sealing import Cipher, cipher_for

_SALT_BYTES = 16
_HEAD_BYTES = 24
_MOST_SALTS = 512
_MOST_BODIES = 1 << 32
_NONCE_FRONT = bytes(4)


class BodyDamaged(Exception):
    """A body is not what was encrypted for that owner, or not under that key."""


class BodySealer:
    """Seals and opens under one data key, in any thread. purpose: what the key is used for, e.g. whose bodies."""

    __slots__ = ("_data_key", "_front", "_opened", "_purpose")

    def __init__(self, data_key: bytes, purpose: bytes) -> None:
        self._data_key = data_key
        self._purpose = purpose
        self._front: tuple[bytes, Cipher, Iterator[int]] | None = None
        """Salt, cipher and count that seal now; taken and replaced as one, so that threads cannot share a nonce."""
        self._opened: dict[bytes, Cipher] = {}

    def seal(self, plain: bytes, bound_to: bytes) -> bytes:
        """`plain`, encrypted."""
        salt, cipher, counts = self._front or self._renewed()
        number = next(counts)
        if number >= _MOST_BODIES:
            salt, cipher, counts = self._renewed()
            number = next(counts)
        count = number.to_bytes(8, "big")
        return salt + count + cipher.encrypt(_NONCE_FRONT + count, plain, bound_to)

    def _renewed(self) -> tuple[bytes, Cipher, Iterator[int]]:
        salt = os.urandom(_SALT_BYTES)
        self._front = front = (salt, self._under(salt), itertools.count())
        return front

    def open(self, box: bytes, bound_to: bytes) -> bytes:
        """What was sealed. Raises BodyDamaged."""
        try:
            return self._under(box[:_SALT_BYTES]).decrypt(
                _NONCE_FRONT + box[_SALT_BYTES:_HEAD_BYTES], box[_HEAD_BYTES:], bound_to
            )
        except (InvalidTag, ValueError):
            raise BodyDamaged("an inline body does not open under its key") from None

    def _under(self, salt: bytes) -> Cipher:
        cipher = self._opened.get(salt)
        if cipher is None:
            if len(self._opened) >= _MOST_SALTS:
                self._opened.clear()
            cipher = self._opened[salt] = cipher_for(self._data_key, self._purpose + salt)
        return cipher
