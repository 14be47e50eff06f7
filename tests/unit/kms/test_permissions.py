"""Who may use a key: its policy, identity policies, grants, services on somebody's behalf."""

from __future__ import annotations

import json
from collections.abc import Awaitable
from typing import Any

import pytest

from bare_node import ACCOUNT, ROOT, Ask, signed_in
from penstock.core.identity import Principal, root, service
from penstock.core.node import Node
from penstock.wire.errors import AwsError

OTHER = "111111111111"


async def refused(awaitable: Awaitable[Any]) -> str:
    with pytest.raises(AwsError) as caught:
        await awaitable
    return caught.value.code


async def user(node: Node, ask: Ask, name: str, *actions: str, account: str = ACCOUNT) -> Principal:
    """A user who may do these things by an identity policy."""
    owner = root(account)
    await ask("iam:CreateUser", owner, UserName=name)
    if actions:
        document = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": list(actions), "Resource": "*"}}
        await ask("iam:PutUserPolicy", owner, UserName=name, PolicyName="p", PolicyDocument=json.dumps(document))
    return await signed_in(node, (await ask("iam:CreateAccessKey", owner, UserName=name))["AccessKey"])


def policy(*statements: dict[str, Any]) -> str:
    own = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "kms:*", "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [own, *statements]})


async def made(ask: Ask, **params: Any) -> str:
    return str((await ask("kms:CreateKey", **params))["KeyMetadata"]["Arn"])


async def test_the_key_policy_decides_even_inside_the_account(node: Node, ask: Ask) -> None:
    able, unable = await user(node, ask, "able", "kms:*"), await user(node, ask, "unable")
    arn = await made(ask)
    assert "CiphertextBlob" in await ask("kms:Encrypt", able, KeyId=arn, Plaintext=b"x")
    assert await refused(ask("kms:Encrypt", unable, KeyId=arn, Plaintext=b"x")) == "AccessDeniedException"
    # A policy that does not name the account takes identity policies' say away.
    only = {
        "Version": "2012-10-17",
        "Statement": {"Effect": "Allow", "Principal": {"AWS": unable.arn}, "Action": "kms:*", "Resource": "*"},
    }
    await ask(
        "kms:PutKeyPolicy", KeyId=arn, PolicyName="default", Policy=json.dumps(only), BypassPolicyLockoutSafetyCheck=True
    )  # fmt: skip
    assert await refused(ask("kms:Encrypt", able, KeyId=arn, Plaintext=b"x")) == "AccessDeniedException"
    assert "CiphertextBlob" in await ask("kms:Encrypt", unable, KeyId=arn, Plaintext=b"x")
    locked_out = {**only, "Statement": {**only["Statement"], "Principal": {"AWS": able.arn}}}  # type: ignore[dict-item]
    assert (
        await refused(ask("kms:PutKeyPolicy", unable, KeyId=arn, Policy=json.dumps(locked_out)))
        == "MalformedPolicyDocumentException"
    )
    assert await refused(ask("kms:CreateKey", Policy="no policy")) == "MalformedPolicyDocumentException"


async def test_conditions_on_the_encryption_context(node: Node, ask: Ask) -> None:
    someone = await user(node, ask, "someone")
    statement = {
        "Effect": "Allow", "Principal": {"AWS": someone.arn}, "Action": "kms:Decrypt", "Resource": "*",
        "Condition": {"StringEquals": {"kms:EncryptionContext:team": "blue"}},
    }  # fmt: skip
    arn = await made(ask, Policy=policy(statement))
    for team, allowed in (("blue", True), ("red", False)):
        context = {"team": team}
        blob = (await ask("kms:Encrypt", KeyId=arn, Plaintext=b"x", EncryptionContext=context))["CiphertextBlob"]
        opening = ask("kms:Decrypt", someone, CiphertextBlob=blob, EncryptionContext=context)
        if allowed:
            assert (await opening)["Plaintext"] == b"x"
        else:
            assert await refused(opening) == "AccessDeniedException"


