"""The calls by which Terraform's AWS provider (and CloudFormation, for SAM) make, read, change and remove roles and policies.

What such a tool reads back has to be just what it wrote, or it plans a change for ever: documents compared as JSON, tags,
paths, descriptions, durations, boundaries, and lists without surprises.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from served import Served

LAMBDA = {
    "Version": "2012-10-17",
    "Statement": [
        {"Action": "sts:AssumeRole", "Effect": "Allow", "Sid": "", "Principal": {"Service": "lambda.amazonaws.com"}}
    ],
}
BASIC = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"


def document(action: str) -> str:
    """With the spacing and the order of keys that a person would write."""
    statement = {"Resource": ["*"], "Action": [action], "Effect": "Allow"}
    return json.dumps({"Statement": [statement], "Version": "2012-10-17"}, indent=2)


@pytest.fixture
def iam(server: Served) -> Any:
    return server.client("iam")


def test_terraforms_role(iam: Any) -> None:
    """aws_iam_role, aws_iam_role_policy, aws_iam_role_policy_attachment and aws_iam_instance_profile."""
    name, trust = f"tf-{uuid4().hex[:12]}", json.dumps(LAMBDA, indent=2)
    tags = [{"Key": "Name", "Value": "a b"}, {"Key": "Empty", "Value": ""}]
    made = iam.create_role(
        RoleName=name, AssumeRolePolicyDocument=trust, Path="/team/", Description="for é", MaxSessionDuration=7200, Tags=tags,
        PermissionsBoundary="arn:aws:iam::aws:policy/AmazonS3FullAccess",
    )["Role"]  # fmt: skip
    iam.put_role_policy(RoleName=name, PolicyName="inline", PolicyDocument=document("s3:GetObject"))
    iam.attach_role_policy(RoleName=name, PolicyArn=BASIC)
    iam.create_instance_profile(InstanceProfileName=name, Path="/team/")
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    for _ in range(2):  # a plan reads twice and must see the same
        role = iam.get_role(RoleName=name)["Role"]
        assert role["AssumeRolePolicyDocument"] == LAMBDA
        kept = ("Arn", "RoleId", "Path", "CreateDate", "Description", "MaxSessionDuration", "PermissionsBoundary")
        assert [role[k] for k in kept if k in made] == [made[k] for k in kept if k in made]
        assert (role["Description"], role["MaxSessionDuration"], role["Tags"]) == ("for é", 7200, tags)
        assert iam.list_role_policies(RoleName=name)["PolicyNames"] == ["inline"]
        inline = iam.get_role_policy(RoleName=name, PolicyName="inline")["PolicyDocument"]
        assert inline == json.loads(document("s3:GetObject"))
        attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
        assert attached == [{"PolicyName": "AWSLambdaBasicExecutionRole", "PolicyArn": BASIC}]
        profiles = iam.list_instance_profiles_for_role(RoleName=name)["InstanceProfiles"]
        assert [(p["InstanceProfileName"], p["Path"], [r["RoleName"] for r in p["Roles"]]) for p in profiles] == [
            (name, "/team/", [name])
        ]
    changed = {**LAMBDA, "Statement": [{**LAMBDA["Statement"][0], "Sid": "New"}]}  # type: ignore[dict-item]
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(changed))
    iam.update_role(RoleName=name, Description="", MaxSessionDuration=3600)
    iam.tag_role(RoleName=name, Tags=[{"Key": "Name", "Value": "c"}])
    iam.untag_role(RoleName=name, TagKeys=["Empty"])
    iam.delete_role_permissions_boundary(RoleName=name)
    role = iam.get_role(RoleName=name)["Role"]
    assert (role["AssumeRolePolicyDocument"], role["MaxSessionDuration"]) == (changed, 3600)
    assert role["Tags"] == [{"Key": "Name", "Value": "c"}]
    assert "PermissionsBoundary" not in role
    with pytest.raises(ClientError, match="DeleteConflict"):
        iam.delete_role(RoleName=name)
    iam.remove_role_from_instance_profile(InstanceProfileName=name, RoleName=name)
    iam.delete_instance_profile(InstanceProfileName=name)
    iam.detach_role_policy(RoleName=name, PolicyArn=BASIC)
    iam.delete_role_policy(RoleName=name, PolicyName="inline")
    iam.delete_role(RoleName=name)
    with pytest.raises(ClientError, match="NoSuchEntity"):
        iam.get_role(RoleName=name)


def test_terraforms_policy(iam: Any) -> None:
    """aws_iam_policy: each change is a version, the oldest goes when there are five."""
    name = f"tf-{uuid4().hex[:12]}"
    arn = iam.create_policy(
        PolicyName=name,
        Path="/team/",
        PolicyDocument=document("s3:A0"),
        Description="d",
        Tags=[{"Key": "k", "Value": "v"}],
    )["Policy"]["Arn"]
    for n in range(1, 7):
        versions = iam.list_policy_versions(PolicyArn=arn)["Versions"]
        if len(versions) == 5:
            oldest = min((v for v in versions if not v["IsDefaultVersion"]), key=lambda v: v["CreateDate"])
            iam.delete_policy_version(PolicyArn=arn, VersionId=oldest["VersionId"])
        iam.create_policy_version(PolicyArn=arn, PolicyDocument=document(f"s3:A{n}"), SetAsDefault=True)
        policy = iam.get_policy(PolicyArn=arn)["Policy"]
        assert (policy["Path"], policy["Description"], policy["Tags"]) == ("/team/", "d", [{"Key": "k", "Value": "v"}])
        version = iam.get_policy_version(PolicyArn=arn, VersionId=policy["DefaultVersionId"])["PolicyVersion"]
        assert version["Document"] == json.loads(document(f"s3:A{n}"))
    for version in iam.list_policy_versions(PolicyArn=arn)["Versions"]:
        if not version["IsDefaultVersion"]:
            iam.delete_policy_version(PolicyArn=arn, VersionId=version["VersionId"])
    iam.delete_policy(PolicyArn=arn)


def test_documents_come_back_as_they_were_written(server: Served, iam: Any) -> None:
    """To the character, percent-encoded: what a tool that compares texts needs."""
    name = f"sam-{uuid4().hex[:12]}"
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(LAMBDA, indent=3))
    iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=document("s3:*"))
    raw: dict[str, str] = {}
    client = server.client("iam")
    client.meta.events.register(
        "response-received.iam.*", lambda response_dict, **_: raw.update(body=response_dict["body"].decode())
    )
    client.get_role(RoleName=name)
    encoded = raw["body"].partition("<AssumeRolePolicyDocument>")[2].partition("</AssumeRolePolicyDocument>")[0]
    assert unquote(encoded) == json.dumps(LAMBDA, indent=3)
    client.get_role_policy(RoleName=name, PolicyName="p")
    encoded = raw["body"].partition("<PolicyDocument>")[2].partition("</PolicyDocument>")[0]
    assert unquote(encoded) == document("s3:*")
