"""Tags of tables: TagResource, UntagResource, ListTagsOfResource."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from penstock.core import paging, tags
from penstock.core.arn import Arn
from penstock.core.authz import resource_tags
from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.dynamodb import keys, names, resource_policies, table
from penstock.services.dynamodb.errors import INVALID, invalid
from penstock.store.api import Store, Transaction
from penstock.wire.errors import AwsError

_PAGE = 10
_decode = msgspec.json.Decoder(dict[str, str]).decode


def checked(given: list[dict[str, str]] | None) -> dict[str, str]:
    """The request's tags. Raises ValidationException for what AWS refuses."""
    try:
        return tags.from_list(given)
    except tags.TagProblem as problem:
        raise invalid(INVALID + str(problem)) from None


def save_tags(txn: Transaction, table_id: bytes, added: dict[str, str]) -> None:
    """Add tags to those that are there. Raises ValidationException for more than 50."""
    if not added:
        return
    kept = {**load_tags(txn, table_id), **added}
    if len(kept) > tags.MAX_TAGS:
        raise invalid(f"{INVALID}Too many tags: the maximum of tags on a resource is {tags.MAX_TAGS}")
    txn.set(keys.tags(table_id), msgspec.json.encode(kept))


def load_tags(txn: Transaction, table_id: bytes) -> dict[str, str]:
    """A table's tags."""
    stored = txn.get(keys.tags(table_id))
    return {} if stored is None else _decode(stored)


def _record_key(call: Call, params: Params) -> bytes:
    arn = params["ResourceArn"]
    if not arn.startswith("arn:") or ":table/" not in arn:
        raise invalid(f"Invalid TableArn: Invalid ResourceArn provided as input {arn}")
    return names.record_key(call, arn)


def _load(txn: Transaction, key: bytes, arn: str) -> bytes:
    stored = txn.get(key)
    if stored is None:
        raise AwsError("ResourceNotFoundException", f"Requested resource not found: ResourcArn: {arn} not found")
    return table.decode(stored).id


@resource_tags("dynamodb")
async def tags_of(store: Store, arn: Arn) -> Mapping[str, str]:
    """A table's tags, for itself and for its indexes and streams: what policies see as aws:ResourceTag.

    Source: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/attribute-based-access-control.html
    """
    kind, _, rest = arn.resource.partition("/")
    key = keys.table(arn.account, arn.region, rest.partition("/")[0])

    def body(txn: Transaction) -> Mapping[str, str]:
        stored = txn.get(key)
        return {} if stored is None else load_tags(txn, table.decode(stored).id)

    return await store.transact(body, read_only=True) if kind == "table" else {}


@operation("dynamodb:TagResource", resource="{ResourceArn}", policy=resource_policies.load)
async def tag_resource(call: Call, params: Params) -> Result:
    """Add or replace tags."""
    key, arn = _record_key(call, params), params["ResourceArn"]
    added = checked(params["Tags"])

    def body(txn: Transaction) -> None:
        save_tags(txn, _load(txn, key, arn), added)

    await call.store.transact(body)
    return {}


@operation("dynamodb:UntagResource", resource="{ResourceArn}", policy=resource_policies.load)
async def untag_resource(call: Call, params: Params) -> Result:
    """Remove tags; those that are not there are no error."""
    key, arn = _record_key(call, params), params["ResourceArn"]

    def body(txn: Transaction) -> None:
        table_id = _load(txn, key, arn)
        gone = set(params["TagKeys"])
        kept = {name: value for name, value in load_tags(txn, table_id).items() if name not in gone}
        txn.set(keys.tags(table_id), msgspec.json.encode(kept))

    await call.store.transact(body)
    return {}


@operation("dynamodb:ListTagsOfResource", resource="{ResourceArn}", policy=resource_policies.load)
async def list_tags_of_resource(call: Call, params: Params) -> Result:
    """Ten tags at a time, in order of name; a token for the rest."""
    key, arn = _record_key(call, params), params["ResourceArn"]

    def body(txn: Transaction) -> dict[str, str]:
        return load_tags(txn, _load(txn, key, arn))

    found = sorted((await call.store.transact(body, read_only=True)).items())
    scope = f"dynamodb:ListTagsOfResource {arn}"
    token = params.get("NextToken")
    if token is not None:
        try:
            after = paging.decode(scope, token).decode()
        except paging.BadToken:
            raise invalid("The provided NextToken is invalid") from None
        found = [pair for pair in found if pair[0] > after]
    result: Result = {"Tags": tags.to_list(dict(found[:_PAGE]))}
    if len(found) > _PAGE:
        result["NextToken"] = paging.encode(scope, found[_PAGE - 1][0])
    return result
