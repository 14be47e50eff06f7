"""Versions: what $LATEST was like when it was published, never changed afterwards."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.core import paging
from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.lambda_ import access, keys, records, rules, states, storage, variables
from penstock.services.lambda_.invocations import Ready
from penstock.services.lambda_.records import LATEST, Function
from penstock.store import Transaction

PAGE = 50


def publish(
    call: Call, txn: Transaction, latest: Function, description: str | None = None, *, made_at: float = 0.0
) -> tuple[Function, bool]:
    """The version that is like $LATEST, and whether it was made now: only where the newest one is not like it.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-versions.html
    """
    where = latest.account, latest.region, latest.name
    counter = keys.versions_made(*where)
    made = int.from_bytes(txn.get(counter) or b"", "little")
    fingerprint = records.fingerprint(latest)
    if made:
        raw = txn.get(keys.version(*where, made))
        if raw is not None:
            newest = records.decode(raw)
            if newest.fingerprint == fingerprint and newest.incarnation == latest.incarnation:
                return newest, False
    changes: dict[str, Any] = {} if description is None else {"description": description}
    version = msgspec.structs.replace(
        latest,
        version=str(made + 1),
        fingerprint=fingerprint,
        revision=records.new_revision(),
        tags={},
        reserved=None,
        made_at=made_at,
        **changes,
    )
    storage.hold_function(call, txn, version)
    records.write(txn, version)
    records.write(txn, msgspec.structs.replace(latest, revision=records.new_revision()))
    txn.add(counter, 1)
    return version, True


@operation("lambda:PublishVersion", resource=rules.resource, policy=access.load_policy, unsupported={"PublishTo": ()})
async def publish_version(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_PublishVersion.html"""
    where = rules.unqualified(call, params["FunctionName"])

    def body(txn: Transaction) -> Function:
        latest = records.read(txn, *where)
        states.check_changeable(call.node, latest)
        records.check_revision(latest.revision, params)
        wanted = params.get("CodeSha256") or latest.package.sha256
        if wanted != latest.package.sha256:
            raise rules.invalid(
                f"CodeSHA256 ({wanted}) is different from current CodeSHA256 in $LATEST ({latest.package.sha256}). "
                "Please try again with the CodeSHA256 in $LATEST."
            )
        version, _ = publish(call, txn, latest, params.get("Description"))
        return version

    version = await call.store.transact(body)
    call.node.own(Ready).prepare(version)
    return await variables.shown(call, version, records.configuration(version, version.qualified_arn))


@operation("lambda:ListVersionsByFunction", resource=rules.resource, policy=access.load_policy)
async def list_versions_by_function(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_ListVersionsByFunction.html"""
    account, region, name = rules.unqualified(call, params["FunctionName"])
    limit = min(params.get("MaxItems", PAGE), PAGE)
    scope = f"lambda:versions:{account}:{region}:{name}"
    after = rules.position(scope, params.get("Marker"))

    def body(txn: Transaction) -> list[Function]:
        latest = records.read(txn, account, region, name)
        found = records.versions(txn, account, region, name, int(after or 0))
        return found if after else [latest, *found]

    found = await call.store.transact(body, read_only=True)
    result: Result = {
        "Versions": [await variables.shown(call, one, records.listed(one, one.qualified_arn)) for one in found[:limit]]
    }
    if len(found) > limit:
        last = found[limit - 1].version
        result["NextMarker"] = paging.encode(scope, "0" if last == LATEST else last)
    return result


def delete(call: Call, txn: Transaction, account: str, region: str, name: str, number: str) -> Function | None:
    """Delete a version; None where there is none. Raises ResourceConflictException where an alias points to it."""
    raw = txn.get(keys.version(account, region, name, int(number)))
    if raw is None:
        return None
    for alias in records.aliases(txn, account, region, name):
        if alias.version == number or number in alias.weights:
            raise rules.conflict(
                f"The function version {number} is referenced by the alias {alias.name} and cannot be deleted."
            )
    version = records.decode(raw)
    txn.clear(keys.version(account, region, name, int(number)))
    records.clear_qualifier(txn, account, region, name, number)
    storage.drop_function(call, txn, version)
    return version
