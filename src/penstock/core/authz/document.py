"""Policy documents compiled: statements as predicates, kept by the document's text.

Compiling is lenient about what only matters when a policy is written (see `validate`); what it cannot understand at all
raises PolicyError, and whoever evaluates such a policy lets it deny.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec

from penstock.core.authz.conditions import Condition, compile_condition
from penstock.core.authz.facts import Facts
from penstock.core.authz.pattern import Predicate, compile_pattern, plain_patterns
from penstock.core.authz.principals import Named, PrincipalSet
from penstock.core.identity import Principal

Document: TypeAlias = Mapping[str, Any] | str | bytes

VERSION_WITH_VARIABLES = "2012-10-17"
_ACTIONS_KEPT = 512


class PolicyError(ValueError):
    """A document that is no policy; the message says what is wrong with it."""


class Statement:
    """One statement, compiled. `index` counts from 0 in its document."""

    __slots__ = (
        "_actions", "_conditions", "_not_action", "_not_resource", "_resources", "allows", "index", "plain",
        "principals", "sid",
    )  # fmt: skip

    def __init__(self, source: Mapping[str, Any], index: int, variables: bool) -> None:
        effect = source.get("Effect")
        if effect not in ("Allow", "Deny"):
            raise PolicyError(f"statement {index} has the effect {effect!r}")
        self.allows = effect == "Allow"
        self.index = index
        self.sid = str(source.get("Sid", ""))
        self._not_action = "NotAction" in source
        self._actions = tuple(
            compile_pattern(text, ignore_case=True) if text != "*" else compile_pattern(text)
            for text in _texts(source, "NotAction" if self._not_action else "Action", index)
        )
        self._not_resource = "NotResource" in source
        self._resources: tuple[Predicate, ...] | None = None
        self.plain: tuple[tuple[str, str], ...] | None = None
        """What the resource has to match, where nothing else matters: (literal, "") or ("", regular expression)."""
        if self._not_resource or "Resource" in source:
            texts = _texts(source, "NotResource" if self._not_resource else "Resource", index)
            self._resources = tuple(compile_pattern(text, variables=variables, arn=True) for text in texts)
            if not self._not_resource and not source.get("Condition"):
                self.plain = plain_patterns(texts, variables)
        self._conditions = _conditions(source.get("Condition", {}), index, variables)
        self.principals: PrincipalSet | None = None
        for name in ("Principal", "NotPrincipal"):
            if name in source:
                try:
                    self.principals = PrincipalSet(source[name], inverted=name == "NotPrincipal")
                except (ValueError, TypeError) as error:
                    raise PolicyError(str(error)) from None

    def is_about(self, action: str) -> bool:
        """Whether the statement covers the action."""
        return any(m(action, _NO_FACTS) for m in self._actions) is not self._not_action

    def applies(self, resource: str, facts: Facts) -> bool:
        """Whether resource and conditions match, for an action that the statement is about."""
        if not self.covers(resource, facts):
            return False
        return all(holds(facts) for holds in self._conditions) if self._conditions else True

    def unmet(self, facts: Facts) -> list[int]:
        """Which of the conditions do not hold, counted from 0 through all operators and their keys."""
        return [i for i, holds in enumerate(self._conditions) if not holds(facts)]

    def covers(self, resource: str, facts: Facts) -> bool:
        """Whether the resource matches.

        A statement without Resource (a role's trust policy) is about the resource that carries it.
        """
        resources = self._resources
        if resources is not None:
            for matches in resources:
                if matches(resource, facts):
                    return not self._not_resource
            return self._not_resource
        return True

    def named(self, principal: Principal) -> Named:
        """How the statement of a resource's policy names the principal."""
        return Named.NOT if self.principals is None else self.principals.names(principal)

    def __str__(self) -> str:
        return f"statement {self.index + 1}" + (f" ({self.sid})" if self.sid else "")


class Policy:
    """A compiled document."""

    __slots__ = ("_by_action", "statements")

    def __init__(self, statements: tuple[Statement, ...]) -> None:
        self.statements = statements
        self._by_action: dict[str, tuple[tuple[Statement, ...], tuple[Statement, ...]]] = {}

    def about(self, action: str) -> tuple[tuple[Statement, ...], tuple[Statement, ...]]:
        """The statements that cover an action: (those that deny, those that allow)."""
        found = self._by_action.get(action)
        if found is None:
            covering = [s for s in self.statements if s.is_about(action)]
            found = tuple(s for s in covering if not s.allows), tuple(s for s in covering if s.allows)
            if len(self._by_action) >= _ACTIONS_KEPT:
                self._by_action.clear()
            self._by_action[action] = found
        return found


def compile_policy(document: Document) -> Policy:
    """The compiled form of a document (JSON text or parsed), kept by its text. Raises PolicyError."""
    if isinstance(document, Mapping):
        document = msgspec.json.encode(document)
    return _compile_text(document)


@lru_cache(maxsize=2048)
def _compile_text(text: str | bytes) -> Policy:
    try:
        parsed = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise PolicyError("Syntax errors in policy.") from None
    if not isinstance(parsed, dict):
        raise PolicyError("Syntax errors in policy.")
    statements = parsed.get("Statement", [])
    if isinstance(statements, dict):
        statements = [statements]
    if not isinstance(statements, list) or not all(isinstance(s, dict) for s in statements):
        raise PolicyError("Syntax errors in policy.")
    variables = parsed.get("Version") == VERSION_WITH_VARIABLES
    return Policy(tuple(Statement(source, i, variables) for i, source in enumerate(statements)))


class _NoFacts:
    __slots__ = ()

    def get(self, key: str) -> None:
        return None


_NO_FACTS = _NoFacts()


def _texts(source: Mapping[str, Any], name: str, index: int) -> list[str]:
    value = source.get(name)
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) or text is None for text in texts):
        raise PolicyError(f"statement {index} has no {name} that is a string or a list of strings")
    return [text for text in texts if text is not None]


def _conditions(block: Any, index: int, variables: bool) -> tuple[Condition, ...]:
    if not isinstance(block, dict):
        raise PolicyError(f"statement {index} has a Condition that is no object")
    found: list[Condition] = []
    for operator, keys in block.items():
        if not isinstance(keys, dict):
            raise PolicyError(f"statement {index} has a condition {operator} that is no object")
        for key, values in keys.items():
            try:
                found.append(compile_condition(operator, key, values, variables=variables))
            except ValueError as error:
                raise PolicyError(str(error)) from None
    return tuple(found)
