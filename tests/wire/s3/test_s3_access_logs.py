"""Server access logs, request payment and acceleration over the wire."""

from __future__ import annotations

import json
import re
import time
from typing import Any
from uuid import uuid4

import httpx
import pytest
from botocore.exceptions import ClientError

from served import Served

LINE = re.compile(
    r'(\S+) (\S+) \[([^\]]+)\] (\S+) (\S+) (\S+) (\S+) (\S+) "([^"]*)" (\d+) (\S+) (\S+) (\S+) (\d+) (\d+) '
    r'"([^"]*)" "([^"]*)" (\S+) (\S+) (\S+) (\S+) (\S+) (\S+) (\S+) (\S+) (\S+)'
)


@pytest.fixture(scope="module")
def s3(server: Served) -> Any:
    return server.client("s3")


def code_of(call: Any, **params: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**params)
    return str(caught.value.response["Error"]["Code"])


def let_logging_write(s3: Any, target: str) -> None:
    statement = {
        "Effect": "Allow", "Principal": {"Service": "logging.s3.amazonaws.com"}, "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{target}/*", "Condition": {"StringEquals": {"aws:SourceAccount": "000000000000"}},
    }  # fmt: skip
    s3.put_bucket_policy(Bucket=target, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))


def delivered(s3: Any, server: Served, target: str) -> list[dict[str, Any]]:
    """Move the clock until logs are there."""
    for _ in range(20):
        time.sleep(1.2)
        httpx.post(f"{server.endpoint}/_penstock/clock", json={"advance_s": 61}).raise_for_status()
        found = s3.list_objects_v2(Bucket=target).get("Contents", [])
        if found:
            return list(found)
    raise AssertionError("no logs came")


def test_logs_are_written_in_aws_form(own_server: Served) -> None:
    s3 = own_server.client("s3")
    s3.create_bucket(Bucket="source")
    s3.create_bucket(Bucket="target")
    let_logging_write(s3, "target")
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket="source")
    form = {"PartitionedPrefix": {"PartitionDateSource": "DeliveryTime"}}
    enabled = {"TargetBucket": "target", "TargetPrefix": "logs/", "TargetObjectKeyFormat": form}
    s3.put_bucket_logging(Bucket="source", BucketLoggingStatus={"LoggingEnabled": enabled})
    assert s3.get_bucket_logging(Bucket="source")["LoggingEnabled"] == enabled
    s3.put_object(Bucket="source", Key="a b", Body=b"12345")
    s3.get_object(Bucket="source", Key="a b")["Body"].read()
    assert code_of(s3.get_object, Bucket="source", Key="none") == "NoSuchKey"
    objects = delivered(s3, own_server, "target")
    assert re.fullmatch(
        r"logs/000000000000/us-east-1/source/\d{4}/\d\d/\d\d/\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d-[0-9A-F]{16}",
        objects[0]["Key"],
    )
    text = b"".join(s3.get_object(Bucket="target", Key=item["Key"])["Body"].read() for item in objects).decode()
    fields = [LINE.fullmatch(line) for line in text.splitlines()]
    assert all(fields), text
    told = {(f[7], f[8], f[10], f[11], f[13]) for f in fields if f}
    assert ("REST.PUT.OBJECT", "a%20b", "200", "-", "5") in told
    assert ("REST.GET.OBJECT", "a%20b", "200", "-", "5") in told
    assert ("REST.GET.OBJECT", "none", "404", "NoSuchKey", "-") in told
    s3.put_bucket_logging(Bucket="source", BucketLoggingStatus={})
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket="source")


def test_where_logs_may_go(server: Served, s3: Any) -> None:
    name, other = f"l-{uuid4().hex}", f"l-{uuid4().hex}"
    s3.create_bucket(Bucket=name)
    s3.create_bucket(Bucket=other, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    for target, code in (
        (f"l-{uuid4().hex}", "InvalidTargetBucketForLogging"),
        (other, "CrossLocationLoggingProhibitted"),
    ):
        status = {"LoggingEnabled": {"TargetBucket": target, "TargetPrefix": ""}}
        assert code_of(s3.put_bucket_logging, Bucket=name, BucketLoggingStatus=status) == code


def test_the_requester_pays(server: Served, s3: Any) -> None:
    name = f"p-{uuid4().hex}"
    s3.create_bucket(Bucket=name)
    assert s3.get_bucket_request_payment(Bucket=name)["Payer"] == "BucketOwner"
    s3.put_bucket_request_payment(Bucket=name, RequestPaymentConfiguration={"Payer": "Requester"})
    assert s3.get_bucket_request_payment(Bucket=name)["Payer"] == "Requester"
    allow = {
        "Effect": "Allow",
        "Principal": {"AWS": "222222222222"},
        "Action": "s3:*",
        "Resource": f"arn:aws:s3:::{name}/*",
    }
    s3.put_bucket_policy(Bucket=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": [allow]}))
    s3.put_object(Bucket=name, Key="k", Body=b"v")
    other = server.client("s3", access_key="222222222222")
    assert code_of(other.get_object, Bucket=name, Key="k") == "AccessDenied"
    got = other.get_object(Bucket=name, Key="k", RequestPayer="requester")
    assert (got["Body"].read(), got["RequestCharged"]) == (b"v", "requester")


def test_acceleration(s3: Any) -> None:
    name = f"a-{uuid4().hex}"
    s3.create_bucket(Bucket=name)
    assert "Status" not in s3.get_bucket_accelerate_configuration(Bucket=name)
    s3.put_bucket_accelerate_configuration(Bucket=name, AccelerateConfiguration={"Status": "Enabled"})
    assert s3.get_bucket_accelerate_configuration(Bucket=name)["Status"] == "Enabled"
    wrong = {"Status": "enabled"}
    assert code_of(s3.put_bucket_accelerate_configuration, Bucket=name, AccelerateConfiguration=wrong) == "MalformedXML"
    dotted = f"a.{name}"[:60]
    s3.create_bucket(Bucket=dotted)
    status = {"Status": "Enabled"}
    assert (
        code_of(s3.put_bucket_accelerate_configuration, Bucket=dotted, AccelerateConfiguration=status)
        == "InvalidRequest"
    )
