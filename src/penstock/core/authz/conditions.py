"""The Condition block compiled to predicates over a request's facts.

All of a block's operators and keys must hold; of a key's values one must match (none, for a negated operator). A key
that the request lacks fails a plain operator, and passes a negated one, an ...IfExists and ForAllValues.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html and
.../reference_policies_multi-value-conditions.html
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import operator as compare
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeAlias

from penstock.core.authz.facts import Facts, as_values
from penstock.core.authz.pattern import Predicate, compile_pattern

Condition: TypeAlias = Callable[[Facts], bool]
Maker: TypeAlias = Callable[[str, bool], Predicate]


class BadCondition(ValueError):
    """A condition that AWS would not accept; the message names the operator or value."""


def compile_condition(operator: str, key: str, values: Any, *, variables: bool) -> Condition:
    """One operator on one key. Raises BadCondition for an unknown operator or a value it cannot take."""
    every = operator.startswith("ForAllValues:")
    some = operator.startswith("ForAnyValue:")
    name = operator.partition(":")[2] if every or some else operator
    texts = as_values(values) if not isinstance(values, list) else tuple(as_values(v)[0] for v in values)
    key = key.lower()
    if name == "Null":
        return _null(key, texts)
    if_exists = name.endswith("IfExists")
    if if_exists:
        name = name[: -len("IfExists")]
    found = OPERATORS.get(name)
    if found is None:
        raise BadCondition(f"Invalid Condition type : {operator}.")
    make, negated = found
    matchers = tuple(make(text, variables) for text in texts)
    if_missing = every or if_exists or (negated and not some)

    def check(facts: Facts) -> bool:
        asked = facts.get(key)
        if not asked:
            return if_missing
        if every:
            return all(any(m(value, facts) for m in matchers) is not negated for value in asked)
        if some:
            return any(any(m(value, facts) for m in matchers) is not negated for value in asked)
        return any(m(value, facts) for value in asked for m in matchers) is not negated

    return check


def _null(key: str, texts: tuple[str, ...]) -> Condition:
    wanted = {text.lower() for text in texts}
    if not wanted <= {"true", "false"}:
        raise BadCondition("Null condition takes true or false.")
    return lambda facts: ("false" if facts.get(key) else "true") in wanted


def _string(text: str, variables: bool) -> Predicate:
    return compile_pattern(text, wildcards=False, variables=variables)


def _string_ignoring_case(text: str, variables: bool) -> Predicate:
    return compile_pattern(text, wildcards=False, variables=variables, ignore_case=True)


def _like(text: str, variables: bool) -> Predicate:
    return compile_pattern(text, variables=variables)


def _arn(text: str, variables: bool) -> Predicate:
    segments = [compile_pattern(part, variables=variables) for part in split_arn(text)]

    def check(value: str, facts: Facts) -> bool:
        parts = value.split(":", 5)
        return len(parts) == len(segments) and all(m(p, facts) for m, p in zip(segments, parts, strict=True))

    return check


def split_arn(text: str) -> list[str]:
    """An ARN pattern's six segments; colons inside `${...}` separate nothing."""
    parts: list[str] = []
    depth = at = 0
    for i, char in enumerate(text):
        if text.startswith("${", i):
            depth += 1
        elif char == "}" and depth:
            depth -= 1
        elif char == ":" and not depth and len(parts) < 5:
            parts.append(text[at:i])
            at = i + 1
    return [*parts, text[at:]]


def _never(value: str, facts: Facts) -> bool:
    """What a value that cannot be read as its operator's type matches: AWS stores some such policies."""
    return False


def _ordered(parse: Callable[[str], float | None]) -> Callable[[Callable[[Any, Any], bool]], Maker]:
    def of(relation: Callable[[Any, Any], bool]) -> Maker:
        def make(text: str, variables: bool) -> Predicate:
            bound = parse(text)
            if bound is None:
                return _never

            def check(value: str, facts: Facts) -> bool:
                number = parse(value)
                return number is not None and relation(number, bound)

            return check

        return make

    return of


def parse_number(text: str) -> float | None:
    """A number, else None."""
    try:
        return float(text)
    except ValueError:
        return None


def parse_date(text: str) -> float | None:
    """Seconds since the epoch of an ISO 8601 date (UTC where it names no zone) or of epoch seconds, else None."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        date = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return (date if date.tzinfo else date.replace(tzinfo=datetime.UTC)).timestamp()


def _bool(text: str, variables: bool) -> Predicate:
    return compile_pattern(text, wildcards=False, variables=variables, ignore_case=True)


def parse_binary(text: str) -> bytes | None:
    """The bytes of base64, else None."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return None


def _binary(text: str, variables: bool) -> Predicate:
    wanted = parse_binary(text)
    if wanted is None:
        return _never
    return lambda value, facts: parse_binary(value) == wanted


def _ip(text: str, variables: bool) -> Predicate:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return _never

    def check(value: str, facts: Facts) -> bool:
        address = parse_address(value)
        return address is not None and address.version == network.version and address in network

    return check


@lru_cache(maxsize=1024)
def parse_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An IP address, else None."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


_numeric = _ordered(parse_number)
_date = _ordered(parse_date)

OPERATORS: dict[str, tuple[Maker, bool]] = {
    "StringEquals": (_string, False),
    "StringNotEquals": (_string, True),
    "StringEqualsIgnoreCase": (_string_ignoring_case, False),
    "StringNotEqualsIgnoreCase": (_string_ignoring_case, True),
    "StringLike": (_like, False),
    "StringNotLike": (_like, True),
    "NumericEquals": (_numeric(compare.eq), False),
    "NumericNotEquals": (_numeric(compare.eq), True),
    "NumericLessThan": (_numeric(compare.lt), False),
    "NumericLessThanEquals": (_numeric(compare.le), False),
    "NumericGreaterThan": (_numeric(compare.gt), False),
    "NumericGreaterThanEquals": (_numeric(compare.ge), False),
    "DateEquals": (_date(compare.eq), False),
    "DateNotEquals": (_date(compare.eq), True),
    "DateLessThan": (_date(compare.lt), False),
    "DateLessThanEquals": (_date(compare.le), False),
    "DateGreaterThan": (_date(compare.gt), False),
    "DateGreaterThanEquals": (_date(compare.ge), False),
    "Bool": (_bool, False),
    "BinaryEquals": (_binary, False),
    "IpAddress": (_ip, False),
    "NotIpAddress": (_ip, True),
    "ArnEquals": (_arn, False),
    "ArnLike": (_arn, False),
    "ArnNotEquals": (_arn, True),
    "ArnNotLike": (_arn, True),
}
"""Operator -> (makes a predicate of a policy value, whether it is negated)."""
