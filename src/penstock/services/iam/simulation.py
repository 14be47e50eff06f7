"""The policy simulator: what would be allowed, by which statements, and which condition keys are missing for an answer.

Source: https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html. It asks the very evaluation
that decides real calls.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from penstock.core.arn import Arn, account_of, is_arn, parse
from penstock.core.authz.conditions import parse_address, parse_binary, parse_date, parse_number
from penstock.core.authz.document import PolicyError, compile_policy
from penstock.core.authz.evaluate import Decision, Question, decide
from penstock.core.authz.facts import Values, as_values
from penstock.core.authz.spans import position, statement_spans
from penstock.core.authz.validate import Purpose
from penstock.core.call import Call
from penstock.core.identity import Identity, Kind, PolicyText, Principal
from penstock.core.operation import Params, Result, operation
from penstock.services.iam import documents, errors, identities, listing
from penstock.services.iam.records import Group, Role, User
from penstock.services.iam.state import State, reading

_UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "ResourceHandlingOption": (), "PolicyExclusionList": ([],),
}  # fmt: skip
_VARIABLE = re.compile(r"\$\{\s*([^},\s]+)")


_READS: dict[str, Callable[[str], bool]] = {
    "numeric": lambda text: parse_number(text) is not None,
    "date": lambda text: parse_date(text) is not None,
    "boolean": lambda text: text.lower() in ("true", "false"),
    "ip": lambda text: parse_address(text) is not None,
    "binary": lambda text: parse_binary(text) is not None,
}
"""Whether a text is a value of that type; any text is a string."""


class _SimulatedFacts:
    """The condition keys that the request gives; notes which others were asked for."""

    def __init__(self, entries: Iterable[dict[str, Any]]) -> None:
        self._given: dict[str, Values] = {
            str(entry["ContextKeyName"]).lower(): as_values(entry.get("ContextKeyValues", [])) for entry in entries
        }
        self.missing: set[str] = set()

    def get(self, key: str) -> Values | None:
        values = self._given.get(key)
        if values is None:
            self.missing.add(key)
        return values


def _check_entry(entry: dict[str, Any]) -> None:
    """Raises AwsError InvalidInput for a condition key without a name, or with values that its type does not have."""
    name, values = entry.get("ContextKeyName"), entry.get("ContextKeyValues", [])
    if not name:
        raise errors.invalid_input("Invalid ContextEntries: each one needs a ContextKeyName.")
    kind = entry.get("ContextKeyType", "stringList")
    if not kind.endswith("List") and len(values) > 1:
        raise errors.invalid_input(f"Invalid ContextEntries: {name} of type {kind} has more than one value.")
    reads = _READS.get(kind.removesuffix("List"))
    for value in values:
        if reads is not None and not reads(value):
            raise errors.invalid_input(f"Invalid ContextEntries: {value!r} of {name} is not of type {kind}.")


def _source_arn(call: Call, params: Params) -> str:
    return str(params["PolicySourceArn"])


def of_source(state: State, arn: str) -> tuple[Principal, Identity]:
    """The principal that a user's, group's or role's ARN stands for, and what IAM holds about it."""
    if not is_arn(arn) or parse(arn).service != "iam":
        raise errors.invalid_input(f"Invalid Entity Arn: {arn} does not clearly define entity type and name.")
    where: Arn = parse(arn)
    kind_name, _, path = where.resource.partition("/")
    name = path.rpartition("/")[2]
    if kind_name == "role":
        role = state.get(Role, name)
        principal = Principal(Kind.ROLE, state.account, arn, role.id, role_arn=arn)
        return principal, identities.identity_of(state, principal)
    if kind_name == "user":
        user = state.get(User, name)
        principal = Principal(Kind.USER, state.account, arn, user.id)
        return principal, identities.identity_of(state, principal)
    if kind_name == "group":
        group = state.get(Group, name)
        return Principal(Kind.USER, state.account, arn, group.id), identities.identity_of_group(state, group)
    raise errors.invalid_input(f"Invalid Entity Arn: {arn} does not clearly define entity type and name.")


