"""Session tokens: a principal, sealed. Temporary credentials cost no write, and any node on the store can open them.

A token is an AES-256-GCM box under a secret kept in the store, bound to its access key id; the secret access key is
derived from the token. Whoever alters a token, or sends it with another key id, has none.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from penstock.core import access_key
from penstock.core.identity import Credential, Kind, Principal

SECRET_BYTES = 64
_NONCE_BYTES = 12


class Session(msgspec.Struct, array_like=True, omit_defaults=True):
    """What a token carries. policies: inline session policies' text, or ARNs of managed ones."""

    kind: str
    account: str
    arn: str
    id: str
    issued_at: float
    expires_at: float
    role_arn: str = ""
    policies: list[str] = []
    tags: dict[str, str] = {}
    keys: dict[str, str] = {}


def new_secret() -> bytes:
    """A fresh secret for the store."""
    return secrets.token_bytes(SECRET_BYTES)


def issue(secret: bytes, principal: Principal, issued_at: float, expires_at: float) -> Credential:
    """Temporary credentials for a principal; its access key id and time of issue are replaced."""
    session = Session(
        principal.kind.value, principal.account, principal.arn, principal.id, issued_at, expires_at,
        principal.role_arn, list(principal.session_policies), dict(principal.tags), dict(principal.session),
    )  # fmt: skip
    access_key_id = access_key.new("ASIA", session.account)
    nonce = secrets.token_bytes(_NONCE_BYTES)
    box = AESGCM(secret[:32]).encrypt(nonce, msgspec.msgpack.encode(session), access_key_id.encode())
    return _credential(secret, session, access_key_id, base64.b64encode(nonce + box).decode())


def unseal(secret: bytes, access_key_id: str, token: str) -> Credential | None:
    """The credentials a token stands for, or None where it is not ours or not that key's. Expiry is not checked."""
    try:
        raw = base64.b64decode(token, validate=True)
        plain = AESGCM(secret[:32]).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], access_key_id.encode())
    except (binascii.Error, InvalidTag, ValueError):
        return None
    return _credential(secret, msgspec.msgpack.decode(plain, type=Session), access_key_id, token)


def _credential(secret: bytes, session: Session, access_key_id: str, token: str) -> Credential:
    derived = hmac.digest(secret[32:], token.encode(), hashlib.sha256)
    principal = Principal(
        Kind(session.kind), session.account, session.arn, session.id, access_key_id, session.role_arn,
        tuple(session.policies), session.tags, session.issued_at, session.keys, session.expires_at,
    )  # fmt: skip
    return Credential(
        access_key_id, base64.b64encode(derived).decode()[:40], principal, token, session.expires_at
    )  # fmt: skip
