"""Roles, their trust policies, and what sessions of them may do."""

from __future__ import annotations

import json

import pytest

from bare_node import ACCOUNT, ROOT, Ask, signed_in
from penstock.core.identity import root
from penstock.core.node import Node
from penstock.wire.errors import AwsError

ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/r"


def trust(principal: object, **condition: object) -> str:
    statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    if condition:
        statement["Condition"] = condition
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def allow(action: str | list[str], resource: str = "*", effect: str = "Allow") -> str:
    return json.dumps(
        {"Version": "2012-10-17", "Statement": {"Effect": effect, "Action": action, "Resource": resource}}
    )


async def test_a_role_is_read_back_as_made(ask: Ask) -> None:
    document = trust({"AWS": ACCOUNT})
    made = (await ask("iam:CreateRole", RoleName="r", Path="/a/b/", AssumeRolePolicyDocument=document))["Role"]
    assert made["Arn"] == f"arn:aws:iam::{ACCOUNT}:role/a/b/r"
    assert made["RoleId"].startswith("AROA") and len(made["RoleId"]) == 21
    got = (await ask("iam:GetRole", RoleName="r"))["Role"]
    assert got.pop("RoleLastUsed") == {} and got.pop("MaxSessionDuration") == 3600
    assert got == made


async def test_case_does_not_tell_names_apart(ask: Ask) -> None:
    await ask("iam:CreateRole", RoleName="Role", AssumeRolePolicyDocument=trust("*"))
    with pytest.raises(AwsError, match="EntityAlreadyExists: Role with name rOLE already exists") as caught:
        await ask("iam:CreateRole", RoleName="rOLE", AssumeRolePolicyDocument=trust("*"))
    assert caught.value.status == 409
    assert (await ask("iam:GetRole", RoleName="rOLE"))["Role"]["RoleName"] == "Role"
    await ask("iam:PutRolePolicy", RoleName="ROLE", PolicyName="p", PolicyDocument=allow("s3:*"))
    assert (await ask("iam:ListRolePolicies", RoleName="role"))["PolicyNames"] == ["p"]
    with pytest.raises(AwsError, match="AccessDenied"):
        await ask("sts:AssumeRole", RoleArn=f"arn:aws:iam::{ACCOUNT}:role/role", RoleSessionName="s")
    await ask("iam:DeleteRolePolicy", RoleName="rolE", PolicyName="p")
    await ask("iam:DeleteRole", RoleName="role")
    with pytest.raises(AwsError, match="The role with name Role cannot be found"):
        await ask("iam:GetRole", RoleName="Role")


