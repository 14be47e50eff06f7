"""Which grants allow a call: https://docs.aws.amazon.com/kms/latest/developerguide/grants.html

A grant that allows it stands in authorization as one more statement of the key's policy.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from penstock.core.call import Call
from penstock.core.operation import Params
from penstock.services.kms import keys
from penstock.services.kms.records import Grant, Key, decode_grant
from penstock.store.api import Transaction

_UNCONSTRAINED = frozenset({"DescribeKey", "RetireGrant", "GetPublicKey", "CreateGrant"})
"""What encryption context constraints do not concern; CreateGrant has a rule of its own."""
_CONTEXTS = {"ReEncryptFrom": "SourceEncryptionContext", "ReEncryptTo": "DestinationEncryptionContext"}


def of_key(txn: Transaction, key: Key) -> Iterator[Grant]:
    """Every grant of a key, by id."""
    for _, stored in txn.scan(*keys.range_under(keys.grants(key.account, key.region, key.id))):
        yield decode_grant(stored)


def added_to_policy(txn: Transaction, call: Call, params: Params, key: Key, operation: str) -> str:
    """The key's policy with a statement more if a grant allows the operation to this caller, as it is asked for."""
    if not key.granted:
        return key.policy
    principal = call.principal
    names = [name for name in (principal.arn, principal.role_arn) if name]
    for name in names:
        begin, end = keys.range_under(keys.of_grantee(key.account, key.region, key.id, name))
        for index, _ in txn.scan(begin, end):
            stored = txn.get(keys.grant(key.account, key.region, key.id, str(keys.parts(index)[-1])))
            if stored is not None and _allows(decode_grant(stored), call, params, operation):
                grant = decode_grant(stored)
                return with_statement(key.policy, _principal(grant.grantee, grant.by_service), operation)
    return key.policy


def retiring(grant: Grant) -> dict[str, Any]:
    """The Principal element of who may retire a grant: its retiring principal, and the account that made it."""
    maker: dict[str, Any] = {"AWS": [f"arn:aws:iam::{grant.account}:root"]}
    if grant.retired_by_service:
        return maker | {"Service": grant.retiring}
    if grant.retiring:
        maker["AWS"].append(grant.retiring)
    return maker


def _principal(name: str, service: bool) -> dict[str, Any]:
    return {"Service" if service else "AWS": name}


def with_statement(policy: str, principal: dict[str, Any], operation: str) -> str:
    """The policy with a statement more, which allows the operation to a principal."""
    document = json.loads(policy)
    statements = document["Statement"]
    document["Statement"] = [
        *(statements if isinstance(statements, list) else [statements]),
        {
            "Sid": "A grant",
            "Effect": "Allow",
            "Principal": principal,
            "Action": f"kms:{operation}",
            "Resource": "*",
        },
    ]
    return json.dumps(document)


def _allows(grant: Grant, call: Call, params: Params, operation: str) -> bool:
    if operation not in grant.operations:
        return False
    if (
        grant.source_arn
        and operation != "RetireGrant"
        and (call.context or {}).get("aws:SourceArn") != grant.source_arn
    ):
        return False
    if operation == "CreateGrant":
        return _covers(grant, params)
    if operation in _UNCONSTRAINED:
        return True
    context = _folded(params.get(_CONTEXTS.get(operation, "EncryptionContext")) or {})
    if grant.context_equals is not None and context != _folded(grant.context_equals):
        return False
    return grant.context_subset is None or _folded(grant.context_subset).items() <= context.items()


def _folded(context: Mapping[str, str]) -> dict[str, str]:
    """A context as constraints see it: its keys in any case."""
    return {name.lower(): value for name, value in context.items()}


def _covers(grant: Grant, params: Mapping[str, Any]) -> bool:
    """Whether a grant made by this one's grantee allows no more than this one: AWS lets it pass on nothing else."""
    if not set(params["Operations"]) <= set(grant.operations):
        return False
    constraints = params.get("Constraints", {})
    equals, subset = constraints.get("EncryptionContextEquals"), constraints.get("EncryptionContextSubset")
    if grant.context_equals is not None and equals != grant.context_equals:
        return False
    if grant.context_subset is not None:
        asked = equals if equals is not None else subset
        if asked is None or not grant.context_subset.items() <= asked.items():
            return False
    return not grant.source_arn or constraints.get("SourceArn") == grant.source_arn
