"""A blob's bytes encrypted, a chunk at a time: AES-256-GCM in the STREAM construction, so that ranges can be opened.

Each blob has a key of its own, derived from its owner's data key and the blob's name, which is used once and never
again. A chunk's nonce is its number and whether it is the last, so that no chunk can stand in another's place, in
another blob, or be left off the end unnoticed (Hoang et al., "Online Authenticated-Encryption and its Nonce-Reuse
Misuse-Resistance", section 7).
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Sequence
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher as Layer
from cryptography.hazmat.primitives.ciphers import algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from penstock.blobs.api import BlobCorrupt

CHUNK_BYTES = 256 * 1024
"""How much of a payload is verified, and encrypted, as one."""
TAG_BYTES = 16
KEY_BYTES = 32


class Cipher(Protocol):
    """Authenticated encryption; 12 bytes of nonce, 16 of tag at the end."""

    def encrypt(self, nonce: bytes, data: bytes | memoryview, associated_data: bytes | None) -> bytes: ...
    def encrypt_into(self, nonce: bytes, data: memoryview, associated_data: bytes | None, buf: memoryview) -> int: ...
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

    def encrypt_into(self, nonce: bytes, data: memoryview, associated_data: bytes | None, buf: memoryview) -> int:
        buf[:] = self.encrypt(nonce, data, associated_data)
        return len(buf)

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

    __slots__ = ("_cipher", "_held", "_held_bytes", "_number")

    def __init__(self, data_key: bytes, name: str) -> None:
        self._cipher = cipher_of(data_key, name)
        self._number = 0
        self._held = bytearray()
        self._held_bytes = 0

    def seal(self, pieces: Sequence[bytes | memoryview], last: bool, into: memoryview) -> Iterator[memoryview]:
        """Sealed chunks, several at once, in that memory: to be written before the next ones are asked for.

        What may be the last chunk is held back until it is known whether it is.
        """
        at = 0
        for plain, final in self._chunks(pieces, last):
            end = at + len(plain) + TAG_BYTES
            if end > len(into):
                yield into[:at]
                at, end = 0, len(plain) + TAG_BYTES
            self._cipher.encrypt_into(_nonce(self._number, final), plain, None, into[at:end])
            self._number += 1
            at = end
        if at:
            yield into[:at]

    def _chunks(self, pieces: Sequence[bytes | memoryview], last: bool) -> Iterator[tuple[memoryview, bool]]:
        """(chunk, whether it is the last); out of the pieces themselves where they hold it whole."""
        for i, piece in enumerate(pieces, 1):
            view = memoryview(piece)
            while view:
                if self._held_bytes == CHUNK_BYTES:
                    self._held_bytes = 0
                    yield memoryview(self._held), False
                if not self._held_bytes and len(view) > CHUNK_BYTES:
                    yield view[:CHUNK_BYTES], False
                    view = view[CHUNK_BYTES:]
                elif not self._held_bytes and last and i == len(pieces):
                    yield view, True
                    break
                else:
                    view = self._hold(view)
        if last and self._held_bytes:
            yield memoryview(self._held)[: self._held_bytes], True

    def _hold(self, view: memoryview) -> memoryview:
        """Keep as much of it as there is room for in a chunk. Returns the rest."""
        if not self._held:
            self._held = bytearray(CHUNK_BYTES)
        taken = view[: CHUNK_BYTES - self._held_bytes]
        self._held[self._held_bytes : self._held_bytes + len(taken)] = taken
        self._held_bytes += len(taken)
        return view[len(taken) :]


def open_into(cipher: Cipher, name: str, number: int, last: bool, sealed: memoryview, plain: memoryview) -> None:
    """Put a chunk's bytes there. Raises BlobCorrupt where it is not what was written under that key in that place."""
    try:
        cipher.decrypt_into(_nonce(number, last), sealed, None, plain)
    except InvalidTag:
        raise BlobCorrupt(f"blob {name}: chunk {number} is not what was encrypted, or not under this key") from None
