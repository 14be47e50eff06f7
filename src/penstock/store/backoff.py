"""How long to wait before trying again: exponential back-off with full jitter. Pure arithmetic."""

from __future__ import annotations

import random


def backoff_s(attempt: int, *, first_s: float, most_s: float, rng: random.Random | None = None) -> float:
    """Seconds to wait after the `attempt`-th failure (from 1): uniform up to min(most_s, first_s * 2^(attempt - 1)).

    Full jitter spreads those that failed together; a lower bound, a twentieth of it, keeps anybody from hammering.
    Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    # 2.0 ** 1024 overflows; nobody's first_s needs more than 2**62 to reach its bound.
    ceiling_s = min(most_s, first_s * 2.0 ** min(max(attempt - 1, 0), 62))
    return (rng or random).uniform(ceiling_s / 20, ceiling_s)
