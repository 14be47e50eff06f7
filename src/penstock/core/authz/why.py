"""A decision explained: what it is, and for every statement about the action what it does and what keeps it from more."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from penstock.core.authz.document import PolicyError, Statement, compile_policy
from penstock.core.authz.evaluate import RESOURCE, Question, decide
from penstock.core.authz.facts import Facts, Values, as_values, principal_arn
from penstock.core.authz.principals import Named
from penstock.core.authz.spans import statement_spans
from penstock.core.identity import Identity, Kind, PolicyText, Principal

ALLOWS, DENIES = "allows", "denies"
OTHER_RESOURCE, OTHER_PRINCIPAL, UNMET = "other resource", "other principal", "condition not met"


class ImaginedFacts:
    """The condition keys of a request that was not made: those given, and those that follow from who, what and when."""

    def __init__(
        self, given: Mapping[str, Any], principal: Principal, identity: Identity, resource: str, now: float
    ) -> None:
        parts = resource.split(":")
        region, owner = (parts[3], parts[4]) if len(parts) > 5 else ("", "")
        known: dict[str, Any] = {
            "aws:principalarn": principal_arn(principal), "aws:principalaccount": principal.account,
            "aws:principalisawsservice": principal.kind is Kind.SERVICE, "aws:userid": principal.id,
            "aws:currenttime": datetime.datetime.fromtimestamp(now, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "aws:epochtime": int(now), "aws:requestedregion": region, "aws:resourceaccount": owner,
            "aws:username": principal.arn.rpartition("/")[2] if principal.kind is Kind.USER else "",
        }  # fmt: skip
        known |= {f"aws:principaltag/{name.lower()}": text for name, text in identity.tags.items()}
        known = {name: value for name, value in known.items() if value != ""}
        known |= {name.lower(): value for name, value in given.items()}
        self._known: dict[str, Values] = {name: as_values(value) for name, value in known.items()}

    def get(self, key: str) -> Values | None:
        return self._known.get(key)


def told(question: Question) -> dict[str, Any]:
    """The decision and its reasons.

    "allowed", "explicit" (denied by a statement), "kind" (of the policy that decided or was missing), "reason", and
    "statements": every statement about the action, each with its policy, its text, its effect and its outcome. "silent"
    lists the policies that say nothing about the action.
    """
    decision = decide(question)
    statements: list[dict[str, Any]] = []
    silent: list[str] = []
    for policy, what in _policies(question):
        found = list(_statements(question, policy, what))
        statements += found
        if not found:
            silent.append(policy.source)
    return {
        "principal": question.principal.arn, "action": question.action, "resource": question.resource,
        "allowed": decision.allowed, "explicit": decision.explicit, "kind": decision.kind, "reason": decision.where,
        "statements": statements, "silent": silent,
    }  # fmt: skip


def _policies(question: Question) -> Iterator[tuple[PolicyText, str]]:
    identity = question.identity
    yield from ((policy, "identity") for policy in identity.policies)
    if identity.boundary is not None:
        yield identity.boundary, "boundary"
    if question.resource_policy is not None:
        yield question.resource_policy, RESOURCE


def _statements(question: Question, policy: PolicyText, what: str) -> Iterator[dict[str, Any]]:
    try:
        compiled = compile_policy(policy.text)
    except PolicyError:
        return
    spans = statement_spans(policy.text)
    for statement in compiled.statements:
        if not statement.is_about(question.action):
            continue
        span = spans[statement.index]
        text = policy.text[span.begin : span.end]
        unmet = _unmet(statement, text, question.facts)
        if what == RESOURCE and statement.named(question.principal) is Named.NOT:
            outcome = OTHER_PRINCIPAL
        elif not statement.covers(question.resource, question.facts):
            outcome = OTHER_RESOURCE
        else:
            outcome = UNMET if unmet else (ALLOWS if statement.allows else DENIES)
        yield {
            "policy": policy.source, "statement": str(statement), "effect": "Allow" if statement.allows else "Deny",
            "outcome": outcome, "unmet": unmet if outcome == UNMET else [], "text": text,
        }  # fmt: skip


def _unmet(statement: Statement, text: str, facts: Facts) -> list[dict[str, Any]]:
    """The conditions that do not hold, with what they want and what there was (null: the request has no such key)."""
    block: dict[str, dict[str, Any]] = msgspec.json.decode(text).get("Condition", {})
    conditions = [(operator, key, wanted) for operator, keys in block.items() for key, wanted in keys.items()]
    found = []
    for i in statement.unmet(facts):
        operator, key, wanted = conditions[i]
        found.append({"operator": operator, "key": key, "wanted": wanted, "found": facts.get(key.lower())})
    return found
