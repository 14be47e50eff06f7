from __future__ import annotations

from bare_node import ask, node

__all__ = ["ask", "node"]
