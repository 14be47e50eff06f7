"""A write tells a function: from PutObject to the function's own output, over the wire."""

from __future__ import annotations

import io
import json
import sys
import time
import zipfile
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from served import Served

SOURCE = """
import json, os, urllib.parse
import boto3

def handler(event, context):
    s3 = boto3.client("s3")
    for record in event["Records"]:
        bucket = record["s3"]["bucket"]["name"]
        key = urllib.parse.unquote_plus(record["s3"]["object"]["key"])
        body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        told = json.dumps({"event": record, "body": body.decode()})
        s3.put_object(Bucket=bucket, Key="out/" + key.split("/", 1)[1], Body=told)
"""


def role_for(server: Served, name: str) -> str:
    iam = server.client("iam")
    trust = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ]}  # fmt: skip
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    allowed = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    iam.put_role_policy(RoleName=name, PolicyName="s3", PolicyDocument=json.dumps(allowed))
    return str(arn)


@pytest.fixture
def function(server: Served) -> str:
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("app.py", SOURCE)
    name = f"told-{uuid4().hex[:8]}"
    made = server.client("lambda").create_function(
        FunctionName=name, Runtime=f"python3.{sys.version_info.minor}", Role=role_for(server, name),
        Handler="app.handler", Code={"ZipFile": package.getvalue()}, Timeout=30,
    )  # fmt: skip
    return str(made["FunctionArn"])


def configure(s3: Any, bucket: str, arn: str) -> None:
    rules = [{"Name": "prefix", "Value": "in/"}]
    s3.put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={
            "LambdaFunctionConfigurations": [
                {"LambdaFunctionArn": arn, "Events": ["s3:ObjectCreated:*"], "Filter": {"Key": {"FilterRules": rules}}}
            ]
        },
    )


def test_an_object_reaches_a_function(server: Served, function: str) -> None:
    s3, bucket = server.client("s3"), f"ev-{uuid4().hex}"
    s3.create_bucket(Bucket=bucket)
    for arn in (function, function + "-absent"):
        with pytest.raises(ClientError) as caught:
            configure(s3, bucket, arn)
        error = caught.value.response["Error"]
        assert error["Code"] == "InvalidArgument"
        assert error["Message"] == "Unable to validate the following destination configurations"
    server.client("lambda").add_permission(
        FunctionName=function, StatementId="s3", Action="lambda:InvokeFunction", Principal="s3.amazonaws.com",
        SourceArn=f"arn:aws:s3:::{bucket}", SourceAccount="000000000000",
    )  # fmt: skip
    configure(s3, bucket, function)
    [told] = s3.get_bucket_notification_configuration(Bucket=bucket)["LambdaFunctionConfigurations"]
    assert told["LambdaFunctionArn"] == function
    s3.put_object(Bucket=bucket, Key="in/a b+é.txt", Body=b"hello")
    s3.put_object(Bucket=bucket, Key="elsewhere/x", Body=b"hello")
    deadline = time.monotonic() + 60
    while "Contents" not in (listed := s3.list_objects_v2(Bucket=bucket, Prefix="out/")):
        assert time.monotonic() < deadline, "the function was not told"
        time.sleep(0.1)
    assert [item["Key"] for item in listed["Contents"]] == ["out/a b+é.txt"]
    out = json.load(s3.get_object(Bucket=bucket, Key="out/a b+é.txt")["Body"])
    assert out["body"] == "hello"
    assert out["event"]["eventName"] == "ObjectCreated:Put"
    assert out["event"]["requestParameters"]["sourceIPAddress"] == "127.0.0.1"
