"""Items as lines of Amazon Ion text, as exports write them and imports read them.

Strings, booleans, decimals, blobs, lists and structs stand for DynamoDB's types; a set is a list annotated $dynamodb_SS,
$dynamodb_NS or $dynamodb_BS. Only what such items need is read: no binary Ion, timestamps, s-expressions, local symbols.
Source: "DynamoDB table export output format" of the developer guide, https://amazon-ion.github.io/ion-docs/docs/spec.html
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Callable
from typing import Any

from penstock.services.dynamodb.attributes import Item, Value

VERSION = "$ion_1_0"
_SETS = {"SS": "$dynamodb_SS", "NS": "$dynamodb_NS", "BS": "$dynamodb_BS"}
_OF_SET = {annotation: kind for kind, annotation in _SETS.items()}
_PLAIN_SYMBOL = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*\Z").match
_KEYWORDS = frozenset(("null", "true", "false", "nan"))
_MAX_DEPTH = 64

_TOKEN = re.compile(
    r"""(?P<skip>\s+|//[^\n]*|/\*.*?\*/)
    |(?P<blob>\{\{\s*[A-Za-z0-9+/=\s]*\}\})
    |(?P<long>'''(?:[^\\']|\\.|'(?!''))*''')
    |(?P<string>"(?:[^"\\\n]|\\.)*")
    |(?P<quoted>'(?:[^'\\\n]|\\.)*')
    |(?P<number>-?[0-9][0-9_]*(?:\.[0-9_]*)?(?:[dDeE][+-]?[0-9]+)?)
    |(?P<word>[A-Za-z_$][A-Za-z0-9_$]*(?:\.[a-z]+)?)
    |(?P<mark>::|[{}\[\],:])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|\r?\n|.)", re.DOTALL)
_ESCAPES = {
    "0": "\0", "a": "\a", "b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", "v": "\v", "/": "/", "?": "?",
    "'": "'", '"': '"', "\\": "\\", "\n": "", "\r\n": "",
}  # fmt: skip


class IonError(ValueError):
    """Text that is not Ion, or Ion that stands for no item."""


def item_text(item: Item) -> str:
    """An item as an Ion struct."""
    return "{" + ",".join(f"{_symbol(name)}:{_value_text(value)}" for name, value in item.items()) + "}"


def _symbol(name: str) -> str:
    if _PLAIN_SYMBOL(name) and name not in _KEYWORDS:
        return name
    return "'" + _escaped(name).replace("'", "\\'") + "'"


def _escaped(text: str) -> str:
    """As JSON escapes it, which Ion reads too, but for quotes."""
    return json.dumps(text, ensure_ascii=False)[1:-1].replace('\\"', '"')


def _value_text(value: Value) -> str:
    kind, content = next(iter(value.items()))
    match kind:
        case "S":
            return json.dumps(content, ensure_ascii=False)
        case "N":
            return number_text(content)
        case "B":
            return f"{{{{{content}}}}}"
        case "BOOL":
            return "true" if content else "false"
        case "NULL":
            return "null"
        case "L":
            return "[" + ",".join(_value_text(each) for each in content) + "]"
        case "M":
            return item_text(content)
        case _:
            members = ",".join(_value_text({kind[0]: each}) for each in content)
            return f"{_SETS[kind]}::[{members}]"


def number_text(number: str) -> str:
    """A canonical number as an Ion decimal: 103 is 103., 600 is 6d2."""
    if "." in number:
        return str(number)
    digits = number.rstrip("0")
    zeros = len(number) - len(digits)
    if not zeros or number == "0":
        return number + "."
    return f"{digits}d{zeros}"


def parse_item(text: str) -> Item:
    """The item in {Item:{…}}. Its values are not checked further. Raises IonError."""
    reader = _Reader(text)
    found = reader.value()
    reader.end()
    item = found.get("M", {}).get("Item") if isinstance(found, dict) else None
    if item is None or "M" not in item:
        raise IonError("a line is to be a struct with a struct Item")
    fields: Item = item["M"]
    return fields


