"""Access key ids: a prefix, then base32 of 1 set bit, 40 bits of account and 39 random bits, as AWS's carry them.

AKIA is a long-term key, ASIA a temporary one
(https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids).
"""

from __future__ import annotations

import base64
import binascii
import secrets


def new(prefix: str, account: str) -> str:
    """A fresh access key id of 20 characters; prefix is AKIA or ASIA."""
    number = 1 << 79 | int(account) << 39 | secrets.randbits(39)
    return prefix + base64.b32encode(number.to_bytes(10, "big")).decode()


def account_of(access_key_id: str) -> str:
    """The account in an access key id; "" for what is none."""
    try:
        raw = base64.b32decode(access_key_id[4:])
    except (binascii.Error, ValueError):
        return ""
    if len(raw) != 10:
        return ""
    return f"{int.from_bytes(raw, 'big') >> 39 & (1 << 40) - 1:012d}"
