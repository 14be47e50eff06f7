"""Recursive loops: a function that sets off itself through other services is stopped after about 16 rounds.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html. The chain travels in the X-Amzn-Trace-Id header,
which AWS's SDKs pass on from within a function: "Lineage" says how often each function ran in it.
"""

from __future__ import annotations

import hashlib
import secrets

import msgspec

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.lambda_ import access, records, rules
from penstock.services.lambda_.records import Function
from penstock.store import Transaction
from penstock.wire.errors import AwsError

ROUNDS_MAX = 16
_LINEAGE_MAX = 32
_HEADER_CHARS_MAX = 2048


def step(header: str, function: Function, now: float) -> tuple[str, int]:
    """The trace header that the function sees, and how often it has run in this chain, this time included."""
    parts: dict[str, str] = {}
    for part in header[:_HEADER_CHARS_MAX].split(";"):
        name, equals, value = part.strip().partition("=")
        if equals and name.isalnum() and value.isascii() and value.isprintable():
            parts[name] = value
    lineage: dict[str, int] = {}
    for entry in parts.pop("Lineage", "").split("|"):
        who, _, count = entry.partition(":")
        if count.isdecimal() and len(count) < 6 and len(lineage) < _LINEAGE_MAX:
            lineage[who] = int(count)
    own = hashlib.blake2b(function.arn.encode(), digest_size=4).hexdigest()
    rounds = lineage[own] = lineage.get(own, 0) + 1
    if "Root" not in parts:
        parts["Root"] = f"1-{int(now):08x}-{secrets.token_hex(12)}"
    parts.setdefault("Parent", secrets.token_hex(8))
    parts.setdefault("Sampled", "1" if function.tracing == "Active" else "0")
    parts["Lineage"] = "|".join(f"{who}:{count}" for who, count in lineage.items())
    return ";".join(f"{name}={value}" for name, value in parts.items()), rounds


def check(target: Function, rounds: int) -> None:
    """Raises AwsError RecursiveInvocationException where the function has run often enough in one chain."""
    if rounds > ROUNDS_MAX and target.recursion == "Terminate":
        raise AwsError(
            "RecursiveInvocationException",
            "Lambda has detected your function being invoked in a recursive loop with other Amazon Web Services resources "
            "and stopped your function's invocation.",
            400,
            members={"Type": "User"},
        )


@operation("lambda:PutFunctionRecursionConfig", resource=rules.resource, policy=access.load_policy)
async def put_function_recursion_config(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_PutFunctionRecursionConfig.html"""
    where = rules.unqualified(call, params["FunctionName"])

    def body(txn: Transaction) -> None:
        function = records.read(txn, *where)
        records.write(txn, msgspec.structs.replace(function, recursion=params["RecursiveLoop"]))

    await call.store.transact(body)
    return {"RecursiveLoop": params["RecursiveLoop"]}


@operation("lambda:GetFunctionRecursionConfig", resource=rules.resource, policy=access.load_policy)
async def get_function_recursion_config(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_GetFunctionRecursionConfig.html"""
    where = rules.unqualified(call, params["FunctionName"])
    function = await call.store.transact(lambda txn: records.read(txn, *where), read_only=True)
    return {"RecursiveLoop": function.recursion}
