"""Layer versions, got by whoever their policy lets get them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.lambda_ import keys, layers, records, rules
from penstock.services.lambda_.layers import LayerVersion
from penstock.services.lambda_.rules import Where
from penstock.store import Transaction
from penstock.wire.errors import AwsError


async def _load_policy(call: Call, params: Params) -> Mapping[str, Any] | None:
    where, version = _about(call, params)
    call.account = where[0]
    raw = await call.store.transact(lambda txn: txn.get(keys.layer_policy(*where, version)), read_only=True)
    return None if raw is None else json.loads(raw)["policy"]


def _about(call: Call, params: Params) -> tuple[Where, int]:
    if "Arn" in params:
        if not layers.ARN.fullmatch(params["Arn"]):
            raise rules.broken(
                f"Value '{params['Arn']}' at 'arn' failed to satisfy constraint: Member must satisfy regular expression "
                f"pattern: {layers.ARN.pattern}"
            )
        arn, _, number = params["Arn"].rpartition(":")
        return layers.reference(call, arn), int(number) if number.isdecimal() else 0
    layers.check_number(params["VersionNumber"])
    return layers.reference(call, params["LayerName"]), params["VersionNumber"]


async def _get(call: Call, params: Params) -> Result:
    where, version = _about(call, params)
    layer = await call.store.transact(lambda txn: layers.read(txn, where, version), read_only=True)
    if layer is None:
        raise rules.missing("The resource you requested does not exist.")
    return await layers.document(call, layer)


@operation("lambda:GetLayerVersion", resource=layers.resource, policy=_load_policy)
async def get_layer_version(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_GetLayerVersion.html"""
    return await _get(call, params)


@operation(
    "lambda:GetLayerVersionByArn", action="lambda:GetLayerVersion", resource=layers.resource, policy=_load_policy
)
async def get_layer_version_by_arn(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_GetLayerVersionByArn.html"""
    return await _get(call, params)


def _existing(txn: Transaction, where: Where, version: int) -> LayerVersion:
    layer = layers.read(txn, where, version)
    if layer is None:
        raise rules.missing(f"Layer version {layers.arn_of(*where)}:{version} does not exist.")
    return layer


def _stored(txn: Transaction, where: Where, version: int) -> dict[str, Any] | None:
    raw = txn.get(keys.layer_policy(*where, version))
    return None if raw is None else dict(json.loads(raw))


def _check_revision(stored: dict[str, Any] | None, params: Params) -> None:
    revision = params.get("RevisionId")
    if revision is not None and (stored is None or stored["revision"] != revision):
        raise AwsError(
            "PreconditionFailedException",
            "The Revision Id provided does not match the latest Revision Id. Call the GetLayerPolicy API to retrieve the "
            "latest Revision Id",
            412,
            members={"Type": "User"},
        )


@operation("lambda:AddLayerVersionPermission", resource=layers.resource, policy=_load_policy)
async def add_layer_version_permission(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_AddLayerVersionPermission.html"""
    where, version = _about(call, params)
    principal = params["Principal"]
    statement: dict[str, Any] = {
        "Sid": params["StatementId"], "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{principal}:root"} if principal.isdecimal() else
            "*" if principal == "*" else {"AWS": principal},
        "Action": params["Action"], "Resource": f"{layers.arn_of(*where)}:{version}",
    }  # fmt: skip
    if organization := params.get("OrganizationId"):
        if principal != "*":
            raise rules.invalid("The principal must be * where an organization is given.")
        statement["Condition"] = {"StringEquals": {"aws:PrincipalOrgID": organization}}
    revision = records.new_revision()

    def body(txn: Transaction) -> None:
        _existing(txn, where, version)
        stored = _stored(txn, where, version)
        _check_revision(stored, params)
        policy: dict[str, Any] = (
            stored["policy"] if stored else {"Version": "2012-10-17", "Id": "default", "Statement": []}
        )
        if any(other["Sid"] == statement["Sid"] for other in policy["Statement"]):
            raise rules.conflict(
                f"The statement id ({statement['Sid']}) provided already exists. Please provide a new statement id, or "
                "remove the existing statement."
            )
        policy["Statement"].append(statement)
        _write(txn, where, version, policy, revision)

    await call.store.transact(body)
    return {"Statement": json.dumps(statement, separators=(",", ":")), "RevisionId": revision}


def _write(txn: Transaction, where: Where, version: int, policy: dict[str, Any], revision: str) -> None:
    text = json.dumps({"revision": revision, "policy": policy}, separators=(",", ":")).encode()
    rules.check_policy_length(len(text))
    txn.set(keys.layer_policy(*where, version), text)


@operation("lambda:RemoveLayerVersionPermission", resource=layers.resource, policy=_load_policy)
async def remove_layer_version_permission(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_RemoveLayerVersionPermission.html"""
    where, version = _about(call, params)
    sid = params["StatementId"]

    def body(txn: Transaction) -> None:
        _existing(txn, where, version)
        stored = _stored(txn, where, version)
        statements = stored["policy"]["Statement"] if stored else []
        left = [s for s in statements if s["Sid"] != sid]
        if stored is None or len(left) == len(statements):
            raise rules.missing(f"Statement {sid} is not found in resource policy.")
        _check_revision(stored, params)
        if left:
            _write(txn, where, version, {**stored["policy"], "Statement": left}, records.new_revision())
        else:
            txn.clear(keys.layer_policy(*where, version))

    await call.store.transact(body)
    return {}


@operation("lambda:GetLayerVersionPolicy", resource=layers.resource, policy=_load_policy)
async def get_layer_version_policy(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_GetLayerVersionPolicy.html"""
    where, version = _about(call, params)

    def body(txn: Transaction) -> dict[str, Any] | None:
        _existing(txn, where, version)
        return _stored(txn, where, version)

    stored = await call.store.transact(body, read_only=True)
    if stored is None:
        raise rules.missing("No policy is associated with the given resource.")
    return {"Policy": json.dumps(stored["policy"], separators=(",", ":")), "RevisionId": stored["revision"]}
