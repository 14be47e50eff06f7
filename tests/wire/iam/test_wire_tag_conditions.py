"""Access by tags: of the caller, of the request and of the resource, and the other keys that every request has."""

from __future__ import annotations

import json
import urllib.request
import uuid
from typing import Any

import pytest

from policed import code, denied
from served import Served

OWN = {"StringEquals": {"aws:ResourceTag/team": "${aws:PrincipalTag/team}"}}


def statement(
    action: str | list[str], condition: dict[str, Any] | None = None, effect: str = "Allow"
) -> dict[str, Any]:
    return {"Effect": effect, "Action": action, "Resource": "*"} | ({"Condition": condition} if condition else {})


def test_only_what_the_callers_own_team_has(server: Served, user: Any) -> None:
    mine, name = user(statement("*", OWN), team="blue"), f"t{uuid.uuid4().hex[:12]}"
    dynamodb, logs, lambda_, iam, kms = map(server.client, ("dynamodb", "logs", "lambda", "iam", "kms"))
    trust = {"Effect": "Allow", "Principal": {"AWS": "000000000000"}, "Action": "sts:AssumeRole"}
    arns, keys = {}, {}
    for team in ("blue", "red"):
        each, tags = f"{name}-{team}", [{"Key": "Team", "Value": team}]
        dynamodb.create_table(
            TableName=each, KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}], BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}], Tags=tags,
        )  # fmt: skip
        logs.create_log_group(logGroupName=each, tags={"team": team})
        logs.create_log_stream(logGroupName=each, logStreamName="s")
        arns[team] = iam.create_role(
            RoleName=each, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": trust}), Tags=tags
        )["Role"]["Arn"]
        lambda_.create_function(
            FunctionName=each, Runtime="python3.11", Handler="a.b", Role=arns[team], Code={"ZipFile": code()},
            Tags={"team": team},
        )  # fmt: skip
        keys[team] = kms.create_key(Tags=[{"TagKey": "team", "TagValue": team}])["KeyMetadata"]["KeyId"]
    for team, expected in (("blue", False), ("red", True)):
        each = f"{name}-{team}"
        assert denied(mine("dynamodb").get_item, TableName=each, Key={"k": {"S": "x"}}) is expected
        assert denied(mine("logs").describe_log_streams, logGroupName=each) is expected
        assert denied(mine("logs").get_log_events, logGroupName=each, logStreamName="s") is expected
        assert denied(mine("lambda").get_function, FunctionName=each) is expected
        assert denied(mine("iam").get_role, RoleName=each) is expected
        assert denied(mine("kms").describe_key, KeyId=keys[team]) is expected
        assert denied(mine("sts").assume_role, RoleArn=arns[team], RoleSessionName="sess") is expected
    who = mine("sts").get_caller_identity()["Arn"]
    for team in ("blue", "red"):
        for action, resource in (
            ("dynamodb:GetItem", f"arn:aws:dynamodb:us-east-1:000000000000:table/{name}-{team}"),
            ("iam:GetRole", arns[team]), ("kms:Encrypt", f"arn:aws:kms:us-east-1:000000000000:key/{keys[team]}"),
        ):  # fmt: skip
            body = json.dumps({"principal": who, "action": action, "resource": resource}).encode()
            told = json.load(urllib.request.urlopen(f"{server.endpoint}/_penstock/authz/why", body))
            assert told["allowed"] is (team == "blue"), told
    iam.tag_role(RoleName=f"{name}-red", Tags=[{"Key": "team", "Value": "blue"}])
    assert not denied(mine("iam").get_role, RoleName=f"{name}-red")
    dynamodb.untag_resource(
        ResourceArn=dynamodb.describe_table(TableName=f"{name}-blue")["Table"]["TableArn"], TagKeys=["Team"]
    )
    assert denied(mine("dynamodb").get_item, TableName=f"{name}-blue", Key={"k": {"S": "x"}})


