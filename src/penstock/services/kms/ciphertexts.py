"""What symmetric encryption answers with: a blob that says by itself which key and material opens it.

    version (1) | flags (1) | key id (16) | account (5) | material id (8) | nonce (12) | AES-256-GCM ciphertext and tag

Everything before the nonce is authenticated with the ciphertext, and so is the encryption context:
https://docs.aws.amazon.com/kms/latest/developerguide/encrypt_context.html
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from penstock.services.kms import errors
from penstock.services.kms.records import Key, Material

_VERSION = 1
_MULTI_REGION = 1
_HEAD_BYTES = 31
_NONCE_BYTES = 12
_TAG_BYTES = 16
_encode = msgspec.msgpack.Encoder().encode


class Head(NamedTuple):
    """What a blob says of itself. material: the first 16 hexadecimal digits of the material's id."""

    account: str
    key_id: str
    material: str


def seal(aead: AESGCM, key: Key, material: Material, plain: bytes, context: Mapping[str, str]) -> bytes:
    """Encrypt under a key's material."""
    multi_region = key.id.startswith("mrk-")
    raw_id = bytes.fromhex(key.id[4:] if multi_region else key.id.replace("-", ""))
    head = (
        bytes((_VERSION, _MULTI_REGION if multi_region else 0))
        + raw_id
        + int(key.account).to_bytes(5, "big")
        + bytes.fromhex(material.id[:16])
    )
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return head + nonce + aead.encrypt(nonce, plain, head + _canonical(context))


def head_of(blob: bytes) -> Head:
    """Who opens a blob. Raises AwsError InvalidCiphertextException for what is none of ours."""
    if len(blob) < _HEAD_BYTES + _NONCE_BYTES + _TAG_BYTES or blob[0] != _VERSION or blob[1] > _MULTI_REGION:
        raise errors.bad_ciphertext()
    digits = blob[2:18].hex()
    if blob[1] == _MULTI_REGION:
        key_id = f"mrk-{digits}"
    else:
        key_id = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
    return Head(f"{int.from_bytes(blob[18:23], 'big'):012d}", key_id, blob[23:31].hex())


def unseal(aead: AESGCM, blob: bytes, context: Mapping[str, str]) -> bytes:
    """Decrypt. Raises AwsError InvalidCiphertextException where blob or context is not what was encrypted."""
    head, nonce = blob[:_HEAD_BYTES], blob[_HEAD_BYTES : _HEAD_BYTES + _NONCE_BYTES]
    try:
        return aead.decrypt(nonce, blob[_HEAD_BYTES + _NONCE_BYTES :], head + _canonical(context))
    except InvalidTag:
        raise errors.bad_ciphertext() from None


def _canonical(context: Mapping[str, str]) -> bytes:
    """The context as bytes: the same for the same pairs in any order, different for different ones."""
    return _encode(sorted(context.items())) if context else b""
