"""Smithy's interface definition language, as much of it as the protocol tests are written in, read into plain dicts.

Source: https://smithy.io/2.0/spec/idl.html. `read` gives {absolute shape id: shape}, a shape being {"type", "traits",
"members": {name: {"target", "traits"}}} and, for operations and services, their properties as they stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, TypeAlias

Shape: TypeAlias = dict[str, Any]
SIMPLE = frozenset(
    "blob boolean string byte short integer long float double bigInteger bigDecimal timestamp document".split()
)
PRELUDE = {name[:1].upper() + name[1:]: name for name in SIMPLE} | {
    f"Primitive{name}": name.lower() for name in ("Boolean", "Byte", "Short", "Integer", "Long", "Float", "Double")
}
"""What every model has without naming it."""
AGGREGATES = frozenset({"structure", "union", "list", "map", "set", "enum", "intEnum"})
MEMBER_TRAITS = {"smithy.api#Unit"}

_TOKEN = re.compile(
    r'(?P<space>[\s,]+|//[^\n]*)|(?P<block>"""(?:[^"\\]|\\[\s\S]|"(?!""))*""")|(?P<text>"(?:[^"\\]|\\[\s\S])*")'
    r"|(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_][\w.]*(?:#[\w]+)?(?:\$\w+)?)|(?P<mark>:=|[{}()\[\]:=@$])"
)  # fmt: skip
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|\n|[\s\S])")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "\n": ""}


def read(sources: Iterable[str]) -> dict[str, Shape]:
    """All shapes of the files, traits applied and mixins mixed in. Raises ValueError for what is no Smithy."""
    shapes: dict[str, Shape] = {}
    applied: list[tuple[str, str, Any]] = []
    for source in sources:
        _File(source, shapes, applied).read()
    for target, trait, value in applied:
        found, _, member = target.partition("$")
        holder = shapes[found]["members"][member] if member else shapes[found]
        holder["traits"][trait] = value
    for shape in shapes.values():
        for mixin in reversed(shape.pop("mixins", [])):
            shape["members"] = {**shapes[mixin]["members"], **shape["members"]}
            inherited = {k: v for k, v in shapes[mixin]["traits"].items() if k != "smithy.api#mixin"}
            shape["traits"] = {**inherited, **shape["traits"]}
    return shapes


class _File:
    """One file: a cursor over its tokens."""

    def __init__(self, source: str, shapes: dict[str, Shape], applied: list[tuple[str, str, Any]]) -> None:
        self._tokens = list(_tokens(source))
        self._at = 0
        self._shapes = shapes
        self._applied = applied
        self._namespace = ""
        self._used: dict[str, str] = {}
        self._suffixes = {"input": "Input", "output": "Output"}

    def read(self) -> None:
        while self._at < len(self._tokens):
            traits = self._traits()
            kind, word = self._next()
            if word == "$":
                name = self._next()[1]
                self._expect(":")
                value = self._node()
                for side in self._suffixes:
                    if name == f"operation{side.title()}Suffix":
                        self._suffixes[side] = str(value)
            elif word == "metadata":
                self._next()
                self._expect("=")
                self._node()
            elif word == "namespace":
                self._namespace = self._next()[1]
            elif word == "use":
                used = self._next()[1]
                self._used[used.rpartition("#")[2]] = used
            elif word == "apply":
                self._apply()
            elif kind == "name":
                self._shape(word, traits)
            else:
                raise ValueError(f"unexpected {word!r}")

    def _apply(self) -> None:
        target = self._absolute(self._next()[1])
        if not self._accept("{"):
            self._applied.append((target, *self._trait()))
            return
        for trait, value in self._traits().items():
            self._applied.append((target, trait, value))
        self._expect("}")

    def _shape(self, kind: str, traits: dict[str, Any]) -> None:
        name = f"{self._namespace}#{self._next()[1]}"
        shape: Shape = {"type": kind, "traits": traits, "members": {}, "mixins": self._mixins()}
        self._shapes[name] = shape
        if kind in AGGREGATES:
            self._members(shape)
        elif kind in ("operation", "service", "resource"):
            shape.update(self._properties(name))
        elif kind not in SIMPLE:
            raise ValueError(f"no shape is a {kind}")

    def _mixins(self) -> list[str]:
        if not self._accept("with"):
            return []
        self._expect("[")
        found = []
        while not self._accept("]"):
            found.append(self._absolute(self._next()[1]))
        return found

    def _members(self, shape: Shape) -> None:
        self._expect("{")
        while not self._accept("}"):
            traits = self._traits()
            name = self._next()[1]
            member: dict[str, Any] = {"traits": traits}
            if shape["type"] in ("enum", "intEnum"):
                member["value"] = self._node() if self._accept("=") else name
            else:
                self._expect(":")
                member["target"] = self._absolute(self._next()[1])
                if self._accept("="):
                    traits["smithy.api#default"] = self._node()
            shape["members"][name] = member

    def _properties(self, owner: str) -> dict[str, Any]:
        """An operation's or a service's: names of shapes stay names, absolute where they can be."""
        found: dict[str, Any] = {}
        self._expect("{")
        while not self._accept("}"):
            key = self._next()[1]
            if self._accept(":="):
                traits = self._traits()
                name = owner + self._suffixes[key]
                self._shapes[name] = shape = {
                    "type": "structure", "traits": traits, "members": {}, "mixins": self._mixins(),
                }  # fmt: skip
                self._members(shape)
                found[key] = name
            else:
                self._expect(":")
                found[key] = self._resolved(self._node())
        return found

    def _resolved(self, value: Any) -> Any:
        if isinstance(value, _Name):
            return self._absolute(value)
        return [self._resolved(each) for each in value] if isinstance(value, list) else value

    def _traits(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self._peek() == "@":
            name, value = self._trait()
            found[name] = value
        return found

    def _trait(self) -> tuple[str, Any]:
        self._expect("@")
        name = self._absolute(self._next()[1], trait=True)
        return name, self._trait_value() if self._accept("(") else {}

    def _trait_value(self) -> Any:
        if self._accept(")"):
            return {}
        if self._peek(1) == ":" and self._tokens[self._at][0] in ("name", "text"):
            found = {}
            while not self._accept(")"):
                key = self._next()[1]
                self._expect(":")
                found[key] = self._node()
            return found
        value = self._node()
        self._expect(")")
        return value

    def _node(self) -> Any:
        kind, word = self._next()
        if word == "{" and kind == "mark":
            found = {}
            while not self._accept("}"):
                key = self._next()[1]
                self._expect(":")
                found[key] = self._node()
            return found
        if word == "[" and kind == "mark":
            items = []
            while not self._accept("]"):
                items.append(self._node())
            return items
        if kind == "text":
            return word
        if kind == "number":
            return float(word) if re.search(r"[.eE]", word) else int(word)
        known = {"true": True, "false": False, "null": None}
        return known[word] if word in known else _Name(word)

    def _absolute(self, name: str, *, trait: bool = False) -> str:
        shape, dollar, member = name.partition("$")
        if "#" in shape:
            return name
        if shape in self._used:
            return self._used[shape] + dollar + member
        if trait or shape in PRELUDE or shape == "Unit":
            return f"smithy.api#{shape}"
        return f"{self._namespace}#{shape}{dollar}{member}"

    def _next(self) -> tuple[str, str]:
        self._at += 1
        return self._tokens[self._at - 1]

    def _peek(self, ahead: int = 0) -> str:
        at = self._at + ahead
        return self._tokens[at][1] if at < len(self._tokens) and self._tokens[at][0] != "text" else ""

    def _accept(self, word: str) -> bool:
        if self._peek() == word:
            self._at += 1
            return True
        return False

    def _expect(self, word: str) -> None:
        if not self._accept(word):
            raise ValueError(f"{word!r} expected at {self._tokens[self._at : self._at + 5]}")


class _Name(str):
    """A bare word in a node: a shape's id, or an unquoted text."""

    __slots__ = ()


def _tokens(source: str) -> Iterable[tuple[str, str]]:
    at = 0
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            raise ValueError(f"unreadable: {source[at : at + 60]!r}")
        at = match.end()
        kind, word = str(match.lastgroup), match.group()
        if kind == "text":
            yield "text", _unescaped(word[1:-1])
        elif kind == "block":
            yield "text", _unescaped(_dedented(word[3:-3]))
        elif kind != "space":
            yield kind, word


def _dedented(block: str) -> str:
    """A text block without what its indentation adds (https://smithy.io/2.0/spec/idl.html#text-blocks)."""
    lines = block.split("\n")[1:]
    counted = [line for line in lines[:-1] if line.strip()] + lines[-1:]
    margin = min((len(line) - len(line.lstrip(" ")) for line in counted), default=0)
    return "\n".join(line[margin:].rstrip(" ") for line in lines)


def _unescaped(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        code = match.group(1)
        return chr(int(code[1:], 16)) if code[0] == "u" and len(code) == 5 else _ESCAPES.get(code, code)

    return _ESCAPE.sub(one, text)
