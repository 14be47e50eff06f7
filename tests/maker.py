"""Requests made from the models: parameters right, wrong and absurd, bodies whole and damaged, and worse. Seeded."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
import re
import zipfile
from typing import Any, TypeAlias
from urllib.parse import quote, urlencode
from xml.sax.saxutils import escape

from certificates import issue
from penstock.wire import models

FORM = "application/x-www-form-urlencoded"
TEXTS = [
    "", "a", "ab-c", "A" * 300, "é中", "\x00", "../x", "arn:aws:iam::000000000000:role/r", "table", "bucket", "key", "*",
    "{}", "[]", "null", "-1", "2020-01-01T00:00:00Z", "%", "a/b//c", " ", "<x>", "&amp;", "k", "SET a = :a", "#k = :v",
    "attribute_exists(k)", "$LATEST", "python3.11", "index.handler", "eyJ9", "AAAA", "[]\n", "😀", "0" * 70, "[" * 3000,
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
ALLOW = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}'
OPEN = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*"}}'
USER, ROLE = (f"arn:aws:iam::000000000000:{name}" for name in ("user/a", "role/r"))
TABLE = "arn:aws:dynamodb:us-east-1:000000000000:table/table"
WEBSITE = b"<WebsiteConfiguration><IndexDocument><Suffix>key</Suffix></IndexDocument></WebsiteConfiguration>"
DEEP_TOKEN = ".".join([base64.b64encode(b"[" * 6000).decode()] * 3)
CERTIFICATE = issue("c.example")
FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:f"


def zipped() -> str:
    """A function's code, as a request holds it."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("a.py", "def b(event, context):\n    return event\n")
    return base64.b64encode(data.getvalue()).decode()


