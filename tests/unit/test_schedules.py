"""Schedule expressions: when they say that something is due."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.schedules import BadScheduleError, Schedule


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def times(expression: str, after: str, count: int, zone: str = "UTC") -> list[str]:
    schedule, moment, found = Schedule(expression, zone), at(after), []
    for _ in range(count):
        due = schedule.next_after(moment, at(after))
        if due is None:
            break
        assert due > moment
        moment = due
        found.append(datetime.fromtimestamp(due, UTC).strftime("%Y-%m-%d %H:%M"))
    return found


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        ("cron(15 10 * * ? *)", "2026-01-31 10:15", ["2026-02-01 10:15", "2026-02-02 10:15"]),
        ("cron(0 18 ? * MON-FRI *)", "2026-11-20 19:00", ["2026-11-23 18:00", "2026-11-24 18:00"]),
        ("cron(0 8 1 * ? *)", "2026-11-20 19:00", ["2026-12-01 08:00", "2027-01-01 08:00"]),
        ("cron(0/20 9-10 ? * 2 *)", "2026-11-23 09:50", ["2026-11-23 10:00", "2026-11-23 10:20"]),
        ("cron(0 0 L * ? *)", "2024-02-01 00:00", ["2024-02-29 00:00", "2024-03-31 00:00"]),
        ("cron(0 0 LW * ? *)", "2026-10-31 12:00", ["2026-11-30 00:00", "2026-12-31 00:00"]),
        ("cron(0 0 15W * ? *)", "2026-11-01 00:00", ["2026-11-16 00:00", "2026-12-15 00:00"]),
        ("cron(0 0 ? * 6L *)", "2026-11-01 00:00", ["2026-11-27 00:00", "2026-12-25 00:00"]),
        ("cron(0 0 ? * TUE#2 *)", "2026-11-01 00:00", ["2026-11-10 00:00", "2026-12-08 00:00"]),
        ("cron(30 1 29 FEB ? *)", "2026-01-01 00:00", ["2028-02-29 01:30", "2032-02-29 01:30"]),
        ("cron(0 12 1 1 ? 2020)", "2026-01-01 00:00", []),
        ("at(2026-11-20T10:00:00)", "2026-11-20 09:00", ["2026-11-20 10:00"]),
        ("rate(5 minutes)", "2026-11-20 09:00", ["2026-11-20 09:05", "2026-11-20 09:10"]),
        ("rate(1 day)", "2026-11-20 09:00", ["2026-11-21 09:00", "2026-11-22 09:00"]),
    ],
)
def test_when(expression: str, after: str, expected: list[str]) -> None:
    assert times(expression, after, 2) == expected


def test_time_zones_and_their_clocks() -> None:
    assert times("cron(0 9 * * ? *)", "2026-07-01 00:00", 1, "Europe/Berlin") == ["2026-07-01 07:00"]
    assert times("cron(0 9 * * ? *)", "2026-12-01 00:00", 1, "Europe/Berlin") == ["2026-12-01 08:00"]
    # 02:30 does not come on the day on which clocks go from 02:00 to 03:00.
    found = times("cron(30 2 * * ? *)", "2026-03-28 12:00", 2, "Europe/Berlin")
    assert found == ["2026-03-30 00:30", "2026-03-31 00:30"]


@pytest.mark.parametrize(
    "expression",
    ["", "daily", "rate(0 minutes)", "rate(1 minutes)", "rate(2 hour)", "cron(* * * * *)", "cron(* * * * * *)",
     "cron(60 * * * ? *)", "cron(* * ? * ? *)", "cron(* * 32 * ? *)", "cron(a * * * ? *)", "cron(*/0 * * * ? *)",
     "cron(* * ? * MON#6 *)", "at(2026-11-20)"],
)  # fmt: skip
def test_what_is_refused(expression: str) -> None:
    with pytest.raises((BadScheduleError, ValueError)):
        Schedule(expression)


def test_unknown_time_zones_are_refused() -> None:
    with pytest.raises(BadScheduleError):
        Schedule("rate(5 minutes)", "Mars/Olympus")


@given(st.integers(0, 59), st.integers(0, 23), st.integers(0, 2**31))
def test_every_day_has_its_time(minute: int, hour: int, after: int) -> None:
    due = Schedule(f"cron({minute} {hour} * * ? *)").next_after(after, 0)
    assert due is not None
    assert 0 < due - after <= 86400
    moment = datetime.fromtimestamp(due, UTC)
    assert (moment.hour, moment.minute, moment.second) == (hour, minute, 0)
