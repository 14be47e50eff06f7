"""What SELECT shows of an item: each path under its last name, not inside what holds it."""

from __future__ import annotations

from penstock.services.dynamodb.attributes import Item
from penstock.services.dynamodb.errors import invalid
from penstock.services.dynamodb.expressions.operands import look_up
from penstock.services.dynamodb.expressions.projection import Projector
from penstock.services.dynamodb.expressions.syntax import Path


def shown_name(path: Path) -> str:
    """The name of a path's value in the reply: a.b -> b, a.b[1] -> b[1]."""
    last = max(i for i, part in enumerate(path) if isinstance(part, str))
    return str(path[last]) + "".join(f"[{part}]" for part in path[last + 1 :])


def projector(paths: list[Path]) -> Projector:
    """A function that makes what is shown of an item. Raises ValidationException where two would have one name."""
    named = [(shown_name(path), path) for path in paths]
    if len({name for name, _ in named}) != len(named):
        raise invalid("Two of the selected document paths have the same name")

    def shown(item: Item) -> Item:
        found: Item = {}
        for name, path in named:
            value = look_up(item, path)
            if value is not None:
                found[name] = value
        return found

    return shown
