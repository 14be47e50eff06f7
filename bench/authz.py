"""What authorization costs: `PYTHONPATH=src python bench/authz.py`. Microseconds of CPU a call, best of five rounds.

A role with 10 policies of 5 statements each, asked for GetItem on one table: allowed by the last statement, so that
every policy is looked through. `decide` is the evaluation alone; `authorize` adds the identity's read from the store,
the condition keys and the ring of decisions; root is the fast path.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

from penstock.clock import Clock
from penstock.config import Settings
from penstock.core.authz import authorize
from penstock.core.authz.evaluate import Question, decide
from penstock.core.authz.facts import GivenFacts
from penstock.core.call import Call
from penstock.core.identity import Principal, root
from penstock.core.node import Node
from penstock.core.operation import Operation
from penstock.services import iam
from penstock.services.iam.directory import StoreDirectory
from penstock.store.memory import MemoryStore
from penstock.telemetry import Telemetry

ACCOUNT = "000000000000"
TABLE = f"arn:aws:dynamodb:us-east-1:{ACCOUNT}:table/t"
ROUNDS = 20_000


def document(n: int) -> str:
    statements: list[dict[str, Any]] = [
        {"Effect": "Allow", "Action": ["s3:Get*", "s3:List*"], "Resource": f"arn:aws:s3:::bucket-{n}/*"},
        {"Effect": "Deny", "Action": "dynamodb:*", "Resource": f"arn:aws:dynamodb:*:*:table/secret-{n}*"},
        {
            "Effect": "Allow",
            "Action": "dynamodb:*Item",
            "Resource": f"arn:aws:dynamodb:us-east-1:*:table/app-{n}-*",
            "Condition": {"Bool": {"aws:SecureTransport": "true"}},
        },
        {"Effect": "Allow", "Action": "kinesis:*", "Resource": "*"},
        {"Effect": "Allow", "Action": "dynamodb:GetItem", "Resource": TABLE if n == 9 else TABLE + str(n)},
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


async def session(node: Node) -> Principal:
    """A session of a role with ten inline policies."""

    async def ask(service: str, name: str, **params: Any) -> dict[str, Any]:
        return await node.call(service, name, params, principal=root(ACCOUNT), account=ACCOUNT, region="us-east-1")

    trust = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}}'
    await ask("iam", "CreateRole", RoleName="r", AssumeRolePolicyDocument=trust)
    for n in range(10):
        await ask("iam", "PutRolePolicy", RoleName="r", PolicyName=f"p{n}", PolicyDocument=document(n))
    arn = f"arn:aws:iam::{ACCOUNT}:role/r"
    credential = await node.directory.role_credential(arn, "s", 3600, "any.amazonaws.com")
    return credential.principal


async def measure(name: str, work: Callable[[], Awaitable[object] | object]) -> None:
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        for _ in range(ROUNDS):
            done = work()
            if isinstance(done, Awaitable):
                await done
        best = min(best, time.process_time() - began)
    print(f"{name:<52}{best / ROUNDS * 1e6:8.2f} us")


async def main() -> None:
    assert iam
    __import__("penstock.services.sts")
    clock, settings, store = Clock(), Settings(), MemoryStore()
    nothing = cast(Any, None)
    node = Node(settings, clock, store, nothing, nothing, StoreDirectory(store, clock, settings), Telemetry())
    principal = await session(node)
    identity = await node.directory.identity(principal)
    assert len(identity.policies) == 10
    operation = Operation("dynamodb", "GetItem", nothing, "dynamodb:GetItem", lambda c, p: TABLE, None, None, {})
    call = Call(node, operation, principal, ACCOUNT, "us-east-1", "request", secure=True)
    own = Call(node, operation, root(ACCOUNT), ACCOUNT, "us-east-1", "request", secure=True)
    facts = GivenFacts({"aws:SecureTransport": "true"})
    question = Question(principal, "dynamodb:GetItem", TABLE, ACCOUNT, facts, identity)
    assert decide(question).allowed
    params = {"TableName": "t"}
    await measure("decide, role with 10 policies", lambda: decide(question))
    await measure("authorize, role with 10 policies, memory store", lambda: authorize(call, params))
    await measure("authorize, root", lambda: authorize(own, params))


if __name__ == "__main__":
    asyncio.run(main())
