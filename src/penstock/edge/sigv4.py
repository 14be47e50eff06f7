"""AWS Signature Version 4, the checking side: by header or by presigned query. Pure: no store, no socket, no clock.

Source: "Signature Version 4 signing process" in the IAM user guide, and "Authenticating Requests (AWS Signature Version
4)" in the Amazon S3 API reference for where S3 differs: the path is encoded once and not normalised, a payload need
not be signed, and may come in signed chunks (`aws_chunked`).
"""

from __future__ import annotations

import calendar
import functools
import hashlib
import hmac
import operator
import re
import time
from collections.abc import Callable, Iterable
from itertools import filterfalse
from typing import Any, TypeAlias
from urllib.parse import quote, unquote_to_bytes

import msgspec

from penstock.edge import refusals
from penstock.edge.refusals import Family
from penstock.wire.message import Request

_S3 = Family.S3  # asking an enum for a member takes Python 3.11 a fifth of a microsecond
ALGORITHM = "AWS4-HMAC-SHA256"
_BEGINS = ALGORITHM + " "
SKEW_S = 15 * 60
EXPIRES_MAX_S = 7 * 24 * 3600
UNSIGNED = "UNSIGNED-PAYLOAD"
STREAMING_SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
STREAMING_SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
STREAMING_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
STREAMING = frozenset({STREAMING_SIGNED, STREAMING_SIGNED_TRAILER, STREAMING_UNSIGNED_TRAILER})
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
_WORDS = STREAMING | {UNSIGNED}
_HASH = re.compile("[0-9a-fA-F]{64}").fullmatch
_PLAIN_PATH = re.compile(r"[A-Za-z0-9\-._~/]*").fullmatch
_UNRESERVED = "-._~"
_DAY = re.compile("[0-9]{8}").fullmatch
_REMEMBERED_BYTES = 1024
"""What is longer is read each time anew: clients choose it, and the caches are to stay small."""


class Scope(msgspec.Struct, frozen=True):
    """What an Authorization header says before its signature; the same for every request of a client on one day."""

    access_key_id: str
    date: str
    """YYYYMMDD."""
    region: str
    service: str
    headers: tuple[str, ...]
    """Names of the signed headers, in the order signed."""
    header_set: frozenset[str]
    signed_headers: str
    lines: tuple[str, Callable[[dict[str, str]], Any]] | None = None
    """(the signed headers' lines with %s for each value, what takes the values from the headers): made once for all
    requests that sign the same ones. None where there are fewer than two."""


class Claim(msgspec.Struct, eq=False):
    """How a request says it is authenticated. Nothing of it is verified."""

    scope: Scope
    signature: str
    amz_date: str
    at: float
    """`amz_date` as seconds since the epoch."""
    token: str
    """The session token, "" for none."""
    expires_s: int
    """A presigned request's life; -1 for the header form."""


class Proof(msgspec.Struct, eq=False):
    """What a verified signature leaves for signed chunks to be chained to."""

    key: bytes
    amz_date: str
    scope: str
    signature: str
    payload: str
    """What stands for the payload: a hash, UNSIGNED-PAYLOAD or one of STREAMING-…; "" where the body is what was signed."""


Header: TypeAlias = tuple[Scope | str, str]
"""(scope, or why there is none; signature) of an Authorization header. Nothing of it is verified."""


def peek(request: Request) -> tuple[str, Header | None]:
    """(the service that the credential scope names, the Authorization header as far as it was read).

    Nothing is checked; the service is "" for an unsigned request.
    """
    header = request.headers.get("authorization")
    if header is not None:
        read = read_header(header)
        scope = read[0]
        return ("" if isinstance(scope, str) else scope.service), read
    if "X-Amz-Credential=" in request.query:
        for name, value in query_pairs(request.query):
            if name == "X-Amz-Credential":
                parts = value.split("/")
                return (parts[-2] if len(parts) >= 5 else ""), None
    return "", None