def test_iams_own_name_for_the_key_and_what_a_tag_cannot_guard(server: Served, user: Any) -> None:
    iam, name = server.client("iam"), f"t{uuid.uuid4().hex[:12]}"
    iam.create_user(UserName=name, Tags=[{"Key": "team", "Value": "blue"}])
    guarded = user(
        statement("iam:*"),
        statement("iam:*", {"StringNotEqualsIfExists": {"iam:ResourceTag/team": "red"}}, "Deny"),
    )("iam")
    assert denied(guarded.get_user, UserName=name)
    iam.tag_user(UserName=name, Tags=[{"Key": "team", "Value": "red"}])
    assert not denied(guarded.get_user, UserName=name)
    # No tag of a role says who may pass it.
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    role = iam.create_role(
        RoleName=name, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": trust}),
        Tags=[{"Key": "team", "Value": "blue"}],
    )["Role"]["Arn"]  # fmt: skip
    maker = user(statement("lambda:*"), statement("iam:PassRole", OWN), team="blue")("lambda")
    how = {"FunctionName": name, "Runtime": "python3.11", "Handler": "a.b", "Role": role, "Code": {"ZipFile": code()}}
    assert denied(maker.create_function, **how)


def test_tags_that_a_request_must_and_may_set(server: Served, user: Any) -> None:
    wanted = {
        "StringEquals": {"aws:RequestTag/team": ["blue", "green"]},
        "ForAllValues:StringEquals": {"aws:TagKeys": ["team", "env"]},
    }
    iam = user(statement("iam:*", wanted))("iam")
    name = f"t{uuid.uuid4().hex[:12]}"
    assert denied(iam.create_user, UserName=name)
    assert denied(iam.create_user, UserName=name, Tags=[{"Key": "team", "Value": "red"}])
    more = [{"Key": "team", "Value": "blue"}, {"Key": "other", "Value": "x"}]
    assert denied(iam.create_user, UserName=name, Tags=more)
    # The name of a condition key has no case, but a tag's key as a value has.
    assert denied(iam.create_user, UserName=name, Tags=[{"Key": "Team", "Value": "green"}])
    assert not denied(iam.create_user, UserName=name, Tags=[{"Key": "team", "Value": "green"}])


@pytest.mark.parametrize(
    ("condition", "allowed"),
    [
        ({"Bool": {"aws:SecureTransport": "false"}}, True),
        ({"Bool": {"aws:SecureTransport": "true"}}, False),
        ({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, True),
        ({"NotIpAddress": {"aws:SourceIp": "127.0.0.1"}}, False),
        ({"DateLessThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}, False),
        ({"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z", "aws:EpochTime": "1577836800"}}, True),
        ({"StringLike": {"aws:UserAgent": "*Boto3*"}}, True),
        ({"StringEquals": {"aws:RequestedRegion": "us-east-1"}}, True),
        ({"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}, False),
        ({"StringEquals": {"aws:PrincipalAccount": "000000000000", "aws:PrincipalType": "User"}}, True),
        ({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/u*"}}, True),
        ({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/*"}}, False),
        ({"Bool": {"aws:PrincipalIsAWSService": "false", "aws:ViaAWSService": "false"}}, True),
        ({"Null": {"aws:TokenIssueTime": "true", "aws:MultiFactorAuthPresent": "true", "aws:SourceVpc": "true"}}, True),
        ({"BoolIfExists": {"aws:MultiFactorAuthPresent": "true"}}, True),
        ({"StringLike": {"aws:userid": "AIDA*"}}, True),
        ({"StringEquals": {"aws:PrincipalTag/team": "blue"}}, True),
        ({"StringEquals": {"aws:principaltag/TEAM": "red"}}, False),
    ],
)  # fmt: skip
def test_global_keys(user: Any, condition: dict[str, Any], allowed: bool) -> None:
    client = user(statement("dynamodb:ListTables", condition), team="blue")("dynamodb")
    assert denied(client.list_tables) is not allowed
