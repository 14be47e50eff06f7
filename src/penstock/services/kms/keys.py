"""KMS's keys (of the store). Every one begins ("kms", account, region, ...), but for the workers'.

("kms", account, region, "key", key id)                       records.Key
("kms", account, region, "keys")                              counter: customer keys, for the quota
("kms", account, region, "alias", alias name)                 records.Alias; the name begins "alias/"
("kms", account, region, "grant", key id, grant id)           records.Grant
("kms", account, region, "grantee", key id, principal, grant id)    b"": the grant is the principal's
("kms", account, region, "retiring", principal, key id, grant id)   b"": the principal may retire the grant
("kms:due", microseconds, account, region, key id)            b"": something happens to the key by itself at that time
("kms:lease") + name                                          leases: who carries that out

A multi-Region key has a record in each of its Regions, each with a copy of the material.
"""

from __future__ import annotations

from penstock.store.tuples import pack, prefix_end, unpack

DUE = pack(("kms:due",))
LEASES = pack(("kms:lease",))


def key(account: str, region: str, key_id: str) -> bytes:
    return pack(("kms", account, region, "key", key_id))


def all_keys(account: str, region: str) -> bytes:
    """The prefix of all keys."""
    return pack(("kms", account, region, "key"))


def count(account: str, region: str) -> bytes:
    return pack(("kms", account, region, "keys"))


def alias(account: str, region: str, name: str) -> bytes:
    return pack(("kms", account, region, "alias", name))


def aliases(account: str, region: str) -> bytes:
    """The prefix of all aliases."""
    return pack(("kms", account, region, "alias"))


def grant(account: str, region: str, key_id: str, grant_id: str) -> bytes:
    return pack(("kms", account, region, "grant", key_id, grant_id))


def grants(account: str, region: str, key_id: str) -> bytes:
    """The prefix of all grants of a key."""
    return pack(("kms", account, region, "grant", key_id))


def grantee(account: str, region: str, key_id: str, principal: str, grant_id: str) -> bytes:
    return pack(("kms", account, region, "grantee", key_id, principal, grant_id))


def of_grantee(account: str, region: str, key_id: str, principal: str) -> bytes:
    """The prefix of all grants of a key to a principal."""
    return pack(("kms", account, region, "grantee", key_id, principal))


def all_grantees(account: str, region: str, key_id: str) -> bytes:
    """The prefix of the grants of a key by grantee."""
    return pack(("kms", account, region, "grantee", key_id))


def retiring(account: str, region: str, principal: str, key_id: str, grant_id: str) -> bytes:
    return pack(("kms", account, region, "retiring", principal, key_id, grant_id))


def all_retiring(account: str, region: str, principal: str) -> bytes:
    """The prefix of all grants that a principal may retire."""
    return pack(("kms", account, region, "retiring", principal))


def due(at: float, account: str, region: str, key_id: str) -> bytes:
    return pack(("kms:due", round(at * 1e6), account, region, key_id))


def due_by(at: float) -> bytes:
    """The end of all that is due at a time."""
    return pack(("kms:due", round(at * 1e6) + 1))


def parts(stored: bytes) -> tuple[str | int, ...]:
    """A key of the store taken apart."""
    return unpack(stored)


def range_under(prefix: bytes) -> tuple[bytes, bytes]:
    """(begin, end) of all that a prefix of the above covers."""
    return prefix, prefix_end(prefix)
