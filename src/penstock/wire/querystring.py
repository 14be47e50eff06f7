"""Query strings and forms: names and values, in order, percent-decoded strictly and bounded."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from penstock.wire.errors import AwsError

MAX_PARAMETERS = 50_000


def unquote(text: str) -> str:
    """Percent-decode to UTF-8 text. Raises UnicodeDecodeError for bytes that are none."""
    if "%" not in text and text.isascii():
        return text
    return unquote_to_bytes(_bytes(text)).decode("utf-8")


def _bytes(text: str) -> bytes:
    try:
        return text.encode("latin-1")  # the listener hands bytes through as latin-1
    except UnicodeEncodeError:
        return text.encode("utf-8")


def parse(query: str, *, plus: bool = True) -> list[tuple[str, str]]:
    """(name, value) pairs; a name without "=" has an empty value. Raises AwsError for too many or for broken UTF-8."""
    if not query:
        return []
    parts = query.split("&", MAX_PARAMETERS)
    if len(parts) > MAX_PARAMETERS:
        raise AwsError("InvalidRequest", f"More than {MAX_PARAMETERS} parameters.", 400)
    pairs: list[tuple[str, str]] = []
    try:
        for part in parts:
            if part:
                if plus and "+" in part:
                    part = part.replace("+", " ")
                name, _, value = part.partition("=")
                pairs.append((unquote(name), unquote(value)))
    except UnicodeDecodeError:
        raise AwsError("InvalidURI", "Couldn't parse the specified URI.", 400) from None
    return pairs
