"""Tags of keys: https://docs.aws.amazon.com/kms/latest/developerguide/tagging-keys.html"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from penstock.core.arn import Arn
from penstock.core.authz import resource_tags
from penstock.core.call import Call
from penstock.core.operation import Params, Result
from penstock.core.tags import MAX_TAGS
from penstock.services.kms import access, finding, keys, listing, rules
from penstock.services.kms.records import Key, decode_key
from penstock.store.api import Store, Transaction
from penstock.store.tuples import pack
from penstock.wire.errors import AwsError

PAGE = 50


@resource_tags("kms")
async def tags_of(store: Store, arn: Arn) -> Mapping[str, str]:
    """A key's tags, where a decision is explained; real calls find them with the key (`access`)."""
    where = keys.key(arn.account, arn.region, arn.resource.removeprefix("key/"))
    stored = await store.transact(lambda txn: txn.get(where), read_only=True)
    return {} if stored is None else decode_key(stored).tags


def checked(given: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The tags of a request. Raises AwsError TagException."""
    found: dict[str, str] = {}
    for tag in given:
        name = tag["TagKey"]
        if name in found:
            raise AwsError("TagException", "Duplicate tag keys")
        if name.lower().startswith("aws:"):
            raise AwsError("TagException", "Tags beginning with aws: are reserved")
        found[name] = tag["TagValue"]
    return few_enough(found)


def few_enough(tags: dict[str, str]) -> dict[str, str]:
    """The same tags. Raises AwsError TagException where they are too many for one key."""
    if len(tags) > MAX_TAGS:
        raise AwsError("TagException", "Too many tags")
    return tags


def to_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """The list that AWS answers with."""
    return [{"TagKey": name, "TagValue": value} for name, value in sorted(tags.items())]


@access.key_operation("TagResource")
async def tag_resource(call: Call, params: Params) -> Result:
    more = checked(params["Tags"])

    def body(_: Transaction, key: Key) -> Result:
        rules.check_state(key, call.now, disabled=True, pending_import=True)
        key.tags = few_enough(key.tags | more)
        return {}

    return await finding.change(call, access.seen(call), body)


@access.key_operation("UntagResource")
async def untag_resource(call: Call, params: Params) -> Result:
    gone = params["TagKeys"]

    def body(_: Transaction, key: Key) -> Result:
        rules.check_state(key, call.now, disabled=True, pending_import=True)
        key.tags = {name: value for name, value in key.tags.items() if name not in gone}
        return {}

    return await finding.change(call, access.seen(call), body)


@access.key_operation("ListResourceTags")
async def list_resource_tags(call: Call, params: Params) -> Result:
    key = access.seen(call)
    scope = listing.scope(call, key.id)
    position = listing.after(params, scope, b"")
    limit = params.get("Limit", PAGE)
    names = sorted(name for name in key.tags if pack((name,)) >= position)
    shown = {name: key.tags[name] for name in names[:limit]}
    last = pack((names[limit - 1],)) if len(names) > limit else None
    return listing.page("Tags", to_list(shown), scope, last)
