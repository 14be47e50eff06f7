"""What PutLogEvents demands of a batch:
https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
"""

from __future__ import annotations

from typing import Any

from penstock.services.logs import errors
from penstock.services.logs.chunks import EVENT_OVERHEAD_BYTES

BATCH_BYTES = 1_048_576
BATCH_EVENTS = 10_000
DAY_MS = 86_400_000
TOO_OLD_MS = 14 * DAY_MS
TOO_NEW_MS = 2 * 3_600_000


def sized(events: list[dict[str, Any]]) -> list[tuple[int, str, int]]:
    """(ms, message, bytes as AWS counts them) of each event. Raises AwsError InvalidParameterException.

    Checks the count, the order, the size of the batch and of each event; the span is for `accepted` to check.
    """
    if len(events) > BATCH_EVENTS:
        raise errors.invalid(
            f"1 validation error detected: Value at 'logEvents' failed to satisfy constraint: "
            f"Member must have length less than or equal to {BATCH_EVENTS}"
        )
    found = []
    total = 0
    last_ms = 0
    for event in events:
        time_ms, message = event["timestamp"], event["message"]
        if time_ms < last_ms:
            raise errors.invalid("Log events in a single PutLogEvents request must be in chronological order.")
        last_ms = time_ms
        size_bytes = (len(message) if message.isascii() else len(message.encode())) + EVENT_OVERHEAD_BYTES
        if size_bytes > BATCH_BYTES:
            raise errors.invalid(f"Log event too large: {size_bytes} bytes exceeds limit of {BATCH_BYTES}")
        total += size_bytes
        found.append((time_ms, message, size_bytes))
    if total > BATCH_BYTES:
        raise errors.invalid(f"Upload too large: {total} bytes exceeds limit of {BATCH_BYTES}")
    return found


def accepted(
    events: list[tuple[int, str, int]], now_ms: int, retention_days: int
) -> tuple[list[tuple[int, str, int]], dict[str, int]]:
    """The events that may be kept, and the rejectedLogEventsInfo of the others (empty: all may).

    Raises AwsError InvalidParameterException where what is left spans more than a day.
    """
    begin, end = 0, len(events)
    rejected: dict[str, int] = {}
    while begin < end and events[begin][0] < now_ms - TOO_OLD_MS:
        begin += 1
    if begin:
        rejected["tooOldLogEventEndIndex"] = begin
    if retention_days:
        oldest_ms = now_ms - retention_days * DAY_MS
        kept = begin
        while begin < end and events[begin][0] < oldest_ms:
            begin += 1
        if begin > kept:
            rejected["expiredLogEventEndIndex"] = begin
    while end > begin and events[end - 1][0] > now_ms + TOO_NEW_MS:
        end -= 1
    if end < len(events):
        rejected["tooNewLogEventStartIndex"] = end
    if end > begin and events[end - 1][0] - events[begin][0] > DAY_MS:
        raise errors.invalid("The batch of log events in a single PutLogEvents request cannot span more than 24 hours.")
    return events[begin:end], rejected
