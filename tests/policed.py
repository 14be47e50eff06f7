"""What a refusal is, and the least that a function is made of: for tests of policies."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError


def denied(what: Callable[..., Any], **params: Any) -> bool:
    try:
        what(**params)
    except ClientError as error:
        assert error.response["Error"]["Code"] in ("AccessDenied", "AccessDeniedException"), error
        return True
    return False


def code() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("a.py", "def b(event, context): pass")
    return data.getvalue()
