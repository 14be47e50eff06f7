"""Which key spec can do what: https://docs.aws.amazon.com/kms/latest/developerguide/symm-asymm-choose-key-spec.html"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

SYMMETRIC = "SYMMETRIC_DEFAULT"
ENCRYPT = "ENCRYPT_DECRYPT"
SIGN = "SIGN_VERIFY"
MAC = "GENERATE_VERIFY_MAC"
AGREE = "KEY_AGREEMENT"
ML_DSA = "ML_DSA_SHAKE_256"

_PSS = ("RSASSA_PKCS1_V1_5_SHA_256", "RSASSA_PKCS1_V1_5_SHA_384", "RSASSA_PKCS1_V1_5_SHA_512",
        "RSASSA_PSS_SHA_256", "RSASSA_PSS_SHA_384", "RSASSA_PSS_SHA_512")  # fmt: skip
_OAEP = ("RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256")


@dataclass(frozen=True, slots=True)
class Spec:
    """What a key spec is. algorithms: by key usage; the usages are those in which it can be created.

    size_bits: of an RSA modulus. size_bytes: of symmetric and HMAC material. curve: of an elliptic curve key.
    lattice: the class of an ML-DSA private key.
    """

    name: str
    algorithms: dict[str, tuple[str, ...]]
    size_bits: int = 0
    size_bytes: int = 0
    curve: ec.EllipticCurve | None = None
    lattice: Any = None

    @property
    def asymmetric(self) -> bool:
        """Whether it is a key pair."""
        return not self.size_bytes


_NIST = {"256": ec.SECP256R1(), "384": ec.SECP384R1(), "521": ec.SECP521R1()}


def _ml_dsa() -> tuple[Spec, ...]:
    """The ML-DSA specs, where the installed `cryptography` knows them: older ones do not."""
    try:
        mldsa = importlib.import_module("cryptography.hazmat.primitives.asymmetric.mldsa")
        kinds = {n: getattr(mldsa, f"MLDSA{n}PrivateKey") for n in (44, 65, 87)}
        for kind in kinds.values():
            kind.generate()
    except (ImportError, AttributeError, UnsupportedAlgorithm):
        return ()
    return tuple(Spec(f"ML_DSA_{n}", {SIGN: (ML_DSA,)}, lattice=kind) for n, kind in kinds.items())


SPECS: dict[str, Spec] = {
    spec.name: spec
    for spec in (
        Spec(SYMMETRIC, {ENCRYPT: (SYMMETRIC,)}, size_bytes=32),
        *(Spec(f"RSA_{n}", {ENCRYPT: _OAEP, SIGN: _PSS}, size_bits=n) for n in (2048, 3072, 4096)),
        *(
            Spec(f"ECC_NIST_P{n}", {SIGN: (f"ECDSA_SHA_{h}",), AGREE: ("ECDH",)}, curve=_NIST[n])
            for n, h in (("256", 256), ("384", 384), ("521", 512))
        ),
        Spec("ECC_SECG_P256K1", {SIGN: ("ECDSA_SHA_256",)}, curve=ec.SECP256K1()),
        Spec("ECC_NIST_EDWARDS25519", {SIGN: ("ED25519_SHA_512",)}),
        *_ml_dsa(),
        *(Spec(f"HMAC_{n}", {MAC: (f"HMAC_SHA_{n}",)}, size_bytes=n // 8) for n in (224, 256, 384, 512)),
    )
}
"""Those that can be created here. SM2 is AWS's in China alone, ML-KEM is refused."""

HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "1": hashes.SHA1, "224": hashes.SHA224, "256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512,
}  # fmt: skip

ALGORITHM_MEMBERS = {
    ENCRYPT: "EncryptionAlgorithms", SIGN: "SigningAlgorithms", MAC: "MacAlgorithms", AGREE: "KeyAgreementAlgorithms",
}  # fmt: skip
"""Key usage -> the member of a key's description that lists its algorithms."""


def hash_of(algorithm: str) -> hashes.HashAlgorithm:
    """The hash at the end of an algorithm's name, e.g. of RSASSA_PSS_SHA_256."""
    return HASHES[algorithm.rpartition("_")[2]]()