def _given(texts: list[str] | None, label: str) -> tuple[PolicyText, ...]:
    found = []
    for i, text in enumerate(texts or (), 1):
        documents.checked(text, Purpose.IDENTITY)
        found.append(PolicyText(f"{label}.{i}", text))
    return tuple(found)


@operation(
    "iam:SimulatePrincipalPolicy",
    resource=_source_arn,
    unsupported=_UNSUPPORTED,
)
async def simulate_principal_policy(call: Call, params: Params) -> Result:
    """What the policies of a user, group or role, and further ones, would allow."""
    arn = params["PolicySourceArn"]
    principal, held = await call.store.transact(lambda txn: of_source(State(txn, call.account), arn), read_only=True)
    policies = held.policies + _given(params.get("PolicyInputList"), "PolicyInputList")
    return await _simulate(call, params, principal, Identity(policies, held.boundary, held.tags))


@operation(
    "iam:SimulateCustomPolicy", unsupported={**_UNSUPPORTED, "OrderedOrganizationPolicyInputList": ([],)}
)  # fmt: skip
async def simulate_custom_policy(call: Call, params: Params) -> Result:
    """What the given policies would allow."""
    principal = Principal(Kind.USER, call.account, f"arn:aws:iam::{call.account}:user/simulated")
    return await _simulate(call, params, principal, Identity(_given(params["PolicyInputList"], "PolicyInputList")))


async def _simulate(call: Call, params: Params, principal: Principal, held: Identity) -> Result:
    boundaries = _given(params.get("PermissionsBoundaryPolicyInputList"), "PermissionsBoundaryPolicyInputList")
    if len(boundaries) > 1:
        raise errors.invalid_input("Only one permissions boundary may be passed.")
    if boundaries:
        held = Identity(held.policies, boundaries[0], held.tags)
    if params.get("CallerArn"):
        caller_arn = params["CallerArn"]
        if not is_arn(caller_arn) or not parse(caller_arn).resource.startswith("user/"):
            raise errors.invalid_input(f"Invalid Entity Arn: {caller_arn} is not the ARN of a user.")
        principal = Principal(Kind.USER, account_of(caller_arn), caller_arn)
    resource_policy = None
    if params.get("ResourcePolicy"):
        documents.checked(params["ResourcePolicy"], Purpose.RESOURCE)
        resource_policy = PolicyText("ResourcePolicy", params["ResourcePolicy"])
    for entry in params.get("ContextEntries", ()):
        _check_entry(entry)
    owner = params.get("ResourceOwner", call.account)
    owner = account_of(owner) or owner
    scope = f"Simulate:{params.get('PolicySourceArn', '')}"
    numbered = list(enumerate(params["ActionNames"]))
    page = listing.page_of_list(
        numbered, params, scope, "EvaluationResults", lambda pair: f"{pair[0]:06d}", lambda pair: pair[1]
    )  # fmt: skip
    page["EvaluationResults"] = [
        await _result(action, params, principal, held, resource_policy, owner) for action in page["EvaluationResults"]
    ]
    return page


