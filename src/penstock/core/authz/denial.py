"""How a denial is told: to the caller in the service's own code and wording, to the operator in the log.

Source of the wording: https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
"""

from __future__ import annotations

from penstock.core.authz.evaluate import TRUST, Decision
from penstock.core.identity import Kind, Principal
from penstock.wire.errors import AwsError

_JSON = ("AccessDeniedException", 400)
_REST_JSON = ("AccessDeniedException", 403)
_XML = ("AccessDenied", 403)
_FAMILIES: dict[str, tuple[str, int]] = {
    "apigateway": _REST_JSON,
    "apigatewayv2": _REST_JSON,
    "cloudformation": _XML,
    "cloudwatch": _XML,
    "ec2": ("UnauthorizedOperation", 403),
    "iam": _XML,
    "lambda": _REST_JSON,
    "pipes": _REST_JSON,
    "s3": _XML,
    "s3control": _XML,
    "scheduler": _REST_JSON,
    "sns": ("AuthorizationError", 403),
    "sqs": _XML,
    "sts": _XML,
}


def denied(service: str, principal: Principal, action: str, resource: str, decision: Decision) -> AwsError:
    """The AccessDenied error of a service's family for a decision."""
    code, status = _FAMILIES.get(service, _JSON)
    if service == "s3" and principal.kind is Kind.ANONYMOUS:
        return AwsError(code, "Access Denied", status)
    shown = f'"{resource}"' if service == "s3" else resource
    text = f"User: {_name(principal)} is not authorized to perform: {action} on resource: {shown}"
    if decision.explicit:
        text += f" with an explicit deny in {_a(decision.kind)}"
    elif decision.kind != TRUST:
        text += f" because no {decision.kind} allows the {action} action"
        if decision.where.endswith("does not exist"):
            text += f" ({decision.where})"
    return AwsError(code, text, status)


def _name(principal: Principal) -> str:
    return "anonymous" if principal.kind is Kind.ANONYMOUS else principal.arn


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
