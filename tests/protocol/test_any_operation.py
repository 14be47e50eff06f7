"""Every registered operation with parameters made from its model: right, wrong and absurd, whole and damaged.

Whatever comes, the answer is AWS's: never an internal failure, never a hang. More rounds with `script/test --all`.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from xml.sax.saxutils import escape

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from penstock.cli.up import node_of
from penstock.config import Settings
from penstock.core.operation import REGISTRY
from penstock.edge.chain import Chain
from penstock.wire import models
from penstock.wire.message import Request, Response

HOST = "127.0.0.1:4566"
TEXTS = [
    "", "a", "ab-c", "A" * 300, "é中", "\x00", "../x", "arn:aws:iam::000000000000:role/r", "table", "bucket", "key", "*",
    "{}", "[]", "null", "-1", "2020-01-01T00:00:00Z", "%", "a/b//c", " ", "<x>", "&amp;", "k", "SET a = :a", "#k = :v",
    "attribute_exists(k)", "$LATEST", "python3.11", "index.handler", "eyJ9", "AAAA", "[]\n", "😀", "0" * 70,
]  # fmt: skip
NUMBERS = [0, 1, -1, 2, 10, 1000, 2**31, 2**63, -(2**63), 1.5, 1e308]
ATTRIBUTES: list[Any] = [
    {"S": "x"}, {"N": "1"}, {"N": "abc"}, {"N": "1e400"}, {"B": "AA=="}, {"BOOL": True}, {"NULL": True}, {}, {"S": 1},
    {"L": [{"S": "a"}]}, {"M": {"a": {"N": "1"}}}, {"SS": ["a"]}, {"NS": ["1", "1"]}, {"X": "y"}, {"S": "a", "N": "1"}, [],
]  # fmt: skip
DAMAGE = [b"{", b"\x00", b"<a>", b"&lt;", b"\xff", b"[[[[", b"1e999", b'<!DOCTYPE x [<!ENTITY a "b">]>']
SETTING_UP = [
    ("s3", "PUT", "/bucket", b"", {}),
    ("s3", "PUT", "/bucket/key", b"hello", {}),
    (
        "dynamodb", "POST", "/",
        b'{"TableName":"table","KeySchema":[{"AttributeName":"k","KeyType":"HASH"}],"BillingMode":"PAY_PER_REQUEST",'
        b'"AttributeDefinitions":[{"AttributeName":"k","AttributeType":"S"}]}',
        {"X-Amz-Target": "DynamoDB_20120810.CreateTable"},
    ),
]  # fmt: skip


class Maker:
    """Requests from a service's model."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def value(self, model: models.ServiceModel, shape: models.Shape, depth: int = 0) -> Any:
        """Something for a shape, now and then of another type."""
        chance, pick = self.random.random(), self.random.choice
        if chance < 0.05:
            return pick([None, 1, "x", [], {}, True, 1.5, [None], {"a": {}}])
        if shape.name == "AttributeValue":
            return pick(ATTRIBUTES)
        count = pick([0, 1, 1, 2, 3]) if depth < 6 else 0
        match shape.type:
            case "structure":
                return {
                    name: self.value(model, model.shapes[member.shape], depth + 1)
                    for name, member in shape.members.items()
                    if depth < 6 and self.random.random() < (0.93 if name in shape.required else 0.35)
                }
            case "list":
                assert shape.member
                return [self.value(model, model.shapes[shape.member.shape], depth + 1) for _ in range(count)]
            case "map":
                assert shape.value
                inner = model.shapes[shape.value.shape]
                return {pick(TEXTS): self.value(model, inner, depth + 1) for _ in range(count)}
            case "string":
                return pick(shape.enum) if shape.enum and chance < 0.9 else pick(TEXTS)
            case "boolean":
                return chance < 0.5
            case "blob":
                return pick(["", "AAAA", "!!", "eyJhIjoxfQ=="])
            case _:
                return pick(NUMBERS)

    def request(self, service: str, operation: str) -> tuple[str, str, bytes, dict[str, str]]:
        """(method, target, body, headers)."""
        model = models.service(service)
        shape = model.input_shape(operation)
        params = self.value(model, shape) if shape else {}
        params = params if isinstance(params, dict) else {}
        match model.protocols[0]:
            case "json":
                target = f"{model.target_prefix}.{operation}"
                headers = {"X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.0"}
                return "POST", "/", self.damaged(json.dumps(params).encode()), headers
            case "query":
                pairs = [("Action", operation), ("Version", model.entry.version), *flat("", params)]
                headers = {"Content-Type": "application/x-www-form-urlencoded"}
                return "POST", "/", self.damaged(urlencode(pairs).encode()), headers
            case _:
                return self.rest(model, operation, shape, params)

    def rest(
        self, model: models.ServiceModel, operation: str, shape: models.Shape | None, params: dict[str, Any]
    ) -> tuple[str, str, bytes, dict[str, str]]:
        """A REST request: parameters where the model puts them."""
        found = model.operations[operation]
        path, _, literal = found.uri.partition("?")
        query, headers = [literal] if literal else [], {}
        inside: dict[str, Any] = {}
        for name, member in shape.members.items() if shape else ():
            value, wire = params.get(name, "x"), member.location_name or name
            if member.location == "uri":
                text = (
                    self.random.choice(["bucket", "bucket", "nope", "B_ad"]) if name == "Bucket" else str(value) or "x"
                )
                path = path.replace(f"{{{wire}}}", quote(text, safe="")).replace(f"{{{wire}+}}", quote(text, safe="/"))
            elif name not in params:
                continue
            elif member.location == "querystring":
                query.append(f"{quote(wire)}={quote(str(value))}")
            elif member.location == "header":
                if str(value).isascii() and str(value).isprintable():
                    headers[wire] = str(value).strip()
            elif not member.location:
                inside[name] = value
        body = b""
        if shape and shape.payload:
            value = inside.get(shape.payload)
            inner = model.shapes[shape.members[shape.payload].shape]
            if value is not None and inner.type != "structure":
                body = str(value).encode()
            elif value is not None:
                wire = shape.members[shape.payload].location_name or inner.name
                xml = model.protocols[0] == "rest-xml"
                body = (element(wire, value) if xml else json.dumps(value)).encode()
        elif inside:
            body = json.dumps(inside).encode()
        return found.method, path + ("?" + "&".join(query) if query else ""), self.damaged(body), headers

    def damaged(self, body: bytes) -> bytes:
        """The body, or sometimes what is left of it."""
        if not body or self.random.random() < 0.7:
            return body
        data = bytearray(body)
        for _ in range(self.random.choice([1, 1, 2, 5])):
            at, how = self.random.randrange(len(data) + 1), self.random.random()
            if how < 0.5:
                del data[at : at + self.random.choice([1, 3, 20])]
            else:
                data[at:at] = self.random.choice(DAMAGE)
        return bytes(data)


