"""AWS's own managed policies: the ones people attach, as data (`managed-policies.json`), and those of service-linked
roles (named in `service-linked-roles.json`), which grant nothing here: nobody but their service may take those roles.

Source: https://docs.aws.amazon.com/aws-managed-policy/latest/reference/policy-list.html
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

FILE = Path(__file__).parent / "managed-policies.json"
LINKED_FILE = Path(__file__).parent / "service-linked-roles.json"
LINKED_PATH = "/aws-service-role/"
LINKED_HEAD = "arn:aws:iam::aws:policy" + LINKED_PATH
_LINKED: dict[str, Any] = {
    "path": LINKED_PATH, "created": 1514764800, "description": "",
    "document": {"Version": "2012-10-17", "Statement": []},
}  # fmt: skip
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


class Managed(msgspec.Struct, frozen=True):
    """One of AWS's policies, at the version written here. created and updated: seconds since the epoch."""

    name: str
    path: str
    id: str
    created: float
    updated: float
    version: str
    description: str
    text: str

    @property
    def arn(self) -> str:
        return f"arn:aws:iam::aws:policy{self.path}{self.name}"


@cache
def all_policies() -> dict[str, Managed]:
    """ARN -> policy, in the order of their names."""
    found: dict[str, Managed] = {}
    rows: list[dict[str, Any]] = msgspec.json.decode(FILE.read_bytes())
    rows += [{**_LINKED, "name": row["policy"]} for row in msgspec.json.decode(LINKED_FILE.read_bytes())]
    for row in sorted(rows, key=lambda r: str(r["name"])):
        digest = hashlib.sha256(row["name"].encode()).digest()
        text = msgspec.json.format(msgspec.json.encode(row["document"]), indent=4).decode()
        policy = Managed(
            name=row["name"], path=row.get("path", "/"), id="ANPA" + "".join(_ALPHABET[b % 32] for b in digest[:17]),
            created=row["created"], updated=row.get("updated", row["created"]), version=row.get("version", "v1"),
            description=row["description"], text=text,
        )  # fmt: skip
        found[policy.arn] = policy
    return found


def find(arn: str) -> Managed | None:
    """AWS's policy with that ARN, or None."""
    return all_policies().get(arn) if arn.startswith("arn:aws:iam::aws:policy/") else None
