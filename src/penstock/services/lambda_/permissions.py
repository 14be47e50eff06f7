"""A function's resource policy: who but its own account's principals may invoke it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.lambda_ import access, keys, records, rules
from penstock.services.lambda_.records import LATEST
from penstock.store import Transaction
from penstock.wire.errors import AwsError


async def _load_statement(call: Call, params: Params) -> Mapping[str, Any] | None:
    """The function's policy; leaves the statement that is to be removed in `call.seen`."""
    policy = await access.load_policy(call, params)
    statements = () if policy is None else policy["Statement"]
    call.seen = next((each for each in statements if each["Sid"] == params["StatementId"]), None)
    return policy


def _added(call: Call, params: Params) -> dict[str, Any]:
    return {"lambda:Principal": params["Principal"], "lambda:FunctionUrlAuthType": params.get("FunctionUrlAuthType")}


def _removed(call: Call, params: Params) -> dict[str, Any]:
    statement = call.seen
    if statement is None:
        return {}
    who = statement["Principal"]
    conditions = statement.get("Condition", {}).get("StringEquals", {})
    return {
        "lambda:Principal": who if isinstance(who, str) else list(who.values()),
        "lambda:FunctionUrlAuthType": conditions.get("lambda:FunctionUrlAuthType"),
    }


@operation("lambda:AddPermission", resource=rules.resource, policy=access.load_policy, conditions=_added)
async def add_permission(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_AddPermission.html"""
    where = rules.reference(call, params["FunctionName"], params.get("Qualifier"))
    if where[3] == LATEST:
        raise rules.invalid("We currently do not support adding policies for $LATEST.")
    statement = _statement(rules.arn_of(*where), params)

    def body(txn: Transaction) -> None:
        revision = _revision_of(txn, *where)
        stored = _read(txn, *where)
        if stored is None:
            stored = {"revision": revision, "policy": {"Version": "2012-10-17", "Id": "default", "Statement": []}}
        _check_revision(stored, params)
        statements = stored["policy"]["Statement"]
        if any(other["Sid"] == statement["Sid"] for other in statements):
            raise rules.conflict(
                f"The statement id ({statement['Sid']}) provided already exists. Please provide a new statement id, or "
                "remove the existing statement."
            )
        statements.append(statement)
        _write(txn, *where, stored["policy"])

    await call.store.transact(body)
    return {"Statement": json.dumps(statement, separators=(",", ":"))}


@operation("lambda:RemovePermission", resource=rules.resource, policy=_load_statement, conditions=_removed)
async def remove_permission(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_RemovePermission.html"""
    where = rules.reference(call, params["FunctionName"], params.get("Qualifier"))
    sid = params["StatementId"]

    def body(txn: Transaction) -> None:
        if txn.get(keys.function(*where[:3])) is None:
            raise rules.missing(f"No policy found for: {rules.arn_of(*where)}")
        _revision_of(txn, *where)
        stored = _read(txn, *where)
        if stored is None:
            raise rules.missing("No policy is associated with the given resource.")
        _check_revision(stored, params)
        left = [s for s in stored["policy"]["Statement"] if s["Sid"] != sid]
        if len(left) == len(stored["policy"]["Statement"]):
            raise rules.missing(f"Statement {sid} is not found in resource policy.")
        if left:
            _write(txn, *where, {**stored["policy"], "Statement": left})
        else:
            txn.clear(keys.policy(*where))

    await call.store.transact(body)
    return {}


@operation("lambda:GetPolicy", resource=rules.resource, policy=access.load_policy)
async def get_policy(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_GetPolicy.html"""
    where = rules.reference(call, params["FunctionName"], params.get("Qualifier"))
    stored = await call.store.transact(lambda txn: _read(txn, *where), read_only=True)
    if stored is None:
        raise rules.missing("The resource you requested does not exist.")
    return {"Policy": json.dumps(stored["policy"], separators=(",", ":")), "RevisionId": stored["revision"]}


def _revision_of(txn: Transaction, account: str, region: str, name: str, qualifier: str) -> str:
    """The RevisionId of what a policy is for. Raises ResourceNotFoundException."""
    function = records.read(txn, account, region, name)
    if not qualifier:
        return function.revision
    if qualifier.isdecimal() or "$" in qualifier:
        return records.read(txn, account, region, name, qualifier).revision
    alias = records.read_alias(txn, account, region, name, qualifier)
    if alias is None:
        raise rules.missing(f"Cannot find alias arn: {rules.arn_of(account, region, name, qualifier)}")
    return alias.revision


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
    if auth_type := params.get("FunctionUrlAuthType"):
        conditions.setdefault("StringEquals", {})["lambda:FunctionUrlAuthType"] = auth_type
    if organization := params.get("PrincipalOrgID"):
        conditions.setdefault("StringEquals", {})["aws:PrincipalOrgID"] = organization
    if "InvokedViaFunctionUrl" in params:
        via = "true" if params["InvokedViaFunctionUrl"] else "false"
        conditions.setdefault("Bool", {})["lambda:InvokedViaFunctionUrl"] = via
    if token := params.get("EventSourceToken"):
        conditions.setdefault("StringEquals", {})["lambda:EventSourceToken"] = token
    if source := params.get("SourceArn"):
        conditions.setdefault("ArnLike", {})["AWS:SourceArn"] = source
    if conditions:
        statement["Condition"] = conditions
    return statement


def _read(txn: Transaction, account: str, region: str, name: str, qualifier: str) -> dict[str, Any] | None:
    raw = txn.get(keys.policy(account, region, name, qualifier))
    return None if raw is None else dict(json.loads(raw))


def _write(txn: Transaction, account: str, region: str, name: str, qualifier: str, policy: dict[str, Any]) -> None:
    text = json.dumps({"revision": records.new_revision(), "policy": policy}, separators=(",", ":")).encode()
    rules.check_policy_length(len(text))
    txn.set(keys.policy(account, region, name, qualifier), text)


def _check_revision(stored: dict[str, Any], params: Params) -> None:
    if params.get("RevisionId", stored["revision"]) != stored["revision"]:
        raise AwsError(
            "PreconditionFailedException",
            "The Revision Id provided does not match the latest Revision Id. Call the GetPolicy API to retrieve the "
            "latest Revision Id",
            412,
            members={"Type": "User"},
        )