NAMED: dict[str, list[str]] = {
    "TableName": ["table"], "Bucket": ["bucket"], "Key": ["key"], "FunctionName": ["f", "f", FUNCTION, FUNCTION + ":1"],
    "UserName": ["a"], "RoleName": ["r"], "logGroupName": ["table"], "logGroupIdentifier": ["table"], "GroupName": ["g"],
    "Role": [ROLE], "RoleArn": [ROLE],
    "PolicyArn": ["arn:aws:iam::000000000000:policy/p", "arn:aws:iam::aws:policy/ReadOnlyAccess"],
    "PolicyName": ["p"], "InstanceProfileName": ["p"], "ServiceNamespace": ["dynamodb"],
    "AWSServiceName": ["sns.amazonaws.com"],
    "OpenIDConnectProviderArn": ["arn:aws:iam::000000000000:oidc-provider/id.example"], "Url": ["https://id2.example"],
    "SerialNumber": ["arn:aws:iam::000000000000:mfa/m"], "PermissionsBoundary": ["arn:aws:iam::aws:policy/ReadOnlyAccess"],
    "ServerCertificateName": ["c"], "CertificateBody": [CERTIFICATE.pem], "PrivateKey": [CERTIFICATE.key_pem()],
    "Password": ["Long enough 1!"], "ServiceName": ["codecommit.amazonaws.com"], "AliasName": ["alias/a"],
    "TableId": ["table"], "ScalableDimension": ["dynamodb:table:ReadCapacityUnits"], "GranteePrincipal": [USER],
    "PolicySourceArn": [USER],
    "Arn": [USER, ROLE], "PolicyDocument": [ALLOW], "PolicyInputList": [ALLOW], "AssumeRolePolicyDocument": [TRUST],
    "Policy": [ALLOW, OPEN, "{}"], "ResourceArn": [TABLE, FUNCTION], "Resource": [FUNCTION, TABLE], "TableArn": [TABLE],
    "ExpectedBucketOwner": ["000000000000"], "ExpectedSourceBucketOwner": ["000000000000"], "Qualifier": ["1", "$LATEST"],
    "CopySource": ["bucket/key", "/bucket/key", "bucket/key?versionId=null"], "IndexName": ["index"], "LayerName": ["l"],
    "ResourceId": ["table/table", "table/table/index/index"], "S3Bucket": ["bucket"], "S3Key": ["key"],
    "BucketName": ["bucket"],
    "Statement": [
        'SELECT * FROM "table"', 'SELECT k, v[0].a FROM "table"."index" WHERE k = ?', "INSERT INTO \"table\" VALUE {'k':'x'}",
        "UPDATE \"table\" SET v=? WHERE k='x' RETURNING ALL NEW *", "DELETE FROM \"table\" WHERE k='x'", "SELECT",
        'SELECT * FROM "table" WHERE ' + "(" * 200 + "k=1", 'EXISTS(SELECT * FROM "table" WHERE k=?)',
    ],
    "Expression": [
        "SELECT * FROM s3object s", "SELECT s._1, COUNT(*) FROM S3Object[*][*] s WHERE s.a.b LIKE '%' LIMIT 5", "SELECT 1",
        "SELECT CAST(s._1 AS INT) FROM s3object s", "SELECT " + "-" * 300 + "1 FROM s3object", "SELECT SUM(DISTINCT) FROM",
    ],
    "KeyConditionExpression": ["k = :a", "k = :a AND begins_with(r, :b)", "#k = :a"],
    "FilterExpression": ["v > :a", "contains(v, :a) OR NOT size(v) BETWEEN :a AND :b"],
    "ConditionExpression": ["attribute_exists(k)"],
    "UpdateExpression": ["SET v = if_not_exists(v, :a) + :b", "ADD v :a DELETE w :b", "REMOVE v[0].a", "SET a.b.c = :a"],
    "SSEKMSEncryptionContext": ["e30=", base64.b64encode(b"[" * 3000).decode()], "WebIdentityToken": ["e30.e30.AA", DEEP_TOKEN],
    "ProjectionExpression": ["k, v.a[0]", "#k"], "Handler": ["a.b"], "Runtime": ["python3.11"], "ZipFile": [zipped()],
    "filterPattern": ["[a, b > 1, ...]", '{ $.a.b = "x*" && $.c[0] IS NULL }', "%a+b%", '"' * 9, "?a ?b -c"],
    "Pattern": ['{"a":[{"prefix":"x"}]}', '{"a":{"b":[{"numeric":[">",0]}]}}'], "BackupName": ["backup"],
    "Action": ["lambda:InvokeFunction"], "Principal": ["s3.amazonaws.com", "*"],
    "StatementId": ["s"], "AttributeName": ["k", "r"], "policyDocument": [ALLOW],
}  # fmt: skip
"""What strings of some names mostly are: something that `SETTING_UP` makes, or text in the language that they are in."""
RARE = re.compile(
    "SSECustomer|CopySourceSSE|Checksum(?!Algorithm)|ContentMD5|^(CopySource)?If|MFA|Marker|Token|UploadId|VersionId"
)
"""Optional parameters of which nearly every value ends the request at once."""
Step: TypeAlias = tuple[str, str, str, bytes, dict[str, str]]


def iam(action: str, **params: str) -> Step:
    """A step of `SETTING_UP`."""
    body = urlencode({"Action": action, "Version": "2010-05-08", **params}).encode()
    return "iam", "POST", "/", body, {"Content-Type": FORM}


