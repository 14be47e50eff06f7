"""Document paths to trees, and items cut down to them. Finds paths that overlap or conflict."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from penstock.services.dynamodb.attributes import Item, Value
from penstock.services.dynamodb.expressions.lexer import CountedExpressionError
from penstock.services.dynamodb.expressions.scope import Scope, check_reserved
from penstock.services.dynamodb.expressions.syntax import Path, PathNode, written

Projector: TypeAlias = Callable[[Item], Item]

_REWRITE = "must remove or rewrite one of these paths; path one: {}, path two: {}"


class PathTree:
    """A node of a tree of paths. No children: the path ends here and takes everything below."""

    __slots__ = ("children", "first")

    def __init__(self, first: Path) -> None:
        self.children: dict[str | int, PathTree] = {}
        self.first = first
        """The path that made this node."""


def tree_of(paths: Iterable[Path]) -> PathTree:
    """The tree of all paths. Raises ExpressionError where two overlap, or need one value to be both list and map."""
    root = PathTree(())
    for path in paths:
        node, is_new = root, False
        for part in path:
            if not is_new and node is not root and not node.children:
                _refuse("overlap", node.first, path)
            child = node.children.get(part)
            if child is None:
                sibling = next(iter(node.children), part)
                if isinstance(sibling, int) != isinstance(part, int):
                    _refuse("conflict", node.first, path)
                child = node.children[part] = PathTree(path)
                is_new = True
            node = child
        if not is_new:
            _refuse("overlap", node.first, path)
    return root


def _refuse(how: str, one: Path, two: Path) -> None:
    raise CountedExpressionError(
        f"Two document paths {how} with each other; " + _REWRITE.format(written(one), written(two))
    )


def compile_projection(nodes: list[PathNode], scope: Scope) -> tuple[Projector, list[Path]]:
    """A function that cuts an item down to the paths, and the paths. Raises ExpressionError."""
    for node in nodes:
        check_reserved(node)
    paths = [scope.path(node) for node in nodes]
    return projector(paths), paths


def projector(paths: list[Path]) -> Projector:
    """A function that cuts an item down to the paths; what is not there is left out. Raises ExpressionError."""
    tree = tree_of(paths)
    if all(len(path) == 1 for path in paths):
        names = [str(path[0]) for path in paths]
        return lambda item: {name: item[name] for name in names if name in item}
    return lambda item: _members(item, tree)


def _members(members: dict[str, Value], tree: PathTree) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for part, below in tree.children.items():
        value = members.get(str(part))
        if value is not None:
            cut = _cut(value, below)
            if cut is not None:
                found[str(part)] = cut
    return found


def _cut(value: Value, tree: PathTree) -> Value | None:
    if not tree.children:
        return value
    if isinstance(next(iter(tree.children)), int):
        elements: list[Any] | None = value.get("L")
        if elements is None:
            return None
        indexes = sorted(part for part in tree.children if isinstance(part, int) and part < len(elements))
        kept = [_cut(elements[i], tree.children[i]) for i in indexes]
        chosen = [element for element in kept if element is not None]
        return {"L": chosen} if chosen else None
    if "M" not in value:
        return None
    found = _members(value["M"], tree)
    return {"M": found} if found else None
