"""Sessions of directory buckets, and their list."""

from __future__ import annotations

import dataclasses
from typing import Any

from penstock.core.call import Call
from penstock.core.identity import RESTRICTED, Kind
from penstock.core.operation import Params, Result, operation
from penstock.services.s3 import keys, zones
from penstock.services.s3.access import load_policy, no_such_bucket
from penstock.services.s3.records import Bucket, decode_bucket
from penstock.store.api import Transaction
from penstock.store.tuples import prefix_end
from penstock.wire.errors import AwsError

SESSION_S = 300
PAGE = 1000


def _conditions(_: Call, params: Params) -> dict[str, Any]:
    return {"s3express:SessionMode": params.get("SessionMode", zones.READ_WRITE)}


def _bucket_arn(call: Call, params: Params) -> str:
    return zones.arn(call.region, call.account, params["Bucket"])


@operation(
    "s3:CreateSession",
    action="s3express:CreateSession",
    resource=_bucket_arn,
    policy=load_policy,
    conditions=_conditions,
    unsupported={
        "ServerSideEncryption": ("AES256",),
        "SSEKMSKeyId": (),
        "SSEKMSEncryptionContext": (),
        "BucketKeyEnabled": (False,),
    },
)
async def create_session(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateSession.html

    A directory bucket that is not there yet has sessions too: SDKs with an endpoint of their own make one before they create
    the bucket.
    """
    mode, name = params.get("SessionMode", zones.READ_WRITE), params["Bucket"]
    if not isinstance(call.seen, Bucket) and not zones.is_name(name):
        raise no_such_bucket(name)
    if not zones.zone_of(name):
        raise AwsError(
            "MethodNotAllowed", "The specified method is not allowed against this resource.", 405,
            members={"ResourceType": "BUCKET"},
        )  # fmt: skip
    if mode not in (zones.READ_ONLY, zones.READ_WRITE):
        raise AwsError(
            "InvalidArgument", "The session mode is ReadOnly or ReadWrite", 400,
            members={"ArgumentName": "x-amz-create-session-mode", "ArgumentValue": mode},
        )  # fmt: skip
    caller = call.principal
    if caller.kind is Kind.ANONYMOUS or RESTRICTED in caller.session:
        raise AwsError("AccessDenied", "Access Denied", 403)
    owner = call.seen.account if isinstance(call.seen, Bucket) else caller.account
    session = {**caller.session, RESTRICTED: f"s3express {mode} {name} {owner}"}
    principal = dataclasses.replace(caller, session=session, access_key_id="")
    credential = await call.node.directory.issue(principal, SESSION_S)
    return {
        "Credentials": {
            "AccessKeyId": credential.access_key_id,
            "SecretAccessKey": credential.secret,
            "SessionToken": credential.session_token,
            "Expiration": int(credential.expires_at),
        },
        "ServerSideEncryption": "AES256",
    }


@operation("s3:ListDirectoryBuckets", action="s3express:ListAllMyDirectoryBuckets")
async def list_directory_buckets(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListDirectoryBuckets.html"""
    most = params.get("MaxDirectoryBuckets", PAGE)
    mine = keys.owned(call.account)
    begin = mine + params["ContinuationToken"].encode() + b"\0" if params.get("ContinuationToken") else mine

    def body(txn: Transaction) -> tuple[list[dict[str, Any]], str]:
        found: list[dict[str, Any]] = []
        for key, _ in txn.scan(begin, prefix_end(mine)):
            name = key[len(mine) :].decode()
            raw = txn.get(keys.bucket(name)) if zones.zone_of(name) else None
            bucket = decode_bucket(raw) if raw is not None else None
            if bucket is None or bucket.region != call.region:
                continue
            if len(found) == most:
                return found, str(found[-1]["Name"]) if found else ""
            found.append(
                {
                    "Name": name, "CreationDate": bucket.created_ms // 1000, "BucketRegion": bucket.region,
                    "BucketArn": zones.arn(bucket.region, bucket.account, name),
                }
            )  # fmt: skip
        return found, ""

    found, last = await call.store.transact(body, read_only=True)
    return {"Buckets": found, **({"ContinuationToken": last} if last else {})}