def read(request: Request, kind: Family, peeked: Header | None = None) -> Claim | None:
    """The request's claim; None where it makes none. Raises AwsError for one that cannot be read.

    peeked: what `peek` has made of the header.
    """
    headers, query = request.headers, request.query
    header = headers.get("authorization")
    in_query = bool(query) and ("X-Amz-Algorithm=" in query or "X-Amz-Signature=" in query)
    if header is None:
        if in_query:
            return _read_query(request, kind)
        return None
    if in_query:
        raise refusals.two_mechanisms()
    if not header.startswith(_BEGINS):
        raise refusals.unsupported_algorithm(kind, header)
    scope, signature = peeked or read_header(header)
    if isinstance(scope, str):
        raise refusals.incomplete(kind, scope, header)
    date = headers.get("x-amz-date") or headers.get("date", "")
    found = _timestamp(date)
    if found is None:
        raise refusals.no_date(kind)
    amz_date, at = found
    if scope.date != amz_date[:8]:
        raise refusals.wrong_scope_date(kind, scope.date, amz_date[:8], amz_date)
    # A session's token, under S3's name for it where it is one of a directory bucket.
    token = headers.get("x-amz-security-token") or headers.get("x-amz-s3session-token", "")
    return Claim(scope, signature, amz_date, at, token, -1)


