"""What hostile clients send beyond wrong parameters: bombs, tricks of XML and CBOR, nesting, smuggled requests. Seeded."""

from __future__ import annotations

import base64
import datetime
import gzip
import hashlib
import hmac
import json
import random
import struct
from typing import NamedTuple
from urllib.parse import quote

from maker import SETTING_UP, TEXTS, Maker
from penstock.core.operation import REGISTRY
from penstock.edge import sigv4
from penstock.wire import catalog, models
from penstock.wire.message import Request

DEEP = [5, 65, 300, 2000, 50_000]
ENTITIES = [
    '<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>',
    '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
    '<!DOCTYPE a [<!ENTITY % p SYSTEM "http://127.0.0.1:1/x">%p;]><a/>',
    '<!DOCTYPE lolz [<!ENTITY a "lol">' + "".join(
        f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    ) + "]><a>&i;</a>",
    '<?xml version="1.0" encoding="UTF-7"?><a>+ADw-b+AD4-</a>',
    '<?xml version="1.0" encoding="rot13"?><n/>',
    "<a><![CDATA[]]]]><![CDATA[>]]></a>",
    "<a>&#0;&#xFFFFFFFF;</a>",
    '<?xml-stylesheet href="http://127.0.0.1:1/"?><a xmlns:x="y" xmlns:x="z"/>',
]  # fmt: skip
FRAMING = [
    b"Content-Length: 5\r\nContent-Length: 6\r\n", b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked, identity\r\n", b"Transfer-Encoding: \x0bchunked\r\n", b"Transfer-Encoding : chunked\r\n",
    b"Transfer-Encoding: xchunked\r\n", b"Content-Length: +5\r\n", b"Content-Length: 0x5\r\n", b"Content-Length: 5, 5\r\n",
    b"Content-Length: -1\r\n", b"Content-Length: 99999999999999999999\r\n", b" folded: x\r\n", b"X: a\r\n b\r\n",
    b"X: a\nContent-Length: 5\r\n", b"X\x00Y: a\r\n", b"X: a\x00b\r\n", b": empty\r\n", b"Host: other\r\n",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", b"Expect: 200-maybe\r\n", b"Upgrade: h2c\r\n",
    b"Connection: close, keep-alive\r\n", b"X-Amz-Date: \xff\xfe\r\n", b"Content-Encoding: gzip, gzip\r\n",
    b"Transfer-Encoding: chunked\r\nTrailer: Content-Length\r\n", b"Content-Length:\r\n", b"Content-Length: 1e1\r\n",
]  # fmt: skip
OWN = [
    "/_penstock/health", "/_penstock/ready", "/_penstock/metrics", "/_penstock/state", "/_penstock/authz",
    "/_penstock/authz/why", "/_penstock/authz/calls", "/_penstock/nothing", "/_localstack/health", "/_localstack/init",
    "/_dynamodb/contributors", "/_lambda/packages/AAAA", "/_",
]  # fmt: skip
"""The server's own pages, but for the two that empty it and move its clock."""
BODIES = [
    b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"0\r\n\r\nGET /_penstock/smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
    b"ffffffffffffffff\r\n", b"5;a=b\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n", b"-1\r\n\r\n", b"5\nhello\n0\n\n", b"",
]  # fmt: skip


class Sent(NamedTuple):
    """One request, ready for the wire. smuggling: its framing lies, so what follows on its connection counts for nothing."""

    operation: str
    data: bytes
    smuggling: bool


