"""Bent requests, properly signed, to a real server: every answer is an operation's or one of AWS's errors, and it lives on."""

from __future__ import annotations

import http.client
import random
import string
from typing import Any

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

import bend
import peer
import penstock.services
from penstock.core.operation import REGISTRY
from penstock.wire import models
from penstock.wire.message import Request
from served import Served

SERVICES = ["s3", "dynamodb", "lambda", "iam", "sts", "logs"]
NAMES = {"Bucket": "bent-bucket", "TableName": "bent-table", "FunctionName": "bent-function"}
IN_QUERY = frozenset(string.ascii_letters + string.digits + "-._~!$&'()*+,;=:@/?%")
FRAMING = ("content-length", "transfer-encoding", "host", "expect", "connection")


def _signed(server: Served, service: str, operation: str, request: Request) -> Any:
    model = models.service(service)
    headers = {k: v for k, v in request.headers.items() if k not in FRAMING and v.isascii() and v.isprintable()}
    if model.protocols[0] == "json":
        headers["x-amz-target"] = f"{model.target_prefix}.{operation}"
    query = "".join(char for char in request.query if char in IN_QUERY)
    url = f"{server.endpoint}{request.path}" + (f"?{query}" if query else "")
    unsigned = AWSRequest(request.method, url, headers=headers, data=request.body)
    sign = S3SigV4Auth if service == "s3" else SigV4Auth
    sign(Credentials("test", "test"), model.signing_name, "us-east-1").add_auth(unsigned)
    return unsigned.prepare()


def _run(server: Served, service: str, rounds: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    protocol = models.service(service).protocols[0]
    server.log.clear()
    answered = 0
    for owner, name in sorted(REGISTRY):
        if owner != service:
            continue
        operation = peer.service_model(service).operation_model(name)
        chance = random.Random(name)
        for seed in range(rounds):
            params = peer.Values(seed).of(operation.input_shape) if operation.input_shape else {}
            params.update({k: v for k, v in NAMES.items() if k in params})
            request = peer.request(operation, protocol, params)
            bend.request(request, chance)
            prepared = _signed(server, service, name, request)
            path = prepared.url.removeprefix(server.endpoint)
            connection.request(request.method, path, body=request.body, headers=dict(prepared.headers))
            answer = connection.getresponse()
            text = answer.read()
            # 501 is our refusal of what is not carried out.
            assert answer.status < 500 or answer.status == 501, (name, path, request.body[:500], text[:500])
            answered += 1
    assert answered
    lines = list(server.log)
    assert not [lines[i : i + 40] for i, line in enumerate(lines) if "Traceback" in line]


@pytest.fixture(scope="module", autouse=True)
def _operations() -> None:
    penstock.services.load()


@pytest.mark.parametrize("service", SERVICES)
def test_bent_requests(server: Served, service: str) -> None:
    _run(server, service, 3)


@pytest.mark.slow
@pytest.mark.parametrize("service", SERVICES)
def test_many_bent_requests(server: Served, service: str) -> None:
    _run(server, service, 150)
