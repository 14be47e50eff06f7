"""Reports of use: which services and actions somebody's policies allow, and who has really called them.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_last-accessed.html
"""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from penstock.core.arn import parse
from penstock.core.authz.document import compile_policy
from penstock.core.call import Call
from penstock.core.identity import PolicyText
from penstock.core.operation import REGISTRY, Params, Result, operation
from penstock.services.iam import arns, errors, keys, last_used, listing, simulation
from penstock.services.iam.records import AccessJob, LastUsed, Role, User
from penstock.services.iam.state import State, changing, encode, reading

_NAMES = {
    "dynamodb": "Amazon DynamoDB", "iam": "AWS Identity and Access Management", "kinesis": "Amazon Kinesis Data Streams",
    "lambda": "AWS Lambda", "logs": "Amazon CloudWatch Logs", "s3": "Amazon S3", "sts": "AWS Security Token Service",
    "sqs": "Amazon SQS", "sns": "Amazon SNS", "firehose": "Amazon Data Firehose", "kms": "AWS Key Management Service",
}  # fmt: skip
_FAR = 10**11
"""A time beyond any other, in seconds, so that the newest come first in the order of what is left until then."""


def _arn(call: Call, params: Params) -> str:
    return str(params["Arn"])


def _actions() -> dict[str, list[str]]:
    """Service prefix -> the actions that the operations here ask for."""
    found: dict[str, set[str]] = {}
    for declared in REGISTRY.values():
        if declared.action:
            found.setdefault(declared.action.partition(":")[0], set()).add(declared.action)
    return {service: sorted(actions) for service, actions in sorted(found.items())}


def _granting(policies: tuple[PolicyText, ...], actions: list[str]) -> list[PolicyText]:
    """Those of the policies that allow at least one of the actions on something."""
    return [p for p in policies if any(compile_policy(p.text).about(action)[1] for action in actions)]


def _policies(state: State, arn: str) -> tuple[PolicyText, ...]:
    """What a user, group, role or managed policy allows. Raises AwsError where there is none of that ARN."""
    if ":policy/" not in arn:
        return simulation.of_source(state, arn)[1].policies
    text = state.policy_text(arn)
    if text is None:
        raise errors.no_such("policy", arn)
    return (PolicyText(arn, text),)


def _entities(state: State, arn: str) -> list[User | Role]:
    """The users and roles that have what a report is about: the one itself, a group's members, a policy's carriers."""
    if ":policy/" in arn:
        found: dict[str, User | Role] = {}
        for key in state.names(keys.uses(state.account, "attached", arn)):
            kind, name = key[4], key[5]
            for one in _members(state, name) if kind == "group" else _one(state, kind, name):
                found[arns.arn(state.account, one)] = one
        return list(found.values())
    kind, _, path = parse(arn).resource.partition("/")
    name = path.rpartition("/")[2]
    return [*_members(state, name)] if kind == "group" else _one(state, kind, name)


def _one(state: State, kind: str, name: str) -> list[User | Role]:
    found: User | Role | None = state.taken(User, name) if kind == "user" else state.taken(Role, name)
    return [] if found is None else [found]


def _members(state: State, group: str) -> list[User]:
    found = (state.taken(User, key[4]) for key in state.names(keys.members(state.account, group)))
    return [user for user in found if user is not None]


def _uses(state: State, call: Call, arn: str) -> dict[str, dict[str, LastUsed]]:
    """Action -> entity's ARN -> when that one last called it."""
    found: dict[str, dict[str, LastUsed]] = {}
    for entity in _entities(state, arn):
        who = arns.arn(state.account, entity)
        for action, one in last_used.accesses(state, call, who).items():
            found.setdefault(action, {})[who] = one
    return found


def _job(state: State, job_id: str) -> AccessJob:
    raw = state.txn.get(keys.job(state.account, job_id))
    if raw is None:
        raise errors.no_such_entity(f"Invalid job id: {job_id}")
    return msgspec.msgpack.decode(raw, type=AccessJob)


@operation("iam:GenerateServiceLastAccessedDetails", resource=_arn)
@changing
def generate_service_last_accessed_details(state: State, call: Call, params: Params) -> Result:
    _policies(state, params["Arn"])
    granularity = params.get("Granularity", "SERVICE_LEVEL")
    job_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{params['Arn']} {granularity}"))
    job = AccessJob(arn=params["Arn"], granularity=granularity, created=int(call.now))
    state.txn.set(keys.job(call.account, job_id), encode(job))
    return {"JobId": job_id}


