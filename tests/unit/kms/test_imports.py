"""Imported material as the clock moves, and in several Regions."""

from __future__ import annotations

import os
from collections.abc import Awaitable
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from bare_node import ACCOUNT, ROOT, Ask
from penstock.core.node import Node
from penstock.services.kms import keys
from penstock.services.kms.records import decode_key
from penstock.services.kms.workers import carry_out_all
from penstock.wire.errors import AwsError

DAY_S = 86_400.0


async def refused(awaitable: Awaitable[Any]) -> str:
    with pytest.raises(AwsError) as caught:
        await awaitable
    return caught.value.code


async def bring(node: Node, key_id: str, plain: bytes, region: str = "us-east-1", **more: Any) -> dict[str, Any]:
    """Import material into a key, with fresh parameters."""

    async def there(operation: str, **params: Any) -> dict[str, Any]:
        return await node.call("kms", operation, params, principal=ROOT, account=ACCOUNT, region=region)

    given = await there(
        "GetParametersForImport", KeyId=key_id, WrappingAlgorithm="RSAES_OAEP_SHA_1", WrappingKeySpec="RSA_2048"
    )
    public = serialization.load_der_public_key(given["PublicKey"])
    assert isinstance(public, rsa.RSAPublicKey)
    wrapped = public.encrypt(plain, padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None))
    if "ValidTo" not in more:
        more["ExpirationModel"] = "KEY_MATERIAL_DOES_NOT_EXPIRE"
    return await there(
        "ImportKeyMaterial", KeyId=key_id, ImportToken=given["ImportToken"], EncryptedKeyMaterial=wrapped, **more
    )


async def external(ask: Ask, **params: Any) -> str:
    return str((await ask("kms:CreateKey", Origin="EXTERNAL", **params))["KeyMetadata"]["KeyId"])


async def test_material_expires_by_the_clock(node: Node, ask: Ask) -> None:
    key_id, plain = await external(ask), os.urandom(32)
    await bring(node, key_id, plain, ValidTo=node.clock.now() + 5 * DAY_S)
    described = (await ask("kms:DescribeKey", KeyId=key_id))["KeyMetadata"]
    assert (described["ExpirationModel"], described["KeyState"]) == ("KEY_MATERIAL_EXPIRES", "Enabled")
    blob = (await ask("kms:Encrypt", KeyId=key_id, Plaintext=b"x"))["CiphertextBlob"]
    node.clock.advance(5 * DAY_S + 1)
    assert await refused(ask("kms:Decrypt", CiphertextBlob=blob)) == "KMSInvalidStateException"
    assert await carry_out_all(node) == 1
    stored = await node.store.transact(lambda txn: txn.get(keys.key(ACCOUNT, "us-east-1", key_id)), read_only=True)
    assert stored is not None
    assert [m.sealed for m in decode_key(stored).materials] == [b""]
    assert (await ask("kms:DescribeKey", KeyId=key_id))["KeyMetadata"]["KeyState"] == "PendingImport"
    assert await refused(bring(node, key_id, os.urandom(32))) == "IncorrectKeyMaterialException"
    await bring(node, key_id, plain)
    assert (await ask("kms:Decrypt", CiphertextBlob=blob))["Plaintext"] == b"x"