def flat(prefix: str, value: Any) -> list[tuple[str, str]]:
    """The query protocol's way of writing structures down."""
    if isinstance(value, dict):
        return [p for k, v in value.items() for p in flat(f"{prefix}.{k}" if prefix else k, v)]
    if isinstance(value, list):
        return [p for i, v in enumerate(value, 1) for p in flat(f"{prefix}.member.{i}", v)]
    return [(prefix, str(value))]


def element(name: str, value: Any) -> str:
    """XML."""
    if isinstance(value, list):
        return "".join(element(name, v) for v in value)
    inner = (
        "".join(element(k if k.isalpha() else "k", v) for k, v in value.items()) if isinstance(value, dict) else None
    )
    return f"<{name}>{escape(str(value)) if inner is None else inner}</{name}>"


async def answer(
    chain: Chain, service: str, method: str, target: str, body: bytes, headers: dict[str, str]
) -> Response:
    """The chain's answer to a signed request, its stream taken."""
    request = AWSRequest(method=method, url=f"http://{HOST}{target}", data=body, headers=headers)
    signer = S3SigV4Auth if service == "s3" else SigV4Auth
    signer(Credentials("test", "test"), service, "us-east-1").add_auth(request)
    given = {name.lower(): v.decode() if isinstance(v, bytes) else str(v) for name, v in request.headers.items()}
    path, _, query = target.partition("?")
    asked = Request(method, path, query, {"host": HOST, **given}, body, peer="127.0.0.1")
    response = await asyncio.wait_for(chain(asked), 10)
    if response.stream is not None:
        async for _ in response.stream:
            pass
    return response


async def rounds(data: Path, count: int, seed: int) -> None:
    make = Maker(seed)
    failed: Counter[tuple[str, str]] = Counter()
    async with node_of(Settings(data=str(data), store="memory://")) as node:
        chain = Chain(node)
        for step in SETTING_UP:
            assert (await answer(chain, *step)).status == 200
        for _ in range(count):
            for service, operation in sorted(REGISTRY):
                sent = make.request(service, operation)
                response = await answer(chain, service, *sent)
                if response.status >= 500 and response.status != 501:
                    failed[f"{service}:{operation}", repr(sent)[:500]] += 1
    assert not failed


async def test_a_few_rounds(tmp_path: Path) -> None:
    await rounds(tmp_path, 3, 1)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(4))
async def test_many_rounds(tmp_path: Path, seed: int) -> None:
    await rounds(tmp_path, 130, seed)