class _Reader:
    """One value after the other out of Ion text."""

    def __init__(self, text: str) -> None:
        self._tokens = self._cut(text)
        self._at = 0
        self._depth = 0
        if self._peek() == ("word", VERSION):
            self._at += 1

    @staticmethod
    def _cut(text: str) -> list[tuple[str, str]]:
        tokens, at = [], 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise IonError(f"no Ion at character {at}: {text[at : at + 20]!r}")
            kind = match.lastgroup or ""
            if kind != "skip":
                tokens.append((kind, match.group()))
            at = match.end()
        return tokens

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "")

    def _next(self) -> tuple[str, str]:
        token = self._peek()
        self._at += 1
        return token

    def end(self) -> None:
        """Raises IonError if there is more."""
        if self._peek()[0] != "end":
            raise IonError(f"more than one value: {self._peek()[1][:20]!r}")

    def value(self) -> Any:
        """The next value in DynamoDB's form."""
        kind, text = self._next()
        if self._peek() == ("mark", "::") and kind in ("word", "quoted"):
            self._at += 1
            found = self.value()
            return self._set(_OF_SET[text], found) if text in _OF_SET else found
        match kind:
            case "string":
                return {"S": _unescaped(text[1:-1])}
            case "long":
                pieces = [text[3:-3]]
                while self._peek()[0] == "long":
                    pieces.append(self._next()[1][3:-3])
                return {"S": "".join(map(_unescaped, pieces))}
            case "quoted":
                return {"S": _unescaped(text[1:-1])}
            case "number":
                return {"N": text.replace("_", "").replace("d", "e").replace("D", "e")}
            case "blob":
                return {"B": _base64("".join(text[2:-2].split()))}
            case "word":
                return _word(text)
        if text not in ("{", "["):
            raise IonError(f"a value is expected at {text[:20]!r}")
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise IonError("nested too deeply")
        found = self._struct() if text == "{" else {"L": self._list()}
        self._depth -= 1
        return found

    def _struct(self) -> Value:
        fields: Item = {}
        self._members("}", lambda: self._field(fields))
        return {"M": fields}

    def _field(self, fields: Item) -> None:
        kind, text = self._next()
        if kind not in ("word", "quoted", "string") or self._next() != ("mark", ":"):
            raise IonError(f"a field name is expected at {text[:20]!r}")
        name = text if kind == "word" else _unescaped(text[1:-1])
        fields[name] = self.value()

    def _list(self) -> list[Value]:
        found: list[Value] = []
        self._members("]", lambda: found.append(self.value()))
        return found

    def _members(self, closing: str, read: Callable[[], None]) -> None:
        while self._peek() != ("mark", closing):
            read()
            if self._peek() == ("mark", ","):
                self._at += 1
            elif self._peek() != ("mark", closing):
                raise IonError(f"{closing} or a comma is expected at {self._peek()[1][:20]!r}")
        self._at += 1

    @staticmethod
    def _set(kind: str, found: Any) -> Value:
        members = found.get("L")
        if members is None or any(set(each) != {kind[0]} for each in members):
            raise IonError(f"a {kind} is to be a list of {kind[0]}")
        return {kind: [each[kind[0]] for each in members]}


def _word(text: str) -> Value:
    if text in ("true", "false"):
        return {"BOOL": text == "true"}
    if text == "null" or text.startswith("null."):
        return {"NULL": True}
    raise IonError(f"symbols are no values of items: {text[:40]!r}")


def _base64(text: str) -> str:
    try:
        binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error as error:
        raise IonError(f"a blob is not Base64: {error}") from None
    return text


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text

    def replaced(match: re.Match[str]) -> str:
        escape = match.group(1)
        if escape[0] in "xuU" and len(escape) > 1:
            return chr(int(escape[1:], 16))
        if escape not in _ESCAPES:
            raise IonError(f"no such escape: \\{escape}")
        return _ESCAPES[escape]

    found = _ESCAPE.sub(replaced, text)
    # Written as a pair of surrogates, as JSON does.
    return found.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
