"""What invocations would cost on AWS, by the REPORT lines that functions leave in their logs."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from penstock.runtime.billing import cost_usd, gb_seconds

_REPORT = re.compile(r"REPORT RequestId: .*?Billed Duration: (\d+) ms\s+Memory Size: (\d+) MB", re.DOTALL)


@dataclass
class Cost:
    """Invocations, what they were billed for together, and their price."""

    invocations: int = 0
    billed_ms: int = 0
    gb_seconds: float = 0.0
    usd: float = 0.0

    def add(self, message: str) -> bool:
        """Count a line of a log; whether it was one that reports an invocation."""
        found = _billed(message)
        if found is None:
            return False
        billed_ms, memory_mb = found
        self.invocations += 1
        self.billed_ms += billed_ms
        self.gb_seconds += gb_seconds(billed_ms, memory_mb)
        self.usd += cost_usd(1, billed_ms, memory_mb)
        return True

    def __str__(self) -> str:
        many = "invocation" if self.invocations == 1 else "invocations"
        return (
            f"{self.invocations} {many}, {self.billed_ms} ms billed, {self.gb_seconds:.6g} GB-s: "
            f"${self.usd:.9f} at AWS's prices"
        )


def _billed(message: str) -> tuple[int, int] | None:
    match = _REPORT.search(message)
    if match is not None:
        return int(match[1]), int(match[2])
    if '"platform.report"' not in message:
        return None
    try:
        metrics = json.loads(message)["record"]["metrics"]
        return int(metrics["billedDurationMs"]), int(metrics["memorySizeMB"])
    except (ValueError, KeyError, TypeError):
        return None