async def test_a_session_may_do_what_its_role_may(node: Node, ask: Ask) -> None:
    await ask("iam:CreateRole", RoleName="r", AssumeRolePolicyDocument=trust({"AWS": ACCOUNT}))
    await ask("iam:PutRolePolicy", RoleName="r", PolicyName="p", PolicyDocument=allow("iam:GetRole", ROLE_ARN))
    answer = await ask("sts:AssumeRole", RoleArn=ROLE_ARN, RoleSessionName="me")
    assert answer["AssumedRoleUser"]["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/r/me"
    principal = await signed_in(node, answer["Credentials"])
    who = await ask("sts:GetCallerIdentity", principal)
    assert who["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/r/me"
    assert who["UserId"] == answer["AssumedRoleUser"]["AssumedRoleId"]
    await ask("iam:GetRole", principal, RoleName="r")
    with pytest.raises(AwsError) as caught:
        await ask("iam:GetRole", principal, RoleName="other")
    assert str(caught.value) == (
        f"AccessDenied: User: arn:aws:sts::{ACCOUNT}:assumed-role/r/me is not authorized to perform: iam:GetRole on "
        f"resource: arn:aws:iam::{ACCOUNT}:role/other because no identity-based policy allows the iam:GetRole action"
    )
    assert node.decisions.recent(denied_only=True)[0].reason == (
        "no statement that allows it in: inline policy p of role r"
    )
    await ask("iam:PutRolePolicy", RoleName="r", PolicyName="d", PolicyDocument=allow("iam:Get*", effect="Deny"))
    with pytest.raises(AwsError, match="with an explicit deny in an identity-based policy"):
        await ask("iam:GetRole", principal, RoleName="r")


async def test_a_session_ends_with_its_role(node: Node, ask: Ask) -> None:
    await ask("iam:CreateRole", RoleName="r", AssumeRolePolicyDocument=trust({"AWS": ACCOUNT}))
    answer = await ask("sts:AssumeRole", RoleArn=ROLE_ARN, RoleSessionName="me")
    await ask("iam:DeleteRole", RoleName="r")
    await ask("iam:CreateRole", RoleName="r", AssumeRolePolicyDocument=trust({"AWS": ACCOUNT}))
    await ask("iam:PutRolePolicy", RoleName="r", PolicyName="p", PolicyDocument=allow("*"))
    with pytest.raises(AwsError, match="does not exist"):
        await ask("iam:GetRole", await signed_in(node, answer["Credentials"]), RoleName="r")


async def test_a_session_policy_narrows(node: Node, ask: Ask) -> None:
    await ask("iam:CreateRole", RoleName="r", AssumeRolePolicyDocument=trust({"AWS": ACCOUNT}))
    await ask("iam:PutRolePolicy", RoleName="r", PolicyName="p", PolicyDocument=allow("iam:*"))
    answer = await ask("sts:AssumeRole", RoleArn=ROLE_ARN, RoleSessionName="me", Policy=allow("iam:ListRoles"))
    assert 0 < answer["PackedPolicySize"] <= 100
    principal = await signed_in(node, answer["Credentials"])
    await ask("iam:ListRoles", principal)
    with pytest.raises(AwsError, match="because no session policy allows the iam:GetRole action"):
        await ask("iam:GetRole", principal, RoleName="r")


async def test_the_trust_policy_decides_who(ask: Ask) -> None:
    await ask("iam:CreateRole", RoleName="r", AssumeRolePolicyDocument=trust({"Service": "lambda.amazonaws.com"}))
    with pytest.raises(AwsError, match="is not authorized to perform: sts:AssumeRole on resource") as caught:
        await ask("sts:AssumeRole", RoleArn=ROLE_ARN, RoleSessionName="me")
    assert caught.value.status == 403
    with pytest.raises(AwsError, match="is not authorized to perform: sts:AssumeRole"):
        await ask("sts:AssumeRole", RoleArn=ROLE_ARN + "2", RoleSessionName="me")


async def test_an_external_id_is_demanded(ask: Ask) -> None:
    document = trust({"AWS": ACCOUNT}, StringEquals={"sts:ExternalId": "x1"})
    await ask("iam:CreateRole", RoleName="r", AssumeRolePolicyDocument=document)
    with pytest.raises(AwsError, match="AccessDenied"):
        await ask("sts:AssumeRole", RoleArn=ROLE_ARN, RoleSessionName="me")
    await ask("sts:AssumeRole", RoleArn=ROLE_ARN, RoleSessionName="me", ExternalId="x1")


async def test_chained_roles_last_an_hour(node: Node, ask: Ask) -> None:
    document = trust({"AWS": ACCOUNT})
    await ask("iam:CreateRole", RoleName="r", AssumeRolePolicyDocument=document, MaxSessionDuration=7200)
    await ask("iam:PutRolePolicy", RoleName="r", PolicyName="p", PolicyDocument=allow("sts:AssumeRole"))
    first = await ask("sts:AssumeRole", RoleArn=ROLE_ARN, RoleSessionName="me", DurationSeconds=7200)
    principal = await signed_in(node, first["Credentials"])
    with pytest.raises(AwsError, match="1 hour session limit for roles assumed by role chaining"):
        await ask("sts:AssumeRole", principal, RoleArn=ROLE_ARN, RoleSessionName="me2", DurationSeconds=7200)
    with pytest.raises(AwsError, match="exceeds the MaxSessionDuration set for this role"):
        await ask("sts:AssumeRole", RoleArn=ROLE_ARN, RoleSessionName="me2", DurationSeconds=7201)


async def test_tags_are_asked_for_and_carried(node: Node, ask: Ask) -> None:
    document = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": {
                "Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": ["sts:AssumeRole", "sts:TagSession"],
            },
        }
    )  # fmt: skip
    await ask("iam:CreateRole", RoleName="r", AssumeRolePolicyDocument=document)
    await ask(
        "iam:PutRolePolicy", RoleName="r", PolicyName="p",
        PolicyDocument=allow("iam:*", "arn:aws:iam::*:role/${aws:PrincipalTag/team}"),
    )  # fmt: skip
    tags = [{"Key": "team", "Value": "r"}]
    answer = await ask("sts:AssumeRole", RoleArn=ROLE_ARN, RoleSessionName="me", Tags=tags)
    principal = await signed_in(node, answer["Credentials"])
    await ask("iam:GetRole", principal, RoleName="r")
    with pytest.raises(AwsError, match="AccessDenied"):
        await ask("iam:ListRoles", principal)


