"""Identifiers as IAM makes them: a prefix that says what it is, then base32 (access key ids: `core.access_key`).

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids
"""

from __future__ import annotations

import base64
import secrets

USER, GROUP, ROLE, POLICY, PROFILE = "AIDA", "AGPA", "AROA", "ANPA", "AIPA"
SERVER_CERTIFICATE, SSH_KEY = "ASCA", "APKA"
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


def unique(prefix: str) -> str:
    """A fresh unique id of 21 characters."""
    return prefix + "".join(secrets.choice(_ALPHABET) for _ in range(17))


def secret() -> str:
    """A fresh secret access key of 40 characters."""
    return base64.b64encode(secrets.token_bytes(30)).decode()
