"""Keys, through the registry, on the memory engine: what they can do, and what happens to them as the clock moves."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bare_node import ACCOUNT, Ask
from penstock.core.node import Node
from penstock.services.kms import keys
from penstock.services.kms.ciphertexts import _canonical
from penstock.services.kms.records import Key, decode_key
from penstock.services.kms.workers import carry_out_all
from penstock.wire.errors import AwsError

DAY_S = 86_400.0


async def refused(awaitable: Awaitable[Any]) -> tuple[str, str]:
    """The code and message with which a call fails."""
    with pytest.raises(AwsError) as caught:
        await awaitable
    return caught.value.code, caught.value.message


async def made(ask: Ask, **params: Any) -> str:
    answer = await ask("kms:CreateKey", **params)
    return str(answer["KeyMetadata"]["KeyId"])


async def record(node: Node, key_id: str, region: str = "us-east-1") -> Key | None:
    stored = await node.store.transact(lambda txn: txn.get(keys.key(ACCOUNT, region, key_id)), read_only=True)
    return None if stored is None else decode_key(stored)


def arn(key_id: str) -> str:
    return f"arn:aws:kms:us-east-1:{ACCOUNT}:key/{key_id}"


async def test_a_ciphertext_says_by_itself_what_opens_it(ask: Ask) -> None:
    key_id = await made(ask)
    context = {"b": "2", "a": "1"}
    blob = (await ask("kms:Encrypt", KeyId=key_id, Plaintext=b"secret", EncryptionContext=context))["CiphertextBlob"]
    assert b"secret" not in blob
    opened = await ask("kms:Decrypt", CiphertextBlob=blob, EncryptionContext={"a": "1", "b": "2"})
    assert (opened["Plaintext"], opened["KeyId"]) == (b"secret", arn(key_id))
    bad = ("InvalidCiphertextException", "")
    assert await refused(ask("kms:Decrypt", CiphertextBlob=blob)) == bad
    assert await refused(ask("kms:Decrypt", CiphertextBlob=blob, EncryptionContext={"a": "1"})) == bad
    for at in range(len(blob)):
        altered = blob[:at] + bytes((blob[at] ^ 1,)) + blob[at + 1 :]
        code, _ = await refused(ask("kms:Decrypt", CiphertextBlob=altered, EncryptionContext=context))
        # A blob that names another key is one whose key is not here.
        assert code in ("InvalidCiphertextException", "AccessDeniedException"), at
    for cut in (b"x", blob[:-1], blob[30:], blob + b"x"):
        assert await refused(ask("kms:Decrypt", CiphertextBlob=cut, EncryptionContext=context)) == bad
    other = await made(ask)
    code, _ = await refused(ask("kms:Decrypt", CiphertextBlob=blob, EncryptionContext=context, KeyId=other))
    assert code == "IncorrectKeyException"


async def test_deletion_waits_and_then_destroys(node: Node, ask: Ask) -> None:
    key_id = await made(ask)
    await ask("kms:CreateAlias", AliasName="alias/x", TargetKeyId=key_id)
    blob = (await ask("kms:Encrypt", KeyId="alias/x", Plaintext=b"secret"))["CiphertextBlob"]
    answer = await ask("kms:ScheduleKeyDeletion", KeyId=key_id, PendingWindowInDays=7)
    assert answer["DeletionDate"] == pytest.approx(node.clock.now() + 7 * DAY_S, abs=5)
    pending = ("KMSInvalidStateException", f"{arn(key_id)} is pending deletion.")
    assert await refused(ask("kms:Decrypt", CiphertextBlob=blob)) == pending
    assert await refused(ask("kms:EnableKey", KeyId=key_id)) == pending
    await ask("kms:CancelKeyDeletion", KeyId=key_id)
    assert await refused(ask("kms:Decrypt", CiphertextBlob=blob)) == (
        "DisabledException",
        f"{arn(key_id)} is disabled.",
    )
    await ask("kms:EnableKey", KeyId=key_id)
    assert (await ask("kms:Decrypt", CiphertextBlob=blob))["Plaintext"] == b"secret"
    await ask("kms:ScheduleKeyDeletion", KeyId=key_id, PendingWindowInDays=7)
    node.clock.advance(7 * DAY_S - 60)
    assert await carry_out_all(node) == 0
    assert await record(node, key_id) is not None
    node.clock.advance(120)
    gone = ("NotFoundException", f"Key '{arn(key_id)}' does not exist")
    assert await refused(ask("kms:DescribeKey", KeyId=key_id)) == gone
    assert await carry_out_all(node) == 1
    assert await record(node, key_id) is None
    assert (await refused(ask("kms:Decrypt", CiphertextBlob=blob)))[0] == "AccessDeniedException"
    alias = f"arn:aws:kms:us-east-1:{ACCOUNT}:alias/x"
    assert await refused(ask("kms:DescribeKey", KeyId="alias/x")) == (
        "NotFoundException",
        f"Alias {alias} is not found.",
    )
    assert (await ask("kms:ListAliases"))["Aliases"] == []
    left = await node.store.transact(lambda txn: [k for k, _ in txn.scan(b"", b"\xff") if b"kms" in k], read_only=True)
    assert [k for k in left if k != keys.count(ACCOUNT, "us-east-1")] == []


async def test_an_alias_is_free_with_the_end_of_the_waiting_period(node: Node, ask: Ask) -> None:
    """Not only when the worker has come by, which may take it five minutes."""
    gone = await made(ask)
    for name in ("alias/x", "alias/y"):
        await ask("kms:CreateAlias", AliasName=name, TargetKeyId=gone)
    await ask("kms:ScheduleKeyDeletion", KeyId=gone, PendingWindowInDays=7)
    fresh = await made(ask)
    taken = ask("kms:CreateAlias", AliasName="alias/x", TargetKeyId=fresh)
    assert (await refused(taken))[0] == "AlreadyExistsException"
    node.clock.advance(7 * DAY_S + 1)
    await ask("kms:CreateAlias", AliasName="alias/x", TargetKeyId=fresh)
    assert await record(node, gone) is None
    assert await carry_out_all(node) == 0
    assert [alias["AliasName"] for alias in (await ask("kms:ListAliases"))["Aliases"]] == ["alias/x"]
    assert (await ask("kms:DescribeKey", KeyId="alias/x"))["KeyMetadata"]["KeyId"] == fresh


async def test_rotation_by_the_clock_keeps_what_was_encrypted_readable(node: Node, ask: Ask) -> None:
    key_id = await made(ask)
    await ask("kms:EnableKeyRotation", KeyId=key_id, RotationPeriodInDays=90)
    blobs = []
    for _ in range(3):
        blobs.append((await ask("kms:Encrypt", KeyId=key_id, Plaintext=b"x"))["CiphertextBlob"])
        node.clock.advance(90 * DAY_S + 1)
        assert await carry_out_all(node) == 1
    ids = {(await ask("kms:Decrypt", CiphertextBlob=blob))["KeyMaterialId"] for blob in blobs}
    current = (await ask("kms:DescribeKey", KeyId=key_id))["KeyMetadata"]["CurrentKeyMaterialId"]
    assert len(ids) == 3
    assert current not in ids
    rotations = (await ask("kms:ListKeyRotations", KeyId=key_id))["Rotations"]
    assert [r["RotationType"] for r in rotations] == ["AUTOMATIC"] * 3
    everything = (await ask("kms:ListKeyRotations", KeyId=key_id, IncludeKeyMaterial="ALL_KEY_MATERIAL"))["Rotations"]
    assert [r["KeyMaterialState"] for r in everything] == ["NON_CURRENT"] * 3 + ["CURRENT"]
    await ask("kms:DisableKeyRotation", KeyId=key_id)
    node.clock.advance(1000 * DAY_S)
    assert await carry_out_all(node) == 0


async def test_multi_region_keys_share_their_material(node: Node, ask: Ask) -> None:
    key_id = await made(ask, MultiRegion=True)
    assert key_id.startswith("mrk-")
    await ask("kms:ReplicateKey", KeyId=key_id, ReplicaRegion="eu-west-1")
    blob = (await ask("kms:Encrypt", KeyId=key_id, Plaintext=b"both"))["CiphertextBlob"]

    async def there(operation: str, **params: Any) -> dict[str, Any]:
        from bare_node import ROOT

        return await node.call("kms", operation, params, principal=ROOT, account=ACCOUNT, region="eu-west-1")

    assert (await there("Decrypt", CiphertextBlob=blob))["Plaintext"] == b"both"
    await ask("kms:RotateKeyOnDemand", KeyId=key_id)
    blob = (await there("Encrypt", KeyId=key_id, Plaintext=b"back"))["CiphertextBlob"]
    assert (await ask("kms:Decrypt", CiphertextBlob=blob))["Plaintext"] == b"back"
    assert await refused(there("RotateKeyOnDemand", KeyId=key_id)) != ()
    await ask("kms:UpdatePrimaryRegion", KeyId=key_id, PrimaryRegion="eu-west-1")
    described = (await there("DescribeKey", KeyId=key_id))["KeyMetadata"]["MultiRegionConfiguration"]
    assert described["MultiRegionKeyType"] == "PRIMARY"
    assert [r["Region"] for r in described["ReplicaKeys"]] == ["us-east-1"]
    answer = await there("ScheduleKeyDeletion", KeyId=key_id, PendingWindowInDays=10)
    assert answer["KeyState"] == "PendingReplicaDeletion"
    assert "DeletionDate" not in answer
    await ask("kms:ScheduleKeyDeletion", KeyId=key_id, PendingWindowInDays=7)
    node.clock.advance(7 * DAY_S + 1)
    await carry_out_all(node)
    described = (await there("DescribeKey", KeyId=key_id))["KeyMetadata"]
    assert described["KeyState"] == "PendingDeletion"
    assert described["DeletionDate"] == pytest.approx(node.clock.now() + 10 * DAY_S, abs=5)


@given(st.dictionaries(st.text(), st.text()), st.dictionaries(st.text(), st.text()))
def test_encryption_contexts_are_told_apart(one: dict[str, str], other: dict[str, str]) -> None:
    assert _canonical(one) == _canonical(dict(reversed(one.items())))
    assert (_canonical(one) == _canonical(other)) == (one == other)
