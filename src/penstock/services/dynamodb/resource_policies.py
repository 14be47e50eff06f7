"""Resource policies of tables and their streams: stored, given back, and loaded for the permission check.

An operation that may be about another account's table has `load` for its policy: it makes the call one about the account in
the table's ARN, so both that account's policy and the caller's must allow. Without any policy in the store a request costs
nothing for it; that is looked at once a second (on AWS too a new policy takes a moment to be known everywhere).
Source: "Using resource-based policies for DynamoDB" of the developer guide.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from penstock.core.authz import require
from penstock.core.authz.document import PolicyError
from penstock.core.authz.validate import Purpose, validate
from penstock.core.call import Call
from penstock.core.node import Node
from penstock.core.operation import Params, Result, operation
from penstock.services.dynamodb import keys, names
from penstock.services.dynamodb.errors import invalid, table_missing_by_name
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError

MAX_BYTES = 20 * 1024
NO_POLICY = "NO_POLICY"
"""The ExpectedRevisionId of a resource that has none yet."""
_LOOK_EVERY_S = 1.0
_NARROWING = frozenset(
    (
        "aws:principalaccount", "aws:principalarn", "aws:principalorgid", "aws:principalorgpaths", "aws:sourceaccount",
        "aws:sourcearn", "aws:sourceip", "aws:sourceorgid", "aws:sourcevpc", "aws:sourcevpce", "aws:userid", "aws:vpcsourceip",
    )
)  # fmt: skip


class Stored(msgspec.Struct):
    """A policy as it is stored."""

    policy: str
    revision: str


_decode = msgspec.json.Decoder(Stored).decode


class Guards:
    """Whether there is any policy in the store, as this node knows it."""

    __slots__ = ("_any", "_at")

    def __init__(self, node: Node) -> None:
        self._any = False
        self._at: float | None = None

    def none(self, now: float) -> bool:
        """Whether there was none a moment ago, so that none has to be looked for."""
        return not self._any and self._at is not None and 0 <= now - self._at < _LOOK_EVERY_S

    async def any(self, call: Call) -> bool:
        """Whether a policy has to be looked for."""
        if self._at is None or not 0 <= call.now - self._at < _LOOK_EVERY_S:
            stored = await call.store.transact(lambda txn: txn.get(keys.POLICIES), read_only=True)
            self._any = stored is not None and any(stored)
            self._at = call.now
        return self._any

    def note(self) -> None:
        """There is one now, which this node knows at once."""
        self._any = True


async def load(call: Call, params: Params) -> str | None:
    """The policy of the table, or of all tables, that a request is about, for `@operation(policy=...)`."""
    name = params.get("TableName")
    if type(name) is str and not name.startswith("arn:") and call.node.own(Guards).none(call.now):
        return None  # as nearly always; the rest says the same, at several times the cost
    found = await load_all(call, _named_in(params))
    return merged(found.values())


async def load_all(call: Call, named: Iterable[str]) -> dict[str, str]:
    """The policies of tables and streams, by how the request names them; only of those that have one."""
    wanted = [name for name in named if isinstance(name, str)]
    owners = {match["account"] for match in map(names.match_resource, wanted) if match is not None}
    if len(owners) == 1:
        call.account = owners.pop()
    guards = call.node.own(Guards)
    if not wanted or not await guards.any(call):
        return {}
    places = {name: place for name in wanted if (place := _place(call, name)) is not None}

    def body(txn: Transaction) -> dict[str, bytes | None]:
        return {name: txn.get(place) for name, place in places.items()}

    stored = await call.store.transact(body, read_only=True)
    return {
        name: _bound(_decode(each), names.resource(call, {"TableName": name})) for name, each in stored.items() if each
    }


def _bound(stored: Stored, arn: str) -> str:
    """The policy with "*" as a resource meaning its own table, so that it can stand beside others."""
    if '"*"' not in stored.policy:
        return stored.policy
    document = msgspec.json.decode(stored.policy)
    for statement in _statements(document):
        for name in ("Resource", "NotResource"):
            if "*" in _texts(statement.get(name)):
                statement[name] = [arn, f"{arn}/*"]
    return msgspec.json.encode(document).decode()


def merged(texts: Iterable[str]) -> str | None:
    """One policy that says what all of them say. Each names only its own table, so none speaks for another."""
    listed = list(texts)
    if len(listed) < 2:
        return listed[0] if listed else None
    return msgspec.json.encode(
        {
            "Version": "2012-10-17",
            "Statement": [each for text in listed for each in _statements(msgspec.json.decode(text))],
        }
    ).decode()


def _named_in(params: Mapping[str, Any]) -> list[str]:
    for name in ("TableName", "ResourceArn", "StreamArn"):
        if name in params:
            return [params[name]]
    if "RequestItems" in params:
        return list(params["RequestItems"])
    parts = (part for each in params.get("TransactItems") or () for part in each.values())
    return [part["TableName"] for part in parts]


def _place(call: Call, name: str) -> bytes | None:
    match = names.match_resource(name)
    if match is not None:
        return keys.policy(match["account"], match["region"], match["table"], match["stream"] or "")
    return None if name.startswith("arn:") else keys.policy(call.account, call.region, name, "")


def save_first(txn: Transaction, call: Call, table_name: str, text: str) -> None:
    """Store the policy that a new table is created with, which `check` has seen."""
    txn.set(
        keys.policy(call.account, call.region, table_name, ""), msgspec.json.encode(Stored(text, _revision(call.now)))
    )
    txn.add(keys.POLICIES, 1)


def forget(txn: Transaction, record_arn: str) -> None:
    """Remove the policies of a table that is deleted, and of its streams."""
    match = names.match_resource(record_arn)
    assert match is not None
    begin, end = keys.policies(match["account"], match["region"], match["table"])
    count = sum(1 for _ in txn.scan(begin, end))
    if count:
        txn.clear(begin, end)
        txn.add(keys.POLICIES, -count)


def check(text: str, arn: str) -> None:
    """Raises ValidationException for what is no policy of that table or stream."""
    if len(text.encode()) > MAX_BYTES:
        raise invalid(f"Resource policy size exceeds the maximum of {MAX_BYTES} bytes")
    try:
        document = validate(text, Purpose.RESOURCE)
    except PolicyError as error:
        raise invalid(f"Invalid policy document: {error}") from None
    for statement in _statements(document):
        actions = _texts(statement.get("Action", statement.get("NotAction")))
        if not all(action == "*" or action.lower().startswith("dynamodb:") for action in actions):
            raise invalid("Invalid policy document: Actions must be DynamoDB's")
        resources = _texts(statement.get("Resource", statement.get("NotResource")))
        if not resources or not all(each in ("*", arn) or each.startswith(f"{arn}/") for each in resources):
            raise invalid(f"Invalid policy document: Resources must be *, {arn} or below it")
        if _is_public(statement):
            raise invalid(
                "Invalid policy document: The policy grants public access, which DynamoDB's Block Public Access prevents"
            )


def _is_public(statement: Mapping[str, Any]) -> bool:
    if statement["Effect"] != "Allow":
        return False
    principal = statement.get("Principal")
    everybody = principal == "*" or (isinstance(principal, dict) and "*" in _texts(principal.get("AWS")))
    conditions = statement.get("Condition") or {}
    narrowed = any(key.lower() in _NARROWING for of_operator in conditions.values() for key in of_operator)
    return ("NotPrincipal" in statement or everybody) and not narrowed


def _statements(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = document["Statement"]
    return found if isinstance(found, list) else [found]


def _texts(value: Any) -> list[str]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _revision(now: float, before: Stored | None = None) -> str:
    """The time in milliseconds, later than that of the revision before."""
    return str(max(int(now * 1000), int(before.revision) + 1 if before else 0))


def _target(call: Call, params: Params) -> tuple[str, bytes, bytes]:
    """(ARN, where its policy is, where the table or stream is). Raises ValidationException for no ARN of these."""
    arn = params["ResourceArn"]
    match = names.match_resource(arn)
    if match is None:
        raise invalid(f"Invalid ResourceArn: {arn}")
    region, account, table_name, stream = match["region"], match["account"], match["table"], match["stream"]
    if (account, region) != (call.account, call.region):
        raise AwsError("AccessDeniedException", f"There is no access to {arn} from {call.account} in {call.region}")
    resource = keys.stream(account, region, table_name, stream) if stream else keys.table(account, region, table_name)
    return arn, keys.policy(account, region, table_name, stream or ""), resource


def _read(txn: Transaction, arn: str, place: bytes, resource: bytes) -> Stored | None:
    if txn.get(resource) is None:
        if "/stream/" in arn:
            raise AwsError("ResourceNotFoundException", f"Requested resource not found: Stream: {arn} not found")
        raise table_missing_by_name(_table_of(arn))
    stored = txn.get(place)
    return None if stored is None else _decode(stored)


def _no_policy(why: str) -> AwsError:
    return AwsError("PolicyNotFoundException", f"Resource-based policy not found for the provided ResourceArn: {why}")


def _expect(params: Params, before: Stored | None, arn: str) -> None:
    """Raises PolicyNotFoundException where the policy is not the one that the request means."""
    expected = params.get("ExpectedRevisionId")
    if expected is None:
        return
    if expected == (NO_POLICY if before is None else before.revision):
        return
    target = f"target table {_table_of(arn)}"
    if expected == NO_POLICY and before is not None:
        told = f"Requested policy update expecting none to be present for table {_table_of(arn)}, but a policy exists with "
        told += f"revision id {before.revision}."
    elif before is None:
        told = f"Requested update for policy with revision id {expected}, but no policy is associated to {target}."
    else:
        told = f"Requested update for policy with revision id {expected}, but the policy associated to {target} has revision "
        told += f"id {before.revision}."
    raise _no_policy(told)


def _table_of(arn: str) -> str:
    match = names.match_resource(arn)
    return match["table"] if match else arn


@operation("dynamodb:PutResourcePolicy", resource="{ResourceArn}", policy=load)
async def put_resource_policy(call: Call, params: Params) -> Result:
    """Give a table or stream a policy. One that locks the caller out needs ConfirmRemoveSelfResourceAccess."""
    arn, place, resource = _target(call, params)
    text = params["Policy"]
    check(text, arn)
    if not params.get("ConfirmRemoveSelfResourceAccess", False):
        await _require_self(call, params, arn, text)

    def body(txn: Transaction) -> Stored:
        before = _read(txn, arn, place, resource)
        _expect(params, before, arn)
        if before is not None and msgspec.json.decode(before.policy) == msgspec.json.decode(text):
            return before
        if before is None:
            txn.add(keys.POLICIES, 1)
        stored = Stored(text, _revision(call.now, before))
        txn.set(place, msgspec.json.encode(stored))
        return stored

    stored = await call.store.transact(body)
    call.node.own(Guards).note()
    return {"RevisionId": stored.revision}


async def _require_self(call: Call, params: Params, arn: str, text: str) -> None:
    try:
        await require(call, params, "dynamodb:PutResourcePolicy", arn, owner=call.account, policy=text, even_root=True)
    except AwsError:
        raise invalid(
            "The new policy would not allow the caller to change it again: set ConfirmRemoveSelfResourceAccess to confirm that"
        ) from None


@operation("dynamodb:GetResourcePolicy", resource="{ResourceArn}", policy=load)
async def get_resource_policy(call: Call, params: Params) -> Result:
    """The policy of a table or stream. Raises PolicyNotFoundException where it has none."""
    arn, place, resource = _target(call, params)
    stored = await call.store.transact(lambda txn: _read(txn, arn, place, resource), read_only=True)
    if stored is None:
        raise _no_policy(arn)
    return {"Policy": stored.policy, "RevisionId": stored.revision}


@operation("dynamodb:DeleteResourcePolicy", resource="{ResourceArn}", policy=load)
async def delete_resource_policy(call: Call, params: Params) -> Result:
    """Remove the policy of a table or stream; where there is none, nothing happens unless a revision was expected."""
    arn, place, resource = _target(call, params)

    def body(txn: Transaction) -> str:
        before = _read(txn, arn, place, resource)
        _expect(params, before, arn)
        if before is None:
            return ""
        txn.clear(place)
        txn.add(keys.POLICIES, -1)
        return before.revision

    revision = await call.store.transact(body)
    return {"RevisionId": revision} if revision else {}