@operation("iam:GetServiceLastAccessedDetails")
@reading
def get_service_last_accessed_details(state: State, call: Call, params: Params) -> Result:
    job = _job(state, params["JobId"])
    policies, uses = _policies(state, job.arn), _uses(state, call, job.arn)
    rows = [
        _row(service, actions, job, {a: by for a, by in uses.items() if a.startswith(service + ":")})
        for service, actions in _actions().items()
        if _granting(policies, actions)
    ]
    shown = listing.page_of_list(
        rows, params, f"Accessed:{params['JobId']}", "ServicesLastAccessed", lambda row: row["ServiceNamespace"],
        lambda row: row,
    )  # fmt: skip
    return _head(job) | {"JobType": job.granularity} | shown


def _head(job: AccessJob) -> Result:
    return {"JobStatus": "COMPLETED", "JobCreationDate": job.created, "JobCompletionDate": job.created}


@operation("iam:GetServiceLastAccessedDetailsWithEntities")
@reading
def get_service_last_accessed_details_with_entities(state: State, call: Call, params: Params) -> Result:
    """The users and roles that could have called the service, those that did so last first."""
    job, service = _job(state, params["JobId"]), params["ServiceNamespace"]
    rows: list[dict[str, Any]] = []
    if _granting(_policies(state, job.arn), _actions().get(service, [f"{service}:*"])):
        rows = [_entity(state, call, entity, service) for entity in _entities(state, job.arn)]

    def position(row: dict[str, Any]) -> str:
        return f"{_FAR - row.get('LastAuthenticated', 0):012d} {row['EntityInfo']['Arn']}"

    scope = f"AccessedBy:{params['JobId']} {service}"
    return _head(job) | listing.page_of_list(rows, params, scope, "EntityDetailsList", position, lambda row: row)


def _entity(state: State, call: Call, entity: User | Role, service: str) -> dict[str, Any]:
    arn = arns.arn(state.account, entity)
    info = {
        "Arn": arn, "Name": entity.name, "Type": "USER" if isinstance(entity, User) else "ROLE", "Id": entity.id,
        "Path": entity.path,
    }  # fmt: skip
    used = [one.at for action, one in last_used.accesses(state, call, arn).items() if action.startswith(service + ":")]
    return {"EntityInfo": info} | ({"LastAuthenticated": int(max(used))} if used else {})


def _row(service: str, actions: list[str], job: AccessJob, uses: dict[str, dict[str, LastUsed]]) -> dict[str, Any]:
    by = {who for one in uses.values() for who in one}
    row: dict[str, Any] = {
        "ServiceName": _NAMES.get(service, service), "ServiceNamespace": service, "TotalAuthenticatedEntities": len(by),
    }  # fmt: skip
    if by:
        who, last = max(((who, use) for one in uses.values() for who, use in one.items()), key=lambda pair: pair[1].at)
        row |= {
            "LastAuthenticated": int(last.at), "LastAuthenticatedEntity": who, "LastAuthenticatedRegion": last.region,
        }  # fmt: skip
    if job.granularity == "ACTION_LEVEL":
        row["TrackedActionsLastAccessed"] = [_tracked(action, uses.get(action)) for action in actions]
    return row


def _tracked(action: str, uses: dict[str, LastUsed] | None) -> dict[str, Any]:
    shown: dict[str, Any] = {"ActionName": action.partition(":")[2]}
    if uses:
        who, last = max(uses.items(), key=lambda pair: pair[1].at)
        shown |= {
            "LastAccessedEntity": who, "LastAccessedTime": int(last.at), "LastAccessedRegion": last.region,
        }  # fmt: skip
    return shown


@operation("iam:ListPoliciesGrantingServiceAccess", resource=_arn, unsupported={"Marker": ("",)})
@reading
def list_policies_granting_service_access(state: State, call: Call, params: Params) -> Result:
    """All in one page: what one entity can hold is little."""
    _, held = simulation.of_source(state, params["Arn"])
    known = _actions()
    found: list[dict[str, Any]] = []
    for service in params["ServiceNamespaces"]:
        granting = _granting(held.policies, known.get(service, [f"{service}:*"]))
        found.append({"ServiceNamespace": service, "Policies": [_policy(policy) for policy in granting]})
    return {"PoliciesGrantingServiceAccess": found, "IsTruncated": False}


def _policy(policy: PolicyText) -> dict[str, Any]:
    if policy.source.startswith("arn:"):
        arn = policy.source.partition(" ")[0]
        return {"PolicyName": arn.rpartition("/")[2], "PolicyType": "MANAGED", "PolicyArn": arn}
    inline, _, owner = policy.source.removeprefix("inline policy ").partition(" of ")
    kind, _, name = owner.partition(" ")
    return {"PolicyName": inline, "PolicyType": "INLINE", "EntityType": kind.upper(), "EntityName": name}
