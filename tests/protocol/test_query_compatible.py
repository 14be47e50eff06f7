"""Services that once spoke query (SQS, CloudWatch): their errors keep the codes they had there, in every protocol.

Sources: https://smithy.io/2.0/aws/protocols/aws-query-protocol.html#aws-protocols-awsquerycompatible-trait; the codes are
those of botocore's models, read back by botocore's parsers.
"""

from __future__ import annotations

from typing import Any

import pytest
from botocore import parsers
from botocore.awsrequest import HeadersDict

import peer
from penstock.wire import catalog, codec, error_out, models, query_models
from penstock.wire.errors import AwsError
from penstock.wire.message import Request

COMPATIBLE = [entry.name for entry in catalog.ENTRIES if peer.ours(entry.name).query_compatible]


def _parsed(service: str, protocol: str, error: AwsError) -> dict[str, Any]:
    """What botocore reads: {"Code", "Message", "Type", "QueryErrorCode"}."""
    answer = error_out.response(service, protocol, None, error, "request-1")
    wire = {
        "status_code": answer.status, "headers": HeadersDict(dict(answer.headers)), "body": answer.body, "context": {},
    }  # fmt: skip
    found: dict[str, Any] = parsers.create_parser(protocol).parse(wire, None)["Error"]
    return found


def test_sqs_and_cloudwatch_are_such() -> None:
    assert {"sqs", "cloudwatch"} <= set(COMPATIBLE)


@pytest.mark.parametrize("service", COMPATIBLE)
def test_every_error_keeps_its_query_code(service: str) -> None:
    """An operation may raise it by its name or by its query code: clients see the latter."""
    model = models.service(service)
    errors = [shape for shape in model.shapes.values() if shape.exception]
    assert errors
    for shape in errors:
        wanted = query_models.code_of(model, shape)
        for protocol in model.protocols:
            for code in (shape.name, wanted):
                told = _parsed(service, protocol, AwsError(code, "Text."))
                assert (told["Code"], told["Message"]) == (wanted, "Text."), (shape.name, protocol)
                if protocol != "query" and code == shape.name:
                    assert told["QueryErrorCode"] == shape.name
                assert told["Type"] == ("Receiver" if shape.fault else "Sender")


def test_the_code_that_everybody_catches() -> None:
    for protocol in ("json", "query"):
        told = _parsed("sqs", protocol, AwsError("QueueDoesNotExist", "The specified queue does not exist."))
        assert told["Code"] == "AWS.SimpleQueueService.NonExistentQueue"


@pytest.mark.parametrize("service", COMPATIBLE)
def test_errors_of_no_model_too(service: str) -> None:
    for protocol in models.service(service).protocols:
        told = _parsed(service, protocol, AwsError("ThrottlingException", "Slow down.", 400))
        assert told["Code"] == "ThrottlingException"


def _in_query(operation: str, form: str) -> dict[str, Any]:
    return codec.codec("sqs", operation, "query").parse(Request("POST", "/", "", {}, form.encode()), {})


def test_both_protocols_of_sqs_are_understood() -> None:
    """With and without x-amzn-query-mode, which only says that the client wants the old codes."""
    wanted = {"QueueUrl": "http://h/0/q", "MessageBody": "hello"}
    for headers in ({}, {"x-amzn-query-mode": "true"}):
        body = b'{"QueueUrl":"http://h/0/q","MessageBody":"hello"}'
        assert codec.codec("sqs", "SendMessage", "json").parse(Request("POST", "/", "", headers, body), {}) == wanted
    assert _in_query("SendMessage", "QueueUrl=http%3A%2F%2Fh%2F0%2Fq&MessageBody=hello") == wanted


def test_forms_of_the_api_reference() -> None:
    """The wire names of https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/ in its query examples."""
    form = "QueueName=q&Attribute.1.Name=DelaySeconds&Attribute.1.Value=45&Tag.1.Key=k&Tag.1.Value=v"
    assert _in_query("CreateQueue", form) == {
        "QueueName": "q", "Attributes": {"DelaySeconds": "45"}, "tags": {"k": "v"},
    }  # fmt: skip
    assert _in_query("GetQueueAttributes", "QueueUrl=u&AttributeName.1=All") == {
        "QueueUrl": "u",
        "AttributeNames": ["All"],
    }
    batch = (
        "QueueUrl=u&SendMessageBatchRequestEntry.1.Id=a&SendMessageBatchRequestEntry.1.MessageBody=b"
        "&SendMessageBatchRequestEntry.1.MessageAttribute.1.Name=n&SendMessageBatchRequestEntry.1.MessageAttribute.1.Value"
        ".StringValue=s&SendMessageBatchRequestEntry.1.MessageAttribute.1.Value.DataType=String"
    )
    assert _in_query("SendMessageBatch", batch) == {
        "QueueUrl": "u",
        "Entries": [
            {"Id": "a", "MessageBody": "b", "MessageAttributes": {"n": {"StringValue": "s", "DataType": "String"}}}
        ],
    }


def test_answers_of_the_api_reference() -> None:
    message = {"MessageId": "1", "Body": "b", "Attributes": {"SentTimestamp": "5"}}
    answer = (
        codec.codec("sqs", "ReceiveMessage", "query").serialize({"Messages": [message, message]}, "id").body.decode()
    )
    assert answer.startswith(
        '<ReceiveMessageResponse xmlns="http://queue.amazonaws.com/doc/2012-11-05/"><ReceiveMessageResult><Message>'
    )
    assert answer.count("<Message><MessageId>1</MessageId><Body>b</Body><Attribute><Name>SentTimestamp</Name>") == 2
    answer = codec.codec("sqs", "ListQueues", "query").serialize({"QueueUrls": ["u", "v"]}, "id").body.decode()
    assert "<ListQueuesResult><QueueUrl>u</QueueUrl><QueueUrl>v</QueueUrl></ListQueuesResult>" in answer
