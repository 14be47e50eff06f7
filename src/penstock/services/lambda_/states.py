"""States: Pending while a function or version is made, and an update that is InProgress.

Both are over as soon as the call returns, unless `function_transition_s` says how long they take: for whoever wants to see
clients wait, and be refused meanwhile, as on AWS. https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html
"""

from __future__ import annotations

import uuid

from penstock.core.call import Call
from penstock.core.node import Node
from penstock.core.operation import Result
from penstock.services.lambda_ import records, rules
from penstock.services.lambda_.records import LATEST, Function

PENDING = "Pending"
IN_PROGRESS = "InProgress"
_REASON = "The function is being created."


def of(node: Node, function: Function) -> str:
    """Pending, InProgress, or "" once it is ready."""
    takes_s = node.settings.function_transition_s
    if not takes_s:
        return ""
    now = node.clock.now()
    if now < function.made_at + takes_s:
        return PENDING
    if function.version == LATEST and now < function.modified_at + takes_s:
        return IN_PROGRESS
    return ""


def document(call: Call, function: Function, arn: str = "") -> Result:
    """The FunctionConfiguration document of the function as it is now."""
    state = of(call.node, function)
    if state == PENDING:
        return pending(function, arn)
    return updating(function, arn) if state else records.configuration(function, arn)


def pending(function: Function, arn: str = "") -> Result:
    """The document as the call that makes a function or version answers it."""
    result = records.configuration(function, arn)
    del result["LastUpdateStatus"]
    result |= {
        "State": PENDING, "StateReason": _REASON, "StateReasonCode": "Creating", "RevisionId": _early_revision(function),
    }  # fmt: skip
    return result


def updating(function: Function, arn: str = "") -> Result:
    """The document as an update answers it."""
    return records.configuration(function, arn) | {
        "LastUpdateStatus": IN_PROGRESS, "LastUpdateStatusReason": _REASON, "LastUpdateStatusReasonCode": "Creating",
        "RevisionId": _early_revision(function),
    }  # fmt: skip


def _early_revision(function: Function) -> str:
    """The RevisionId until the function is ready: AWS gives it another one then, and so do we."""
    return str(uuid.uuid5(uuid.UUID(function.revision), "early"))


def check_changeable(node: Node, function: Function) -> None:
    """Raises ResourceConflictException where the function is not ready for another change."""
    state = of(node, function)
    if state == IN_PROGRESS:
        raise rules.conflict(
            f"The operation cannot be performed at this time. An update is in progress for resource: {function.arn}"
        )
    check_active(node, function)


def check_active(node: Node, function: Function) -> None:
    """Raises ResourceConflictException where it cannot be invoked yet."""
    if of(node, function) == PENDING:
        raise rules.conflict(
            "The operation cannot be performed at this time. The function is currently in the following state: Pending"
        )
