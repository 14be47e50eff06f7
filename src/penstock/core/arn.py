"""Amazon resource names: taken apart, put together.

The form is arn:partition:service:region:account:resource; the resource may hold further colons
(https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html).
"""

from __future__ import annotations

from typing import NamedTuple


class Arn(NamedTuple):
    """An ARN's parts. region and account are "" where the service leaves them out (S3 buckets, IAM's region)."""

    partition: str
    service: str
    region: str
    account: str
    resource: str

    def __str__(self) -> str:
        return f"arn:{self.partition}:{self.service}:{self.region}:{self.account}:{self.resource}"


def parse(text: str) -> Arn:
    """Take an ARN apart. Raises ValueError for what is none."""
    parts = text.split(":", 5)
    if len(parts) != 6 or parts[0] != "arn" or not parts[1] or not parts[2] or not parts[5]:
        raise ValueError(f"{text!r} is not an ARN")
    return Arn(*parts[1:])


def is_arn(text: str) -> bool:
    """Whether `text` has an ARN's form."""
    parts = text.split(":", 5)
    return len(parts) == 6 and parts[0] == "arn" and bool(parts[1] and parts[2] and parts[5])


def account_of(text: str) -> str:
    """The account an ARN names; "" where it names none or is no ARN."""
    parts = text.split(":", 5)
    return parts[4] if len(parts) == 6 else ""


def build(service: str, region: str, account: str, resource: str, partition: str = "aws") -> str:
    """Put an ARN together."""
    return f"arn:{partition}:{service}:{region}:{account}:{resource}"
