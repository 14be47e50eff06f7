"""Every operation of every service in the catalogue, against botocore: what it sends we read, what we write it reads."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.model import OperationModel

import peer
from penstock.wire import catalog, codec, models, uris
from penstock.wire.errors import AwsError

PAIRS = [
    pytest.param(entry.name, protocol)
    for entry in catalog.ENTRIES
    for protocol in entry.protocols
    if protocol != "cbor"
]
SEEDS = range(8)

# Operations that botocore itself cannot carry both ways, each with the reason.
NOT_SENT = {
    "s3": {
        "GetBucketLifecycle": "replaced by GetBucketLifecycleConfiguration, which has the same URI",
        "PutBucketLifecycle": "replaced by PutBucketLifecycleConfiguration, which has the same URI",
        "GetBucketNotification": "replaced by GetBucketNotificationConfiguration, which has the same URI",
        "PutBucketNotification": "replaced by PutBucketNotificationConfiguration, which has the same URI",
        "ListDirectoryBuckets": "has ListBuckets' URI; told apart by the endpoint",
        "UpdateObjectEncryption": "its key must match a pattern",
    },
}
NOT_READ = {
    "lambda": {"InvokeAsync": "its Status is the HTTP status, which says that all is well by being 202"},
    "s3": {
        "GetBucketNotification": "botocore merges two members of one element name",
        "GetBucketLocation": "botocore reads its root in a handler of its own; tested in test_s3_wire",
    },
}


def _operations(service: str, left_out: dict[str, dict[str, str]], protocol: str) -> list[OperationModel]:
    model = peer.service_model(service, protocol)
    names = [n for n in model.operation_names if n not in left_out.get(service, {})]
    return [model.operation_model(name) for name in names]


@pytest.mark.parametrize(("service", "protocol"), PAIRS)
def test_what_botocore_sends_is_read(service: str, protocol: str) -> None:
    for operation in _operations(service, NOT_SENT, protocol):
        for seed in SEEDS:
            params = peer.Values(seed).of(operation.input_shape) if operation.input_shape else {}
            params = _sendable(service, params)
            request = peer.request(operation, protocol, params)
            labels: dict[str, str] = {}
            if protocol.startswith("rest"):
                found = uris.match(service, request.method, request.path, request.query, request.headers)
                assert found is not None, operation.name
                # Optional parameters may make one operation of S3 look like its neighbour, which needs them.
                assert found[0] == operation.name, (operation.name, request.path, request.query)
                labels = found[1]
            try:
                got = codec.make(peer.ours(service), operation.name, protocol).parse(request, labels)
            except AwsError as error:
                assert "regular expression" in error.message, (operation.name, error)
                continue
            params.pop("ContentLength", None)  # a header that is the listener's to read
            assert peer.plain(got) == peer.plain(params), operation.name


def _sendable(service: str, params: dict[str, Any]) -> dict[str, Any]:
    if service == "s3":
        params.pop("Expires", None)  # a string to S3, a date to botocore
        for name in ("CopySource", "RenameSource"):
            if name in params:
                params[name] = "/bucket/key"
        if "Bucket" in params:
            params["Bucket"] = "bucket-1"
    return params


@pytest.mark.parametrize(("service", "protocol"), PAIRS)
def test_what_is_written_is_read_by_botocore(service: str, protocol: str) -> None:
    for operation in _operations(service, NOT_READ, protocol):
        if operation.has_event_stream_output:
            continue
        for seed in SEEDS:
            result = peer.plain(peer.Values(seed).of(operation.output_shape)) if operation.output_shape else {}
            result.pop("Expires", None)
            for name in ("StatusCode", "Status") if service == "lambda" else ("StatusCode",):
                result.pop(name, None)  # a random status would be an error
            if operation.has_streaming_output or _text_payload(operation):
                result[operation.output_shape.serialization["payload"]] = (
                    b"text" if operation.has_streaming_output else "text"
                )
            response = codec.make(peer.ours(service), operation.name, protocol).serialize(dict(result), "request-1")
            got = _read(operation, protocol, response)
            for name in ("ContentType", "StatusCode", "ContentLength"):
                if name not in result or operation.http["method"] != "HEAD":
                    got.pop(name, None)  # always there; the length is the listener's to say
                    result.pop(name, None)
            assert peer.plain(got) == peer.plain(result), operation.name


def _read(operation: OperationModel, protocol: str, response: Any) -> dict[str, Any]:
    if not operation.has_streaming_output:
        return peer.parsed(operation, protocol, response)
    body, response.body = response.body, b""
    result = peer.parsed(operation, protocol, response)
    result[operation.output_shape.serialization["payload"]] = body
    return result


def _text_payload(operation: OperationModel) -> bool:
    shape = operation.output_shape
    name = shape.serialization.get("payload") if shape else None
    return bool(name) and shape.members[name].type_name == "string"


def test_the_catalogue_agrees_with_the_models() -> None:
    for entry in catalog.ENTRIES:
        model = models.service(entry.name)
        assert model.target_prefix == entry.target, entry.name
        assert model.signing_name == entry.signing, entry.name
        assert set(model.metadata["protocols"]) <= set(entry.protocols) | {"smithy-rpc-v2-cbor"}, entry.name
        versions = sorted(path.name for path in (models.DATA / entry.name).iterdir())
        assert entry.version == versions[-1], entry.name
