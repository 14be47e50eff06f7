"""Data keys, key pairs and randomness for others to use: https://docs.aws.amazon.com/kms/latest/developerguide/data-keys.html"""

from __future__ import annotations

import secrets

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.kms import access, errors, grant_tokens, material, rules
from penstock.services.kms.encryption import context_of, encrypt_with
from penstock.services.kms.records import Key
from penstock.services.kms.specs import SPECS
from penstock.wire.errors import not_implemented

_SIZES = {"AES_128": 16, "AES_256": 32}


def _ready(call: Call, params: Params) -> Key:
    """The key that a data key is asked of. Raises AwsError where it cannot give one."""
    grant_tokens.check(params)
    key = access.seen(call)
    rules.check_symmetric(key, call.now, call.operation.name)
    return key


def _size_bytes(params: Params) -> int:
    spec, size_bytes = params.get("KeySpec"), params.get("NumberOfBytes")
    if (spec is None) == (size_bytes is None):
        raise errors.invalid("Please specify either number of bytes or key spec.")
    return _SIZES[spec] if spec is not None else int(params["NumberOfBytes"])


async def _data_key(call: Call, params: Params) -> tuple[bytes, Result]:
    """A fresh data key, and the answer without it."""
    key = _ready(call, params)
    size_bytes = _size_bytes(params)
    context = context_of(params)
    rules.check_dry_run(params)
    plain = secrets.token_bytes(size_bytes)
    blob = await encrypt_with(call, key, plain, context)
    assert key.current is not None
    return plain, {"CiphertextBlob": blob, "KeyId": key.arn, "KeyMaterialId": key.current.id}


@access.key_operation("GenerateDataKey", across=True, unsupported={"Recipient": ()})
async def generate_data_key(call: Call, params: Params) -> Result:
    plain, answer = await _data_key(call, params)
    answer["Plaintext"] = plain
    return answer


@access.key_operation("GenerateDataKeyWithoutPlaintext", across=True)
async def generate_data_key_without_plaintext(call: Call, params: Params) -> Result:
    _, answer = await _data_key(call, params)
    return answer


async def _data_key_pair(call: Call, params: Params) -> tuple[bytes, Result]:
    """A fresh private key, and the answer without it."""
    key = _ready(call, params)
    name = params["KeyPairSpec"]
    if name not in SPECS:
        raise not_implemented(f"kms:{call.operation.name} with KeyPairSpec={name!r}")
    context = context_of(params)
    rules.check_dry_run(params)
    private = await material.pair(SPECS[name])
    plain = material.private_der(private)
    blob = await encrypt_with(call, key, plain, context)
    assert key.current is not None
    return plain, {
        "PrivateKeyCiphertextBlob": blob, "PublicKey": material.public_der(private), "KeyId": key.arn,
        "KeyPairSpec": name, "KeyMaterialId": key.current.id,
    }  # fmt: skip


@access.key_operation("GenerateDataKeyPair", across=True, unsupported={"Recipient": ()})
async def generate_data_key_pair(call: Call, params: Params) -> Result:
    plain, answer = await _data_key_pair(call, params)
    answer["PrivateKeyPlaintext"] = plain
    return answer


@access.key_operation("GenerateDataKeyPairWithoutPlaintext", across=True)
async def generate_data_key_pair_without_plaintext(call: Call, params: Params) -> Result:
    _, answer = await _data_key_pair(call, params)
    return answer


@operation("kms:GenerateRandom", unsupported={"CustomKeyStoreId": (), "Recipient": ()})
async def generate_random(_: Call, params: Params) -> Result:
    if "NumberOfBytes" not in params:
        raise errors.invalid("NumberOfBytes is required.")
    return {"Plaintext": secrets.token_bytes(params["NumberOfBytes"])}