SETTING_UP: list[Step] = [
    ("s3", "PUT", "/bucket", b"", {}),
    ("s3", "PUT", "/bucket/key", b"a,b\n1,2\n", {}),
    (
        "dynamodb", "POST", "/",
        b'{"TableName":"table","KeySchema":[{"AttributeName":"k","KeyType":"HASH"}],"BillingMode":"PAY_PER_REQUEST",'
        b'"AttributeDefinitions":[{"AttributeName":"k","AttributeType":"S"},{"AttributeName":"r","AttributeType":"S"}],'
        b'"StreamSpecification":{"StreamEnabled":true,"StreamViewType":"NEW_AND_OLD_IMAGES"},"GlobalSecondaryIndexes":[{'
        b'"IndexName":"index","KeySchema":[{"AttributeName":"r","KeyType":"HASH"}],"Projection":{"ProjectionType":"ALL"}}]}',
        {"X-Amz-Target": "DynamoDB_20120810.CreateTable"},
    ),
    iam("CreateUser", UserName="a"),
    iam("CreateGroup", GroupName="g"),
    iam("CreateRole", RoleName="r", AssumeRolePolicyDocument=TRUST),
    iam("CreatePolicy", PolicyName="p", PolicyDocument=ALLOW),
    iam("CreateInstanceProfile", InstanceProfileName="p"),
    iam("CreateVirtualMFADevice", VirtualMFADeviceName="m"),
    iam("CreateOpenIDConnectProvider", **{"Url": "https://id.example", "ThumbprintList.member.1": "a" * 40}),
    iam(
        "UploadServerCertificate", ServerCertificateName="c", CertificateBody=CERTIFICATE.pem,
        PrivateKey=CERTIFICATE.key_pem(),
    ),
    ("kms", "POST", "/", b"{}", {"X-Amz-Target": "TrentService.CreateKey"}),
    ("logs", "POST", "/", b'{"logGroupName":"table"}', {"X-Amz-Target": "Logs_20140328.CreateLogGroup"}),
    (
        "lambda", "POST", "/2015-03-31/functions",
        json.dumps({
            "FunctionName": "f", "Runtime": "python3.11", "Handler": "a.b", "Role": ROLE, "Publish": True,
            "Code": {"ZipFile": zipped()},
        }).encode(),
        {},
    ),
    ("lambda", "POST", "/2021-10-31/functions/f/url", b'{"AuthType":"NONE","Cors":{"AllowOrigins":["http://a.example"]}}', {}),
    (
        "lambda", "POST", "/2015-03-31/functions/f/policy",
        b'{"StatementId":"u","Action":"lambda:InvokeFunctionUrl","Principal":"*","FunctionUrlAuthType":"NONE"}', {},
    ),
    (
        "s3", "PUT", "/bucket?website",
        WEBSITE, {"Content-MD5": base64.b64encode(hashlib.md5(WEBSITE, usedforsecurity=False).digest()).decode()},
    ),
]  # fmt: skip
"""(service, method, target, body, headers) of requests that make what later ones may be about."""
DESTROYING = frozenset({
    "DeleteBucket", "DeleteTable", "DeleteUser", "DeleteRole", "DeleteGroup", "DeleteFunction", "DeleteLogGroup",
    "DeletePolicy",
    "DeleteInstanceProfile", "DeleteVirtualMFADevice", "DeleteOpenIDConnectProvider", "DeleteServerCertificate", "DisableKey",
    "ScheduleKeyDeletion", "UpdateUser", "UpdateGroup", "UpdateServerCertificate", "PutBucketPolicy", "PutKeyPolicy",
    "PutResourcePolicy", "PutFunctionConcurrency",
})  # fmt: skip
"""Operations after which less works: they are mostly about something else than what `SETTING_UP` makes."""


