"""RenameObject: an object of a directory bucket under another key, at once and without a byte being copied."""

from __future__ import annotations

import functools

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.s3 import conditions, reading, rules, writing, zones
from penstock.services.s3.access import OBJECT_ARN, load_policy, may, require_bucket
from penstock.services.s3.copying import busy, parse_source
from penstock.services.s3.encryption import opening
from penstock.services.s3.encryption.data_key import bound_to
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError

_ATTEMPTS = 5
_OF_SOURCE = {
    "SourceIfMatch": "IfMatch", "SourceIfNoneMatch": "IfNoneMatch", "SourceIfModifiedSince": "IfModifiedSince",
    "SourceIfUnmodifiedSince": "IfUnmodifiedSince",
}  # fmt: skip
_OF_DESTINATION = {
    "DestinationIfMatch": "IfMatch", "DestinationIfNoneMatch": "IfNoneMatch",
    "DestinationIfModifiedSince": "IfModifiedSince", "DestinationIfUnmodifiedSince": "IfUnmodifiedSince",
}  # fmt: skip


@operation("s3:RenameObject", action="s3express:CreateSession", resource=OBJECT_ARN, policy=load_policy)
async def rename_object(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_RenameObject.html

    Asked again with the same ClientToken, it is done already, for as long as the object is what that made it.
    """
    name, key = params["Bucket"], params["Key"]
    rules.check_key(key)
    if not zones.zone_of(name):
        raise AwsError(
            "MethodNotAllowed", "The specified method is not allowed against this resource.", 405,
            members={"ResourceType": "BUCKET"},
        )  # fmt: skip
    text = params["RenameSource"].removeprefix("/")
    source = parse_source(text if text.startswith(f"{name}/") else f"{name}/{text}")
    token = f"rename {params['ClientToken']}" if "ClientToken" in params else ""
    for _ in range(_ATTEMPTS):
        as_reader = await may(call, "GetObject", source)
        done = functools.partial(_is_done, call=call, params=params, source_key=source["Key"], token=token)
        if bool(token) and await call.store.transact(done, read_only=True):
            return {}
        found = await reading.find_object(as_reader, source)
        conditions.check_read({**source, **_named(params, _OF_SOURCE)}, found.record, call.now)
        inline = await _resealed(as_reader, source, found, key)

        def body(txn: Transaction, found: reading.Found = found, inline: bytes | None = inline) -> bool:
            bucket = require_bucket(txn, call, params)
            old = writing.current(txn, name, source["Key"])
            if old is None or old.sequencer != found.record.sequencer:
                return False
            if source["Key"] == key:
                return True
            there = writing.current(txn, name, key)
            wanted = {**params, **_named(params, _OF_DESTINATION)}
            if there is not None and ("IfModifiedSince" in wanted or "IfUnmodifiedSince" in wanted):
                conditions.check_read(wanted, there, call.now)
            conditions.check_write(wanted, there)
            moved = found.record
            moved.upload_id = token or moved.upload_id
            moved.segments, moved.parts, moved.far = list(found.segments), list(found.parts), False
            writing.replace(txn, call, bucket, name, key, there, moved, inline)
            writing.remove(txn, call, name, source["Key"], old)
            return True

        if await call.store.transact(body):
            return {}
    raise busy()


def _is_done(txn: Transaction, call: Call, params: Params, source_key: str, token: str) -> bool:
    require_bucket(txn, call, params)
    there = writing.current(txn, params["Bucket"], params["Key"])
    return there is not None and there.upload_id == token and writing.current(txn, params["Bucket"], source_key) is None


def _named(params: Params, names: dict[str, str]) -> Params:
    return {plain: params[own] for own, plain in names.items() if own in params}


async def _resealed(call: Call, source: Params, found: reading.Found, key: str) -> bytes | None:
    """A body that is kept in the store is bound to its key, so it is encrypted anew."""
    record = found.record
    if found.inline is None or record.encryption is None:
        return found.inline
    data = await reading.bytes_of(call, source, found, 0, record.size)
    assert isinstance(data, bytes)
    under = await opening.data_key(call, source, record.encryption)
    return under.bodies.seal(data, bound_to(source["Bucket"], key))
