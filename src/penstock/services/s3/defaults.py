"""Settings that every bucket has as AWS sets them today and that cannot be changed here yet: only what is true is told.

The operations that would change them are not registered, so that they are refused.
"""

from __future__ import annotations

from penstock.core.call import Call
from penstock.core.operation import Handler, Params, Result, operation
from penstock.services.s3.access import BUCKET_ARN, OBJECT_ARN, load_policy, require_bucket
from penstock.services.s3.reading import existing_tags, find_object, load_policy_and_object
from penstock.services.s3.records import Bucket
from penstock.wire.errors import AwsError, not_implemented


async def _bucket(call: Call, params: Params) -> Bucket:
    return await call.store.transact(lambda txn: require_bucket(txn, call, params), read_only=True)


_KINDS = ("Analytics", "IntelligentTiering", "Inventory", "Metrics")
_NONE = "The specified configuration does not exist."
_ABSENT = {
    "GetBucketLifecycleConfiguration": (
        "s3:GetLifecycleConfiguration",
        "NoSuchLifecycleConfiguration",
        "The lifecycle configuration does not exist",
    ),
    **{
        f"{verb}Bucket{kind}Configuration": (f"s3:{action}{kind}Configuration", "NoSuchConfiguration", _NONE)
        for verb, action in (("Get", "Get"), ("Delete", "Put"))
        for kind in _KINDS
    },
    "GetBucketReplication": (
        "s3:GetReplicationConfiguration",
        "ReplicationConfigurationNotFoundError",
        "The replication configuration was not found",
    ),
}
"""Settings that no bucket can have here: operation -> IAM action, and AWS's error for a bucket without one."""


def _absent(code: str, message: str) -> Handler:
    async def get_setting(call: Call, params: Params) -> Result:
        await _bucket(call, params)
        raise AwsError(code, message, 404, members={"BucketName": params["Bucket"]})

    return get_setting


for _name, (_action, _code, _message) in _ABSENT.items():
    operation(f"s3:{_name}", action=_action, resource=BUCKET_ARN, policy=load_policy)(_absent(_code, _message))


def _none_of(member: str) -> Handler:
    async def list_settings(call: Call, params: Params) -> Result:
        await _bucket(call, params)
        return {"IsTruncated": False, member: []}

    return list_settings


def _nothing_to_delete() -> Handler:
    async def delete_setting(call: Call, params: Params) -> Result:
        await _bucket(call, params)
        return {}

    return delete_setting


for _kind in _KINDS:
    operation(
        f"s3:ListBucket{_kind}Configurations",
        action=f"s3:Get{_kind}Configuration",
        resource=BUCKET_ARN,
        policy=load_policy,
    )(_none_of(f"{_kind}ConfigurationList"))
for _name, _action in (
    ("DeleteBucketLifecycle", "s3:PutLifecycleConfiguration"),
    ("DeleteBucketReplication", "s3:PutReplicationConfiguration"),
):
    operation(f"s3:{_name}", action=_action, resource=BUCKET_ARN, policy=load_policy)(_nothing_to_delete())


@operation("s3:RestoreObject", resource=OBJECT_ARN, policy=load_policy_and_object, conditions=existing_tags)
async def restore_object(call: Call, params: Params) -> Result:
    """Every object can be read at once, so that there is nothing to restore, which AWS answers so.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_RestoreObject.html
    """
    if (params.get("RestoreRequest") or {}).get("Type") == "SELECT":
        raise not_implemented("a restore request of type SELECT")
    found = await find_object(call, params)
    raise AwsError(
        "InvalidObjectState", "Restore is not allowed for the object's current storage class", 403,
        members={"StorageClass": found.record.storage_class or "STANDARD"},
    )  # fmt: skip
