"""JSON web tokens: taken apart and checked against a provider's public keys, and signed (RFC 7515, 7517, 7518, 7519).

Knows no AWS and no network: keys are handed in.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_private_key

_HASHES: dict[str, type[hashes.SHA256] | type[hashes.SHA384] | type[hashes.SHA512]] = {
    "256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512,
}  # fmt: skip
_CURVES: dict[str, type[ec.SECP256R1] | type[ec.SECP384R1] | type[ec.SECP521R1]] = {
    "P-256": ec.SECP256R1, "P-384": ec.SECP384R1, "P-521": ec.SECP521R1,
}  # fmt: skip
_CURVE_OF = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
ALGORITHMS = frozenset({"RS256", "RS384", "RS512", *_CURVE_OF})
SIGNING = frozenset({"RS256", "ES384"})
"""Those that tokens of our own are signed by."""
_RSA_BITS_MIN = 1024


class BadToken(ValueError):
    """Not a token, or not one that these keys made."""


class Token(NamedTuple):
    """A token taken apart; nothing of it is checked yet."""

    header: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes
    signature: bytes


def read(text: str) -> Token:
    """Take a token apart. Raises BadToken."""
    parts = text.split(".")
    if len(parts) != 3:
        raise BadToken("a token has three parts")
    try:
        header, claims = msgspec.json.decode(_bytes(parts[0])), msgspec.json.decode(_bytes(parts[1]))
        signature = _bytes(parts[2])
    except (binascii.Error, ValueError, RecursionError):
        raise BadToken("a part of the token cannot be read") from None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise BadToken("header and claims are objects")
    return Token(header, claims, f"{parts[0]}.{parts[1]}".encode(), signature)


def verify(token: Token, keys: list[Mapping[str, Any]]) -> None:
    """Check the signature against a JWK set's keys. Raises BadToken; the algorithm "none" and HMAC are never taken."""
    algorithm = token.header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise BadToken(f"the algorithm {algorithm!r} is not taken")
    key_id = token.header.get("kid")
    for key in keys:
        if key.get("use", "sig") != "sig" or key.get("alg", algorithm) != algorithm:
            continue
        if key_id is not None and key.get("kid", key_id) != key_id:
            continue
        if _verifies(token, algorithm, key):
            return
    raise BadToken("no key of the provider verifies the token")


def signed(claims: Mapping[str, Any], algorithm: str, key_id: str, private_key: bytes) -> str:
    """A token signed with a private key (PKCS 8, DER) of the algorithm's kind; algorithm: one of `SIGNING`."""
    header = {"alg": algorithm, "kid": key_id, "typ": "JWT"}
    text = f"{_text(msgspec.json.encode(header))}.{_text(msgspec.json.encode(claims))}"
    key = load_der_private_key(private_key, None)
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    else:
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        r, s = decode_dss_signature(key.sign(text.encode(), ec.ECDSA(hashes.SHA384())))
        signature = r.to_bytes(48, "big") + s.to_bytes(48, "big")
    return f"{text}.{_text(signature)}"


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _verifies(token: Token, algorithm: str, key: Mapping[str, Any]) -> bool:
    digest = _HASHES[algorithm[2:]]()
    try:
        if algorithm.startswith("RS") and key.get("kty") == "RSA":
            public = rsa.RSAPublicNumbers(_number(key["e"]), _number(key["n"])).public_key()
            if public.key_size < _RSA_BITS_MIN:
                return False
            public.verify(token.signature, token.signed, padding.PKCS1v15(), digest)
            return True
        if algorithm in _CURVE_OF and key.get("kty") == "EC" and key.get("crv") == _CURVE_OF[algorithm]:
            curve = _CURVES[key["crv"]]()
            point = ec.EllipticCurvePublicNumbers(_number(key["x"]), _number(key["y"]), curve).public_key()
            half = (curve.key_size + 7) // 8
            if len(token.signature) != 2 * half:
                return False
            r, s = (int.from_bytes(part, "big") for part in (token.signature[:half], token.signature[half:]))
            point.verify(encode_dss_signature(r, s), token.signed, ec.ECDSA(digest))
            return True
    except (InvalidSignature, KeyError, ValueError, TypeError):
        return False
    return False


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _number(text: str) -> int:
    return int.from_bytes(_bytes(text), "big")
