"""Requests of every operation we serve, bent in every way: what comes out is parameters or an AWS error, never a failure."""

from __future__ import annotations

import random
from typing import Any

import pytest

import bend
import peer
from penstock.wire import codec, models, uris
from penstock.wire.codec import error_response
from penstock.wire.errors import AwsError

SERVICES = [
    ("s3", "rest-xml"), ("dynamodb", "json"), ("lambda", "rest-json"), ("iam", "query"), ("sts", "query"),
    ("logs", "json"), ("kinesis", "json"), ("cloudwatch", "smithy-rpc-v2-cbor"),
]  # fmt: skip


def _run(service: str, protocol: str, rounds: int) -> int:
    model = peer.service_model(service)
    refused = 0
    for name in models.service(service).operations:
        operation = model.operation_model(name)
        coding = codec.codec(service, name, protocol)
        chance = random.Random(name)
        for seed in range(rounds):
            params: dict[str, Any] = peer.Values(seed).of(operation.input_shape) if operation.input_shape else {}
            request = peer.request(operation, protocol, params)
            bend.request(request, chance)
            try:
                labels: dict[str, str] = {}
                if protocol.startswith("rest"):
                    found = uris.match(service, request.method, request.path, request.query, request.headers)
                    if found is None or found[0] != name:
                        continue
                    labels = found[1]
                coding.parse(request, labels)
            except AwsError as error:
                refused += 1
                answer = error_response(service, protocol, name, error, "request-1")
                assert 400 <= answer.status < 500, (name, error)
                assert len(answer.body) < 100_000
    return refused


@pytest.mark.parametrize(("service", "protocol"), SERVICES)
def test_bent_requests(service: str, protocol: str) -> None:
    assert _run(service, protocol, 6) > 0


@pytest.mark.slow
@pytest.mark.parametrize(("service", "protocol"), SERVICES)
def test_many_bent_requests(service: str, protocol: str) -> None:
    assert _run(service, protocol, 300) > 0
