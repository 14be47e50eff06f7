"""Tags of records."""

from __future__ import annotations

import msgspec

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.lambda_ import access, records, rules
from penstock.store import Transaction

TAGS_MAX = 50


def _resource(call: Call, params: Params) -> str:
    return str(params["Resource"])


def _function(call: Call, params: Params) -> tuple[str, str, str]:
    if not params["Resource"].startswith("arn:"):
        raise rules.invalid(f"{params['Resource']} is not an ARN")
    if ":function:" not in params["Resource"]:
        raise rules.missing(f"{_kind(params['Resource'])} not found: {params['Resource']}")
    account, region, name, qualifier = rules.reference(call, params["Resource"])
    if qualifier:
        raise rules.invalid("Tags on function aliases and versions are not supported. Please specify a function ARN.")
    return account, region, name


def _kind(arn: str) -> str:
    return arn.split(":")[5].replace("-", " ").capitalize()


@operation("lambda:TagResource", resource=_resource, policy=access.load_policy)
async def tag_resource(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_TagResource.html"""
    where = _function(call, params)
    if not params["Tags"]:
        raise rules.invalid("An error occurred and the request cannot be processed.")

    def body(txn: Transaction) -> None:
        function = records.read(txn, *where)
        tags = {**function.tags, **params["Tags"]}
        if len(tags) > TAGS_MAX:
            raise rules.invalid("Number of tags exceeds resource tag limit.")
        records.write(txn, msgspec.structs.replace(function, tags=tags, revision=records.new_revision()))

    await call.store.transact(body)
    return {}


@operation("lambda:UntagResource", resource=_resource, policy=access.load_policy)
async def untag_resource(call: Call, params: Params) -> Result:
    where = _function(call, params)
    gone = set(params["TagKeys"])

    def body(txn: Transaction) -> None:
        function = records.read(txn, *where)
        tags = {k: v for k, v in function.tags.items() if k not in gone}
        records.write(txn, msgspec.structs.replace(function, tags=tags, revision=records.new_revision()))

    await call.store.transact(body)
    return {}


@operation("lambda:ListTags", resource=_resource, policy=access.load_policy)
async def list_tags(call: Call, params: Params) -> Result:
    where = _function(call, params)
    return {"Tags": (await call.store.transact(lambda txn: records.read(txn, *where), read_only=True)).tags}
