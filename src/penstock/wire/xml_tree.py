"""A small tree of elements from XML that a stranger sent. No DTD, no entities beyond XML's own five, bounded depth."""

from __future__ import annotations

from xml.parsers import expat

MAX_DEPTH = 64
MAX_ELEMENTS = 500_000


class BadXmlError(ValueError):
    """What arrived is not well-formed, or uses what is refused."""


class Element:
    """An element: local name, attributes by local name, children in order, text."""

    __slots__ = ("attributes", "children", "name", "text")

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name = name
        self.attributes = attributes
        self.children: list[Element] = []
        self.text = ""


def _local(name: str) -> str:
    return name.rpartition(":")[2]


def parse(body: bytes) -> Element:
    """The root element. Raises BadXmlError."""
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.buffer_size = 65536
    stack: list[Element] = []
    roots: list[Element] = []
    count = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal count
        count += 1
        if len(stack) >= MAX_DEPTH or count > MAX_ELEMENTS:
            raise BadXmlError("nested too deep or too many elements")
        element = Element(_local(name), {_local(k): v for k, v in attributes.items()} if attributes else attributes)
        (stack[-1].children if stack else roots).append(element)
        stack.append(element)

    def end(_name: str) -> None:
        stack.pop()

    def text(data: str) -> None:
        stack[-1].text += data

    def refuse(*_args: object) -> None:
        raise BadXmlError("a document type is not allowed")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, UnicodeDecodeError, LookupError, ValueError) as error:
        raise BadXmlError(str(error)) from None
    if not roots:
        raise BadXmlError("no element")
    return roots[0]
