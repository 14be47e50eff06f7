"""Sign, Verify, GetPublicKey: https://docs.aws.amazon.com/kms/latest/developerguide/symm-asymm-choose-key-spec.html"""

from __future__ import annotations

from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from penstock.core.call import Call
from penstock.core.operation import Params, Result
from penstock.services.kms import access, errors, grant_tokens, rules
from penstock.services.kms.material import KEY_TYPES, LatticeKey, OpenMaterial, PrivateKey
from penstock.services.kms.records import Key
from penstock.services.kms.specs import ALGORITHM_MEMBERS, ML_DSA, SIGN, SPECS, hash_of
from penstock.wire.errors import AwsError, not_implemented

RAW, DIGEST, MU = "RAW", "DIGEST", "EXTERNAL_MU"
MU_BYTES = 64


async def _private(call: Call, key: Key) -> PrivateKey:
    material = key.current
    assert material is not None
    opened = await call.node.own(OpenMaterial).of(key, material)
    assert isinstance(opened, KEY_TYPES)
    return opened


def _padding(algorithm: str) -> padding.AsymmetricPadding:
    if algorithm.startswith("RSASSA_PSS"):
        hashing = hash_of(algorithm)
        return padding.PSS(padding.MGF1(hashing), hashing.digest_size)
    return padding.PKCS1v15()


def _hashing(params: Params) -> hashes.HashAlgorithm | Prehashed | None:
    """How the message is hashed; None: by the algorithm itself. Raises AwsError ValidationException.

    So it does for a digest of the wrong length. EXTERNAL_MU is the digest of ML-DSA:
    https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html
    """
    algorithm, kind = params["SigningAlgorithm"], params.get("MessageType", RAW)
    lattice = algorithm == ML_DSA
    if (kind != RAW and (kind == MU) is not lattice) or (kind == DIGEST and algorithm.startswith("ED25519")):
        raise errors.invalid(f"MessageType {kind} is not supported for {algorithm}.")
    hashing = None if lattice else hash_of(algorithm)
    if kind == RAW:
        return hashing
    if len(params["Message"]) != (hashing.digest_size if hashing else MU_BYTES):
        raise errors.invalid(f"Digest is invalid length for algorithm {algorithm}.")
    return Prehashed(hashing) if hashing else None


def _checked(call: Call, params: Params) -> Key:
    grant_tokens.check(params)
    key = access.seen(call)
    algorithm = params["SigningAlgorithm"]
    if algorithm == "ED25519_PH_SHA_512":
        raise not_implemented(f"kms:{call.operation.name} with SigningAlgorithm={algorithm!r}")
    rules.check_use(key, call.now, SIGN, call.operation.name, algorithm)
    return key


@access.key_operation("Sign", across=True)
async def sign(call: Call, params: Params) -> Result:
    key = _checked(call, params)
    algorithm, message = params["SigningAlgorithm"], params["Message"]
    hashing = _hashing(params)
    rules.check_dry_run(params)
    private = await _private(call, key)
    if isinstance(private, rsa.RSAPrivateKey) and hashing:
        signature = private.sign(message, _padding(algorithm), hashing)
    elif isinstance(private, ec.EllipticCurvePrivateKey) and hashing:
        signature = private.sign(message, ec.ECDSA(hashing))
    elif isinstance(private, LatticeKey) and params.get("MessageType") == MU:
        signature = private.sign_mu(message)
    else:
        assert isinstance(private, (ed25519.Ed25519PrivateKey, LatticeKey))
        signature = private.sign(message)
    return {"KeyId": key.arn, "Signature": signature, "SigningAlgorithm": algorithm}


@access.key_operation("Verify", across=True)
async def verify(call: Call, params: Params) -> Result:
    key = _checked(call, params)
    algorithm, message, signature = params["SigningAlgorithm"], params["Message"], params["Signature"]
    hashing = _hashing(params)
    rules.check_dry_run(params)
    public: Any = (await _private(call, key)).public_key()
    try:
        if isinstance(public, rsa.RSAPublicKey) and hashing:
            public.verify(signature, message, _padding(algorithm), hashing)
        elif isinstance(public, ec.EllipticCurvePublicKey) and hashing:
            public.verify(signature, message, ec.ECDSA(hashing))
        elif params.get("MessageType") == MU:
            public.verify_mu(signature, message)
        else:
            public.verify(signature, message)
    except InvalidSignature:
        raise AwsError("KMSInvalidSignatureException") from None
    return {"KeyId": key.arn, "SignatureValid": True, "SigningAlgorithm": algorithm}


@access.key_operation("GetPublicKey", across=True)
async def get_public_key(call: Call, params: Params) -> Result:
    grant_tokens.check(params)
    key = access.seen(call)
    rules.check_state(key, call.now)
    material = key.current
    assert material is not None
    if not SPECS[key.spec].asymmetric:
        raise errors.unsupported(f"{key.arn} key usage is {key.usage} which is not valid for GetPublicKey.")
    return {
        "KeyId": key.arn, "PublicKey": material.public, "CustomerMasterKeySpec": key.spec, "KeySpec": key.spec,
        "KeyUsage": key.usage, ALGORITHM_MEMBERS[key.usage]: list(SPECS[key.spec].algorithms[key.usage]),
    }  # fmt: skip