class Hostile:
    """An endless row of requests, of every operation there is and of some that there is not."""

    def __init__(self, seed: int, host: str) -> None:
        self._random = random.Random(seed)
        self._maker = Maker(seed)
        self._host = host
        self._served = sorted(REGISTRY)
        self._any = [(e.name, n) for e in catalog.ENTRIES for n in sorted(models.service(e.name).operations)]

    def setting_up(self) -> list[Sent]:
        """What makes something for the others to be about."""
        made = [(s, self._plain(m, t, self.signed(s, m, t, b, h, spoiled=False), b)) for s, m, t, b, h in SETTING_UP]
        return [Sent(f"{service}:setting up", data, False) for service, data in made]

    def learn(self, step: Sent, answer: bytes) -> None:
        """Take up what the server answered to one of them."""
        self._maker.learn(step.operation.partition(":")[0], answer)

    def next(self) -> Sent:
        """The next one."""
        if self._random.random() < 0.06:
            return self._door()
        service, operation = self._random.choice(self._served if self._random.random() < 0.96 else self._any)
        method, target, body, headers = self._maker.request(service, operation)
        trick = self._random.random()
        if trick < 0.06:
            body = self._nested(service)
        elif trick < 0.12 and (method != "GET" or body):
            body = self._random.choice(ENTITIES).encode(self._random.choice(["utf-8", "utf-16", "utf-8-sig"]))
        elif trick < 0.20:
            service, method, target, body, headers = self._cbor()
        elif trick < 0.24:
            body, headers = self._bomb(), {**headers, "Content-Encoding": "gzip"}
        elif trick < 0.30:
            headers, body = self._chunked(headers, body)
        elif trick < 0.36:
            headers = {**headers, **self._odd_headers()}
        signed = self.signed(service, method, target, body, headers)
        return Sent(f"{service}:{operation}", *self._framed(method, target, signed, body))

    def _framed(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[bytes, bool]:
        whole = self._plain(method, target, headers, body)
        if self._random.random() < 0.08:
            framing, lie = self._random.choice(FRAMING), self._random.choice(BODIES)
            return whole[: whole.index(b"Content-Length:")] + framing + b"\r\n" + lie, True
        return whole, False

    def _plain(self, method: str, target: str, headers: dict[str, str], body: bytes) -> bytes:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("utf-8", "replace")
        first = f"{method} {target} HTTP/1.1\r\n".encode("utf-8", "replace")
        return first + lines + b"Content-Length: %d\r\n\r\n" % len(body) + body

    def signed(
        self, service: str, method: str, target: str, body: bytes, headers: dict[str, str], *, spoiled: bool = True
    ) -> dict[str, str]:
        """The headers with a signature of the well-known key; `spoiled`: now and then none, or a wrong one."""
        path, _, query = target.partition("?")
        at = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
        given = {"host": self._host, "x-amz-date": at, **{k.lower(): v.strip() for k, v in headers.items()}}
        payload = given.get("x-amz-content-sha256") or hashlib.sha256(body).hexdigest()
        if service == "s3":
            given["x-amz-content-sha256"] = payload
        signing = models.service(service).signing_name
        names = tuple(sorted(n for n in given if n == "host" or n.startswith("x-amz-")))
        within = f"{at[:8]}/us-east-1/{signing}/aws4_request"
        scope = sigv4.Scope("test", at[:8], "us-east-1", signing, names, frozenset(names), ";".join(names))
        as_sent = {k: v.encode("utf-8", "replace").decode("latin-1") for k, v in given.items()}
        request = Request(method, path.encode().decode("latin-1"), query.encode().decode("latin-1"), as_sent)
        canonical = sigv4.canonical_request(request, scope, payload, service == "s3", False)
        digest = hashlib.sha256(canonical.encode("latin-1", "replace")).hexdigest()
        key = sigv4.signing_key("test", at[:8], "us-east-1", signing)
        chance = self._random.random() if spoiled else 0.5
        found = "0" * 64  # wrong, now and then
        if chance > 0.02:
            found = hmac.digest(key, f"{sigv4.ALGORITHM}\n{at}\n{within}\n{digest}".encode(), "sha256").hex()
        if chance > 0.97:
            return given
        authorization = f"{sigv4.ALGORITHM} Credential=test/{within}, SignedHeaders={scope.signed_headers}"
        return {**given, "authorization": f"{authorization}, Signature={found}"}

    def _door(self) -> Sent:
        """A way in that is no operation: a website, a function's URL, a form, a preflight, the server's own pages."""
        pick, text = self._random.choice, self._random.choice(TEXTS)
        port = self._host.rpartition(":")[2]
        path = quote(pick([f"/{text}", "/key", "/", "/" + text * 40, "/..", "//"]), safe=pick(["/", "/%", "/?&="]))
        headers = {"host": self._host, **({} if self._random.random() < 0.7 else self._odd_headers())}
        method, body = pick(["GET", "GET", "HEAD", "POST", "PUT", "OPTIONS", "DELETE"]), b""
        which = pick(["website", "url", "url", "form", "preflight", "own"])
        match which:
            case "website":
                headers["host"] = (
                    f"{pick(['bucket', 'nope', 'B_ad', 'x' * 80])}.s3-website{pick(['', '-us-east-1'])}.localhost:{port}"
                )
            case "url":
                headers |= {
                    "host": f"{self._maker.url_host}:{port}",
                    "cookie": text.strip(),
                    "content-type": pick(["", "text/plain", "x"]),
                }
                body = pick([b"", b"{}", b"\xff" * 50, self._nested("lambda")])
            case "form":
                method, path, body = "POST", pick(["/bucket", "/nope", "/bucket/key"]), self._form()
                headers["content-type"] = pick(
                    ["multipart/form-data; boundary=b", 'multipart/form-data; boundary="b"', "multipart/form-data"]
                )
            case "preflight":
                asked = {
                    "origin": pick(["http://a.example", "null", text.strip()]),
                    "access-control-request-method": pick(["PUT", "", "X"]),
                }
                headers |= asked | {"access-control-request-headers": ",".join([text.strip()] * pick([1, 300]))}
                method, path = "OPTIONS", pick([path, "/bucket/key", "/2015-03-31/functions"])
            case _:
                path = pick(OWN) + pick(
                    ["", "?limit=x", "?limit=-1&denied=%00", "?principal=" + quote(text), "/" + quote(text)]
                )
                method, body = (
                    pick(["GET", "POST", "PUT"]),
                    pick([b"", b"{}", b"[]", b'{"principal":1,"action":[]}', self._nested("iam")]),
                )
        return Sent(f"door:{which}", *self._framed(method, path, {k: v for k, v in headers.items() if v}, body))

    def _form(self) -> bytes:
        """Fields of an upload by form: some that count, a policy or what is left of one, and the file, last or not."""
        pick = self._random.choice
        policy = base64.b64encode(json.dumps({
            "expiration": pick(["2099-01-01T00:00:00Z", "never", 5]),
            "conditions": pick([
                [], [["starts-with", "$key", ""]], [["content-length-range", "a", -1]], {"a": 1}, [[]], [None],
            ]),
        }).encode()).decode()  # fmt: skip
        fields = {
            "key": pick(["k", "${filename}", "", "x" * 2000]), "policy": pick([policy, policy[:-3], "", "e30="]),
            "x-amz-credential": pick(["test/20260101/us-east-1/s3/aws4_request", "x"]), "acl": "private",
            "x-amz-algorithm": "AWS4-HMAC-SHA256", "x-amz-date": pick(["20260101T000000Z", "x"]),
            "x-amz-signature": pick(["0" * 64, ""]), "AWSAccessKeyId": pick(["", "test"]), "signature": pick(["", "AAAA"]),
            "file": pick(["hello", "x" * 70_000]), "success_action_status": pick(["201", "-1"]),
        }  # fmt: skip
        names = [name for name in fields if self._random.random() < 0.7]
        parts = "".join(
            f'--b\r\nContent-Disposition: form-data; name="{name}"{pick(["", "; filename=a"])}\r\n\r\n{fields[name]}\r\n'
            for name in names
        )
        return (parts + pick(["--b--\r\n", "--b", ""])).encode()

    def _nested(self, service: str) -> bytes:
        depth = self._random.choice(DEEP)
        match models.service(service).protocols[0]:
            case "rest-xml":
                return b"<a>" * depth + b"</a>" * self._random.choice([0, depth])
            case "query":
                return b"Action=ListUsers&Version=2010-05-08&" + b".a" * depth + b"=1"
            case _:
                opening, closing = self._random.choice([(b"[", b"]"), (b'{"a":', b"}"), (b'{"Item":{"L":[', b"]}}")])
                return opening * depth + b"1" + closing * self._random.choice([0, depth])

    def _cbor(self) -> tuple[str, str, str, bytes, dict[str, str]]:
        """A request of one of the two CBOR protocols, well made, damaged or a bomb."""
        bombs = [
            b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", b"\xbb\x7f\xff\xff\xff\xff\xff\xff\xff" + b"\x60" * 40,
            b"\x9f" * self._random.choice(DEEP), b"\xc2\x5b\x00\x00\x00\x00\x10\x00\x00\x00", b"\x5f" + b"\x41a" * 5000,
            b"\xc1" * self._random.choice(DEEP) + b"\x01", b"\x81" * self._random.choice(DEEP), b"\x7f" * 60, b"\xff",
            b"\xbf" + b"\x61a\x01" * 5000 + b"\xff", b"\x1b" + struct.pack(">Q", 2**64 - 1), b"\xfb\x7f\xf0" + b"\0" * 6,
            b"\xa1\x6aStreamName\x9a\x00\xff\xff\xff", b"\xf8\xff", b"\xa1\x01\x02", self._random.randbytes(60),
        ]  # fmt: skip
        body = self._random.choice(bombs)
        if self._random.random() < 0.5:
            model = models.service("kinesis")
            name = self._random.choice(sorted(model.operations))
            headers = {"X-Amz-Target": f"Kinesis_20131202.{name}", "Content-Type": "application/x-amz-cbor-1.1"}
            return "kinesis", "POST", "/", body, headers
        name = self._random.choice(sorted(models.service("cloudwatch").operations))
        target = f"/service/GraniteServiceVersion20100801/operation/{name}"
        headers = {"smithy-protocol": "rpc-v2-cbor", "Content-Type": "application/cbor"}
        return "cloudwatch", "POST", target, body, headers

    def _bomb(self) -> bytes:
        """Compressed: much from little, cut short, or no gzip at all."""
        whole = gzip.compress(b"[" * self._random.choice([10, 10**6, 30 * 10**6]), 9)
        return self._random.choice([whole, whole[: len(whole) // 2], whole + whole, b"\x1f\x8b\x08", b"no gzip"])

    def _chunked(self, headers: dict[str, str], body: bytes) -> tuple[dict[str, str], bytes]:
        """aws-chunked, of each kind and mostly wrong."""
        kind = self._random.choice(sorted(sigv4.STREAMING))
        size = self._random.choice([len(body), 0, 5, 2**63, 2**31])
        lines = [
            b"%x;chunk-signature=%s\r\n" % (size, b"0" * 64) + body + b"\r\n0;chunk-signature=" + b"0" * 64 + b"\r\n\r\n",
            b"%x\r\n%s\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n" % (len(body), body),
            b"%x\r\n" % size, b"zz\r\n", b"\r\n", b"%x;chunk-signature=\r\n%s" % (size, body),
            b"%x\r\n%s\r\n0\r\n%s\r\n\r\n" % (len(body), body, b"x-amz-trailer-signature:" + b"a" * 5000),
        ]  # fmt: skip
        extra = {
            "X-Amz-Content-Sha256": kind, "Content-Encoding": "aws-chunked",
            "X-Amz-Decoded-Content-Length": self._random.choice([str(len(body)), "0", "-1", "x", str(2**62)]),
            "X-Amz-Trailer": self._random.choice(["x-amz-checksum-crc32", "x-amz-checksum-nope", ""]),
        }  # fmt: skip
        return {**headers, **extra}, self._random.choice(lines)

    def _odd_headers(self) -> dict[str, str]:
        pick = self._random.choice
        odd = [
            {"X-Amz-Security-Token": "A" * pick([1, 5000])},
            {"Range": pick(["bytes=5-1", "bytes=-0", "bytes=" + "0-1," * 999])},
            {"X-Amz-Meta-" + "a" * pick([1, 3000]): "é😀"}, {"Content-MD5": pick(["", "AAAA", "x" * 100])},
            {"X-Amz-Checksum-Crc64nvme": pick(["", "AAAAAAAAAAA=", "ü"])}, {"X-Amz-Target": pick([".", "A.B", "." * 200])},
            {"X-Amz-Copy-Source": pick(["/", "bucket/key?versionId=", "%ff", "bucket"])},
            {"Host": pick(["", "a" * 300, "[::1"])},
            {"Content-Type": pick(["multipart/form-data", "multipart/form-data; boundary=" + "b" * 300, "a;" * 500])},
            {"If-Modified-Since": pick(["x", "0"])}, {"X-Amz-Tagging": "&&=&%zz=" * 50}, {"Accept-Encoding": "," * 3000},
            {"X-Amz-Mfa": "a b c"}, {"Origin": pick(["null", "http://localhost:3000", "\x01"])},
        ]  # fmt: skip
        return pick(odd)


def smuggled(answer: bytes) -> bool:
    """Whether an answer shows that what a request's body said was carried out as a request."""
    return b"/_penstock/smuggled" in answer


def as_json(sent: Sent) -> str:
    """For a failure's message."""
    return json.dumps({"operation": sent.operation, "data": sent.data[:1500].decode("latin-1")})
