"""Concurrency: what is reserved for a function, what is left for the others, and who is throttled.

https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html. Invocations under way are counted by each node for
itself, so nodes that share a store allow that many each.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from penstock.core.call import Call
from penstock.core.node import Node
from penstock.core.operation import Params, Result, operation
from penstock.services.lambda_ import access, keys, metrics, records, rules
from penstock.services.lambda_.access import Target
from penstock.services.lambda_.pace import Pace, throttled
from penstock.services.lambda_.records import LATEST, Function
from penstock.store import Transaction
from penstock.telemetry import Labels

UNRESERVED_MIN = 100
"""Of the account's concurrency, what no reservation may take."""


class Gate:
    """Invocations under way in this process, by function where some are reserved, by account and region elsewhere."""

    def __init__(self, node: Node) -> None:
        self._limit = node.settings.function_concurrency
        self._running: defaultdict[tuple[str, ...], int] = defaultdict(int)
        self._each: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        self._pace = Pace(node.clock) if node.settings.limits else None
        metrics.watch(node, self)

    @contextmanager
    def enter(self, target: Target) -> Iterator[int]:
        """Hold a place for an invocation; gives how many the function has under way, this one included.

        Raises AwsError TooManyRequestsException where there is none.
        """
        latest = target.latest
        key: tuple[str, ...]
        if latest.reserved is not None:
            key, most = (latest.account, latest.region, latest.name), latest.reserved
            reason = "ReservedFunctionConcurrentInvocationLimitExceeded"
            if target.unprovisioned is not None and target.unprovisioned < most:
                key, most = (*key, "unprovisioned"), target.unprovisioned
        else:
            key, most = (latest.account, latest.region), self._limit - target.reserved_elsewhere
            reason = "ConcurrentInvocationLimitExceeded"
        running = self._running
        if running[key] >= most:
            if not running[key]:
                del running[key]
            raise throttled(reason)
        each, own = self._each, (latest.account, latest.region, latest.name)
        if self._pace is not None:
            self._pace.check(key, most, own, each.get(own, 0) + 1, is_reserved=latest.reserved is not None)
        running[key] += 1
        each[own] += 1
        try:
            yield each[own]
        finally:
            running[key] -= 1
            if not running[key]:
                del running[key]
            each[own] -= 1
            if not each[own]:
                del each[own]

    def by_function(self) -> dict[Labels, float]:
        """How many invocations are under way, by function."""
        return {metrics.labels(*where): count for where, count in self._each.items()}

    def unreserved(self) -> dict[Labels, float]:
        """How many are under way of functions without reserved concurrency, by account and region."""
        places = [(key, count) for key, count in self._running.items() if len(key) == 2]
        return {(("account", key[0]), ("region", key[1])): count for key, count in places}


def reserved_in(txn: Transaction, account: str, region: str) -> int:
    """What is reserved for the functions of an account and region, together."""
    return int.from_bytes(txn.get(keys.reserved(account, region)) or b"", "little", signed=True)


def provisioned_for(txn: Transaction, account: str, region: str, name: str) -> int:
    """What is provisioned for a function's versions and aliases, together."""
    found = txn.scan(*keys.provisioned_of(account, region, name))
    return sum(int(msgspec.msgpack.decode(raw)[0]) for _, raw in found)


def release(txn: Transaction, function: Function) -> None:
    """Give back what was reserved for a function that goes."""
    if function.reserved:
        txn.add(keys.reserved(function.account, function.region), -function.reserved)


@operation("lambda:PutFunctionConcurrency", resource=rules.resource, policy=access.load_policy)
async def put_function_concurrency(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_PutFunctionConcurrency.html"""
    where = rules.unqualified(call, params["FunctionName"])
    wanted = params["ReservedConcurrentExecutions"]
    limit = call.node.settings.function_concurrency

    def body(txn: Transaction) -> None:
        if txn.get(keys.function(*where)) is None:
            raise rules.not_found(rules.arn_of(*where, LATEST))
        function = records.read(txn, *where)
        old = function.reserved or 0
        provisioned = provisioned_for(txn, *where)
        if wanted < provisioned:
            raise rules.untyped(
                f" ReservedConcurrentExecutions  {wanted} should not be lower than function's total provisioned concurrency "
                f"[{provisioned}]."
            )
        if wanted > old and limit - (reserved_in(txn, *where[:2]) - old + wanted) < UNRESERVED_MIN:
            raise rules.untyped(
                "Specified ReservedConcurrentExecutions for function decreases account's "
                f"UnreservedConcurrentExecution below its minimum value of [{UNRESERVED_MIN}]."
            )
        records.write(txn, msgspec.structs.replace(function, reserved=wanted))
        txn.add(keys.reserved(*where[:2]), wanted - old)

    await call.store.transact(body)
    return {"ReservedConcurrentExecutions": wanted}


@operation("lambda:GetFunctionConcurrency", resource=rules.resource, policy=access.load_policy)
async def get_function_concurrency(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_GetFunctionConcurrency.html"""
    where = rules.unqualified(call, params["FunctionName"])
    function = await call.store.transact(lambda txn: records.read(txn, *where), read_only=True)
    return {} if function.reserved is None else {"ReservedConcurrentExecutions": function.reserved}


@operation("lambda:DeleteFunctionConcurrency", resource=rules.resource, policy=access.load_policy)
async def delete_function_concurrency(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_DeleteFunctionConcurrency.html"""
    where = rules.unqualified(call, params["FunctionName"])

    def body(txn: Transaction) -> None:
        function = records.read(txn, *where)
        release(txn, function)
        records.write(txn, msgspec.structs.replace(function, reserved=None))

    await call.store.transact(body)
    return {}
