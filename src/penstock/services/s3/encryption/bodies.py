"""Small bodies encrypted for the store.

    salt (16 bytes)  count u64  AES-256-GCM ciphertext and tag

The key is derived from the data key and the salt; the count is the nonce, which under one salt is never used twice.
Bound to the object's name, so that a body cannot stand in for another's.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag

from penstock.blobs.sealing import Cipher, cipher_for

_SALT_BYTES = 16
_HEAD_BYTES = 24
_MOST_SALTS = 512
_MOST_BODIES = 1 << 32
_NONCE_FRONT = bytes(4)


class BodyDamaged(Exception):
    """A body is not what was encrypted for that object, or not under that key."""


class BodySealer:
    """Seals and opens under one data key. For the event-loop thread."""

    __slots__ = ("_cipher", "_count", "_data_key", "_opened", "_salt")

    def __init__(self, data_key: bytes) -> None:
        self._data_key = data_key
        self._cipher: Cipher | None = None
        self._salt = b""
        self._count = 0
        self._opened: dict[bytes, Cipher] = {}

    def seal(self, plain: bytes, bound_to: bytes) -> bytes:
        """`plain`, encrypted."""
        cipher = self._cipher
        if cipher is None or self._count == _MOST_BODIES:
            self._salt = os.urandom(_SALT_BYTES)
            self._count = 0
            cipher = self._cipher = self._under(self._salt)
        count = self._count.to_bytes(8, "big")
        self._count += 1
        return self._salt + count + cipher.encrypt(_NONCE_FRONT + count, plain, bound_to)

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
            cipher = self._opened[salt] = cipher_for(self._data_key, b"penstock s3 body " + salt)
        return cipher


def bound_to(bucket: str, key: str) -> bytes:
    """What an object's body is bound to."""
    return b"%b/%b" % (bucket.encode(), key.encode())
