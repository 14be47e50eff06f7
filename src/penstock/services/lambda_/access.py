"""Whose function a call is about, and what that function's own policy says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from penstock.core.call import Call
from penstock.core.operation import Params
from penstock.services.lambda_ import keys, rules


async def load_policy(call: Call, params: Params) -> Mapping[str, Any] | None:
    """The function's resource policy, for `@operation(policy=...)`. Makes the call one about the function's account.

    A function may be named by an ARN of another account: then both that account's policy and the caller's must allow.
    """
    account, region, name, _ = rules.reference(call, params.get("FunctionName") or params["Resource"])
    call.account = account
    raw = await call.store.transact(lambda txn: txn.get(keys.policy(account, region, name)), read_only=True)
    return None if raw is None else json.loads(raw)["policy"]
