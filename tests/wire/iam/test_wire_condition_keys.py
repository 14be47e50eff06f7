"""Condition keys that single services document, and permissions that single parameters take: a Deny on each has effect."""

from __future__ import annotations

import sys
import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from policed import code, denied
from served import Served

ACCOUNT, OTHER = "000000000000", "222222222222"
RUNTIME = f"python3.{sys.version_info.minor}"


def name() -> str:
    return f"c{uuid.uuid4().hex[:12]}"


def allow(action: str | list[str], operator: str = "", **keys: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"Effect": "Allow", "Action": action, "Resource": "*"}
    if operator:
        found["Condition"] = {operator: {key.replace("__", ":"): value for key, value in keys.items()}}
    return found


def deny(action: str | list[str], condition: dict[str, Any]) -> dict[str, Any]:
    return {"Effect": "Deny", "Action": action, "Resource": "*", "Condition": condition}


def function(lambda_: Any, **more: Any) -> str:
    made = lambda_.create_function(
        FunctionName=name(), Runtime=RUNTIME, Handler="a.b", Role=f"arn:aws:iam::{ACCOUNT}:role/any",
        **{"Code": {"ZipFile": code()}} | more,
    )  # fmt: skip
    return str(made["FunctionName"])


def table(dynamodb: Any, **more: Any) -> str:
    made = name()
    dynamodb.create_table(
        TableName=made, KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
        **more or {"BillingMode": "PAY_PER_REQUEST"},
    )  # fmt: skip
    return made


def stream(dynamodb: Any) -> str:
    made = table(
        dynamodb, BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    )  # fmt: skip
    return str(dynamodb.describe_table(TableName=made)["Table"]["LatestStreamArn"])


def test_whom_a_function_may_let_in(server: Served, user: Any) -> None:
    made = function(server.client("lambda"))
    adding = {"FunctionName": made, "Action": "lambda:InvokeFunction"}
    some = user(
        allow("*"), deny("lambda:AddPermission", {"StringNotEquals": {"lambda:Principal": "s3.amazonaws.com"}})
    )("lambda")
    assert not denied(some.add_permission, StatementId="s3", Principal="s3.amazonaws.com", **adding)
    assert denied(some.add_permission, StatementId="all", Principal="*", **adding)
    assert denied(some.add_permission, StatementId="account", Principal=OTHER, **adding)
    keeping = user(
        allow("*"), deny("lambda:RemovePermission", {"StringEquals": {"lambda:Principal": "s3.amazonaws.com"}})
    )
    assert denied(keeping("lambda").remove_permission, FunctionName=made, StatementId="s3")
    assert not denied(some.remove_permission, FunctionName=made, StatementId="s3")


def test_how_a_functions_url_is_opened(server: Served, user: Any) -> None:
    made = function(server.client("lambda"))
    of_iam = user(allow("*"), deny("lambda:*Url*", {"StringEquals": {"lambda:FunctionUrlAuthType": "NONE"}}))("lambda")
    assert denied(of_iam.create_function_url_config, FunctionName=made, AuthType="NONE")
    assert not denied(of_iam.create_function_url_config, FunctionName=made, AuthType="AWS_IAM")
    assert denied(of_iam.update_function_url_config, FunctionName=made, AuthType="NONE")
    assert not denied(of_iam.update_function_url_config, FunctionName=made, InvokeMode="BUFFERED")
    server.client("lambda").update_function_url_config(FunctionName=made, AuthType="NONE")
    assert denied(of_iam.get_function_url_config, FunctionName=made)
    assert denied(of_iam.delete_function_url_config, FunctionName=made)


def test_which_layers_a_function_may_have(server: Served, user: Any) -> None:
    lambda_ = server.client("lambda")
    good, bad = (
        lambda_.publish_layer_version(LayerName=name(), Content={"ZipFile": code()})["LayerVersionArn"]
        for _ in range(2)
    )
    like = {"ForAnyValue:StringNotEquals": {"lambda:Layer": good}}
    picky = user(allow("*"), deny(["lambda:CreateFunction", "lambda:UpdateFunctionConfiguration"], like))("lambda")
    function(picky)
    made = function(picky, Layers=[good])
    assert denied(function, lambda_=picky, Layers=[good, bad])
    assert denied(picky.update_function_configuration, FunctionName=made, Layers=[bad])


def test_whose_mappings_one_may_touch(server: Served, user: Any) -> None:
    lambda_, source = server.client("lambda"), stream(server.client("dynamodb"))
    mine, other = function(lambda_), function(lambda_)
    arn = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:{mine}"
    owner = user(allow("lambda:*EventSourceMapping", "ArnLike", lambda__FunctionArn=arn))("lambda")
    asked = {"EventSourceArn": source, "StartingPosition": "LATEST", "Enabled": False}
    assert denied(owner.create_event_source_mapping, FunctionName=other, **asked)
    made = owner.create_event_source_mapping(FunctionName=mine, **asked)["UUID"]
    owner.get_event_source_mapping(UUID=made)
    owner.update_event_source_mapping(UUID=made, BatchSize=3)
    assert denied(owner.update_event_source_mapping, UUID=made, FunctionName=other)
    owner.delete_event_source_mapping(UUID=made)
    others = lambda_.create_event_source_mapping(FunctionName=other, **asked)["UUID"]
    for call in (owner.get_event_source_mapping, owner.update_event_source_mapping, owner.delete_event_source_mapping):
        assert denied(call, UUID=others)
    lambda_.delete_event_source_mapping(UUID=others)


