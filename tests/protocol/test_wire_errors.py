"""What a client is told when its request is wrong, and how each protocol shows an error."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

import pytest

from penstock.wire import models
from penstock.wire.codec import codec, error_response
from penstock.wire.errors import AwsError
from penstock.wire.message import Request


def refused(service: str, operation: str, protocol: str, **request: Any) -> AwsError:
    labels = request.pop("labels", {})
    body = request.get("body", b"")
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    made = Request(request.get("method", "POST"), "/", request.get("query", ""), request.get("headers", {}), body)
    with pytest.raises(AwsError) as caught:
        codec(service, operation, protocol).parse(made, labels)
    return caught.value


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        ({}, ["Value null at 'streamName' failed to satisfy constraint: Member must not be null"]),
        (
            {"StreamName": ""},
            [
                "Value '' at 'streamName' failed to satisfy constraint: "
                "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+",
                "Value '' at 'streamName' failed to satisfy constraint: "
                "Member must have length greater than or equal to 1",
            ],
        ),
        (
            {"StreamName": "a" * 129, "ShardCount": 0},
            [
                f"Value '{'a' * 129}' at 'streamName' failed to satisfy constraint: "
                "Member must have length less than or equal to 128",
                "Value '0' at 'shardCount' failed to satisfy constraint: "
                "Member must have value greater than or equal to 1",
            ],
        ),
    ],
)
def test_constraints_are_reported_together_as_coral_does(body: dict[str, Any], lines: list[str]) -> None:
    error = refused("kinesis", "CreateStream", "json", body=body)
    assert error.code == "ValidationException"
    plural = "s" if len(lines) > 1 else ""
    assert error.message == f"{len(lines)} validation error{plural} detected: {'; '.join(lines)}"


def test_paths_of_lists_and_maps() -> None:
    error = refused(
        "kinesis", "PutRecords", "json",
        body={"StreamName": "s", "Records": [{"Data": "", "PartitionKey": "k"}, {"Data": "", "PartitionKey": ""}, {}]},
    )  # fmt: skip
    assert error.message == (
        "2 validation errors detected: Value '' at 'records.2.member.partitionKey' failed to satisfy constraint: "
        "Member must have length greater than or equal to 1; "
        "Value null at 'records.3.member.data' failed to satisfy constraint: Member must not be null"
    )
    error = refused(
        "dynamodb", "BatchGetItem", "json", body={"RequestItems": {"a": {}}, "ReturnConsumedCapacity": "hi"}
    )
    assert error.message == (
        "2 validation errors detected: Value null at 'requestItems.a.member.keys' failed to satisfy constraint: "
        "Member must not be null; Value 'hi' at 'returnConsumedCapacity' failed to satisfy constraint: "
        "Member must satisfy enum value set: [INDEXES, TOTAL, NONE]"
    )


def test_scalars_in_lists_are_reported_on_the_list() -> None:
    error = refused(
        "kinesis", "DisableEnhancedMonitoring", "json", body={"StreamName": "s", "ShardLevelMetrics": ["x"]}
    )
    assert error.message.startswith(
        "1 validation error detected: Value '[x]' at 'shardLevelMetrics' failed to satisfy constraint: "
        "Member must satisfy constraint: [Member must satisfy enum value set: [IncomingBytes,"
    )


def test_blobs_are_shown_as_java_does() -> None:
    data = "A" * 4 * 3_600_000
    error = refused("kinesis", "PutRecord", "json", body={"StreamName": "s", "PartitionKey": "k", "Data": data})
    assert "Value 'java.nio.HeapByteBuffer[pos=0 lim=10800000 cap=10800000]' at 'data' failed" in error.message


def test_no_more_than_ten_are_reported() -> None:
    body = {"StreamName": "s", "Records": [{} for _ in range(50)]}
    assert refused("kinesis", "PutRecords", "json", body=body).message.startswith("10 validation errors detected: ")


@pytest.mark.parametrize(
    "body", [b"{", b"[", b'"', b"\xff\xfe", b'{"a": NaN}', b"{'a': 1}", b"[" * 100_000, b'{"a":1}x']
)
def test_what_is_no_json_is_a_serialization_exception_without_words(body: bytes) -> None:
    error = refused("dynamodb", "GetItem", "json", body=body)
    assert (error.code, error.message) == ("SerializationException", "")
    answer = error_response("dynamodb", "json", "GetItem", error, "r")
    assert answer.status == 400
    assert json.loads(answer.body) == {"__type": "com.amazon.coral.service#SerializationException"}


@pytest.mark.parametrize(
    ("service", "operation", "body", "message"),
    [
        ("dynamodb", "ListTables", {"Limit": "3"}, "STRING_VALUE cannot be converted to Integer"),
        ("dynamodb", "ListTables", {"Limit": True}, "TRUE_VALUE cannot be converted to Integer"),
        ("dynamodb", "ListTables", {"ExclusiveStartTableName": 1}, "NUMBER_VALUE cannot be converted to String"),
        ("dynamodb", "ListTables", {"ExclusiveStartTableName": 1.5}, "DECIMAL_VALUE cannot be converted to String"),
        (
            "dynamodb", "ListTables", {"ExclusiveStartTableName": []},
            "Unrecognized collection type class java.lang.String",
        ),
        (
            "dynamodb", "ListTables", {"ExclusiveStartTableName": {}},
            "Start of structure or map found where not expected",
        ),
        ("dynamodb", "GetItem", {"TableName": "t", "Key": "x"}, "Unexpected field type"),
        (
            "dynamodb", "GetItem", {"TableName": "t", "Key": []},
            "Unrecognized collection type java.util.Map<java.lang.String, "
            "com.amazonaws.dynamodb.v20120810.AttributeValue>",
        ),
        ("dynamodb", "GetItem", {"TableName": "t", "ConsistentRead": "x"}, "Unexpected token received from parser"),
        (
            "kinesis", "CreateStream", {"StreamName": 1},
            "class com.amazon.coral.value.json.numbers.TruncatingBigNumber can not be converted to an String",
        ),
        ("kinesis", "CreateStream", {"StreamName": []}, "Start of list found where not expected"),
        ("kinesis", "CreateStream", {"ShardCount": "1"}, "class java.lang.String can not be converted to an Integer"),
        (
            "kinesis", "PutRecord", {"Data": "abc"},
            "'abc' can not be converted to a Blob: "
            "Base64 encoded length is expected a multiple of 4 bytes but found: 3",
        ),
        ("kinesis", "PutRecord", {"Data": "a_c="}, "'a_c=' can not be converted to a Blob: Invalid Base64 character: '_'"),
        ("kinesis", "PutRecords", {"Records": 1}, "Expected list or null"),
    ],
)  # fmt: skip
def test_wrong_types_in_each_generations_words(service: str, operation: str, body: Any, message: str) -> None:
    error = refused(service, operation, "json", body=body)
    assert (error.code, error.message) == ("SerializationException", message)


def test_leniencies_of_coral() -> None:
    parse = codec("kinesis", "CreateStream", "json").parse
    body = {"StreamName": "s", "ShardCount": 3.9, "Unknown": {"x": 1}, "StreamModeDetails": None}
    assert parse(Request("POST", "/", "", {}, json.dumps(body).encode()), {}) == {"StreamName": "s", "ShardCount": 3}
    parse = codec("dynamodb", "GetItem", "json").parse
    body = {"TableName": "t", "Key": {"k": {"S": "x"}}, "ConsistentRead": "yes"}
    assert parse(Request("POST", "/", "", {}, json.dumps(body).encode()), {})["ConsistentRead"] is True
    twice = b'{"StreamName": "a", "StreamName": "b"}'
    assert codec("kinesis", "CreateStream", "json").parse(Request("POST", "/", "", {}, twice), {}) == {
        "StreamName": "b"
    }


def test_dynamodb_types_have_their_namespace() -> None:
    missing = AwsError("ResourceNotFoundException", "Requested resource not found")
    answer = error_response("dynamodb", "json", "GetItem", missing, "r-1")
    assert answer.status == 400
    assert ("x-amzn-RequestId", "r-1") in answer.headers
    assert ("Content-Type", "application/x-amz-json-1.0") in answer.headers
    assert json.loads(answer.body) == {
        "__type": "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException",
        "message": "Requested resource not found",
    }
    invalid = error_response("dynamodb", "json", "GetItem", AwsError("ValidationException", "x"), "r")
    assert json.loads(invalid.body)["__type"] == "com.amazon.coral.validate#ValidationException"


def test_members_of_an_exception_keep_their_wire_form() -> None:
    error = AwsError("ConditionalCheckFailedException", "failed", members={"Item": {"k": {"B": "AAE="}}})
    body = json.loads(error_response("dynamodb", "json", "PutItem", error, "r").body)
    assert body["Item"] == {"k": {"B": "AAE="}}


def test_rest_json() -> None:
    error = AwsError("ResourceNotFoundException", "Function not found: x", members={"Type": "User"})
    answer = error_response("lambda", "rest-json", "GetFunction", error, "r")
    assert answer.status == 404
    assert ("x-amzn-ErrorType", "ResourceNotFoundException") in answer.headers
    assert json.loads(answer.body) == {"Type": "User", "Message": "Function not found: x"}
    throttled = AwsError("TooManyRequestsException", "slow", members={"retryAfterSeconds": "1", "Reason": "r"})
    answer = error_response("lambda", "rest-json", "Invoke", throttled, "r")
    assert answer.status == 429
    assert ("Retry-After", "1") in answer.headers
    broken = refused(
        "lambda", "CreateFunction", "rest-json", body={"FunctionName": "f", "Role": "x", "Code": {}, "Timeout": 0}
    )
    assert broken.code == "ValidationException"
    assert "Value 'x' at 'role' failed to satisfy constraint: Member must satisfy regular" in broken.message
    assert "Value '0' at 'timeout' failed to satisfy constraint: Member must have value greater" in broken.message


def test_query() -> None:
    error = refused("iam", "CreateRole", "query", body=b"Action=CreateRole&Version=2010-05-08&RoleName=a%2Fb")
    assert error.code == "ValidationError"
    assert error.message == (
        "2 validation errors detected: Value at 'roleName' failed to satisfy constraint: "
        "Member must satisfy regular expression pattern: [\\w+=,.@-]+; "
        "Value at 'assumeRolePolicyDocument' failed to satisfy constraint: Member must not be null"
    )
    body = b"Action=UpdateAccessKey&Version=2010-05-08&AccessKeyId=AKIA0123456789ABCDEF&Status=On"
    assert refused("iam", "UpdateAccessKey", "query", body=body).message == (
        "1 validation error detected: Value at 'status' failed to satisfy constraint: Member must satisfy enum value set"
    )
    gone = AwsError("NoSuchEntityException", "The role <x> cannot be found.")
    answer = error_response("iam", "query", "GetRole", gone, "r-1")
    assert answer.status == 404
    ns = {"i": "https://iam.amazonaws.com/doc/2010-05-08/"}
    root = ElementTree.fromstring(answer.body)
    assert root.findtext("i:Error/i:Code", None, ns) == "NoSuchEntity"
    assert root.findtext("i:Error/i:Type", None, ns) == "Sender"
    assert root.findtext("i:Error/i:Message", None, ns) == "The role <x> cannot be found."
    assert root.findtext("i:RequestId", None, ns) == "r-1"


def test_query_compatible_services_say_the_old_code() -> None:
    answer = error_response("sqs", "json", "GetQueueUrl", AwsError("QueueDoesNotExist", "x"), "r")
    assert json.loads(answer.body)["__type"] == "com.amazonaws.sqs#QueueDoesNotExist"
    assert ("x-amzn-query-error", "AWS.SimpleQueueService.NonExistentQueue;Sender") in answer.headers
    answer = error_response("sqs", "query", "GetQueueUrl", AwsError("QueueDoesNotExist", "x"), "r")
    assert b"<Code>AWS.SimpleQueueService.NonExistentQueue</Code>" in answer.body


@pytest.mark.parametrize(
    ("service", "protocol", "code"),
    [
        ("dynamodb", "json", "com.amazon.coral.service#AccessDeniedException"),
        ("iam", "query", "AccessDenied"),
        ("s3", "rest-xml", "AccessDenied"),
        ("lambda", "rest-json", "AccessDeniedException"),
    ],
)
def test_one_mistake_has_each_protocols_own_code(service: str, protocol: str, code: str) -> None:
    answer = error_response(service, protocol, None, AwsError("AccessDenied", "no", 403), "r")
    assert answer.status == 403
    assert code in str(answer.body) or ("x-amzn-ErrorType", code) in answer.headers


def test_a_service_that_is_none_gets_an_answer() -> None:
    for protocol in ("json", "rest-json", "rest-xml", "query", ""):
        answer = error_response("nothing", protocol, None, AwsError("UnknownOperationException", "x"), "r")
        assert answer.status in (400, 404)
        assert b"UnknownOperation" in answer.body or "UnknownOperationException" in str(answer.headers)


def test_statuses_come_from_the_model() -> None:
    for service, code, status in (
        ("lambda", "ServiceException", 500),
        ("lambda", "ResourceConflictException", 409),
        ("dynamodb", "InternalServerError", 500),
        ("logs", "ServiceUnavailableException", 500),
        ("iam", "EntityAlreadyExistsException", 409),
        ("s3", "NoSuchKey", 404),
        ("s3", "BucketNotEmpty", 409),
    ):
        protocol = models.service(service).protocols[0]
        assert error_response(service, protocol, None, AwsError(code, "x"), "r").status == status, code