def _read_query(request: Request, kind: Family) -> Claim:
    given = dict(query_pairs(request.query))
    if given.get("X-Amz-Algorithm") != ALGORITHM:
        if kind is _S3:
            raise refusals.bad_query(
                kind, 'X-Amz-Algorithm only supports "AWS4-HMAC-SHA256 and AWS4-ECDSA-P256-SHA256"'
            )
        raise refusals.bad_query(kind, "Unsupported AWS 'algorithm'.")
    names = ("X-Amz-Credential", "X-Amz-Signature", "X-Amz-Date", "X-Amz-SignedHeaders")
    if any(not given.get(name) for name in names) or (kind is _S3 and "X-Amz-Expires" not in given):
        raise refusals.bad_query(
            kind,
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, "
            "X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
        )
    scope = _read_scope(
        f"{ALGORITHM} Credential={given['X-Amz-Credential']}, SignedHeaders={given['X-Amz-SignedHeaders']}, "
    )
    if not isinstance(scope, Scope):
        raise refusals.bad_query(
            kind,
            "Error parsing the X-Amz-Credential parameter; the Credential is mal-formed; expecting "
            '"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".',
        )
    found = _timestamp(given["X-Amz-Date"])
    if found is None or len(given["X-Amz-Date"]) != 16:
        raise refusals.bad_query(kind, "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
    amz_date, at = found
    if scope.date != amz_date[:8]:
        raise refusals.bad_query(
            kind,
            f'Invalid credential date "{scope.date}". This date is not the same as X-Amz-Date: "{amz_date[:8]}".',
        )
    try:
        expires_s = int(given.get("X-Amz-Expires", SKEW_S))
    except ValueError:
        raise refusals.bad_query(kind, "X-Amz-Expires should be a number") from None
    if expires_s < 0:
        raise refusals.bad_query(kind, "X-Amz-Expires must be non-negative")
    if expires_s > EXPIRES_MAX_S:
        raise refusals.bad_query(
            kind,
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than "
            "604800 seconds",
        )
    return Claim(scope, given["X-Amz-Signature"], amz_date, at, given.get("X-Amz-Security-Token", ""), expires_s)


def check_time(claim: Claim, now: float, kind: Family) -> None:
    """Raises AwsError where the claim is too old or of the future. now: the host's own time, as clients have theirs."""
    age_s = now - claim.at
    if claim.expires_s < 0:
        if not -SKEW_S <= age_s <= SKEW_S:
            raise refusals.skewed(kind, claim.amz_date, claim.at, now, SKEW_S)
    elif age_s > claim.expires_s:
        raise refusals.expired_url(kind, claim.amz_date, claim.at, claim.expires_s, now)
    elif age_s < -SKEW_S:
        raise refusals.not_yet_valid(kind, claim.amz_date, claim.at, now, SKEW_S)


def verify(claim: Claim, request: Request, secret: str, kind: Family) -> Proof:
    """Check the claim against the secret. Raises AwsError.

    A whole body that is not aws-chunked is checked here too; whoever reads a stream checks it by `Proof.payload`.
    """
    scope, headers = claim.scope, request.headers
    signed = scope.header_set
    presigned = claim.expires_s >= 0
    if "host" not in signed:
        _refuse_unsigned(request, signed, presigned, kind)
    for name in filterfalse(signed.__contains__, headers):  # few: clients sign most of what they send
        if name[:6] == "x-amz-":
            _refuse_unsigned(request, signed, presigned, kind)
            break
    payload, stands_for_body = _payload(request, kind, presigned)
    canonical = canonical_request(request, scope, payload, kind is _S3, presigned)
    signer = _signer(secret, scope.date, scope.region, scope.service)
    to_sign, expected = signer.sign(claim.amz_date, canonical)
    given = claim.signature
    if not (given.isascii() and hmac.compare_digest(expected, given)):
        if not _signed_without_token(claim, request, payload, kind, signer):
            raise refusals.mismatch(kind, scope.access_key_id, given, to_sign, canonical)
        expected = given
    if stands_for_body and request.stream is None and payload not in _WORDS:
        computed = _sha256(request.body).hexdigest() if request.body else EMPTY_SHA256
        if payload != computed and payload.lower() != computed:
            raise refusals.payload_differs(kind, payload, computed)
        stands_for_body = False
    return Proof(signer.key, claim.amz_date, signer.scope, expected, payload if stands_for_body else "")


def _refuse_unsigned(request: Request, signed: frozenset[str], presigned: bool, kind: Family) -> None:
    """Raises AwsError where a header that has to be signed is not among the signed ones."""
    missing = [name for name in request.headers if name[:6] == "x-amz-" and name not in signed]
    if "host" not in signed and not (":authority" in signed and request.http_version == "2"):
        missing.insert(0, "host")
    if missing and not _harmless(missing, presigned, kind):
        raise refusals.headers_not_signed(kind, missing)


class _Signer:
    """A day's key for one region's service, with HMAC-SHA256's two halves begun (RFC 2104): the key is padded and hashed
    once, not with every request, which costs a quarter of `hmac.digest`."""

    __slots__ = ("_inner", "_outer", "key", "scope")

    def __init__(self, key: bytes, scope: str) -> None:
        block = key.ljust(64, b"\0")
        self._inner = _sha256(bytes(byte ^ 0x36 for byte in block)).copy
        self._outer = _sha256(bytes(byte ^ 0x5C for byte in block)).copy
        self.key = key
        self.scope = scope

    def sign(self, amz_date: str, canonical: str) -> tuple[str, str]:
        """(what is signed, its signature)."""
        to_sign = f"{ALGORITHM}\n{amz_date}\n{self.scope}\n{_sha256(canonical.encode('latin-1')).hexdigest()}"
        inner, outer = self._inner(), self._outer()
        inner.update(to_sign.encode())
        outer.update(inner.digest())
        return to_sign, outer.hexdigest()


def _signed_without_token(claim: Claim, request: Request, payload: str, kind: Family, signer: _Signer) -> bool:
    """Whether a presigned request had its session token added after it was signed, as some clients do outside of S3.

    The token is held against its key in any case.
    """
    if not claim.token or claim.expires_s < 0 or kind is _S3:
        return False
    query = "&".join(part for part in request.query.split("&") if not part.startswith("X-Amz-Security-Token="))
    bare = Request(request.method, request.path, query, request.headers)
    canonical = canonical_request(bare, claim.scope, payload, False, True)
    expected = signer.sign(claim.amz_date, canonical)[1]
    return hmac.compare_digest(expected.encode(), claim.signature.encode("latin-1", "replace"))


def _harmless(unsigned: list[str], presigned: bool, kind: Family) -> bool:
    """A token is held against its key in any case; a presigned S3 request's payload need not be signed at all."""
    allowed = {"x-amz-content-sha256"} if presigned else set()
    if kind is not _S3:
        allowed.add("x-amz-security-token")
    return allowed.issuperset(unsigned)


def _payload(request: Request, kind: Family, presigned: bool) -> tuple[str, bool]:
    """What the canonical request holds for the payload, and whether that is the client's word (to be held to it)."""
    said = request.headers.get("x-amz-content-sha256")
    if kind is not _S3:
        if said is not None and _HASH(said):
            return said, True
        # Elsewhere a payload is always signed: a word in place of the hash fails the comparison of signatures.
        return (_sha256(request.body).hexdigest() if request.body else EMPTY_SHA256), False
    if said is None:
        if not presigned:
            raise refusals.payload_hash_missing()
        said = dict(query_pairs(request.query)).get("X-Amz-Content-Sha256", UNSIGNED)
    if said != EMPTY_SHA256 and not _HASH(said) and said not in _WORDS:
        raise refusals.payload_hash_unreadable(said)
    return said, True


def canonical_request(request: Request, scope: Scope, payload: str, is_s3: bool, presigned: bool) -> str:
    """The canonical request, as latin-1 text."""
    path = canonical_path(request.path, is_s3)
    query = canonical_query(request.query, presigned) if request.query else ""
    lines = _header_lines(scope, request.headers)
    return f"{request.method}\n{path}\n{query}\n{lines}\n{scope.signed_headers}\n{payload}"


def _header_lines(scope: Scope, headers: dict[str, str]) -> str:
    """A line for each signed header; a missing one is empty, and runs of blanks are one."""
    if scope.lines is not None:
        form, values = scope.lines
        try:
            quick: str = form % values(headers)
            if "  " not in quick:
                return quick
        except KeyError:
            pass  # one is missing
    lines = []
    for name in scope.headers:
        value = headers.get(name, "")
        if "  " in value:
            value = " ".join(value.split())
        lines.append(f"{name}:{value}\n")
    return "".join(lines)


def canonical_path(path: str, is_s3: bool) -> str:
    """The path as it is signed.

    S3: each character encoded once, whatever the client did. Elsewhere: without dot segments and empty segments, and
    what was sent is encoded again.
    """
    if is_s3:
        if _PLAIN_PATH(path):
            return path
        # An encoded slash is a character of the key, and stays what it is.
        parts = re.split("%2F", path, flags=re.IGNORECASE)
        return "%2F".join([quote(unquote_to_bytes(part), safe=_UNRESERVED + "/") for part in parts])
    if path == "/":
        return path
    if "//" in path or "/." in path:
        kept: list[str] = []
        for segment in path.split("/"):
            if segment == "..":
                if kept:
                    kept.pop()
            elif segment and segment != ".":
                kept.append(segment)
        path = "/" + "/".join(kept) + ("/" if kept and path.endswith(("/", "/.", "/..")) else "")
    return path if _PLAIN_PATH(path) else quote(path.encode("latin-1", "replace"), safe=_UNRESERVED + "/")


def canonical_query(query: str, presigned: bool) -> str:
    """Names and values encoded and sorted; without the signature itself in the presigned form."""
    pairs = [
        (_encode(name), _encode(value))
        for name, value in query_pairs(query)
        if not (presigned and name == "X-Amz-Signature")
    ]
    pairs.sort()
    return "&".join([f"{name}={value}" for name, value in pairs])


def query_pairs(query: str) -> Iterable[tuple[str, str]]:
    """Decoded names and values, as latin-1 text that stands for the bytes."""
    for part in query.split("&"):
        if part:
            name, _, value = part.partition("=")
            yield _decode(name), _decode(value)


def _decode(text: str) -> str:
    if "+" in text:
        text = text.replace("+", " ")
    return unquote_to_bytes(text).decode("latin-1") if "%" in text else text


def _encode(text: str) -> str:
    return text if text.isalnum() and text.isascii() else quote(text.encode("latin-1"), safe=_UNRESERVED)


_sha256 = hashlib.sha256


@functools.lru_cache(maxsize=4096)
def signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    """The key that a day's requests to one region's service are signed with."""
    key = hmac.digest(f"AWS4{secret}".encode(), date.encode("latin-1"), "sha256")
    key = hmac.digest(key, region.encode("latin-1"), "sha256")
    key = hmac.digest(key, service.encode("latin-1"), "sha256")
    return hmac.digest(key, b"aws4_request", "sha256")


@functools.lru_cache(maxsize=1024)
def _signer(secret: str, date: str, region: str, service: str) -> _Signer:
    return _Signer(signing_key(secret, date, region, service), f"{date}/{region}/{service}/aws4_request")


@functools.lru_cache(maxsize=2048)
def _scope(before: str) -> Scope | str:
    """Read what precedes the signature; a sentence saying what is missing where it cannot be read."""
    fields: dict[str, str] = {}
    for part in before.removeprefix(ALGORITHM).split(","):
        name, _, value = part.strip().partition("=")
        if name:
            fields[name] = value
    missing = [
        f"Authorization header requires '{name}' parameter." for name in ("Credential", "SignedHeaders")
        if not fields.get(name)
    ]  # fmt: skip
    if missing:
        return " ".join(missing)
    # An access key id may hold slashes (some clients' do); the scope is the last four parts.
    parts = fields["Credential"].rsplit("/", 4)
    if (
        len(parts) != 5
        or parts[4] != "aws4_request"
        or not _DAY(parts[1])
        or not parts[0]
        or max(map(len, parts)) > 200
    ):
        return 'the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".'
    names = tuple(fields["SignedHeaders"].lower().split(";"))
    if list(names) != sorted(names):
        return "SignedHeaders must be sorted."
    lines = None
    if len(names) > 1:
        form = "".join([f"{name}:%s\n" for name in names if "%" not in name])
        lines = (form, operator.itemgetter(*names)) if form.count("%s") == len(names) else None
    signed_headers = fields["SignedHeaders"].lower()
    return Scope(parts[0], parts[1], parts[2], parts[3], names, frozenset(names), signed_headers, lines)


def _read_scope(before: str) -> Scope | str:
    return _scope(before) if len(before) <= _REMEMBERED_BYTES else _scope.__wrapped__(before)


def read_header(header: str) -> Header:
    """Read an Authorization header."""
    before, _, signature = header.rpartition("Signature=")
    scope = _read_scope(before)
    if type(scope) is Scope:
        return scope, signature
    # The parts may stand in any order: look again with the signature last.
    parts = [part.strip() for part in header.removeprefix(ALGORITHM).split(",")]
    signature = next((part[10:] for part in parts if part.startswith("Signature=")), "")
    scope = _scope.__wrapped__(", ".join(part for part in parts if not part.startswith("Signature=")))
    if not signature and not isinstance(scope, Scope):
        scope += " Authorization header requires 'Signature' parameter."
    return scope, signature


@functools.lru_cache(maxsize=1024)
def _timestamp(date: str) -> tuple[str, float] | None:
    """(YYYYMMDDTHHMMSSZ, seconds since the epoch) of an X-Amz-Date or an HTTP Date, whose zone botocore writes as -0000."""
    if len(date) > 40:
        return None
    for form in ("%Y%m%dT%H%M%SZ", "%a, %d %b %Y %H:%M:%S GMT", "%a, %d %b %Y %H:%M:%S -0000"):
        try:
            moment = time.strptime(date, form)
        except ValueError:
            continue
        return time.strftime("%Y%m%dT%H%M%SZ", moment), float(calendar.timegm(moment))
    return None
