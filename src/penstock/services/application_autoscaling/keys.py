"""Application Auto Scaling's key bytes; the only place that makes them.

key                                                                      value
("aas", "target", account, region, namespace, resource, dimension)          records.Target, JSON
("aas", "policy", account, region, namespace, resource, dimension, name)    records.Policy, JSON
("aas", "action", account, region, namespace, resource, dimension, name)    records.Action, JSON
("aas", "activity", account, region, namespace, time in us, id)             records.Activity, JSON
("aas", "leases") + name                                                    who scales (store.lease)
"""

from __future__ import annotations

from penstock.store.tuples import pack, range_of

LEASES = pack(("aas", "leases"))


def target(account: str, region: str, namespace: str, resource: str, dimension: str) -> bytes:
    """Where a scalable target is."""
    return pack(("aas", "target", account, region, namespace, resource, dimension))


def targets(*place: str) -> tuple[bytes, bytes]:
    """The range of all targets; of an account, in a region, of a namespace, of a resource, as far as they are given."""
    return range_of(("aas", "target", *place))


def named(kind: str, account: str, region: str, namespace: str, resource: str, dimension: str, name: str) -> bytes:
    """Where a "policy" or "action" is."""
    return pack(("aas", kind, account, region, namespace, resource, dimension, name))


def all_named(kind: str, *place: str) -> tuple[bytes, bytes]:
    """The range of all policies or actions; of an account … of a dimension, as far as they are given."""
    return range_of(("aas", kind, *place))


def activity(account: str, region: str, namespace: str, at_us: int, id: str) -> bytes:
    """Where an activity is."""
    return pack(("aas", "activity", account, region, namespace, at_us, id))


def activities(account: str, region: str, namespace: str, before_us: int = 0) -> tuple[bytes, bytes]:
    """The range of a namespace's activities, all or those of before a time, in order of time."""
    begin, end = range_of(("aas", "activity", account, region, namespace))
    return begin, pack(("aas", "activity", account, region, namespace, before_us)) if before_us else end
