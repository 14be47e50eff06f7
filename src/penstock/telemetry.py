"""What the server says of itself: process metrics, and logs as text or JSON lines. Secrets never come here.

Counting costs a dict update; the Prometheus text is made only when somebody scrapes.
"""

from __future__ import annotations

import bisect
import json
import logging
import sys
import time
from collections.abc import Callable, Mapping
from typing import IO, TypeAlias

BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_FIRST_S = BUCKETS_S[0]
Labels: TypeAlias = tuple[tuple[str, str], ...]


class Telemetry:
    """Counters, gauges and per-operation latency histograms of one process."""

    def __init__(self) -> None:
        self._counters: dict[tuple[str, Labels], float] = {}
        self._gauges: dict[tuple[str, Labels], Callable[[], float]] = {}
        self._families: dict[str, Callable[[], Mapping[Labels, float]]] = {}
        self._operations: dict[tuple[str, str, str], list[float]] = {}

    def count(self, name: str, n: float = 1, **labels: str) -> None:
        """Add to a counter; its name ends in _total."""
        self.add(name, tuple(sorted(labels.items())), n)

    def add(self, name: str, labels: Labels, n: float = 1) -> None:
        """As `count`, for a busy place: the labels are sorted already."""
        key = (name, labels)
        self._counters[key] = self._counters.get(key, 0) + n

    def forget(self, prefix: str, gone: set[Labels]) -> None:
        """Drop the counters of a prefix that have exactly these labels: what they were of is no more."""
        for key in [key for key in self._counters if key[1] in gone and key[0].startswith(prefix)]:
            del self._counters[key]

    def gauge(self, name: str, read: Callable[[], float], **labels: str) -> None:
        """Have `read` asked at each scrape."""
        self._gauges[name, tuple(sorted(labels.items()))] = read

    def gauges(self, name: str, read: Callable[[], Mapping[Labels, float]]) -> None:
        """As `gauge`, for one whose labels come and go."""
        self._families[name] = read

    def operation_ended(self, service: str, operation: str, error_code: str, began_monotonic_s: float) -> None:
        """Record one operation: its outcome ("" for success) and how long it took."""
        elapsed_s = time.monotonic() - began_monotonic_s
        row = self._operations.get((service, operation, error_code))
        if row is None:
            row = self._operations[service, operation, error_code] = [0.0] * (len(BUCKETS_S) + 2)
        row[0 if elapsed_s <= _FIRST_S else bisect.bisect_left(BUCKETS_S, elapsed_s)] += 1
        row[-1] += elapsed_s

    def render(self) -> str:
        """All of it in Prometheus's text format (version 0.0.4)."""
        lines: list[str] = []
        last = ""
        for (name, labels), value in sorted(self._counters.items()):
            if name != last:
                lines.append(f"# TYPE {name} counter")
                last = name
            lines.append(f"{name}{_labels(labels)} {value:g}")
        for (name, labels), read in sorted(self._gauges.items(), key=lambda g: g[0]):
            if name != last:
                lines.append(f"# TYPE {name} gauge")
                last = name
            lines.append(f"{name}{_labels(labels)} {read():g}")
        for name, read_all in sorted(self._families.items()):
            lines.append(f"# TYPE {name} gauge")
            lines += [f"{name}{_labels(labels)} {value:g}" for labels, value in sorted(read_all().items())]
        if self._operations:
            lines.append("# TYPE penstock_operation_seconds histogram")
        for (service, operation, code), row in sorted(self._operations.items()):
            own: Labels = (("service", service), ("operation", operation), ("error", code))
            total = 0.0
            for bound, n in zip((*BUCKETS_S, float("inf")), row[:-1], strict=True):
                total += n
                edge = "+Inf" if bound == float("inf") else f"{bound:g}"
                lines.append(f"penstock_operation_seconds_bucket{_labels((*own, ('le', edge)))} {total:g}")
            lines.append(f"penstock_operation_seconds_sum{_labels(own)} {row[-1]:.6f}")
            lines.append(f"penstock_operation_seconds_count{_labels(own)} {total:g}")
        return "\n".join(lines) + "\n"


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    quoted = ",".join(
        '{}="{}"'.format(k, v.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")) for k, v in labels
    )
    return "{" + quoted + "}"


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure_logging(level: str, form: str, stream: IO[str] | None = None) -> None:
    """Set the root logger up once. form: "text" or "json"; pass fields with `extra={"fields": {...}}`."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        _JsonFormatter() if form == "json" else logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
