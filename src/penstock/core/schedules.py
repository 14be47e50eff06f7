"""AWS's schedule expressions: at(…), rate(…), cron(…), in a time zone.

Source: https://docs.aws.amazon.com/autoscaling/application/userguide/scheduled-scaling-using-cron-expressions.html and
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-cron-expressions.html
A time of day that a change of clocks leaves out does not come that day; one that comes twice comes the first time.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_AT = re.compile(r"at\((\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\)\Z").match
_RATE = re.compile(r"rate\((\d+) (minutes?|hours?|days?)\)\Z").match
_CRON = re.compile(r"cron\(([^()]+)\)\Z").match
_UNITS_S = {"minute": 60, "hour": 3600, "day": 86400}
_MONTHS = {name: n for n, name in enumerate("JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split(), 1)}
_DAYS = {name: n for n, name in enumerate("SUN MON TUE WED THU FRI SAT".split(), 1)}
_YEARS = (1970, 2199)
_FIELDS = 6
_MOST_YEARS_AHEAD = 30


class BadScheduleError(ValueError):
    """An expression that is none of AWS's."""


class Schedule:
    """A parsed expression. Times are seconds since the epoch."""

    def __init__(self, expression: str, zone: str = "UTC") -> None:
        """Raises BadScheduleError."""
        try:
            self._zone = ZoneInfo(zone or "UTC")
        except (KeyError, ValueError, OSError) as error:
            raise BadScheduleError(f"no such time zone: {zone}") from error
        self._at: float | None = None
        self._rate_s = 0
        self._cron: _Cron | None = None
        if match := _AT(expression):
            self._at = self._moment(datetime.fromisoformat(match[1]))
        elif match := _RATE(expression):
            number, unit = int(match[1]), match[2]
            if number < 1 or (number == 1) == unit.endswith("s"):
                raise BadScheduleError(f"a rate of {number} {unit} is not valid")
            self._rate_s = number * _UNITS_S[unit.rstrip("s")]
        elif match := _CRON(expression):
            self._cron = _Cron(match[1].split())
        else:
            raise BadScheduleError(f"not a schedule expression: {expression}")

    def next_after(self, after: float, since: float) -> float | None:
        """The first time later than `after`; rates count from `since`. None: there is none any more."""
        if self._at is not None:
            return self._at if self._at > after else None
        if self._rate_s:
            passed = max(int((after - since) // self._rate_s) + 1, 1)
            return since + passed * self._rate_s
        assert self._cron is not None
        begin = datetime.fromtimestamp(after, UTC).astimezone(self._zone).replace(tzinfo=None)
        for local in self._cron.times_after(begin.replace(second=0, microsecond=0)):
            moment = self._moment(local)
            exists = datetime.fromtimestamp(moment, UTC).astimezone(self._zone).replace(tzinfo=None) == local
            if exists and moment > after:
                return moment
        return None

    def _moment(self, local: datetime) -> float:
        return local.replace(tzinfo=self._zone).timestamp()


class _Cron:
    """Minutes, hours, day of month, month, day of week, year."""

    def __init__(self, fields: list[str]) -> None:
        if len(fields) != _FIELDS:
            raise BadScheduleError(f"a cron expression has {_FIELDS} fields")
        minutes, hours, days, months, weekdays, years = (field.upper() for field in fields)
        if (days == "?") == (weekdays == "?"):
            raise BadScheduleError("one of day-of-month and day-of-week must be ?")
        self._minutes = sorted(_values(minutes, 0, 59))
        self._hours = sorted(_values(hours, 0, 23))
        self._months = _values(months, 1, 12, _MONTHS)
        self._years = _values(years, *_YEARS)
        self._days, self._weekdays = days, weekdays
        self._of_month(2024, 1)  # what is wrong with the days is said at once

    def times_after(self, begin: datetime) -> Iterator[datetime]:
        """Local times from `begin` on, in order, for as far ahead as is looked."""
        year, month = begin.year, begin.month
        while year <= begin.year + _MOST_YEARS_AHEAD:
            if year in self._years and month in self._months:
                for day in sorted(self._of_month(year, month)):
                    if (year, month, day) < (begin.year, begin.month, begin.day):
                        continue
                    for hour in self._hours:
                        for minute in self._minutes:
                            local = datetime(year, month, day, hour, minute)
                            if local >= begin:
                                yield local
            year, month = (year + 1, 1) if month == 12 else (year, month + 1)

    def _of_month(self, year: int, month: int) -> set[int]:
        """The days of a month that the expression names."""
        last = calendar.monthrange(year, month)[1]
        if self._days != "?":
            found: set[int] = set()
            for part in self._days.split(","):
                found |= _month_days(part, year, month, last)
            return {day for day in found if day <= last}
        found = set()
        for part in self._weekdays.split(","):
            found |= _week_days(part, year, month, last)
        return found


def _month_days(part: str, year: int, month: int, last: int) -> set[int]:
    if part == "L":
        return {last}
    if part == "LW" or (part.endswith("W") and part[:-1].isdigit()):
        wanted = last if part == "LW" else min(int(part[:-1]), last)
        return {_nearest_workday(wanted, year, month, last)}
    return _values(part, 1, 31)


def _nearest_workday(day: int, year: int, month: int, last: int) -> int:
    weekday = calendar.weekday(year, month, day)
    if weekday == calendar.SATURDAY:
        return day - 1 if day > 1 else day + 2
    if weekday == calendar.SUNDAY:
        return day + 1 if day < last else day - 2
    return day


def _week_days(part: str, year: int, month: int, last: int) -> set[int]:
    nth = re.fullmatch(r"(\w+)#([1-5])", part)
    if nth:
        days = _dates(_values(nth[1], 1, 7, _DAYS), year, month, last)
        return set(days[int(nth[2]) - 1 : int(nth[2])])
    if part.endswith("L") and part != "L":
        return set(_dates(_values(part[:-1], 1, 7, _DAYS), year, month, last)[-1:])
    wanted = {7} if part == "L" else _values(part, 1, 7, _DAYS)
    return set(_dates(wanted, year, month, last))


def _dates(weekdays: set[int], year: int, month: int, last: int) -> list[int]:
    """The dates of a month on these days of the week (1: Sunday)."""
    first = datetime(year, month, 1)
    return [n + 1 for n in range(last) if (first + timedelta(n)).isoweekday() % 7 + 1 in weekdays]


def _values(field: str, low: int, high: int, names: dict[str, int] | None = None) -> set[int]:
    """The numbers that a field names: *, lists, ranges, steps, names."""
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        begin, dash, end = span.partition("-")
        try:
            if span in ("*", "?"):
                first, last = low, high
            else:
                first = _number(begin, names)
                last = _number(end, names) if dash else (high if step else first)
            every = int(step) if step else 1
        except (KeyError, ValueError):
            raise BadScheduleError(f"{field} is not valid in a cron expression") from None
        if not low <= first <= high or not low <= last <= high or every < 1:
            raise BadScheduleError(f"{field} is not valid in a cron expression")
        if first > last:
            found |= {*range(first, high + 1, every), *range(low, last + 1, every)}
        found |= set(range(first, last + 1, every))
    return found


def _number(text: str, names: dict[str, int] | None) -> int:
    return names[text] if names and text in names else int(text)
