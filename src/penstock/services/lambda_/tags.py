"""Tags of functions and event source mappings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import msgspec

from penstock.core.arn import Arn
from penstock.core.authz import resource_tags
from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.lambda_ import access, event_source_mappings, records, rules
from penstock.store import Store, Transaction
from penstock.wire.errors import AwsError

TAGS_MAX = 50
Tags: TypeAlias = dict[str, str]


def _resource(call: Call, params: Params) -> str:
    return str(params["Resource"])


def _retag(call: Call, txn: Transaction, arn: str, change: Callable[[Tags], Tags] | None) -> Tags:
    """The resource's tags, changed where `change` is given. Raises ResourceNotFoundException and what `change` does."""
    if ":event-source-mapping:" in arn:
        mapping = event_source_mappings.find(txn, arn)
        if mapping is None:
            raise rules.missing(f"Event source mapping not found: {arn}")
        tags = mapping.tags
        if change is not None:
            tags = change(tags)
            event_source_mappings.write(txn, msgspec.structs.replace(mapping, tags=tags))
        return tags
    if ":function:" not in arn:
        raise rules.missing(f"{arn.split(':')[5].replace('-', ' ').capitalize()} not found: {arn}")
    account, region, name, qualifier = rules.reference(call, arn)
    if qualifier:
        raise rules.invalid("Tags on function aliases and versions are not supported. Please specify a function ARN.")
    function = records.read(txn, account, region, name)
    tags = function.tags
    if change is not None:
        tags = change(tags)
        records.write(txn, msgspec.structs.replace(function, tags=tags, revision=records.new_revision()))
    return tags


@resource_tags("lambda")
async def tags_of(store: Store, arn: Arn) -> Mapping[str, str]:
    """A function's tags, for itself and for its versions, and an event source mapping's: policies' aws:ResourceTag.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/attribute-based-access-control.html
    """
    kind, _, name = arn.resource.partition(":")

    def body(txn: Transaction) -> Mapping[str, str]:
        if kind == "event-source-mapping":
            mapping = event_source_mappings.find(txn, str(arn)) if ":" not in name else None
            return {} if mapping is None else mapping.tags
        try:
            return records.read(txn, arn.account, arn.region, name.partition(":")[0]).tags
        except AwsError:
            return {}

    return await store.transact(body, read_only=True) if kind in ("function", "event-source-mapping") else {}


@operation("lambda:TagResource", resource=_resource, policy=access.load_policy)
async def tag_resource(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_TagResource.html"""
    if not params["Tags"]:
        raise rules.invalid("An error occurred and the request cannot be processed.")

    def added(tags: Tags) -> Tags:
        new = {**tags, **params["Tags"]}
        if len(new) > TAGS_MAX:
            raise rules.invalid("Number of tags exceeds resource tag limit.")
        return new

    await call.store.transact(lambda txn: _retag(call, txn, params["Resource"], added))
    return {}


@operation("lambda:UntagResource", resource=_resource, policy=access.load_policy)
async def untag_resource(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_UntagResource.html"""
    gone = set(params["TagKeys"])

    def left(tags: Tags) -> Tags:
        return {name: value for name, value in tags.items() if name not in gone}

    await call.store.transact(lambda txn: _retag(call, txn, params["Resource"], left))
    return {}


@operation("lambda:ListTags", resource=_resource, policy=access.load_policy)
async def list_tags(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_ListTags.html"""
    arn = params["Resource"]
    return {"Tags": await call.store.transact(lambda txn: _retag(call, txn, arn, None), read_only=True)}
