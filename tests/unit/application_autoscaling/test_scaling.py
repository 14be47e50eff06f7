"""What capacity target tracking wants."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from penstock.services.application_autoscaling.records import Policy, Target
from penstock.services.application_autoscaling.scaling import decide

NOW = 1_000_000.0


def target(**fields: Any) -> Target:
    return Target("id", "table/t", "dynamodb:table:ReadCapacityUnits", 5, 100, 0.0, **fields)


def policy(value: float = 70.0, **more: Any) -> Policy:
    return Policy("id", "track", "table/t", "dynamodb:table:ReadCapacityUnits", 0.0, {"TargetValue": value, **more})


def wanted(units: int, rates: list[float], of: Target | None = None, *policies: Policy) -> int:
    consumed = [rate * 60 for rate in rates]
    found = decide(of or target(), list(policies) or [policy()], units, consumed, NOW)
    return units if found is None else found.units


def test_out() -> None:
    assert wanted(10, [0.0] * 13 + [8.0, 9.0]) == 13  # 9 / 0.7
    assert wanted(10, [0.0] * 13 + [6.0, 9.0]) == 10  # one minute is not enough
    assert wanted(10, [0.0] * 13 + [900.0, 900.0]) == 100  # bounded
    assert wanted(10, [0.0] * 13 + [8.0, 9.0], target(scaled_out_at=NOW - 30), policy(ScaleOutCooldown=60)) == 10
    assert wanted(10, [0.0] * 13 + [8.0, 9.0], target(scaled_out_at=NOW - 90), policy(ScaleOutCooldown=60)) == 13
    assert wanted(10, [0.0] * 13 + [8.0, 9.0], target(suspended={"DynamicScalingOutSuspended": True})) == 10


def test_in() -> None:
    assert wanted(50, [7.0] * 15) == 10
    assert wanted(50, [0.0] * 15) == 5
    assert wanted(50, [7.0] * 14 + [26.0]) == 50  # not all minutes are below
    assert wanted(50, [7.0] * 15, target(scaled_out_at=NOW - 60)) == 50  # it was changed only just now
    assert wanted(50, [7.0] * 15, None, policy(DisableScaleIn=True)) == 50
    assert wanted(50, [7.0] * 15, target(scaled_in_at=NOW - 1000), policy(ScaleInCooldown=2000)) == 50
    assert wanted(50, [7.0] * 15, target(suspended={"DynamicScalingInSuspended": True})) == 50


def test_near_the_target_nothing_changes() -> None:
    assert wanted(50, [33.0] * 15) == 50


@given(st.integers(5, 100), st.lists(st.floats(0, 500), min_size=15, max_size=15), st.floats(20, 90))
def test_what_it_settles_on_is_stable(units: int, rates: list[float], value: float) -> None:
    """With the same consumption in all minutes, the capacity it wants is one that it then leaves alone."""
    steady = [rates[0]] * 15
    settled = wanted(units, steady, None, policy(value))
    assert 5 <= settled <= 100
    again = wanted(settled, steady, None, policy(value))
    assert again <= settled
    assert wanted(again, steady, None, policy(value)) == again