async def test_a_role_of_another_account(node: Node, ask: Ask) -> None:
    other = "111111111111"
    arn = f"arn:aws:iam::{other}:role/theirs"

    await ask("iam:CreateRole", root(other), RoleName="theirs", AssumeRolePolicyDocument=trust({"AWS": ACCOUNT}))
    await ask("iam:CreateRole", RoleName="r", AssumeRolePolicyDocument=trust({"AWS": ACCOUNT}))
    first = await ask("sts:AssumeRole", RoleArn=ROLE_ARN, RoleSessionName="me")
    mine = await signed_in(node, first["Credentials"])
    with pytest.raises(AwsError, match="AccessDenied"):
        await ask("sts:AssumeRole", mine, RoleArn=arn, RoleSessionName="x")
    await ask("iam:PutRolePolicy", RoleName="r", PolicyName="p", PolicyDocument=allow("sts:AssumeRole", arn))
    answer = await ask("sts:AssumeRole", mine, RoleArn=arn, RoleSessionName="x")
    assert (await signed_in(node, answer["Credentials"])).account == other
    assert (await ask("sts:AssumeRole", ROOT, RoleArn=arn, RoleSessionName="x"))["AssumedRoleUser"]


async def test_a_service_takes_a_role_it_is_trusted_with(node: Node, ask: Ask) -> None:
    lambda_ = "lambda.amazonaws.com"
    await ask("iam:CreateRole", RoleName="r", AssumeRolePolicyDocument=trust({"Service": lambda_}))
    credential = await node.directory.role_credential(ROLE_ARN, "fn", 3600, lambda_)
    assert credential.principal.arn == f"arn:aws:sts::{ACCOUNT}:assumed-role/r/fn"
    assert await node.directory.credential(credential.access_key_id, credential.session_token) == credential
    assert await node.directory.credential(credential.access_key_id) is None
    assert await node.directory.credential("ASIA" + "A" * 16, credential.session_token) is None
    with pytest.raises(AwsError, match="AccessDenied"):
        await node.directory.role_credential(ROLE_ARN, "fn", 3600, "ec2.amazonaws.com")


async def test_a_role_that_does_not_exist_may_do_nothing_and_says_so(node: Node, ask: Ask) -> None:
    arn = f"arn:aws:iam::{ACCOUNT}:role/lr"
    credential = await node.directory.role_credential(arn, "fn", 3600, "lambda.amazonaws.com")
    with pytest.raises(AwsError) as caught:
        await ask("iam:ListRoles", credential.principal)
    assert f"(the role {arn} does not exist)" in caught.value.message
