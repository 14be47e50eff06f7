"""DeriveSharedSecret: elliptic curve Diffie-Hellman with a key that stays here.

https://docs.aws.amazon.com/kms/latest/APIReference/API_DeriveSharedSecret.html
"""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from penstock.core.call import Call
from penstock.core.operation import Params, Result
from penstock.services.kms import access, errors, grant_tokens, rules
from penstock.services.kms.material import OpenMaterial
from penstock.services.kms.specs import AGREE


@access.key_operation("DeriveSharedSecret", across=True, unsupported={"Recipient": ()})
async def derive_shared_secret(call: Call, params: Params) -> Result:
    grant_tokens.check(params)
    key = access.seen(call)
    algorithm = params["KeyAgreementAlgorithm"]
    rules.check_use(key, call.now, AGREE, "DeriveSharedSecret", algorithm)
    assert key.current is not None
    private = await call.node.own(OpenMaterial).of(key, key.current)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    try:
        public = load_der_public_key(params["PublicKey"])
    except (ValueError, UnsupportedAlgorithm):
        raise errors.invalid("") from None
    if not isinstance(public, ec.EllipticCurvePublicKey) or public.curve.name != private.curve.name:
        raise errors.invalid("")
    rules.check_dry_run(params)
    return {
        "KeyId": key.arn, "SharedSecret": private.exchange(ec.ECDH(), public), "KeyAgreementAlgorithm": algorithm,
        "KeyOrigin": key.origin,
    }  # fmt: skip