async def test_an_import_token_lives_for_a_day(node: Node, ask: Ask) -> None:
    key_id, other = await external(ask), await external(ask)
    given = await ask(
        "kms:GetParametersForImport", KeyId=key_id, WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_2048"
    )
    asked = {"EncryptedKeyMaterial": b"x", "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}
    token = given["ImportToken"]
    wrong = ask("kms:ImportKeyMaterial", KeyId=other, ImportToken=token, **asked)
    assert await refused(wrong) == "InvalidImportTokenException"
    wrong = ask("kms:ImportKeyMaterial", KeyId=key_id, ImportToken=token[:-1] + b"x", **asked)
    assert await refused(wrong) == "InvalidImportTokenException"
    node.clock.advance(DAY_S + 1)
    late = ask("kms:ImportKeyMaterial", KeyId=key_id, ImportToken=token, **asked)
    assert await refused(late) == "ExpiredImportTokenException"


async def test_each_region_imports_for_itself(node: Node, ask: Ask) -> None:
    key_id, first, second = await external(ask, MultiRegion=True), os.urandom(32), os.urandom(32)
    await bring(node, key_id, first)
    await ask("kms:ReplicateKey", KeyId=key_id, ReplicaRegion="eu-west-1")

    async def there(operation: str, **params: Any) -> dict[str, Any]:
        return await node.call("kms", operation, params, principal=ROOT, account=ACCOUNT, region="eu-west-1")

    blob = (await ask("kms:Encrypt", KeyId=key_id, Plaintext=b"x"))["CiphertextBlob"]
    assert await refused(there("Decrypt", CiphertextBlob=blob)) == "KMSInvalidStateException"
    await bring(node, key_id, first, "eu-west-1")
    assert (await there("Decrypt", CiphertextBlob=blob))["Plaintext"] == b"x"

    async def states() -> list[str]:
        listed = await ask("kms:ListKeyRotations", KeyId=key_id, IncludeKeyMaterial="ALL_KEY_MATERIAL")
        return [rotation["KeyMaterialState"] for rotation in listed["Rotations"]]

    new = {"ImportType": "NEW_KEY_MATERIAL"}
    assert await refused(bring(node, key_id, second, "eu-west-1", **new)) == "UnsupportedOperationException"
    await bring(node, key_id, second, **new)
    assert await states() == ["CURRENT", "PENDING_MULTI_REGION_IMPORT_AND_ROTATION"]
    assert await refused(ask("kms:RotateKeyOnDemand", KeyId=key_id)) == "KMSInvalidStateException"
    await bring(node, key_id, second, "eu-west-1")
    assert await states() == ["CURRENT", "PENDING_ROTATION"]
    await ask("kms:RotateKeyOnDemand", KeyId=key_id)
    assert await states() == ["NON_CURRENT", "CURRENT"]
    newer = (await there("Encrypt", KeyId=key_id, Plaintext=b"y"))["CiphertextBlob"]
    assert (await ask("kms:Decrypt", CiphertextBlob=newer))["Plaintext"] == b"y"
    assert (await there("Decrypt", CiphertextBlob=blob))["Plaintext"] == b"x"
    # A Region that loses one of its materials is out, the others are not.
    await there("DeleteImportedKeyMaterial", KeyId=key_id)
    assert await refused(there("Decrypt", CiphertextBlob=blob)) == "KMSInvalidStateException"
    assert (await ask("kms:Decrypt", CiphertextBlob=newer))["Plaintext"] == b"y"


async def test_a_disabled_key_is_rotated_when_it_is_enabled(node: Node, ask: Ask) -> None:
    key_id = str((await ask("kms:CreateKey"))["KeyMetadata"]["KeyId"])
    await ask("kms:EnableKeyRotation", KeyId=key_id, RotationPeriodInDays=100)
    await ask("kms:DisableKey", KeyId=key_id)
    node.clock.advance(250 * DAY_S)
    assert await carry_out_all(node) == 0
    await ask("kms:EnableKey", KeyId=key_id)
    assert await carry_out_all(node) == 1
    assert len((await ask("kms:ListKeyRotations", KeyId=key_id))["Rotations"]) == 1
    status = await ask("kms:GetKeyRotationStatus", KeyId=key_id)
    assert node.clock.now() < status["NextRotationDate"] <= node.clock.now() + 100 * DAY_S


async def test_keys_that_cannot_be_rotated_are_not(ask: Ask) -> None:
    """Asking is allowed for every key, as Terraform does for those of each kind."""
    for spec, usage in (("ECC_NIST_P256", "SIGN_VERIFY"), ("HMAC_256", "GENERATE_VERIFY_MAC")):
        key_id = str((await ask("kms:CreateKey", KeySpec=spec, KeyUsage=usage))["KeyMetadata"]["KeyId"])
        assert (await ask("kms:GetKeyRotationStatus", KeyId=key_id))["KeyRotationEnabled"] is False
        assert await refused(ask("kms:EnableKeyRotation", KeyId=key_id)) == "UnsupportedOperationException"
