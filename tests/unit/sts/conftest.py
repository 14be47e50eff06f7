"""Fixtures: see `bare_node`."""

from bare_node import ask, node

__all__ = ["ask", "node"]
