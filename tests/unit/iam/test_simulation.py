"""The simulator asks the evaluation that decides real calls, and points at the statements."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from bare_node import ACCOUNT, Ask
from penstock.core.authz.spans import statement_spans
from penstock.wire.errors import AwsError


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


async def test_a_recorded_answer_of_aws(ask: Ask) -> None:
    statement = {"Sid": "", "Effect": "Allow", "Action": "s3:PutObject", "Resource": "*"}
    text = json.dumps({"Version": "2012-10-17", "Statement": statement})
    await ask("iam:CreateUser", UserName="u")
    arn = (await ask("iam:CreatePolicy", PolicyName="p", PolicyDocument=text))["Policy"]["Arn"]
    await ask("iam:AttachUserPolicy", UserName="u", PolicyArn=arn)
    answer = await ask(
        "iam:SimulatePrincipalPolicy", PolicySourceArn=f"arn:aws:iam::{ACCOUNT}:user/u",
        ActionNames=["s3:PutObject", "s3:GetObjectVersion"], ResourceArns=["arn:aws:s3:::bucket"],
    )  # fmt: skip
    matched = [
        {
            "SourcePolicyId": "p", "SourcePolicyType": "IAM Policy", "StartPosition": {"Line": 1, "Column": 41},
            "EndPosition": {"Line": 1, "Column": 113},
        }
    ]  # fmt: skip
    rest = {"EvalDecisionDetails": {}, "OrganizationsDecisionDetail": {"AllowedByOrganizations": True},
            "MissingContextValues": [], "EvalResourceName": "arn:aws:s3:::bucket"}  # fmt: skip

    def specific(word: str, found: Any) -> list[dict[str, Any]]:
        return [{"EvalResourceName": "arn:aws:s3:::bucket", "EvalResourceDecision": word, "MatchedStatements": found,
                 "MissingContextValues": []}]  # fmt: skip

    assert answer["EvaluationResults"] == [
        rest
        | {
            "EvalActionName": "s3:PutObject", "EvalDecision": "allowed", "MatchedStatements": matched,
            "ResourceSpecificResults": specific("allowed", matched),
        },
        rest
        | {
            "EvalActionName": "s3:GetObjectVersion", "EvalDecision": "implicitDeny", "MatchedStatements": [],
            "ResourceSpecificResults": specific("implicitDeny", []),
        },
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "values", "right"),
    [
        ("string", ["anything"], True), ("string", ["a", "b"], False), ("stringList", ["a", "b"], True),
        ("numeric", ["1.5"], True), ("numericList", ["1", "one"], False), ("boolean", ["True"], True),
        ("boolean", ["yes"], False), ("date", ["2026-11-21T00:00:00Z"], True), ("date", ["soon"], False),
        ("ipList", ["10.0.0.1", "::1"], True), ("ip", ["10.0.0.256"], False), ("binary", ["eA=="], True),
        ("binaryList", ["eA==", "x"], False),
    ],
)  # fmt: skip
async def test_values_of_context_keys_are_of_their_type(ask: Ask, kind: str, values: list[str], right: bool) -> None:
    text = policy({"Effect": "Allow", "Action": "s3:*", "Resource": "*"})
    entry = {"ContextKeyName": "aws:key", "ContextKeyValues": values, "ContextKeyType": kind}
    call = ask("iam:SimulateCustomPolicy", PolicyInputList=[text], ActionNames=["s3:GetObject"], ContextEntries=[entry])
    if right:
        assert (await call)["EvaluationResults"][0]["EvalDecision"] == "allowed"
    else:
        with pytest.raises(AwsError, match="aws:key") as caught:
            await call
        assert caught.value.code == "InvalidInput"


async def test_denies_boundaries_and_missing_keys(ask: Ask) -> None:
    allow = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    deny = {"Effect": "Deny", "Action": "s3:Delete*", "Resource": "*"}
    tagged = {"Effect": "Allow", "Action": "sqs:*", "Resource": "*",
              "Condition": {"StringEquals": {"aws:PrincipalTag/team": "${aws:username}"}}}  # fmt: skip
    text = policy(allow, deny, tagged)
    answer = await ask(
        "iam:SimulateCustomPolicy", PolicyInputList=[text], ActionNames=["s3:DeleteObject", "sqs:SendMessage"]
    )  # fmt: skip
    first, second = answer["EvaluationResults"]
    assert (first["EvalDecision"], len(first["MatchedStatements"])) == ("explicitDeny", 1)
    assert (second["EvalDecision"], second["MissingContextValues"]) == ("implicitDeny", ["aws:principaltag/team"])
    entries = [
        {"ContextKeyName": "aws:PrincipalTag/team", "ContextKeyValues": ["x"], "ContextKeyType": "string"},
        {"ContextKeyName": "aws:username", "ContextKeyValues": ["x"], "ContextKeyType": "string"},
    ]
    answer = await ask(
        "iam:SimulateCustomPolicy", PolicyInputList=[text], ActionNames=["sqs:SendMessage"], ContextEntries=entries
    )  # fmt: skip
    assert answer["EvaluationResults"][0]["EvalDecision"] == "allowed"
    answer = await ask(
        "iam:SimulateCustomPolicy", PolicyInputList=[text], ActionNames=["s3:GetObject"],
        PermissionsBoundaryPolicyInputList=[policy(tagged)],
    )  # fmt: skip
    result = answer["EvaluationResults"][0]
    assert result["EvalDecision"] == "implicitDeny"
    assert result["PermissionsBoundaryDecisionDetail"] == {"AllowedByPermissionsBoundary": False}
    keys = await ask("iam:GetContextKeysForCustomPolicy", PolicyInputList=[text])
    assert keys["ContextKeyNames"] == ["aws:PrincipalTag/team", "aws:username"]
    with pytest.raises(AwsError, match="NoSuchEntity"):
        await ask("iam:SimulatePrincipalPolicy", PolicySourceArn=f"arn:aws:iam::{ACCOUNT}:user/x", ActionNames=["a:B"])


def test_spans_are_those_of_the_statements() -> None:
    text = '{"Id": "{[\\"", "Statement" : [ {"Sid": "}", "Condition": {"Bool": {"a": "true"}}}, {"Sid":"b"}], "Version": "x"}'
    assert [text[span.begin : span.end] for span in statement_spans(text)] == [
        '{"Sid": "}", "Condition": {"Bool": {"a": "true"}}}', '{"Sid":"b"}',
    ]  # fmt: skip


async def test_the_whole_account_reads_back_in_pages(ask: Ask) -> None:
    trust = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole"}}'
    text = policy({"Effect": "Allow", "Action": "*", "Resource": "*"})
    await ask("iam:CreateUser", UserName="u")
    await ask("iam:CreateGroup", GroupName="g")
    await ask("iam:AddUserToGroup", UserName="u", GroupName="g")
    await ask("iam:PutGroupPolicy", GroupName="g", PolicyName="i", PolicyDocument=text)
    await ask("iam:CreateRole", RoleName="r", AssumeRolePolicyDocument=trust)
    await ask("iam:AttachRolePolicy", RoleName="r", PolicyArn="arn:aws:iam::aws:policy/ReadOnlyAccess")
    await ask("iam:CreatePolicy", PolicyName="p", PolicyDocument=text)
    seen: dict[str, list[Any]] = {"UserDetailList": [], "GroupDetailList": [], "RoleDetailList": [], "Policies": []}
    marker: dict[str, Any] = {}
    pages = 0
    while True:
        page = await ask("iam:GetAccountAuthorizationDetails", MaxItems=2, **marker)
        pages += 1
        for name, items in seen.items():
            items += page[name]
        if not page["IsTruncated"]:
            break
        marker = {"Marker": page["Marker"]}
    assert pages == 3
    assert seen["UserDetailList"][0]["GroupList"] == ["g"]
    assert seen["GroupDetailList"][0]["GroupPolicyList"][0]["PolicyName"] == "i"
    assert seen["RoleDetailList"][0]["AttachedManagedPolicies"][0]["PolicyName"] == "ReadOnlyAccess"
    assert [p["PolicyName"] for p in seen["Policies"]] == ["p", "ReadOnlyAccess"]
    only = await ask("iam:GetAccountAuthorizationDetails", Filter=["Role"])
    assert (len(only["RoleDetailList"]), only["UserDetailList"]) == (1, [])


async def test_others_go_on_while_much_is_simulated(ask: Ask) -> None:
    """A request may ask for thousands of decisions, each over all that its 4 MB of policies say."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    try:
        answer = await ask(
            "iam:SimulateCustomPolicy", PolicyInputList=[policy({"Effect": "Allow", "Action": "s3:Get*", "Resource": "*"})],
            ActionNames=[f"s3:Get{i}" for i in range(150)], ResourceArns=[f"arn:aws:s3:::{i}" for i in range(10)],
        )  # fmt: skip
    finally:
        task.cancel()
    assert turns >= 1000
    assert len(answer["EvaluationResults"]) == 100 and answer["IsTruncated"]
    rest = await ask(
        "iam:SimulateCustomPolicy", PolicyInputList=[policy({"Effect": "Allow", "Action": "s3:Get*", "Resource": "*"})],
        ActionNames=[f"s3:Get{i}" for i in range(150)], Marker=answer["Marker"],
    )  # fmt: skip
    assert [each["EvalActionName"] for each in rest["EvaluationResults"]] == [f"s3:Get{i}" for i in range(100, 150)]