async def _result(
    action: str, params: Params, principal: Principal, held: Identity, policy: PolicyText | None, owner: str
) -> dict[str, Any]:
    """The answer for one action: for all resources together, and for each."""
    each: list[dict[str, Any]] = []
    for resource in params.get("ResourceArns") or ["*"]:
        await asyncio.sleep(0)  # a request may ask for thousands of decisions over large policies: others go on
        facts = _SimulatedFacts(params.get("ContextEntries", ()))
        decision = decide(Question(principal, action, resource, owner, facts, held, policy))
        shown: dict[str, Any] = {
            "EvalResourceName": resource,
            "EvalResourceDecision": _word(decision),
            "MatchedStatements": _matched(action, resource, facts, decision, held, policy, principal),
            "MissingContextValues": sorted(facts.missing),
        }
        if held.boundary is not None:
            bounds = Question(principal, action, resource, owner, facts, Identity((held.boundary,)))
            shown["PermissionsBoundaryDecisionDetail"] = {"AllowedByPermissionsBoundary": decide(bounds).allowed}
        each.append(shown)
    first = each[0]
    decisions = {shown["EvalResourceDecision"] for shown in each}
    overall = next(word for word in ("explicitDeny", "implicitDeny", "allowed") if word in decisions)
    result: dict[str, Any] = {
        "EvalActionName": action,
        "EvalResourceName": first["EvalResourceName"],
        "EvalDecision": overall,
        "EvalDecisionDetails": {},
        "MatchedStatements": first["MatchedStatements"],
        "MissingContextValues": sorted({key for shown in each for key in shown["MissingContextValues"]}),
        "OrganizationsDecisionDetail": {"AllowedByOrganizations": True},
    }
    if "PermissionsBoundaryDecisionDetail" in first:
        result["PermissionsBoundaryDecisionDetail"] = first["PermissionsBoundaryDecisionDetail"]
    if params.get("ResourceArns"):
        result["ResourceSpecificResults"] = each
    return result


def _word(decision: Decision) -> str:
    if decision.allowed:
        return "allowed"
    return "explicitDeny" if decision.explicit else "implicitDeny"


def _matched(
    action: str,
    resource: str,
    facts: _SimulatedFacts,
    decision: Decision,
    held: Identity,
    policy: PolicyText | None,
    principal: Principal,
) -> list[dict[str, Any]]:
    """The statements that made the decision: those that deny where it is an explicit deny, else those that allow."""
    found: list[dict[str, Any]] = []
    for source in (*held.policies, *([held.boundary] if held.boundary else []), *([policy] if policy else [])):
        try:
            compiled = compile_policy(source.text)
        except PolicyError:
            continue
        spans = statement_spans(source.text)
        for statement in compiled.statements:
            if statement.allows is decision.explicit or not statement.is_about(action):
                continue
            if source is policy and not statement.named(principal):
                continue
            if statement.applies(resource, facts):
                span = spans[statement.index]
                found.append(
                    {
                        "SourcePolicyId": _policy_id(source),
                        "SourcePolicyType": "Resource Policy" if source is policy else "IAM Policy",
                        "StartPosition": position(source.text, span.begin),
                        "EndPosition": position(source.text, span.end - 1),
                    }
                )
    return found


def _policy_id(source: PolicyText) -> str:
    if source.source.startswith("arn:"):
        return source.source.partition(" ")[0].rpartition("/")[2]
    if source.source.startswith("inline policy "):
        name, _, entity = source.source.removeprefix("inline policy ").partition(" of ")
        return entity.replace(" ", "_", 1) + "_" + name
    return source.source


def context_keys(texts: Iterable[str]) -> list[str]:
    """The condition keys that policies mention, in Condition blocks and as variables."""
    found: dict[str, str] = {}
    for text in texts:
        document = msgspec.json.decode(text)
        statements = document.get("Statement", [])
        for statement in statements if isinstance(statements, list) else [statements]:
            for block in statement.get("Condition", {}).values():
                for key in block:
                    found.setdefault(key.lower(), key)
        for key in _VARIABLE.findall(text):
            if key not in "*?$":
                found.setdefault(key.lower(), key)
    return sorted(found.values())


@operation("iam:GetContextKeysForCustomPolicy")
@reading
def get_context_keys_for_custom_policy(state: State, call: Call, params: Params) -> Result:
    given = _given(params["PolicyInputList"], "PolicyInputList")
    return {"ContextKeyNames": context_keys(policy.text for policy in given)}


@operation("iam:GetContextKeysForPrincipalPolicy", resource=_source_arn)
@reading
def get_context_keys_for_principal_policy(state: State, call: Call, params: Params) -> Result:
    _, held = of_source(state, params["PolicySourceArn"])
    given = held.policies + _given(params.get("PolicyInputList"), "PolicyInputList")
    return {"ContextKeyNames": context_keys(policy.text for policy in given)}
