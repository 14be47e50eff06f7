"""What a policy can ask of a request: condition keys and their values, worked out only when a policy asks.

Keys are lower case here: AWS compares condition key names, tag keys in them included, without regard to case.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from penstock.core.identity import MFA_AT, Identity, Kind, Principal

if TYPE_CHECKING:
    from penstock.core.call import Call
    from penstock.core.operation import Params

Values: TypeAlias = tuple[str, ...]


class Facts(Protocol):
    """A request's condition keys."""

    def get(self, key: str) -> Values | None:
        """The values of a key (lower case), or None where the request has no such key."""
        ...


class GivenFacts:
    """Condition keys given as a mapping: for simulation and tests. Key names in any case."""

    __slots__ = ("_keys",)

    def __init__(self, keys: Mapping[str, Any]) -> None:
        self._keys = {name.lower(): as_values(value) for name, value in keys.items()}

    def get(self, key: str) -> Values | None:
        return self._keys.get(key)


class CallFacts:
    """The condition keys of a call on one resource, for one principal."""

    __slots__ = ("_own", "asked_tags", "call", "extra", "identity", "owner", "params", "tags")

    def __init__(
        self, call: Call, params: Params, identity: Identity, owner: str, extra: Mapping[str, Any] | None = None
    ) -> None:
        self.call = call
        self.params = params
        self.identity = identity
        self.owner = owner
        self.extra = extra
        self._own: dict[str, Values] | None = None
        self.tags: Mapping[str, str] | None = None
        """The resource's, once they were looked up."""
        self.asked_tags = False
        """Whether a policy has asked for one of them before."""

    def get(self, key: str) -> Values | None:
        own = self._own
        if own is None:
            own = self._own = self._collect()
        values = own.get(key)
        if values is not None:
            return values
        found = _GLOBAL.get(key)
        if found is not None:
            value = found(self)
            return None if value is None else (value,)
        prefix, slash, name = key.partition("/")
        if not slash:
            return self._request_tag_keys() if key == "aws:tagkeys" else None
        if prefix == "aws:principaltag":
            return self._principal_tag(name)
        if prefix.endswith(":resourcetag"):
            return self._resource_tag(name)
        if prefix == "aws:requesttag":
            for tag, text in request_tags(self.params):
                if tag.lower() == name:
                    return (text,)
        return None

    def _collect(self) -> dict[str, Values]:
        """What the service's call, the session and the operation itself say; the operation's word goes last."""
        own: dict[str, Values] = {}
        for mapping in (self.call.context, self.call.principal.session):
            if mapping:
                for name, value in mapping.items():
                    own[name.lower()] = as_values(value)
        conditions = self.call.operation.conditions if self.extra is None else None
        given = conditions(self.call, self.params) if conditions is not None else self.extra
        if given:
            for name, value in given.items():
                if value is not None:
                    own[name.lower()] = as_values(value)
        return own

    def _principal_tag(self, name: str) -> Values | None:
        for tags in (self.call.principal.tags, self.identity.tags):
            for tag, text in tags.items():
                if tag.lower() == name:
                    return (text,)
        return None

    def _resource_tag(self, name: str) -> Values | None:
        if self.tags is None:
            self.asked_tags = True
            return None
        return next(((text,) for tag, text in self.tags.items() if tag.lower() == name), None)

    def _request_tag_keys(self) -> Values | None:
        keys = tuple(tag for tag, _ in request_tags(self.params))
        untagged = self.params.get("TagKeys")
        if isinstance(untagged, list):
            keys += tuple(str(key) for key in untagged)
        return keys or None


def as_values(value: Any) -> Values:
    """A key's value(s) as policies compare them: strings."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, bool):
        return ("true" if value else "false",)
    if isinstance(value, (list, tuple, set, frozenset)):
        return tuple(as_values(item)[0] for item in value)
    return (str(value),)


def request_tags(params: Params) -> Iterable[tuple[str, str]]:
    """The tags a request carries, in either of AWS's two forms: a list of {Key, Value}, or a map."""
    tags = params.get("Tags")
    if tags is None:
        tags = params.get("tags")
    if isinstance(tags, Mapping):
        return [(str(key), str(value)) for key, value in tags.items()]
    if isinstance(tags, list):
        return [(str(tag.get("Key", "")), str(tag.get("Value", ""))) for tag in tags if isinstance(tag, Mapping)]
    return []


def principal_arn(principal: Principal) -> str:
    """aws:PrincipalArn: for an assumed role the role's ARN, not the session's."""
    return principal.role_arn or principal.arn


_TYPES = {
    Kind.ROOT: "Account",
    Kind.USER: "User",
    Kind.ROLE: "AssumedRole",
    Kind.FEDERATED: "FederatedUser",
    Kind.ANONYMOUS: "Anonymous",
}
_PEOPLE = frozenset({Kind.ROOT, Kind.USER, Kind.ROLE, Kind.FEDERATED})


def condition_key(name: str, value: Callable[[CallFacts], str | None]) -> None:
    """Have every call be asked for a key of a service's own, such as s3:authType. value: None where a call has none."""
    _GLOBAL[name.lower()] = value


def _iso(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _of_people(read: Callable[[Principal], str]) -> Callable[[CallFacts], str | None]:
    def value(facts: CallFacts) -> str | None:
        principal = facts.call.principal
        return read(principal) if principal.kind in _PEOPLE else None

    return value


def _username(facts: CallFacts) -> str | None:
    principal = facts.call.principal
    return principal.arn.rpartition("/")[2] if principal.kind is Kind.USER else None


def _token_issue_time(facts: CallFacts) -> str | None:
    issued_at = facts.call.principal.issued_at
    return _iso(issued_at) if issued_at else None


def _mfa_age(facts: CallFacts) -> str | None:
    """Seconds since the session's code was given: only for sessions that were begun with one."""
    given_at = facts.call.principal.session.get(MFA_AT)
    return None if given_at is None else str(max(0, int(facts.call.now - float(given_at))))


def _service_name(facts: CallFacts) -> str | None:
    principal = facts.call.principal
    return principal.arn if principal.kind is Kind.SERVICE else None


_GLOBAL: dict[str, Callable[[CallFacts], str | None]] = {
    "aws:currenttime": lambda facts: _iso(facts.call.now),
    "aws:epochtime": lambda facts: str(int(facts.call.now)),
    "aws:multifactorauthage": _mfa_age,
    "aws:principalaccount": _of_people(lambda principal: principal.account),
    "aws:principalarn": _of_people(principal_arn),
    "aws:principalisawsservice": lambda facts: "true" if facts.call.principal.kind is Kind.SERVICE else "false",
    "aws:principalservicename": _service_name,
    "aws:principaltype": lambda facts: _TYPES.get(facts.call.principal.kind),
    "aws:requestedregion": lambda facts: facts.call.region or None,
    "aws:resourceaccount": lambda facts: facts.owner or None,
    "aws:securetransport": lambda facts: "true" if facts.call.secure else "false",
    "aws:sourceip": lambda facts: facts.call.source_ip or None,
    "aws:tokenissuetime": _token_issue_time,
    "aws:useragent": lambda facts: facts.call.user_agent or None,
    "aws:userid": lambda facts: facts.call.principal.id or None,
    "aws:username": _username,
    "aws:viaawsservice": lambda facts: "false",
}
