"""AWS's own SigV4 cases (tests/aws-signing-test-suite/v4 of awslabs/aws-c-auth), checked as a server does.

PENSTOCK_SIGV4_CASES names that folder; without it nothing of this runs. SigV4a's cases do not apply: asymmetric signatures
are for multi-Region access points, which are refused.
"""

from __future__ import annotations

import hmac
import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from penstock.edge import sigv4
from penstock.edge.refusals import Family
from penstock.wire.errors import AwsError
from penstock.wire.message import Request

FOLDER = os.environ.get("PENSTOCK_SIGV4_CASES", "")


def _cases() -> list[Any]:
    folders = sorted(Path(FOLDER).glob("*/context.json")) if FOLDER else []
    return [
        pytest.param(path.parent, form, id=f"{path.parent.name}:{form}")
        for path in folders
        for form in ("header", "query")
    ]


def _request(text: bytes) -> Request:
    """A signed request as the listener hands it over: bytes as latin-1, folded headers unfolded, repeated ones joined."""
    head, _, body = text.partition(b"\n\n")
    first, *lines = head.decode("latin-1").split("\n")
    method, _, rest = first.partition(" ")
    path, _, query = rest.rpartition(" ")[0].partition("?")
    headers: dict[str, str] = {}
    name = ""
    for line in lines:
        if line.startswith(" "):
            headers[name] += " " + line.strip()
            continue
        name, _, value = line.partition(":")
        name = name.lower()
        headers[name] = f"{headers[name]},{value.strip()}" if name in headers else value.strip()
    return Request(method, path, query, headers, body)


@pytest.mark.parametrize(("folder", "form"), _cases())
def test_signatures_of_aws_cases(folder: Path, form: str) -> None:
    context = json.loads((folder / "context.json").read_text())
    secret = context["credentials"]["secret_access_key"]
    request = _request((folder / f"{form}-signed-request.txt").read_bytes())
    claim = sigv4.read(request, Family.JSON)
    assert claim is not None
    if context["normalize"]:
        sigv4.verify(claim, request, secret, Family.JSON)
        with pytest.raises(AwsError):
            sigv4.verify(claim, request, secret + "x", Family.JSON)
        return
    # Only S3 leaves paths as they are, and there a payload's hash is a header, which these cases lack.
    canonical = sigv4.canonical_request(request, claim.scope, sigv4.EMPTY_SHA256, True, form == "query")
    digest = sha256(canonical.encode("latin-1")).hexdigest()
    date, region, service = claim.scope.date, claim.scope.region, claim.scope.service
    to_sign = f"{sigv4.ALGORITHM}\n{claim.amz_date}\n{date}/{region}/{service}/aws4_request\n{digest}"
    key = sigv4.signing_key(secret, date, region, service)
    assert hmac.digest(key, to_sign.encode(), "sha256").hex() == claim.signature
