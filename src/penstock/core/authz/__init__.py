"""May this principal do this? Policy documents compiled to predicates, evaluated as AWS documents it.

Knows policies and condition keys; knows no service and no storage (documents come through `identity.Directory` and the
operation's own policy loader).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.core.identity import Kind
from penstock.wire.errors import AwsError

if TYPE_CHECKING:
    from penstock.core.call import Call
    from penstock.core.operation import Params


async def authorize(call: Call, params: Params) -> None:
    """Raises AwsError AccessDenied (in the service's own code and wording) unless the call is allowed."""
    if call.principal.kind is Kind.ROOT and call.principal.account == call.account:
        return
    raise AwsError("AccessDenied", "policy evaluation is not in yet", 403)
