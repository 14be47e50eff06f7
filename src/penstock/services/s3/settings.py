"""A bucket's documents (CORS, website and the like): stored as they were given, read back whole."""

from __future__ import annotations

import functools
from typing import Any

import msgspec

from penstock.core.call import Call
from penstock.core.operation import Params
from penstock.services.s3 import keys
from penstock.services.s3.access import require_bucket
from penstock.services.s3.records import encode
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError

_decode = msgspec.msgpack.Decoder(dict[str, Any]).decode


@functools.lru_cache(1024)
def decode(raw: bytes) -> dict[str, Any]:
    """A stored document. Not to be changed."""
    return _decode(raw)


async def put(call: Call, params: Params, kind: bytes, document: dict[str, Any]) -> None:
    """Keep a document for the call's bucket. Raises AwsError NoSuchBucket, AccessDenied."""

    def body(txn: Transaction) -> None:
        require_bucket(txn, call, params)
        txn.set(keys.setting(params["Bucket"], kind), encode(document))

    await call.store.transact(body)


async def get(call: Call, params: Params, kind: bytes, missing: tuple[str, str]) -> dict[str, Any]:
    """The bucket's document. missing: code and message of the AwsError where there is none."""

    def body(txn: Transaction) -> bytes | None:
        require_bucket(txn, call, params)
        return txn.get(keys.setting(params["Bucket"], kind))

    raw = await call.store.transact(body, read_only=True)
    if raw is None:
        raise AwsError(*missing, 404, members={"BucketName": params["Bucket"]})
    return decode(raw)


async def delete(call: Call, params: Params, kind: bytes) -> None:
    """Forget it, if there is one. Raises AwsError NoSuchBucket, AccessDenied."""

    def body(txn: Transaction) -> None:
        require_bucket(txn, call, params)
        txn.clear(keys.setting(params["Bucket"], kind))

    await call.store.transact(body)
