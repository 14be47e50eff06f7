"""What AWS would charge for invocations, in US dollars: the first tier of us-east-1, without the free tier.

https://aws.amazon.com/lambda/pricing/. Shown so that a function's cost is seen while it is written; Penstock charges nothing.
"""

from __future__ import annotations

import platform

REQUEST_USD = 0.20 / 1_000_000
GB_SECOND_USD = 0.0000133334 if platform.machine() in ("arm64", "aarch64") else 0.0000166667
EPHEMERAL_GB_SECOND_USD = 0.0000000309
"""Of /tmp beyond 512 MB."""
EPHEMERAL_FREE_MB = 512


def gb_seconds(billed_ms: float, memory_mb: int) -> float:
    """Memory times time, as AWS bills it."""
    return billed_ms * memory_mb / 1_024_000


def cost_usd(requests: int, billed_ms: float, memory_mb: int, ephemeral_mb: int = EPHEMERAL_FREE_MB) -> float:
    """What so many requests cost that were billed so many milliseconds together."""
    ephemeral = gb_seconds(billed_ms, max(0, ephemeral_mb - EPHEMERAL_FREE_MB)) * EPHEMERAL_GB_SECOND_USD
    return requests * REQUEST_USD + gb_seconds(billed_ms, memory_mb) * GB_SECOND_USD + ephemeral
