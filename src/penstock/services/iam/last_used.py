"""When keys, roles and actions were last used, and on what: noted in memory by the request path, written to the store
once a minute.

AWS too tells this with a delay
(https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_last-accessed.html).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

from penstock.core.arn import account_of, is_arn, parse
from penstock.core.authz.reach import Reach
from penstock.core.call import Call
from penstock.core.node import Node
from penstock.core.worker import worker
from penstock.services.iam import arns, keys
from penstock.services.iam.records import LastUsed, Reached, Role, User
from penstock.services.iam.state import State, encode
from penstock.store.api import Transaction
from penstock.store.tuples import prefix_end, unpack

WRITE_EVERY_S = 60.0
Slot: TypeAlias = tuple[str, str, bool]
"""(user's or role's ARN, action, whether it was allowed)."""


def of_key(state: State, call: Call, access_key_id: str) -> dict[str, Any]:
    """The AccessKeyLastUsed member."""
    used = _latest(state, call, access_key_id)
    if used is None:
        return {"ServiceName": "N/A", "Region": "N/A"}
    return {"LastUsedDate": int(used.at), "ServiceName": used.action.partition(":")[0], "Region": used.region}


def of_role(state: State, call: Call, role: Role) -> dict[str, Any]:
    """The RoleLastUsed member."""
    used = _latest(state, call, arns.arn(state.account, role))
    return {} if used is None else {"LastUsedDate": int(used.at), "Region": used.region}


def accesses(state: State, call: Call, arn: str) -> dict[str, LastUsed]:
    """Action -> when a user or role last called it."""
    prefix = keys.accesses(state.account, arn)
    found = {
        unpack(key)[4]: msgspec.msgpack.decode(raw, type=LastUsed)
        for key, raw in state.txn.scan(prefix, prefix_end(prefix))
    }
    for (who, action), (at, region) in call.node.directory.last_uses()[1].items():
        if who == arn:
            found[action] = LastUsed(at=at, action=action, region=region)
    return found


def calls(txn: Transaction, noted: Mapping[Slot, Reach], arn: str, most: int) -> list[dict[str, Any]]:
    """See `core.identity.Directory.calls`."""
    found: dict[tuple[str, bool], Reach] = {}
    prefix = keys.all_reached(account_of(arn), arn)
    for key, raw in txn.scan(prefix, prefix_end(prefix)):
        action, allowed = unpack(key)[4:]
        found[action, bool(allowed)] = _decoded(raw)
    for (who, action, allowed), reach in noted.items():
        if who == arn:
            found.setdefault((action, allowed), Reach()).merge(reach)
    return [
        {"action": action, "allowed": allowed, "resources": reach.patterns(most)}
        for (action, allowed), reach in sorted(found.items(), key=lambda pair: pair[0])
    ]


def forget(state: State, call: Call, arn: str) -> None:
    """Remove what is kept about a user or role that goes."""
    call.node.directory.forget(arn)
    for prefix in (keys.accesses(state.account, arn), keys.all_reached(state.account, arn)):
        state.txn.clear(prefix, prefix_end(prefix))
    state.txn.clear(keys.last_used(arn))


def _latest(state: State, call: Call, what: str) -> LastUsed | None:
    noted = call.node.directory.last_uses()[0].get(what)
    raw = state.txn.get(keys.last_used(what))
    stored = None if raw is None else msgspec.msgpack.decode(raw, type=LastUsed)
    if noted is None or (stored is not None and stored.at > noted[0]):
        return stored
    return LastUsed(at=noted[0], action=noted[1], region=noted[2])


def _is_there(txn: Transaction, what: str) -> bool:
    """Whether the key, user or role still exists: what is gone leaves nothing behind."""
    if not is_arn(what):
        return txn.get(keys.access_key(what)) is not None
    arn = parse(what)
    kind = Role if arn.resource.startswith("role/") else User
    return State(txn, arn.account).find(kind, arn.resource.rpartition("/")[2]) is not None


@worker("iam:last-used")
async def write_last_uses(node: Node) -> None:
    """Write what this process has noted since the last round."""
    while True:
        await node.clock.sleep(WRITE_EVERY_S)
        await write_now(node)


async def write_now(node: Node) -> None:
    """One round of it."""
    await _write_reaches(node)
    uses, accessed = node.directory.last_uses()
    noted, calls = dict(uses), dict(accessed)
    if not noted and not calls:
        return

    def body(txn: Transaction) -> None:
        there: dict[str, bool] = {}
        for what, (at, action, region) in noted.items():
            if there.setdefault(what, _is_there(txn, what)):
                txn.set(keys.last_used(what), encode(LastUsed(at=at, action=action, region=region)))
        for (who, action), (at, region) in calls.items():
            if there.setdefault(who, _is_there(txn, who)):
                used = LastUsed(at=at, action=action, region=region)
                txn.set(keys.accessed(account_of(who), who, action), encode(used))

    await node.store.transact(body)
    for what, use in noted.items():
        if uses.get(what) == use:
            del uses[what]
    for pair, seen in calls.items():
        if accessed.get(pair) == seen:
            del accessed[pair]


async def _write_reaches(node: Node) -> None:
    """Add what calls were about since the last round to what is kept of it, and let go of what has not grown since."""
    reaches = node.directory.reaches()
    round_ = [(slot, reach, reach.changes, reach.copy()) for slot, reach in reaches.items()]
    if not round_:
        return

    def body(txn: Transaction) -> None:
        there: dict[str, bool] = {}
        for (who, action, allowed), _, _, noted in round_:
            if not there.setdefault(who, _is_there(txn, who)):
                continue
            key = keys.reached(account_of(who), who, action, allowed=allowed)
            raw = txn.get(key)
            kept = Reach() if raw is None else _decoded(raw)
            kept.merge(noted)
            if raw is None or kept.changes:
                txn.set(key, encode(Reached(literals=sorted(kept.literals), heads=sorted(kept.heads))))

    await node.store.transact(body)
    for slot, reach, changes, _ in round_:
        if reach.changes == changes and reaches.get(slot) is reach:
            del reaches[slot]


def _decoded(raw: bytes) -> Reach:
    kept = msgspec.msgpack.decode(raw, type=Reached)
    return Reach(kept.literals, kept.heads)
