"""Tags of scalable targets: TagResource, UntagResource, ListTagsForResource."""

from __future__ import annotations

from penstock.core import tags
from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.application_autoscaling import keys
from penstock.services.application_autoscaling.records import Target, decode, encode, invalid, target_arn
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError


def _find(txn: Transaction, call: Call, arn: str) -> tuple[bytes, Target]:
    """Raises ResourceNotFoundException."""
    for key, stored in txn.scan(*keys.targets(call.account, call.region)):
        target = decode(stored, Target)
        if target_arn(call.account, call.region, target.id) == arn:
            return key, target
    raise AwsError(
        "ResourceNotFoundException", f"The specified resource doesn't exist: {arn}", members={"ResourceName": arn}
    )


@operation("application-autoscaling:TagResource", resource="{ResourceARN}")
async def tag_resource(call: Call, params: Params) -> Result:
    """Add or replace tags."""
    arn = params["ResourceARN"]

    def body(txn: Transaction) -> None:
        key, target = _find(txn, call, arn)
        try:
            target.tags = tags.check({**target.tags, **params["Tags"]})
        except tags.TagProblem as problem:
            if problem.kind == "count":
                raise AwsError("TooManyTagsException", str(problem), members={"ResourceName": arn}) from None
            raise invalid(str(problem)) from None
        txn.set(key, encode(target))

    await call.store.transact(body)
    return {}


@operation("application-autoscaling:UntagResource", resource="{ResourceARN}")
async def untag_resource(call: Call, params: Params) -> Result:
    """Remove tags; those that are not there are no error."""

    def body(txn: Transaction) -> None:
        key, target = _find(txn, call, params["ResourceARN"])
        target.tags = {name: value for name, value in target.tags.items() if name not in params["TagKeys"]}
        txn.set(key, encode(target))

    await call.store.transact(body)
    return {}


@operation("application-autoscaling:ListTagsForResource", resource="{ResourceARN}")
async def list_tags_for_resource(call: Call, params: Params) -> Result:
    """All tags of a target."""
    found = await call.store.transact(lambda txn: _find(txn, call, params["ResourceARN"])[1].tags, read_only=True)
    return {"Tags": found}
