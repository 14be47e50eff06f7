"""A blob's bytes encrypted, a chunk at a time: AES-256-GCM in the STREAM construction, so that ranges can be opened.

Each blob has a key of its own, derived from its owner's data key and the blob's name, which is used once and never
again. A chunk's nonce is its number and whether it is the last, so that no chunk can stand in another's place, in
another blob, or be left off the end unnoticed (Hoang et al., "Online Authenticated-Encryption and its Nonce-Reuse
Misuse-Resistance", section 7).
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher as Layer
from cryptography.hazmat.primitives.ciphers import algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from penstock.blobs.api import BlobCorrupt

TAG_BYTES = 16
KEY_BYTES = 32


class Cipher(Protocol):
    """Authenticated encryption; 12 bytes of nonce, 16 of tag at the end."""

    def encrypt(self, nonce: bytes, data: bytes | memoryview, associated_data: bytes | None) -> bytes: ...
    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...
    def decrypt_into(self, nonce: bytes, data: memoryview, associated_data: bytes | None, buf: memoryview) -> int: ...


class TwoLayers:
    """AES-256-GCM, and over it AES-256-CTR under an independent key: whoever learns one of them has nothing."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, inner: bytes, outer: bytes) -> None:
        self._inner = AESGCM(inner)
        self._outer = algorithms.AES(outer)

    def encrypt(self, nonce: bytes, data: bytes | memoryview, associated_data: bytes | None) -> bytes:
        return self._over(nonce, self._inner.encrypt(nonce, data, associated_data))

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        return self._inner.decrypt(nonce, self._over(nonce, data), associated_data)

    def decrypt_into(self, nonce: bytes, data: memoryview, associated_data: bytes | None, buf: memoryview) -> int:
        return self._inner.decrypt_into(nonce, self._over(nonce, data), associated_data, buf)

    def _over(self, nonce: bytes, data: bytes | memoryview) -> bytes:
        layer = Layer(self._outer, modes.CTR(nonce + bytes(4))).encryptor()
        return layer.update(data) + layer.finalize()


def cipher_for(data_key: bytes, purpose: bytes) -> Cipher:
    """The cipher that a data key (32 bytes, or 64 for two layers) has for one purpose."""
    inner = hmac.digest(data_key[:KEY_BYTES], purpose, "sha256")
    if len(data_key) == KEY_BYTES:
        return AESGCM(inner)
    return TwoLayers(inner, hmac.digest(data_key[KEY_BYTES:], purpose, "sha256"))


def cipher_of(data_key: bytes, name: str) -> Cipher:
    """The cipher of the blob of that name."""
    return cipher_for(data_key, b"penstock blob " + name.encode())


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(8, "big") + (b"\0\0\0\x01" if last else bytes(4))


class Sealer:
    """Encrypts a payload that comes in pieces of any size."""

    __slots__ = ("_chunk_bytes", "_cipher", "_number", "_rest")

    def __init__(self, data_key: bytes, name: str, chunk_bytes: int) -> None:
        self._cipher = cipher_of(data_key, name)
        self._chunk_bytes = chunk_bytes
        self._number = 0
        self._rest: list[bytes] = []

    def take(self, pieces: list[bytes], last: bool) -> list[bytes]:
        """Sealed chunks. What may be the last one is held back until it is known whether it is."""
        data = memoryview(b"".join([*self._rest, *pieces]))
        whole = max(0, len(data) - 1) // self._chunk_bytes
        sealed = list(self._seal(data, whole))
        rest = bytes(data[whole * self._chunk_bytes :])
        self._rest = [] if last else [rest]
        if last and rest:
            sealed.append(self._cipher.encrypt(_nonce(self._number, True), rest, None))
        return sealed

    def _seal(self, data: memoryview, count: int) -> Iterator[bytes]:
        size = self._chunk_bytes
        for i in range(count):
            yield self._cipher.encrypt(_nonce(self._number, False), data[i * size : (i + 1) * size], None)
            self._number += 1


def open_into(cipher: Cipher, name: str, number: int, last: bool, sealed: memoryview, plain: memoryview) -> None:
    """Put a chunk's bytes there. Raises BlobCorrupt where it is not what was written under that key in that place."""
    try:
        cipher.decrypt_into(_nonce(number, last), sealed, None, plain)
    except InvalidTag:
        raise BlobCorrupt(f"blob {name}: chunk {number} is not what was encrypted, or not under this key") from None
