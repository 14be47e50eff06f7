"""A function's resource policy: who but its own account's principals may invoke it."""

from __future__ import annotations

import json
import uuid
from typing import Any

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.lambda_ import access, functions, keys, rules
from penstock.store import Transaction
from penstock.wire.errors import AwsError

POLICY_BYTES_MAX = 20 * 1024


@operation(
    "lambda:AddPermission",
    resource=rules.resource,
    policy=access.load_policy,
    unsupported={"FunctionUrlAuthType": (), "InvokedViaFunctionUrl": (False,), "EventSourceToken": ("",)},
)
async def add_permission(call: Call, params: Params) -> Result:
    account, region, name = rules.local_reference(call, params["FunctionName"], params.get("Qualifier"))
    statement = _statement(rules.arn_of(account, region, name), params)

    def body(txn: Transaction) -> None:
        functions.read(txn, account, region, name)
        stored = _read(txn, account, region, name)
        _check_revision(stored, params)
        statements = stored["policy"]["Statement"]
        if any(other["Sid"] == statement["Sid"] for other in statements):
            raise AwsError(
                "ResourceConflictException",
                f"The statement id ({statement['Sid']}) provided already exists. Please provide a new statement id, or "
                "remove the existing statement.",
                409,
                members={"Type": "User"},
            )
        statements.append(statement)
        _write(txn, account, region, name, stored["policy"])

    await call.store.transact(body)
    return {"Statement": json.dumps(statement, separators=(",", ":"))}


@operation("lambda:RemovePermission", resource=rules.resource, policy=access.load_policy)
async def remove_permission(call: Call, params: Params) -> Result:
    account, region, name = rules.local_reference(call, params["FunctionName"], params.get("Qualifier"))
    sid = params["StatementId"]

    def body(txn: Transaction) -> None:
        functions.read(txn, account, region, name)
        stored = _read(txn, account, region, name)
        _check_revision(stored, params)
        left = [s for s in stored["policy"]["Statement"] if s["Sid"] != sid]
        if len(left) == len(stored["policy"]["Statement"]):
            raise AwsError(
                "ResourceNotFoundException", f"Statement {sid} is not found in resource policy.", 404,
                members={"Type": "User"},
            )  # fmt: skip
        if left:
            _write(txn, account, region, name, {**stored["policy"], "Statement": left})
        else:
            txn.clear(keys.policy(account, region, name))

    await call.store.transact(body)
    return {}


@operation("lambda:GetPolicy", resource=rules.resource, policy=access.load_policy)
async def get_policy(call: Call, params: Params) -> Result:
    account, region, name = rules.local_reference(call, params["FunctionName"], params.get("Qualifier"))

    def body(txn: Transaction) -> bytes | None:
        functions.read(txn, account, region, name)
        return txn.get(keys.policy(account, region, name))

    raw = await call.store.transact(body, read_only=True)
    if raw is None:
        raise AwsError(
            "ResourceNotFoundException", "The resource you requested does not exist.", 404, members={"Type": "User"}
        )
    stored = json.loads(raw)
    return {"Policy": json.dumps(stored["policy"], separators=(",", ":")), "RevisionId": stored["revision"]}


def _statement(arn: str, params: Params) -> dict[str, Any]:
    principal = params["Principal"]
    if principal == "*":
        who: Any = "*"
    elif principal.endswith((".amazonaws.com", ".amazon.com", ".amazonaws.com.cn")):
        who = {"Service": principal}
    elif principal.startswith("arn:"):
        who = {"AWS": principal}
    elif principal.isdigit() and len(principal) == 12:
        who = {"AWS": f"arn:aws:iam::{principal}:root"}
    else:
        raise rules.invalid("The provided principal was invalid. Please check the principal and try again.")
    statement: dict[str, Any] = {
        "Sid": params["StatementId"], "Effect": "Allow", "Principal": who, "Action": params["Action"], "Resource": arn,
    }  # fmt: skip
    conditions: dict[str, dict[str, str]] = {}
    if account := params.get("SourceAccount"):
        conditions.setdefault("StringEquals", {})["AWS:SourceAccount"] = account
    if organization := params.get("PrincipalOrgID"):
        conditions.setdefault("StringEquals", {})["aws:PrincipalOrgID"] = organization
    if source := params.get("SourceArn"):
        conditions.setdefault("ArnLike", {})["AWS:SourceArn"] = source
    if conditions:
        statement["Condition"] = conditions
    return statement


def _read(txn: Transaction, account: str, region: str, name: str) -> dict[str, Any]:
    raw = txn.get(keys.policy(account, region, name))
    if raw is None:
        return {"revision": "", "policy": {"Version": "2012-10-17", "Id": "default", "Statement": []}}
    stored: dict[str, Any] = json.loads(raw)
    return stored


def _write(txn: Transaction, account: str, region: str, name: str, policy: dict[str, Any]) -> None:
    text = json.dumps({"revision": str(uuid.uuid4()), "policy": policy}, separators=(",", ":")).encode()
    if len(text) > POLICY_BYTES_MAX:
        raise AwsError(
            "PolicyLengthExceededException", f"The final policy size ({len(text)}) is bigger than the limit "
            f"({POLICY_BYTES_MAX}).", 400, members={"Type": "User"},
        )  # fmt: skip
    txn.set(keys.policy(account, region, name), text)


def _check_revision(stored: dict[str, Any], params: Params) -> None:
    if params.get("RevisionId", stored["revision"]) != stored["revision"]:
        raise AwsError(
            "PreconditionFailedException",
            "The Revision Id provided does not match the latest Revision Id. Call the GetPolicy API to retrieve the "
            "latest Revision Id",
            412,
            members={"Type": "User"},
        )
