"""Policy documents as IAM takes and gives them: checked on the way in, percent-encoded on the way out."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from penstock.core.authz.document import PolicyError
from penstock.core.authz.validate import Purpose, validate
from penstock.services.iam import errors

_ARN = re.compile(r"arn:[^:]+:(iam|sts)::(\d{12}):(root|user/.+|role/.+|federated-user/.+|assumed-role/.+/.+)")


def checked(text: str, purpose: Purpose) -> str:
    """The same text. Raises AwsError MalformedPolicyDocument."""
    try:
        document = validate(text, purpose)
        if purpose is Purpose.TRUST:
            _check_principals(document["Statement"])
    except PolicyError as error:
        raise errors.malformed(str(error)) from None
    return text


def size(text: str) -> int:
    """Characters that count towards a quota: IAM leaves white space out.

    Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
    """
    return len(re.sub(r"\s", "", text))


def shown(text: str) -> str:
    """As answers carry a document: RFC 3986 percent-encoded."""
    return quote(text, safe="-_.~")


def _check_principals(statements: Any) -> None:
    for statement in statements if isinstance(statements, list) else [statements]:
        element = statement.get("Principal", statement.get("NotPrincipal"))
        if element == "*" or not isinstance(element, dict):
            continue
        names = element.get("AWS", [])
        for name in [names] if isinstance(names, str) else names:
            if name == "*" or (name.isdigit() and len(name) == 12) or _ARN.fullmatch(name):
                continue
            if re.fullmatch(r"A(ROA|IDA)[A-Z0-9]{17}", name):
                continue
            raise PolicyError(f'Invalid principal in policy: "AWS":"{name}"')
