"""Requests made from the models: parameters right, wrong and absurd, bodies whole and damaged, and worse. Seeded."""

from __future__ import annotations

import json
import random
from typing import Any
from urllib.parse import quote, urlencode
from xml.sax.saxutils import escape

from penstock.wire import models

FORM = "application/x-www-form-urlencoded"
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

TRUST = (
    '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},'
    '"Action":"sts:AssumeRole"}]}'
)
SETTING_UP: list[tuple[str, str, str, bytes, dict[str, str]]] = [
    ("s3", "PUT", "/bucket", b"", {}),
    ("s3", "PUT", "/bucket/key", b"hello", {}),
    (
        "dynamodb", "POST", "/",
        b'{"TableName":"table","KeySchema":[{"AttributeName":"k","KeyType":"HASH"}],"BillingMode":"PAY_PER_REQUEST",'
        b'"AttributeDefinitions":[{"AttributeName":"k","AttributeType":"S"}]}',
        {"X-Amz-Target": "DynamoDB_20120810.CreateTable"},
    ),
    ("iam", "POST", "/", b"Action=CreateUser&Version=2010-05-08&UserName=a", {"Content-Type": FORM}),
    (
        "iam", "POST", "/",
        b"Action=CreateRole&Version=2010-05-08&RoleName=r&AssumeRolePolicyDocument=" + quote(TRUST).encode(),
        {"Content-Type": FORM},
    ),
    ("kms", "POST", "/", b"{}", {"X-Amz-Target": "TrentService.CreateKey"}),
    ("logs", "POST", "/", b'{"logGroupName":"table"}', {"X-Amz-Target": "Logs_20140328.CreateLogGroup"}),
]  # fmt: skip
"""(service, method, target, body, headers) of requests that make what later ones may be about."""


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
    if value == {} and prefix:
        return [(prefix, "")]
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
