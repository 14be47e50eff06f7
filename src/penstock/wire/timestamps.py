"""Timestamps between their wire formats and float seconds since the epoch (which is what the rest of Penstock uses)."""

from __future__ import annotations

import calendar
import math
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

LIMIT_S = 1e15
"""No timestamp is further from the epoch."""
_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(\.\d{1,9})?)?(Z|z|[+-]\d\d:?\d\d)?)?\Z", re.ASCII
)
_HTTP = re.compile(
    r"(?:[A-Za-z]{3,9}, )?(\d\d?)[ -]([A-Za-z]{3})[ -](\d{4}|\d\d) (\d\d):(\d\d):(\d\d)(\.\d+)? (?:GMT|UTC|\+0000)\Z"
)
_NUMBER = re.compile(r"-?\d{1,15}(\.\d{1,9})?([eE][+-]?\d{1,2})?\Z", re.ASCII)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def parse(text: str) -> float:
    """Any of AWS's formats: ISO 8601, HTTP date, seconds. Raises ValueError."""
    if match := _ISO.match(text):
        return _parse_iso(match)
    if match := _HTTP.match(text):
        day, month, year, hour, minute, second, fraction = match.groups()
        try:
            number = _MONTHS.index(month.title()) + 1
        except ValueError:
            raise ValueError(f"not a timestamp: {text[:40]!r}") from None
        full = int(year) if len(year) == 4 else 1900 + int(year) + (100 if int(year) < 70 else 0)
        whole = datetime(full, number, int(day), int(hour), int(minute), min(int(second), 59), tzinfo=UTC)
        return calendar.timegm(whole.timetuple()) + float(fraction or 0)
    if _NUMBER.match(text):
        return float(text)
    raise ValueError(f"not a timestamp: {text[:40]!r}")


def _parse_iso(match: re.Match[str]) -> float:
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    whole = datetime(
        int(year), int(month), int(day), int(hour or 0), int(minute or 0), min(int(second or 0), 59), tzinfo=UTC
    )
    seconds = calendar.timegm(whole.timetuple()) + float(fraction or 0)
    if zone and zone not in "Zz":
        offset_s = int(zone[1:3]) * 3600 + int(zone[-2:]) * 60
        seconds += -offset_s if zone[0] == "+" else offset_s
    return seconds


@lru_cache(4096)
def http_date(seconds: float) -> str:
    """ "Wed, 21 Oct 2015 07:28:00 GMT"."""
    t = time.gmtime(seconds)
    return (
        f"{_DAYS[t.tm_wday]}, {t.tm_mday:02d} {_MONTHS[t.tm_mon - 1]} {t.tm_year:04d} "
        f"{t.tm_hour:02d}:{t.tm_min:02d}:{t.tm_sec:02d} GMT"
    )


_MILLIS = tuple(f".{n:03d}Z" for n in range(1000))
_TWO = tuple(f"{n:02d}" for n in range(60))


@lru_cache(4096)
def iso_minute(minute: int) -> str:
    """The first part of ISO's text, "2015-10-21T07:28:", of a minute since the epoch."""
    t = time.gmtime(minute * 60)
    return f"{t.tm_year:04d}-{t.tm_mon:02d}-{t.tm_mday:02d}T{t.tm_hour:02d}:{t.tm_min:02d}:"


def iso(seconds: float, millis: bool = False) -> str:
    """ "2015-10-21T07:28:00Z", with ".123" where there are milliseconds or `millis` asks for them always."""
    whole, ms = divmod(round(seconds * 1000), 1000)
    minute, second = divmod(whole, 60)
    if ms or millis:
        return f"{iso_minute(minute)}{_TWO[second]}.{ms:03d}Z"
    return f"{iso_minute(minute)}{_TWO[second]}Z"


def unix(seconds: float) -> float | int:
    """Seconds to the millisecond, as AWS's JSON has them; whole ones without a fraction."""
    rounded = round(seconds, 3)
    whole = int(rounded)
    return whole if whole == rounded else rounded


def _iso_millis(seconds: float) -> str:
    ms = round(seconds * 1000)
    return f"{iso_minute(ms // 60_000)}{_TWO[ms // 1000 % 60]}{_MILLIS[ms % 1000]}"


def _iso_seconds(seconds: float) -> str:
    return iso(math.floor(seconds))


def writer(form: str, fraction: int | None = None) -> Callable[[float], str]:
    """What writes timestamps in the model's format: "iso8601", "rfc822" or "unixTimestamp".

    fraction: how many digits of a second ISO's have (3 or 0); None: 3 where they are not all 0.
    """
    if form == "rfc822":
        return http_date
    if form == "unixTimestamp":
        return lambda seconds: str(unix(seconds))
    return {None: iso, 0: _iso_seconds, 3: _iso_millis}[fraction]
