"""A principal's policies taken together and sorted by action, so that ten policies cost hardly more than one.

For each action: the statements that deny and those that allow. What has neither conditions nor variables nor NotResource
is folded into one set of literal ARNs and one regular expression; the rest is asked statement by statement.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from penstock.core.authz.document import PolicyError, Statement, compile_policy
from penstock.core.authz.facts import Facts
from penstock.core.identity import PolicyText

_ACTIONS_KEPT = 512


class Side:
    """The statements of one effect that cover an action, each with the policy it is from."""

    __slots__ = ("_literals", "_match", "_one_by_one", "_statements")

    def __init__(self, statements: list[tuple[Statement, PolicyText]]) -> None:
        self._statements = statements
        plain = [statement for statement, _ in statements if statement.plain is not None]
        self._one_by_one = tuple(statement for statement, _ in statements if statement.plain is None)
        literals: set[str] = set()
        patterns: list[str] = []
        for statement in plain:
            for literal, pattern in statement.plain or ():
                if pattern:
                    patterns.append(f"(?:{pattern})")
                else:
                    literals.add(literal)
        self._literals = frozenset(literals)
        self._match = re.compile("|".join(patterns), re.DOTALL).fullmatch if patterns else None

    def applies(self, resource: str, facts: Facts) -> bool:
        """Whether one of the statements applies."""
        if resource in self._literals or (self._match is not None and self._match(resource) is not None):
            return True
        return any(statement.applies(resource, facts) for statement in self._one_by_one) if self._one_by_one else False

    def which(self, resource: str, facts: Facts) -> str:
        """The first statement that applies, and its policy, in words."""
        for statement, policy in self._statements:
            if statement.applies(resource, facts):
                return f"{statement} of {policy.source}"
        return ""


class Group:
    """Policies of one principal. `broken` says which of them cannot be understood, "" where all can."""

    __slots__ = ("_by_action", "_statements", "broken")

    def __init__(self, policies: Sequence[PolicyText]) -> None:
        self.broken = ""
        self._statements: list[tuple[Statement, PolicyText]] = []
        for policy in policies:
            try:
                compiled = compile_policy(policy.text)
            except PolicyError as error:
                self.broken = self.broken or f"{policy.source} cannot be understood: {error}"
                continue
            self._statements += [(statement, policy) for statement in compiled.statements]
        self._by_action: dict[str, tuple[Side, Side]] = {}

    def about(self, action: str) -> tuple[Side, Side]:
        """(the side that denies the action, the side that allows it)."""
        found = self._by_action.get(action)
        if found is None:
            covering = [pair for pair in self._statements if pair[0].is_about(action)]
            found = Side([p for p in covering if not p[0].allows]), Side([p for p in covering if p[0].allows])
            if len(self._by_action) >= _ACTIONS_KEPT:
                self._by_action.clear()
            self._by_action[action] = found
        return found