class Maker:
    """Requests from a service's model."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.named = dict(NAMED)
        self.url_host = "x.lambda-url.us-east-1.localhost"
        self._known, self._wrong, self._optional = 0.85, 0.05, 0.3
        """How likely a value is one that there is, is of another type, or is there at all where it need not be."""

    def learn(self, service: str, answer: bytes) -> None:
        """Take the names that the server gave out itself from the answer to a request of `SETTING_UP`."""
        if service == "kms":
            self.named["KeyId"] = self.named["TargetKeyId"] = [json.loads(answer)["KeyMetadata"]["KeyId"]]
        if service == "lambda" and b'FunctionUrl"' in answer:
            self.url_host = json.loads(answer)["FunctionUrl"].split("/")[2].partition(":")[0]
        if service == "dynamodb":
            self.named["StreamArn"] = [json.loads(answer)["TableDescription"]["LatestStreamArn"]]
            self.named["EventSourceArn"] = self.named["StreamArn"]

    def value(self, model: models.ServiceModel, shape: models.Shape, depth: int = 0) -> Any:
        """Something for a shape, now and then of another type."""
        chance, pick = self.random.random(), self.random.choice
        if chance < self._wrong:
            return pick([None, 1, "x", [], {}, True, 1.5, [None], {"a": {}}])
        if shape.name == "AttributeValue":
            return pick(ATTRIBUTES)
        count = pick([0, 1, 1, 2, 3]) if depth < 6 else 0
        match shape.type:
            case "structure":
                return {
                    name: self._member(model, model.shapes[member.shape], depth + 1, name)
                    for name, member in shape.members.items()
                    if depth < 6 and self.random.random() < self._chance(shape, name)
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

    def _chance(self, shape: models.Shape, name: str) -> float:
        if name in shape.required:
            return 1 - self._wrong
        return self._optional * (0.1 if RARE.search(name) else 1.0)

    def _member(self, model: models.ServiceModel, shape: models.Shape, depth: int, name: str) -> Any:
        known = self.named.get(name)
        if shape.type == "map" and model.entry.name == "dynamodb" and self.random.random() < 0.8:
            return self._attributes(model, shape, depth, name)
        if known and self.random.random() < self._known:
            if shape.type in ("string", "blob"):
                return self.random.choice(known)
            if shape.type == "list":
                return [self.random.choice(known)]
        return self.value(model, shape, depth)

    def _attributes(self, model: models.ServiceModel, shape: models.Shape, depth: int, name: str) -> dict[str, Any]:
        """Keys, items and what expressions refer to, so that they are mostly about the table's own attributes."""
        assert shape.value
        names = {
            "ExpressionAttributeValues": [":a", ":b"], "ExpressionAttributeNames": ["#k"], "Key": ["k"], "Item": ["k", "v"],
            "RequestItems": ["table"],
        }.get(name) or [self.random.choice(["k", "r", "v", "table"])]  # fmt: skip
        inner = model.shapes[shape.value.shape]
        made = {each: self.value(model, inner, depth + 1) for each in names}
        if inner.name == "AttributeValue" and self.random.random() < 0.8:
            made[names[0]] = {"S": "x"}
        return {"#k": "k"} if names == ["#k"] and self.random.random() < 0.8 else made

    def request(self, service: str, operation: str) -> tuple[str, str, bytes, dict[str, str]]:
        """(method, target, body, headers)."""
        model = models.service(service)
        shape = model.input_shape(operation)
        self._known = 0.05 if operation in DESTROYING else 0.9
        # One wrong value ends most requests at once: half of them hold few.
        self._wrong, self._optional = self.random.choice([(0.05, 0.3), (0.005, 0.06)])
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
                text = str(value) or "x"
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
                is_xml = model.protocols[0] == "rest-xml"
                body = (xml(model, inner, wire, value) if is_xml else json.dumps(value)).encode()
        elif inside and shape and model.protocols[0] == "rest-xml":
            body = xml(model, shape, found.input.location_name if found.input else "", inside).encode()
        elif inside:
            body = json.dumps(inside).encode()
        body = self.damaged(body)
        if model.protocols[0] == "rest-xml" and body and self.random.random() < 0.9:
            headers.setdefault(
                "Content-MD5", base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
            )
        return found.method, path + ("?" + "&".join(query) if query else ""), body, headers

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
    return [(prefix, str(value).lower() if isinstance(value, bool) else str(value))]


def xml(model: models.ServiceModel, shape: models.Shape, name: str, value: Any) -> str:
    """XML as the model has it, where the value is of the shape's type."""
    if not isinstance(value, dict) or shape.type != "structure" or not shape.members.keys() >= value.keys():
        return element(name, value)
    inner = ""
    for key, one in value.items():
        member = shape.members[key]
        below, wire = model.shapes[member.shape], member.location_name or key
        if below.type != "list" or not isinstance(one, list):
            inner += xml(model, below, wire, one)
            continue
        assert below.member
        flattened = below.flattened or member.flattened
        each = wire if flattened else below.member.location_name or "member"
        items = "".join(xml(model, model.shapes[below.member.shape], each, item) for item in one)
        inner += items if flattened else f"<{wire}>{items}</{wire}>"
    return f"<{name}>{inner}</{name}>"


def element(name: str, value: Any) -> str:
    """XML."""
    if isinstance(value, list):
        return "".join(element(name, v) for v in value)
    inner = (
        "".join(element(k if k.isalpha() else "k", v) for k, v in value.items()) if isinstance(value, dict) else None
    )
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"<{name}>{escape(text) if inner is None else inner}</{name}>"
