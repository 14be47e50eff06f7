"""The credential report: who has which passwords, keys, certificates and devices, and how old they are.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_getting-report.html
"""

from __future__ import annotations

import csv
import datetime
import io

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.iam import arns, errors, last_used, signing_certificates
from penstock.services.iam.records import LoginProfile, User
from penstock.services.iam.state import State, changing, reading

_COLUMNS = (
    "user", "arn", "user_creation_time", "password_enabled", "password_last_used", "password_last_changed",
    "password_next_rotation", "mfa_active", "access_key_1_active", "access_key_1_last_rotated",
    "access_key_1_last_used_date", "access_key_1_last_used_region", "access_key_1_last_used_service",
    "access_key_2_active", "access_key_2_last_rotated", "access_key_2_last_used_date", "access_key_2_last_used_region",
    "access_key_2_last_used_service", "cert_1_active", "cert_1_last_rotated", "cert_2_active", "cert_2_last_rotated",
)  # fmt: skip
REPORT_VALID_S = 4 * 3600
_DAY_S = 86400


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
    settings = state.settings()
    row = [*root, *_key_columns(state, call, settings.root_keys)]
    writer.writerow(row + _certificate_columns(state, settings.root_certificates))
    max_age_days = int((settings.password_policy or {}).get("MaxPasswordAge", 0))
    for user in state.all(User):
        writer.writerow(_user_row(state, call, user, max_age_days))
    return {"Content": text.getvalue().encode(), "ReportFormat": "text/csv", "GeneratedTime": report_at}


def _user_row(state: State, call: Call, user: User, max_age_days: int) -> list[str]:
    login = user.login
    row = [user.name, arns.arn(call.account, user), _date(user.created)]
    row += [*_password_columns(login, max_age_days), "true" if user.mfa else "false"]
    row += _key_columns(state, call, user.keys)
    return row + _certificate_columns(state, user.certificates)


def _password_columns(login: LoginProfile | None, max_age_days: int) -> list[str]:
    """Whether there is a password, when it was used (nothing here asks for one), set, and has to be set anew."""
    if login is None:
        return ["false", "N/A", "N/A", "N/A"]
    changed = login.changed or login.created
    return ["true", "no_information", _date(changed), _date(changed + max_age_days * _DAY_S) if max_age_days else "N/A"]


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


def _certificate_columns(state: State, certificate_ids: list[str]) -> list[str]:
    row: list[str] = []
    for i in range(2):
        found = signing_certificates.find(state, certificate_ids[i]) if i < len(certificate_ids) else None
        row += ["false", "N/A"] if found is None else ["true" if found.active else "false", _date(found.created)]
    return row


def _date(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")
