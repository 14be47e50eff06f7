"""What the demo deploys, by plain boto3: buckets, tables, a role each, functions, permissions and notifications."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

JSON_BUCKET = "flights-json"
CSV_BUCKET = "flights-csv"
FLIGHTS = "flights"
LOADS = "flights-loads"
FUNCTIONS = Path(__file__).parent / "functions"
LOGS_POLICY = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"

_TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


class Clients:
    """boto3 clients of one session."""

    def __init__(self, session: Any, endpoint: str, config: Any) -> None:
        for name in ("s3", "dynamodb", "lambda", "iam"):
            setattr(
                self, name.replace("lambda", "functions"), session.client(name, endpoint_url=endpoint, config=config)
            )

    s3: Any
    dynamodb: Any
    functions: Any
    iam: Any


def deploy(aws: Clients, runtime: str) -> None:
    """Make everything, or find it there: running it again changes nothing. Raises ClientError."""
    for bucket in (JSON_BUCKET, CSV_BUCKET):
        with _unless("BucketAlreadyOwnedByYou"):
            aws.s3.create_bucket(Bucket=bucket)
    _table(aws, FLIGHTS, "origin", "flight_id")
    _table(aws, LOADS, "file", None)
    s3 = "arn:aws:s3:::{}/*"
    table = "arn:aws:dynamodb:*:*:table/"
    convert = _function(
        aws, "json-to-csv", runtime, {"CSV_BUCKET": CSV_BUCKET},
        [("s3:GetObject", s3.format(JSON_BUCKET)), ("s3:PutObject", s3.format(CSV_BUCKET))],
    )  # fmt: skip
    load = _function(
        aws, "csv-to-table", runtime, {"FLIGHTS": FLIGHTS, "LOADS": LOADS},
        [("s3:GetObject", s3.format(CSV_BUCKET)), ("dynamodb:BatchWriteItem", table + FLIGHTS),
         ("dynamodb:PutItem", table + LOADS)],
    )  # fmt: skip
    _notify(aws, JSON_BUCKET, ".json", "json-to-csv", convert)
    _notify(aws, CSV_BUCKET, ".csv", "csv-to-table", load)


def _table(aws: Clients, name: str, partition: str, sort: str | None) -> None:
    keys = [(partition, "HASH")] + ([(sort, "RANGE")] if sort else [])
    with _unless("ResourceInUseException"):
        aws.dynamodb.create_table(
            TableName=name,
            KeySchema=[{"AttributeName": n, "KeyType": kind} for n, kind in keys],
            AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n, _ in keys],
            BillingMode="PAY_PER_REQUEST",
        )
    aws.dynamodb.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30})


def _function(
    aws: Clients, name: str, runtime: str, environment: dict[str, str], allowed: list[tuple[str, str]]
) -> str:
    policy = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": action, "Resource": resource} for action, resource in allowed],
    }
    role = name + "-role"
    with _unless("EntityAlreadyExists"):
        aws.iam.create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps(_TRUST))
    aws.iam.attach_role_policy(RoleName=role, PolicyArn=LOGS_POLICY)
    aws.iam.put_role_policy(RoleName=role, PolicyName="just-its-job", PolicyDocument=json.dumps(policy))
    module = name.replace("-", "_")
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(FUNCTIONS / f"{module}.py", f"{module}.py")
    with _unless("ResourceConflictException"):
        aws.functions.create_function(
            FunctionName=name, Runtime=runtime, Role=aws.iam.get_role(RoleName=role)["Role"]["Arn"],
            Handler=f"{module}.handler", Code={"ZipFile": package.getvalue()}, Timeout=120, MemorySize=512,
            Environment={"Variables": environment},
        )  # fmt: skip
    aws.functions.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
    arn: str = aws.functions.get_function_configuration(FunctionName=name)["FunctionArn"]
    return arn


def _notify(aws: Clients, bucket: str, suffix: str, function: str, arn: str) -> None:
    with _unless("ResourceConflictException"):
        aws.functions.add_permission(
            FunctionName=function, StatementId=f"from-{bucket}", Action="lambda:InvokeFunction",
            Principal="s3.amazonaws.com", SourceArn=f"arn:aws:s3:::{bucket}",
        )  # fmt: skip
    rule = {"Key": {"FilterRules": [{"Name": "suffix", "Value": suffix}]}}
    aws.s3.put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={
            "LambdaFunctionConfigurations": [
                {"LambdaFunctionArn": arn, "Events": ["s3:ObjectCreated:*"], "Filter": rule}
            ]
        },
    )


@contextlib.contextmanager
def _unless(code: str) -> Any:
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] != code:
            raise
