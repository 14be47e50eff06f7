"""Real keys: made, sealed under the node's master key, and opened again.

What is opened is kept in this process, by the sealed bytes it was opened from, so that using a key costs no unsealing.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from penstock.core.master_key import MasterKey, MasterKeyError
from penstock.services.kms import errors
from penstock.services.kms.records import Key, Material
from penstock.services.kms.specs import SPECS, SYMMETRIC, Spec

if TYPE_CHECKING:
    from penstock.core.node import Node

log = logging.getLogger(__name__)


@runtime_checkable
class LatticeKey(Protocol):
    """An ML-DSA private key of `cryptography`, which older versions of it do not have."""

    def sign(self, data: bytes) -> bytes: ...
    def sign_mu(self, mu: bytes) -> bytes: ...
    def public_key(self) -> Any: ...
    def private_bytes(self, encoding: Any, format: Any, encryption_algorithm: Any) -> bytes: ...


PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | LatticeKey
Opened: TypeAlias = AESGCM | PrivateKey | bytes

KEY_TYPES = (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey, LatticeKey)

_KEPT = 2000
_DER = serialization.Encoding.DER
_PUBLIC = serialization.PublicFormat.SubjectPublicKeyInfo
_PLAIN = serialization.NoEncryption()
_PKCS8 = serialization.PrivateFormat.PKCS8


class OpenMaterial:
    """The materials that this process has opened lately. Holds secrets: never logged, never stored."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._opened: OrderedDict[bytes, Opened] = OrderedDict()

    async def of(self, key: Key, material: Material) -> Opened:
        """AESGCM for a symmetric key, a private key for an asymmetric one, bytes for HMAC."""
        found = self._opened.get(material.sealed)
        if found is not None:
            return found
        master = await master_key(self._node)
        try:
            plain = master.unseal(material.sealed, _name(key.account, key.id, material.id))
        except MasterKeyError as error:
            log.error("%s cannot be used: %s", key.arn, error)
            raise errors.unavailable() from None
        opened = _usable(SPECS[key.spec], plain)
        self._opened[material.sealed] = opened
        if len(self._opened) > _KEPT:
            self._opened.popitem(last=False)
        return opened


async def master_key(node: Node) -> MasterKey:
    """What materials are sealed under. Raises AwsError KMSInternalException where it is not to be had."""
    try:
        return await node.master_keys.get()
    except MasterKeyError as error:
        log.error("KMS cannot work: %s", error)
        raise errors.unavailable() from None


def _name(account: str, key_id: str, material_id: str) -> bytes:
    """What a sealed material is bound to. Not the Region: replicas have copies."""
    return f"kms {account} {key_id} {material_id}".encode()


def _usable(spec: Spec, plain: bytes) -> Opened:
    if spec.name == SYMMETRIC:
        return AESGCM(plain)
    if not spec.asymmetric:
        return plain
    # It was checked when it was made or imported.
    found = serialization.load_der_private_key(plain, None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(found, KEY_TYPES)
    return found


async def sealed(node: Node, account: str, key_id: str, plain: bytes, public: bytes = b"") -> Material:
    """A material of these bytes (raw, or a private key in PKCS #8 DER), sealed for that key.

    Its id is a fingerprint: the same bytes imported again for a key are the same material. Nothing can be told from it,
    for the bytes are random ones.
    """
    master = await master_key(node)
    material_id = hashlib.sha256(b"\0".join((account.encode(), key_id.encode(), plain))).hexdigest()
    return Material(material_id, master.seal(plain, _name(account, key_id, material_id)), public)


async def made(node: Node, account: str, key_id: str, spec_name: str) -> Material:
    """A fresh random material for a key of that spec."""
    spec = SPECS[spec_name]
    if not spec.asymmetric:
        return await sealed(node, account, key_id, secrets.token_bytes(spec.size_bytes))
    private = await pair(spec)
    return await sealed(node, account, key_id, private_der(private), public_der(private))


async def pair(spec: Spec) -> PrivateKey:
    """A fresh key pair. Finding primes takes RSA up to seconds, so that is done beside the event loop."""
    if spec.size_bits:
        return await asyncio.to_thread(rsa.generate_private_key, 65537, spec.size_bits)
    if spec.lattice is not None:
        lattice: LatticeKey = spec.lattice.generate()
        return lattice
    return ec.generate_private_key(spec.curve) if spec.curve else ed25519.Ed25519PrivateKey.generate()


def private_der(private: PrivateKey) -> bytes:
    """The private key in PKCS #8."""
    return private.private_bytes(_DER, _PKCS8, _PLAIN)


def public_der(private: PrivateKey) -> bytes:
    """The public key as SubjectPublicKeyInfo."""
    public: bytes = private.public_key().public_bytes(_DER, _PUBLIC)
    return public


async def imported(spec: Spec, plain: bytes) -> tuple[bytes, bytes]:
    """(material, public key) of what somebody imports into a key of that spec.

    Raises AwsError IncorrectKeyMaterialException where it is not material for that spec.
    """
    if not spec.asymmetric:
        if len(plain) != spec.size_bytes:
            raise errors.wrong_material()
        return plain, b""
    try:
        private = await asyncio.to_thread(serialization.load_der_private_key, plain, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise errors.wrong_material() from None
    if not _fits(spec, private):
        raise errors.wrong_material()
    assert isinstance(private, KEY_TYPES)
    return private_der(private), public_der(private)


def _fits(spec: Spec, private: object) -> bool:
    if spec.size_bits:
        return isinstance(private, rsa.RSAPrivateKey) and private.key_size == spec.size_bits
    if spec.curve:
        return isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name == spec.curve.name
    return isinstance(private, spec.lattice or ed25519.Ed25519PrivateKey)
