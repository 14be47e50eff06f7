"""Reports of use: which services and actions an entity's policies allow and it has really called; who has which keys.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_last-accessed.html and
https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_getting-report.html
"""

from __future__ import annotations

import csv
import datetime
import io
import uuid
from typing import Any

import msgspec

from penstock.core.authz.document import compile_policy
from penstock.core.call import Call
from penstock.core.identity import PolicyText
from penstock.core.operation import REGISTRY, Params, Result, operation
from penstock.services.iam import arns, errors, keys, last_used, listing, simulation
from penstock.services.iam.records import AccessJob, User
from penstock.services.iam.state import State, changing, encode, reading

_NAMES = {
    "dynamodb": "Amazon DynamoDB", "iam": "AWS Identity and Access Management", "kinesis": "Amazon Kinesis Data Streams",
    "lambda": "AWS Lambda", "logs": "Amazon CloudWatch Logs", "s3": "Amazon S3", "sts": "AWS Security Token Service",
    "sqs": "Amazon SQS", "sns": "Amazon SNS", "firehose": "Amazon Data Firehose", "kms": "AWS Key Management Service",
}  # fmt: skip
_COLUMNS = (
    "user", "arn", "user_creation_time", "password_enabled", "password_last_used", "password_last_changed",
    "password_next_rotation", "mfa_active", "access_key_1_active", "access_key_1_last_rotated",
    "access_key_1_last_used_date", "access_key_1_last_used_region", "access_key_1_last_used_service",
    "access_key_2_active", "access_key_2_last_rotated", "access_key_2_last_used_date", "access_key_2_last_used_region",
    "access_key_2_last_used_service", "cert_1_active", "cert_1_last_rotated", "cert_2_active", "cert_2_last_rotated",
)  # fmt: skip
REPORT_VALID_S = 4 * 3600


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


@operation("iam:GenerateServiceLastAccessedDetails", resource=_arn)
@changing
def generate_service_last_accessed_details(state: State, call: Call, params: Params) -> Result:
    simulation.of_source(state, params["Arn"])
    granularity = params.get("Granularity", "SERVICE_LEVEL")
    job_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{params['Arn']} {granularity}"))
    job = AccessJob(arn=params["Arn"], granularity=granularity, created=int(call.now))
    state.txn.set(keys.job(call.account, job_id), encode(job))
    return {"JobId": job_id}


@operation("iam:GetServiceLastAccessedDetails")
@reading
def get_service_last_accessed_details(state: State, call: Call, params: Params) -> Result:
    raw = state.txn.get(keys.job(call.account, params["JobId"]))
    if raw is None:
        raise errors.no_such_entity(f"Invalid job id: {params['JobId']}")
    job = msgspec.msgpack.decode(raw, type=AccessJob)
    _, held = simulation.of_source(state, job.arn)
    used = last_used.accesses(state, call, job.arn)
    rows = [
        _row(service, actions, job, {a: one for a, one in used.items() if a.startswith(service + ":")})
        for service, actions in _actions().items()
        if _granting(held.policies, actions)
    ]
    shown = listing.page_of_list(
        rows, params, f"Accessed:{params['JobId']}", "ServicesLastAccessed", lambda row: row["ServiceNamespace"],
        lambda row: row,
    )  # fmt: skip
    head = {"JobStatus": "COMPLETED", "JobType": job.granularity, "JobCreationDate": job.created}
    return head | {"JobCompletionDate": job.created} | shown


def _row(service: str, actions: list[str], job: AccessJob, used: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "ServiceName": _NAMES.get(service, service), "ServiceNamespace": service, "TotalAuthenticatedEntities": 0,
    }  # fmt: skip
    if used:
        last = max(used.values(), key=lambda one: one.at)
        row |= {
            "LastAuthenticated": int(last.at), "LastAuthenticatedEntity": job.arn, "TotalAuthenticatedEntities": 1,
            "LastAuthenticatedRegion": last.region,
        }  # fmt: skip
    if job.granularity == "ACTION_LEVEL":
        row["TrackedActionsLastAccessed"] = [_tracked(action, job.arn, used.get(action)) for action in actions]
    return row


def _tracked(action: str, arn: str, used: Any) -> dict[str, Any]:
    shown: dict[str, Any] = {"ActionName": action.partition(":")[2]}
    if used is not None:
        shown |= {
            "LastAccessedEntity": arn, "LastAccessedTime": int(used.at), "LastAccessedRegion": used.region,
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


@operation("iam:GenerateCredentialReport")
@changing
def generate_credential_report(state: State, call: Call, params: Params) -> Result:
    settings = state.settings()
    if settings.report_at and call.now - settings.report_at < REPORT_VALID_S:
        return {"State": "COMPLETE"}
    settings.report_at = int(call.now)
    state.save_settings(settings)
    return {"State": "STARTED", "Description": "No report exists. Starting a new report generation task"}


@operation("iam:GetCredentialReport")
@reading
def get_credential_report(state: State, call: Call, params: Params) -> Result:
    """The report as of now, once one has been asked for in the last four hours."""
    report_at = state.settings().report_at
    if not report_at:
        raise errors.no_report("ReportNotPresent", "No report present. Use GenerateCredentialReport first.")
    if call.now - report_at >= REPORT_VALID_S:
        raise errors.no_report("ReportExpired", "The report has expired. Use GenerateCredentialReport again.")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    root = ["<root_account>", f"arn:aws:iam::{call.account}:root", _date(0), *["not_supported"] * 4, "false"]
    writer.writerow([*root, *_key_columns(state, call, state.settings().root_keys), *["false", "N/A"] * 2])
    for user in state.all(User):
        writer.writerow(_user_row(state, call, user))
    return {"Content": text.getvalue().encode(), "ReportFormat": "text/csv", "GeneratedTime": report_at}


def _user_row(state: State, call: Call, user: User) -> list[str]:
    login = user.login
    row = [user.name, arns.arn(call.account, user), _date(user.created)]
    row += ["true", "no_information", _date(login.created)] if login else ["false", "N/A", "N/A"]
    row += ["N/A", "true" if user.mfa else "false", *_key_columns(state, call, user.keys)]
    return row + ["false", "N/A"] * 2


def _key_columns(state: State, call: Call, key_ids: list[str]) -> list[str]:
    """What the report says of the one or two keys that somebody may have."""
    row: list[str] = []
    for i in range(2):
        if i >= len(key_ids):
            row += ["false", "N/A", "N/A", "N/A", "N/A"]
            continue
        key = state.access_key(key_ids[i])
        used = last_used.of_key(state, call, key_ids[i])
        when = _date(used["LastUsedDate"]) if "LastUsedDate" in used else "N/A"
        row += ["true" if key.active else "false", _date(key.created), when, used["Region"], used["ServiceName"]]
    return row


def _date(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")
