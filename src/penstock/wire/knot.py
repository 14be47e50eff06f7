"""Ties the knot of recursive shapes: what stands for a shape's closure while that closure is being made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Knot:
    """A callable whose target is set later."""

    __slots__ = ("target",)

    def __init__(self) -> None:
        self.target: Callable[..., Any] | None = None

    def __call__(self, *args: Any) -> Any:
        assert self.target is not None, "used before it was tied"
        return self.target(*args)