async def test_a_grant_gives_what_it_says(node: Node, ask: Ask) -> None:
    grantee, retirer = await user(node, ask, "grantee"), await user(node, ask, "retirer")
    arn = await made(ask)
    context = {"a": "1", "b": "2"}
    blob = (await ask("kms:Encrypt", KeyId=arn, Plaintext=b"x", EncryptionContext=context))["CiphertextBlob"]
    opening = {"CiphertextBlob": blob, "EncryptionContext": context}
    assert await refused(ask("kms:Decrypt", grantee, **opening)) == "AccessDeniedException"
    grant = await ask(
        "kms:CreateGrant", KeyId=arn, GranteePrincipal=grantee.arn, RetiringPrincipal=retirer.arn,
        Operations=["Decrypt", "CreateGrant"], Constraints={"EncryptionContextSubset": {"a": "1"}},
    )  # fmt: skip
    assert (await ask("kms:Decrypt", grantee, **opening, GrantTokens=[grant["GrantToken"]]))["Plaintext"] == b"x"
    assert await refused(ask("kms:Encrypt", grantee, KeyId=arn, Plaintext=b"x")) == "AccessDeniedException"
    assert await refused(ask("kms:Decrypt", grantee, **opening, GrantTokens=["x"])) == "InvalidGrantTokenException"
    other = (await ask("kms:Encrypt", KeyId=arn, Plaintext=b"x", EncryptionContext={"a": "2"}))["CiphertextBlob"]
    asked = ask("kms:Decrypt", grantee, CiphertextBlob=other, EncryptionContext={"a": "2"})
    assert await refused(asked) == "AccessDeniedException"
    # What a grantee passes on is no more than it has.
    passing = {"KeyId": arn, "GranteePrincipal": retirer.arn}
    assert await refused(ask("kms:CreateGrant", grantee, **passing, Operations=["Encrypt"])) == "AccessDeniedException"
    assert await refused(ask("kms:CreateGrant", grantee, **passing, Operations=["Decrypt"])) == "AccessDeniedException"
    await ask("kms:CreateGrant", grantee, **passing, Operations=["Decrypt"],
              Constraints={"EncryptionContextEquals": context})  # fmt: skip
    assert (await ask("kms:Decrypt", retirer, **opening))["Plaintext"] == b"x"
    assert len((await ask("kms:ListGrants", KeyId=arn))["Grants"]) == 2
    [listed] = (await ask("kms:ListRetirableGrants", RetiringPrincipal=retirer.arn))["Grants"]
    assert listed["GrantId"] == grant["GrantId"]
    assert await refused(ask("kms:RetireGrant", grantee, GrantToken=grant["GrantToken"])) == "AccessDeniedException"
    await ask("kms:RetireGrant", retirer, GrantToken=grant["GrantToken"])
    assert await refused(ask("kms:Decrypt", grantee, **opening)) == "AccessDeniedException"
    [left] = (await ask("kms:ListGrants", KeyId=arn))["Grants"]
    assert await refused(ask("kms:RevokeGrant", KeyId=arn, GrantId=left["GrantId"], DryRun=True)) == (
        "DryRunOperationException"
    )
    await ask("kms:RevokeGrant", KeyId=arn, GrantId=left["GrantId"])
    assert (await ask("kms:ListGrants", KeyId=arn))["Grants"] == []
    assert await refused(ask("kms:RevokeGrant", KeyId=arn, GrantId=left["GrantId"])) == "NotFoundException"


async def test_a_named_grant_is_made_once(ask: Ask) -> None:
    arn = await made(ask)
    given = {"KeyId": arn, "GranteePrincipal": f"arn:aws:iam::{ACCOUNT}:user/u", "Operations": ["Decrypt"]}
    one, two = await ask("kms:CreateGrant", **given, Name="n"), await ask("kms:CreateGrant", **given, Name="n")
    assert one["GrantId"] == two["GrantId"]
    assert (await ask("kms:CreateGrant", **given))["GrantId"] != (await ask("kms:CreateGrant", **given))["GrantId"]


