"""When keys and roles were last used: noted in memory by the request path, written to the store once a minute.

AWS too tells this with a delay
(https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_last-accessed.html).
"""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.core.arn import is_arn, parse
from penstock.core.call import Call
from penstock.core.node import Node
from penstock.core.worker import worker
from penstock.services.iam import arns, keys
from penstock.services.iam.records import LastUsed, Role
from penstock.services.iam.state import State, encode
from penstock.store.api import Transaction

WRITE_EVERY_S = 60.0


def of_key(state: State, call: Call, access_key_id: str) -> dict[str, Any]:
    """The AccessKeyLastUsed member."""
    used = _latest(state, call, access_key_id)
    if used is None:
        return {"ServiceName": "N/A", "Region": "N/A"}
    return {"LastUsedDate": int(used.at), "ServiceName": used.service, "Region": used.region}


def of_role(state: State, call: Call, role: Role) -> dict[str, Any]:
    """The RoleLastUsed member."""
    used = _latest(state, call, arns.arn(state.account, role))
    return {} if used is None else {"LastUsedDate": int(used.at), "Region": used.region}


def _latest(state: State, call: Call, what: str) -> LastUsed | None:
    noted = call.node.directory.last_uses().get(what)
    raw = state.txn.get(keys.last_used(what))
    stored = None if raw is None else msgspec.msgpack.decode(raw, type=LastUsed)
    if noted is None or (stored is not None and stored.at > noted[0]):
        return stored
    return LastUsed(at=noted[0], service=noted[1], region=noted[2])


def _is_there(txn: Transaction, what: str) -> bool:
    """Whether the key or role still exists: what is gone leaves nothing behind."""
    if not is_arn(what):
        return txn.get(keys.access_key(what)) is not None
    arn = parse(what)
    return State(txn, arn.account).find(Role, arn.resource.rpartition("/")[2]) is not None


@worker("iam:last-used")
async def write_last_uses(node: Node) -> None:
    """Write what this process has noted since the last round."""
    while True:
        await node.clock.sleep(WRITE_EVERY_S)
        noted = dict(node.directory.last_uses())
        if not noted:
            continue

        def body(txn: Transaction, noted: dict[str, tuple[float, str, str]] = noted) -> None:
            for what, (at, service, region) in noted.items():
                if _is_there(txn, what):
                    txn.set(keys.last_used(what), encode(LastUsed(at=at, service=service, region=region)))

        await node.store.transact(body)
        uses = node.directory.last_uses()
        for what, use in noted.items():
            if uses.get(what) == use:
                del uses[what]
