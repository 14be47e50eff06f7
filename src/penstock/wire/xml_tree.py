"""A tree of elements from XML that a stranger sent. No DTD, hence no entities of its own; UTF-8 only; bounded."""

from __future__ import annotations

from xml.etree import ElementTree

Element = ElementTree.Element

MAX_TAGS = 400_000
"""Opening and closing ones. The largest document AWS takes, a multipart upload of 10,000 parts, has 160,000."""


class BadXmlError(ValueError):
    """What arrived is not well-formed, or uses what is refused."""


def parse(body: bytes) -> Element:
    """The root element. Raises BadXmlError.

    The encoding is set from outside, so that no declaration can hide a DTD from the search for one; without a DTD
    there are no entities to expand or to fetch.
    """
    if b"<!DOCTYPE" in body:
        raise BadXmlError("a document type is not allowed")
    if body.count(b"<") > MAX_TAGS:
        raise BadXmlError("too many elements")
    try:
        return ElementTree.fromstring(body, ElementTree.XMLParser(encoding="utf-8"))  # noqa: S314
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise BadXmlError(str(error)) from None


def local(name: str) -> str:
    """A tag's or attribute's name without its namespace."""
    return name[name.rfind("}") + 1 :]
