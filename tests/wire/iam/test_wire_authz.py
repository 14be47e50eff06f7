"""The server's own answers about decisions: who may ask, what is explained, and what outlives a crash."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import quote

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from served import Served


def ask(
    server: Served, path: str, body: Any = None, *, keys: tuple[str, str] | None = None, origin: str = ""
) -> tuple[int, Any]:
    url, data = server.endpoint + path, None if body is None else json.dumps(body).encode()
    method = "GET" if body is None else "POST"
    headers = {"Origin": origin} if origin else {}
    if keys:
        signed = AWSRequest(method, url, data=data)
        SigV4Auth(Credentials(*keys), "iam", "us-east-1").add_auth(signed)
        headers |= dict(signed.headers.items())
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method)) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def made_user(server: Served, name: str, *statements: dict[str, Any]) -> tuple[str, tuple[str, str]]:
    iam = server.client("iam")
    arn = iam.create_user(UserName=name)["User"]["Arn"]
    policy = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=policy)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return arn, (key["AccessKeyId"], key["SecretAccessKey"])


def test_only_friends_may_ask(server: Served) -> None:
    arn, keys = made_user(server, "curious", {"Effect": "Allow", "Action": "*", "Resource": "*"})
    why = {"principal": arn, "action": "s3:GetObject", "resource": "arn:aws:s3:::b/k"}
    calls = f"/_penstock/authz/calls?principal={quote(arn, safe='')}"
    for path, body in (("/_penstock/authz/why", why), (calls, None)):
        assert ask(server, path, body)[0] == 200
        status, said = ask(server, path, body, keys=("test", "test"))
        assert status == 200, (path, said)
        assert ask(server, path, body, keys=keys)[0] == 403
        assert ask(server, path, body, origin="https://evil.example")[0] == 403


def test_what_makes_no_sense_is_refused(server: Served) -> None:
    for body in ([], {"principal": "x"}, {"principal": "x", "action": "a:b", "resorce": "typo"}, {"action": 1}):
        status, said = ask(server, "/_penstock/authz/why", body)
        assert (status, "the body must name" in said["message"]) == (400, True)
    for principal in ("x", "arn:aws:iam::000000000000:thing/x", "arn:aws:s3:::b"):
        assert ask(server, "/_penstock/authz/why", {"principal": principal, "action": "a:b"})[0] == 400
    nobody = {"principal": "arn:aws:iam::000000000000:user/nobody-here", "action": "a:b"}
    assert ask(server, "/_penstock/authz/why", nobody)[0] == 404
    for query in ("", "?principal=x", "?principal=arn:aws:iam::000000000000:user/x&most=0"):
        assert ask(server, "/_penstock/authz/calls" + query)[0] == 400
    broken = {"principal": "s3.amazonaws.com", "action": "s3:GetObject", "resource_policy": "{"}
    told = ask(server, "/_penstock/authz/why", broken)[1]
    assert not told["allowed"] and "cannot be understood" in told["reason"]


def test_the_explanation_is_what_then_happens(server: Served) -> None:
    home = "arn:aws:s3:::explained/${aws:username}/*"
    arn, keys = made_user(
        server, "explained",
        {"Effect": "Allow", "Action": "s3:*", "Resource": home},
        {"Effect": "Deny", "Action": "s3:*", "Resource": "*", "Condition": {"StringLike": {"s3:prefix": "secret*"}}},
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::explained"},
        {"Effect": "Deny", "NotAction": ["s3:Get*", "s3:List*"], "Resource": "arn:aws:s3:::explained/*/kept"},
    )  # fmt: skip
    server.client("s3").create_bucket(Bucket="explained")
    for key in ("explained/kept", "other/kept"):
        server.client("s3").put_object(Bucket="explained", Key=key, Body=b"x")
    s3 = boto3.client(
        "s3", endpoint_url=server.endpoint, region_name="us-east-1",
        aws_access_key_id=keys[0], aws_secret_access_key=keys[1],
    )  # fmt: skip
    bucket, seen = "arn:aws:s3:::explained", []
    for call, params, action, resource, context in (
        (s3.get_object, {"Key": "explained/kept"}, "s3:GetObject", bucket + "/explained/kept", {}),
        (s3.get_object, {"Key": "other/kept"}, "s3:GetObject", bucket + "/other/kept", {}),
        (s3.put_object, {"Key": "explained/new"}, "s3:PutObject", bucket + "/explained/new", {}),
        (s3.delete_object, {"Key": "explained/kept"}, "s3:DeleteObject", bucket + "/explained/kept", {}),
        (s3.list_objects_v2, {}, "s3:ListBucket", bucket, {}),
        (s3.list_objects_v2, {"Prefix": "secrets"}, "s3:ListBucket", bucket, {"s3:prefix": "secrets"}),
        (s3.get_bucket_tagging, {}, "s3:GetBucketTagging", bucket, {}),
    ):
        asked = {"principal": arn, "action": action, "resource": resource, "context": context}
        told = ask(server, "/_penstock/authz/why", asked)[1]
        try:
            call(Bucket="explained", **params)
            happened = True
        except ClientError as error:
            assert error.response["Error"]["Code"] == "AccessDenied"
            happened = False
            assert ("explicit deny" in str(error)) is told["explicit"]
        assert told["allowed"] is happened, told
        seen.append(happened)
    assert seen == [True, False, True, False, True, False, False]


def test_notes_outlive_a_crash_once_written(own_server: Served) -> None:
    arn, keys = made_user(own_server, "kept", {"Effect": "Allow", "Action": "s3:*", "Resource": "*"})
    s3 = boto3.client(
        "s3", endpoint_url=own_server.endpoint, region_name="us-east-1",
        aws_access_key_id=keys[0], aws_secret_access_key=keys[1],
    )  # fmt: skip
    s3.create_bucket(Bucket="crash")
    path = f"/_penstock/authz/calls?principal={quote(arn, safe='')}"
    before = ask(own_server, path)[1]
    assert before["calls"] == [{"action": "s3:CreateBucket", "allowed": True, "resources": ["arn:aws:s3:::crash"]}]
    assert ask(own_server, "/_penstock/clock", {"advance_s": 61})[0] == 200
    time.sleep(1)
    own_server.kill()
    own_server.restart()
    assert ask(own_server, path)[1] == before