async def test_another_account_needs_both_sides(node: Node, ask: Ask) -> None:
    stranger = root(OTHER)
    closed = await made(ask)
    assert await refused(ask("kms:Encrypt", stranger, KeyId=closed, Plaintext=b"x")) == "AccessDeniedException"
    theirs = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{OTHER}:root"}, "Action": "kms:*", "Resource": "*"}
    shared = await made(ask, Policy=policy(theirs))
    answer = await ask("kms:Encrypt", stranger, KeyId=shared, Plaintext=b"x")
    assert (await ask("kms:Decrypt", stranger, CiphertextBlob=answer["CiphertextBlob"]))["KeyId"] == shared
    powerless = await user(node, ask, "powerless", account=OTHER)
    assert await refused(ask("kms:Encrypt", powerless, KeyId=shared, Plaintext=b"x")) == "AccessDeniedException"
    # Managing it stays with its own account, whatever the policy says.
    assert await refused(ask("kms:DisableKey", stranger, KeyId=shared)) == "AccessDeniedException"
    own = (await ask("kms:CreateKey", stranger))["KeyMetadata"]["Arn"]
    moved = await ask(
        "kms:ReEncrypt", stranger, CiphertextBlob=answer["CiphertextBlob"], DestinationKeyId=own.rpartition("/")[2]
    )
    assert moved["KeyId"] == own
    assert await refused(
        ask("kms:ReEncrypt", stranger, CiphertextBlob=moved["CiphertextBlob"], DestinationKeyId=closed)
    ) == ("AccessDeniedException")


async def test_an_alias_needs_the_key_too(node: Node, ask: Ask) -> None:
    someone = await user(node, ask, "namer", "kms:CreateAlias", "kms:DeleteAlias")
    arn = await made(ask)
    await ask("kms:CreateAlias", someone, AliasName="alias/a", TargetKeyId=arn)
    only_me = {
        "Version": "2012-10-17",
        "Statement": {"Effect": "Allow", "Principal": {"AWS": ROOT.arn}, "Action": "kms:PutKeyPolicy", "Resource": "*"},
    }
    await ask("kms:PutKeyPolicy", KeyId=arn, Policy=json.dumps(only_me))
    again = ask("kms:CreateAlias", someone, AliasName="alias/b", TargetKeyId=arn)
    assert await refused(again) == "AccessDeniedException"
    assert await refused(ask("kms:DeleteAlias", someone, AliasName="alias/a")) == "AccessDeniedException"


async def test_a_services_key_is_used_through_the_service(node: Node, ask: Ask) -> None:
    someone = await user(node, ask, "reader", "s3:*")

    async def through(operation: str, who: Principal, via: str, **params: Any) -> dict[str, Any]:
        return await node.call(
            "kms", operation, params, principal=who, account=who.account, region="us-east-1",
            context={"kms:ViaService": via},
        )  # fmt: skip

    via = "s3.us-east-1.amazonaws.com"
    answer = await through("GenerateDataKey", someone, via, KeyId="alias/aws/s3", KeySpec="AES_256")
    opened = await through("Decrypt", someone, via, CiphertextBlob=answer["CiphertextBlob"])
    assert opened["Plaintext"] == answer["Plaintext"]
    blob = answer["CiphertextBlob"]
    elsewhere = through("Decrypt", someone, "sqs.us-east-1.amazonaws.com", CiphertextBlob=blob)
    assert await refused(elsewhere) == "AccessDeniedException"
    assert (
        await refused(ask("kms:Decrypt", someone, CiphertextBlob=answer["CiphertextBlob"])) == "AccessDeniedException"
    )
    described = (await ask("kms:DescribeKey", KeyId="alias/aws/s3"))["KeyMetadata"]
    assert (described["KeyManager"], described["Arn"]) == ("AWS", answer["KeyId"])
    for operation, params in (
        ("ScheduleKeyDeletion", {}), ("DisableKey", {}), ("Encrypt", {"Plaintext": b"x"}), ("DisableKeyRotation", {}),
    ):  # fmt: skip
        assert await refused(ask(f"kms:{operation}", KeyId=answer["KeyId"], **params)) == "AccessDeniedException"
    assert (await ask("kms:ListAliases"))["Aliases"][0]["AliasName"] == "alias/aws/s3"
    assert await refused(ask("kms:DescribeKey", KeyId="alias/aws/none")) == "NotFoundException"


async def test_a_service_by_itself_needs_the_key_policy(node: Node, ask: Ask) -> None:
    logs = service("logs.amazonaws.com", ACCOUNT)
    closed = await made(ask)
    assert await refused(ask("kms:Encrypt", logs, KeyId=closed, Plaintext=b"x")) == "AccessDeniedException"
    statement = {
        "Effect": "Allow", "Principal": {"Service": "logs.amazonaws.com"}, "Action": "kms:Encrypt", "Resource": "*",
    }  # fmt: skip
    opened = await made(ask, Policy=policy(statement))
    assert "CiphertextBlob" in await ask("kms:Encrypt", logs, KeyId=opened, Plaintext=b"x")
