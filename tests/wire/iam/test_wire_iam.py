"""IAM over the wire: boto3 reads back what it wrote, and errors come as boto3 knows them."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from served import Served

TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"AWS": "000000000000"}, "Action": "sts:AssumeRole"}],
}


def unique(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def document(action: Any, resource: Any = "*", effect: str = "Allow") -> dict[str, Any]:
    statement = {"Effect": effect, "Action": action, "Resource": resource}
    return {"Version": "2012-10-17", "Statement": [statement]}


def test_a_role_and_its_policies_read_back(server: Served) -> None:
    iam = server.client("iam")
    name = unique("role")
    made = iam.create_role(
        RoleName=name, Path="/svc/", AssumeRolePolicyDocument=json.dumps(TRUST), Description="d",
        MaxSessionDuration=7200, Tags=[{"Key": "a", "Value": "b"}],
    )["Role"]  # fmt: skip
    assert made["Arn"] == f"arn:aws:iam::000000000000:role/svc/{name}"
    got = iam.get_role(RoleName=name)["Role"]
    assert got["AssumeRolePolicyDocument"] == TRUST
    assert (got["Description"], got["MaxSessionDuration"], got["Tags"]) == ("d", 7200, [{"Key": "a", "Value": "b"}])
    assert got["CreateDate"] == made["CreateDate"]
    iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=json.dumps(document("s3:*")))
    assert iam.get_role_policy(RoleName=name, PolicyName="p")["PolicyDocument"] == document("s3:*")
    basic = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
    iam.attach_role_policy(RoleName=name, PolicyArn=basic)
    assert iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"] == [
        {"PolicyName": "AWSLambdaBasicExecutionRole", "PolicyArn": basic}
    ]
    assert iam.list_role_policies(RoleName=name)["PolicyNames"] == ["p"]
    names = [
        r["RoleName"] for page in iam.get_paginator("list_roles").paginate(PathPrefix="/svc/") for r in page["Roles"]
    ]
    assert name in names
    with pytest.raises(iam.exceptions.DeleteConflictException):
        iam.delete_role(RoleName=name)
    iam.detach_role_policy(RoleName=name, PolicyArn=basic)
    iam.delete_role_policy(RoleName=name, PolicyName="p")
    iam.delete_role(RoleName=name)
    with pytest.raises(iam.exceptions.NoSuchEntityException) as caught:
        iam.get_role(RoleName=name)
    assert caught.value.response["Error"]["Message"] == f"The role with name {name} cannot be found."
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


def test_policies_users_groups_and_profiles(server: Served) -> None:
    iam = server.client("iam")
    user, group, profile = unique("user"), unique("group"), unique("profile")
    iam.create_user(UserName=user)
    iam.create_group(GroupName=group)
    iam.add_user_to_group(UserName=user, GroupName=group)
    assert iam.list_groups_for_user(UserName=user)["Groups"][0]["GroupName"] == group
    arn = iam.create_policy(PolicyName=unique("p"), PolicyDocument=json.dumps(document("s3:Get*")))["Policy"]["Arn"]
    iam.attach_group_policy(GroupName=group, PolicyArn=arn)
    assert iam.get_policy(PolicyArn=arn)["Policy"]["AttachmentCount"] == 1
    assert iam.get_policy_version(PolicyArn=arn, VersionId="v1")["PolicyVersion"]["Document"] == document("s3:Get*")
    assert iam.list_entities_for_policy(PolicyArn=arn)["PolicyGroups"][0]["GroupName"] == group
    iam.create_instance_profile(InstanceProfileName=profile)
    assert iam.get_instance_profile(InstanceProfileName=profile)["InstanceProfile"]["Roles"] == []
    assert iam.get_account_summary()["SummaryMap"]["UsersQuota"] == 5000
    assert iam.get_user()["User"]["Arn"] == "arn:aws:iam::000000000000:root"
    with pytest.raises(iam.exceptions.MalformedPolicyDocumentException):
        iam.create_policy(PolicyName="bad", PolicyDocument="{}")
    with pytest.raises(iam.exceptions.EntityAlreadyExistsException):
        iam.create_user(UserName=user.upper())


def test_a_user_with_a_narrow_policy_can_do_just_that(server: Served) -> None:
    iam, name, bucket = server.client("iam"), unique("user"), unique("bucket")
    server.client("s3").create_bucket(Bucket=bucket)
    iam.create_user(UserName=name)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    s3 = server.client("s3", key["AccessKeyId"], key["SecretAccessKey"])
    for call in (lambda: s3.list_buckets(), lambda: s3.put_object(Bucket=bucket, Key="in/a", Body=b"x")):
        with pytest.raises(ClientError) as caught:
            call()
        assert caught.value.response["Error"]["Code"] == "AccessDenied"
    policy = document(["s3:GetObject", "s3:PutObject"], f"arn:aws:s3:::{bucket}/in/*")
    iam.put_user_policy(UserName=name, PolicyName="narrow", PolicyDocument=json.dumps(policy))
    s3.put_object(Bucket=bucket, Key="in/a", Body=b"x")
    assert s3.get_object(Bucket=bucket, Key="in/a")["Body"].read() == b"x"
    with pytest.raises(ClientError) as caught:
        s3.put_object(Bucket=bucket, Key="out/a", Body=b"x")
    assert caught.value.response["Error"]["Message"] == (
        f"User: arn:aws:iam::000000000000:user/{name} is not authorized to perform: s3:PutObject on resource: "
        f'"arn:aws:s3:::{bucket}/out/a" because no identity-based policy allows the s3:PutObject action'
    )
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.delete_object(Bucket=bucket, Key="in/a")
    table = server.client("dynamodb", key["AccessKeyId"], key["SecretAccessKey"])
    with pytest.raises(ClientError, match="AccessDeniedException"):
        table.list_tables()
    iam.update_access_key(UserName=name, AccessKeyId=key["AccessKeyId"], Status="Inactive")
    with pytest.raises(ClientError, match="InvalidAccessKeyId"):
        s3.get_object(Bucket=bucket, Key="in/a")
