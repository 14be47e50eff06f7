"""Pages of KMS's lists: a marker is the position after which the next page begins."""

from __future__ import annotations

from typing import Any

from penstock.core import paging
from penstock.core.call import Call
from penstock.core.operation import Params, Result
from penstock.services.kms import errors


def scope(call: Call, *what: str) -> str:
    """What a marker belongs to: the operation in its account and Region, and whatever else the list depends on."""
    return ":".join(("kms", call.operation.name, call.account, call.region, *what))


def after(params: Params, scope: str, begin: bytes) -> bytes:
    """Where a page begins: behind its marker's position. Raises AwsError InvalidMarkerException."""
    marker = params.get("Marker")
    if marker is None:
        return begin
    try:
        return paging.decode(scope, marker) + b"\0"
    except paging.BadToken:
        raise errors.bad_marker() from None


def page(name: str, items: list[Any], scope: str = "", last: bytes | None = None) -> Result:
    """A page's answer; `last` is its last position where there is more."""
    if last is None:
        return {name: items, "Truncated": False}
    return {name: items, "Truncated": True, "NextMarker": paging.encode(scope, last)}
