"""Requests of every operation we serve, bent in every way: what comes out is parameters or an AWS error, never a failure."""

from __future__ import annotations

import random
from typing import Any

import pytest

import peer
from penstock.wire import codec, models, uris
from penstock.wire.codec import error_response
from penstock.wire.errors import AwsError
from penstock.wire.message import Request

SERVICES = [
    ("s3", "rest-xml"), ("dynamodb", "json"), ("lambda", "rest-json"), ("iam", "query"), ("sts", "query"),
    ("logs", "json"), ("kinesis", "json"), ("cloudwatch", "smithy-rpc-v2-cbor"),
]  # fmt: skip
PIECES = [
    b"", b"\x00", b"\xff", b"null", b"[]", b"{}", b'"', b"<", b">", b"]]>", b"&#0;", b"&x;", b"<!DOCTYPE a>", b"%", b"%00",
    b"%ff", b".", b".member.99999999999", b".1", b"=", b"&", b"1e999", b"NaN", b"-1", b"9" * 400, b"\xed\xa0\x80", b"\\ud800",
    b"[" * 500, b"<a>" * 500, b"\x9f", b"\xbf", b"\xc1", b"true", b"\xfb\x7f\xf8\x00\x00\x00\x00\x00\x00", b",", b":",
]  # fmt: skip
TEXTS = [
    "",
    " ",
    "0",
    "-1",
    "x" * 5000,
    "\x00",
    "é",
    "99999999999999999999",
    "1e5",
    "nan",
    "true",
    "*",
    "%00",
    "a,b",
    '"',
    "===",
]


def _bent(body: bytes, chance: random.Random) -> bytes:
    for _ in range(chance.randint(1, 3)):
        at = chance.randint(0, len(body))
        match chance.randrange(4):
            case 0:
                body = body[:at] + chance.choice(PIECES) + body[at:]
            case 1:
                body = body[:at] + body[at + chance.randint(1, 20) :]
            case 2:
                body = body[:at] + bytes((chance.randrange(256),)) + body[at + 1 :]
            case 3:
                body = body[:at] + body[at // 2 :]
    return body


def _bend(request: Request, chance: random.Random) -> None:
    match chance.randrange(4):
        case 0 | 1 if request.body:
            request.body = _bent(request.body, chance)
        case 2 if request.headers:
            request.headers[chance.choice(list(request.headers))] = chance.choice(TEXTS)
        case _:
            request.query = _bent(request.query.encode(), chance).decode("latin-1")


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
            _bend(request, chance)
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