def test_another_accounts_mappings_are_out_of_reach(server: Served) -> None:
    """Its root and its administrators may do everything, in their own account."""
    lambda_, source = server.client("lambda"), stream(server.client("dynamodb"))
    made = function(lambda_)
    mapping = lambda_.create_event_source_mapping(
        FunctionName=function(lambda_), EventSourceArn=source, StartingPosition="LATEST", Enabled=False,
        Tags={"team": "blue"},
    )  # fmt: skip
    iam, who = server.client("iam", OTHER), name()
    iam.create_user(UserName=who)
    iam.attach_user_policy(UserName=who, PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")
    key = iam.create_access_key(UserName=who)["AccessKey"]
    arn = mapping["EventSourceMappingArn"]
    for other in (
        server.client("lambda", OTHER), server.client("lambda", key["AccessKeyId"], key["SecretAccessKey"])
    ):  # fmt: skip
        assert denied(other.list_tags, Resource=arn)
        assert denied(other.tag_resource, Resource=arn, Tags={"team": "red"})
        assert denied(other.untag_resource, Resource=arn, TagKeys=["team"])
        with pytest.raises(ClientError, match="Function does not exist"):
            other.create_event_source_mapping(
                FunctionName=f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:{made}", EventSourceArn=source,
                StartingPosition="LATEST",
            )  # fmt: skip
    assert lambda_.list_tags(Resource=arn)["Tags"] == {"team": "blue"}
    assert lambda_.list_event_source_mappings(FunctionName=made)["EventSourceMappings"] == []
    lambda_.delete_event_source_mapping(UUID=mapping["UUID"])


def test_transactions_alone_or_not_at_all(server: Served, user: Any) -> None:
    """https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html"""
    made, item = table(server.client("dynamodb")), {"k": {"S": "1"}}
    in_transactions = {
        "ForAnyValue:StringEquals": {"dynamodb:EnclosingOperation": ["TransactWriteItems", "TransactGetItems"]}
    }
    actions = ["dynamodb:PutItem", "dynamodb:GetItem"]
    only = user({**deny(actions, in_transactions), "Effect": "Allow"})("dynamodb")
    never = user(allow("dynamodb:*"), deny(actions, in_transactions))("dynamodb")
    for client, enclosed in ((only, True), (never, False)):
        assert denied(client.put_item, TableName=made, Item=item) is enclosed
        assert denied(client.get_item, TableName=made, Key=item) is enclosed
        put = [{"Put": {"TableName": made, "Item": item}}]
        assert denied(client.transact_write_items, TransactItems=put) is not enclosed
        get = [{"Get": {"TableName": made, "Key": item}}]
        assert denied(client.transact_get_items, TransactItems=get) is not enclosed


def test_only_new_objects(server: Served, user: Any) -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes-enforce.html"""
    bucket = name()
    server.client("s3").create_bucket(Bucket=bucket)
    unconditional = {"Null": {"s3:if-none-match": "true"}, "Bool": {"s3:ObjectCreationOperation": "true"}}
    s3 = user(allow("s3:*"), deny("s3:PutObject", unconditional))("s3")
    assert denied(s3.put_object, Bucket=bucket, Key="a", Body=b"")
    s3.put_object(Bucket=bucket, Key="a", Body=b"", IfNoneMatch="*")
    assert denied(s3.copy_object, Bucket=bucket, Key="b", CopySource=f"{bucket}/a")
    place = {"Bucket": bucket, "Key": "m"}
    place["UploadId"] = s3.create_multipart_upload(**place)["UploadId"]
    part = s3.upload_part(PartNumber=1, Body=b"x", **place)["ETag"]
    whole = {"MultipartUpload": {"Parts": [{"ETag": part, "PartNumber": 1}]}}
    assert denied(s3.complete_multipart_upload, **place, **whole)
    s3.complete_multipart_upload(IfNoneMatch="*", **place, **whole)


def test_tags_of_an_object_take_a_permission(server: Served, user: Any) -> None:
    """However they come to it: else whoever may write could get round conditions on tags."""
    bucket = name()
    admin = server.client("s3")
    admin.create_bucket(Bucket=bucket)
    admin.put_object(Bucket=bucket, Key="tagged", Body=b"", Tagging="team=blue")
    admin.put_object(Bucket=bucket, Key="plain", Body=b"")
    writer = user(allow(["s3:PutObject", "s3:GetObject"]))("s3")
    assert denied(writer.put_object, Bucket=bucket, Key="a", Body=b"", Tagging="team=blue")
    assert denied(writer.create_multipart_upload, Bucket=bucket, Key="a", Tagging="team=blue")
    copied = {"Bucket": bucket, "Key": "a"}
    replacing = {"TaggingDirective": "REPLACE", "Tagging": "team=blue"}
    assert denied(writer.copy_object, CopySource=f"{bucket}/tagged", **copied)
    assert denied(writer.copy_object, CopySource=f"{bucket}/plain", **copied, **replacing)
    writer.copy_object(CopySource=f"{bucket}/plain", **copied)
    writer.copy_object(CopySource=f"{bucket}/tagged", TaggingDirective="REPLACE", **copied)
    blue = user(
        allow(["s3:PutObject", "s3:GetObject", "s3:GetObjectTagging"]),
        allow("s3:PutObjectTagging", "StringEquals", **{"s3__RequestObjectTag/team": "blue"}),
    )("s3")
    blue.put_object(Bucket=bucket, Key="a", Body=b"", Tagging="team=blue")
    assert denied(blue.put_object, Bucket=bucket, Key="a", Body=b"", Tagging="team=red")
    blue.copy_object(CopySource=f"{bucket}/tagged", **copied)
    assert admin.get_object_tagging(**copied)["TagSet"] == [{"Key": "team", "Value": "blue"}]


def test_settings_of_a_new_bucket_take_permissions(server: Served, user: Any) -> None:
    maker = user(allow("s3:CreateBucket"))("s3")
    tags = {"CreateBucketConfiguration": {"Tags": [{"Key": "team", "Value": "blue"}]}}
    owned, owner = {"ObjectOwnership": "ObjectWriter"}, server.client("s3").list_buckets()["Owner"]["ID"]
    settings: list[tuple[dict[str, Any], list[str]]] = [
        (tags, ["s3:TagResource"]),
        (owned, ["s3:PutBucketOwnershipControls"]),
        ({"GrantRead": f"id={owner}"} | owned, ["s3:PutBucketAcl", "s3:PutBucketOwnershipControls"]),
        ({"ObjectLockEnabledForBucket": True}, ["s3:PutBucketObjectLockConfiguration", "s3:PutBucketVersioning"]),
    ]
    maker.create_bucket(Bucket=name(), ACL="private")
    for setting, actions in settings:
        assert denied(maker.create_bucket, Bucket=name(), **setting)
        user(allow(["s3:CreateBucket", *actions]))("s3").create_bucket(Bucket=name(), **setting)
    blue = user(allow("s3:*", "StringEquals", **{"aws__RequestTag/team": "blue"}))("s3")
    assert denied(blue.create_bucket, Bucket=name())
    blue.create_bucket(Bucket=name(), **tags)


def test_which_capacity_may_be_scaled(server: Served, user: Any) -> None:
    throughput = {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1}
    made = table(server.client("dynamodb"), ProvisionedThroughput=throughput)
    writes = {"StringEquals": {"application-autoscaling:scalable-dimension": "dynamodb:table:WriteCapacityUnits"}}
    reader = user(allow("*"), deny("application-autoscaling:*", writes))("application-autoscaling")
    asked = {"ServiceNamespace": "dynamodb", "ResourceId": f"table/{made}", "MinCapacity": 1, "MaxCapacity": 5}
    assert denied(
        reader.register_scalable_target, ScalableDimension="dynamodb:table:WriteCapacityUnits", **asked
    )  # fmt: skip
    reader.register_scalable_target(ScalableDimension="dynamodb:table:ReadCapacityUnits", **asked)


def test_services_call_in_their_callers_name(server: Served, user: Any) -> None:
    """AWS's own example of a policy by address leaves out what services do for the caller.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_examples_aws_deny-ip.html
    """
    key = server.client("kms").create_key()["KeyMetadata"]["Arn"]
    elsewhere = {"NotIpAddress": {"aws:SourceIp": ["127.0.0.0/8"]}, "Bool": {"aws:ViaAWSService": "false"}}
    here = user(allow("*"), deny("*", elsewhere))
    s3, bucket = here("s3"), name()
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="zip", Body=code(), ServerSideEncryption="aws:kms", SSEKMSKeyId=key)
    function(
        here("lambda"), Code={"S3Bucket": bucket, "S3Key": "zip"}, KMSKeyArn=key,
        Environment={"Variables": {"NAME": "x"}},
    )  # fmt: skip
    made = table(
        here("dynamodb"), BillingMode="PAY_PER_REQUEST",
        SSESpecification={"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": key},
    )  # fmt: skip
    through = user(
        allow("*"), deny("kms:*", {"StringNotEquals": {"aws:CalledViaLast": "dynamodb.amazonaws.com"}})
    )  # fmt: skip
    through("dynamodb").put_item(TableName=made, Item={"k": {"S": "1"}})
    assert denied(through("kms").encrypt, KeyId=key, Plaintext=b"x")
