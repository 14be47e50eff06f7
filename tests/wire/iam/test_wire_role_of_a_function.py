"""A function may do what its role may: with the role's own credentials, over the wire, from inside its environment."""

from __future__ import annotations

import io
import json
import sys
import uuid
import zipfile

from served import Served

CODE = """
import boto3
from botocore.exceptions import ClientError


def handler(event, context):
    answers = {"arn": boto3.client("sts").get_caller_identity()["Arn"]}
    for name, call in (
        ("list", lambda: boto3.client("s3").list_buckets()["Buckets"]),
        ("tables", lambda: boto3.client("dynamodb").list_tables()["TableNames"]),
    ):
        try:
            call()
            answers[name] = "allowed"
        except ClientError as error:
            answers[name] = error.response["Error"]["Message"]
    return answers
"""


def invoke(server: Served, role: str) -> dict[str, str]:
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("app.py", CODE)
    functions, name = server.client("lambda", read_timeout=90), f"fn-{uuid.uuid4().hex[:8]}"
    functions.create_function(
        FunctionName=name, Runtime=f"python3.{sys.version_info.minor}", Role=role, Handler="app.handler", Timeout=60,
        MemorySize=512, Code={"ZipFile": package.getvalue()},
    )  # fmt: skip
    answer = functions.invoke(FunctionName=name)
    result = json.load(answer["Payload"])
    assert "FunctionError" not in answer, result
    functions.delete_function(FunctionName=name)
    return result


def test_a_function_may_do_what_its_role_may(server: Served) -> None:
    iam, name = server.client("iam"), f"fn-role-{uuid.uuid4().hex[:8]}"
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    role = iam.create_role(
        RoleName=name, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": trust})
    )["Role"]["Arn"]  # fmt: skip
    iam.attach_role_policy(RoleName=name, PolicyArn="arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess")
    answers = invoke(server, role)
    assert answers["arn"].startswith(f"arn:aws:sts::000000000000:assumed-role/{name}/")
    assert answers["list"] == "allowed"
    assert "is not authorized to perform: dynamodb:ListTables" in answers["tables"]
    assert "because no identity-based policy allows the dynamodb:ListTables action" in answers["tables"]


def test_which_function_calls_is_known(server: Served) -> None:
    """https://docs.aws.amazon.com/lambda/latest/dg/permissions-source-function-arn.html"""
    iam, name = server.client("iam"), f"fn-role-{uuid.uuid4().hex[:8]}"
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    role = iam.create_role(
        RoleName=name, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": trust})
    )["Role"]["Arn"]  # fmt: skip
    of_these = {"ArnLike": {"lambda:SourceFunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:fn-*"}}
    of_others = {"ArnNotLike": of_these["ArnLike"]}
    statements = [
        {"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*", "Condition": of_these},
        {"Effect": "Allow", "Action": "dynamodb:ListTables", "Resource": "*", "Condition": of_others},
    ]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=policy)
    answers = invoke(server, role)
    assert answers["list"] == "allowed"
    assert "is not authorized to perform: dynamodb:ListTables" in answers["tables"]


def test_a_role_that_does_not_exist_may_do_nothing(server: Served) -> None:
    role = "arn:aws:iam::000000000000:role/never-made"
    answers = invoke(server, role)
    assert f"(the role {role} does not exist)" in answers["list"]
    assert f"(the role {role} does not exist)" in answers["tables"]
