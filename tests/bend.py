"""Requests of real operations, bent in every way that a hostile or broken client might bend them. Seeded."""

from __future__ import annotations

import random

from penstock.wire.message import Request

PIECES = [
    b"", b"\x00", b"\xff", b"null", b"[]", b"{}", b'"', b"<", b">", b"]]>", b"&#0;", b"&x;", b"<!DOCTYPE a>", b"%",
    b"%00", b"%ff", b".", b".member.99999999999", b".1", b"=", b"&", b"1e999", b"NaN", b"-1", b"9" * 400, b",", b":",
    b"\xed\xa0\x80", b"\\ud800", b"[" * 500, b"<a>" * 500, b"\x9f", b"\xbf", b"\xc1", b"true",
    b"\xfb\x7f\xf8\x00\x00\x00\x00\x00\x00",
]  # fmt: skip
TEXTS = [
    "", " ", "0", "-1", "x" * 5000, "\x00", "é", "99999999999999999999", "1e5", "nan", "true", "*", "%00", "a,b", '"', "==",
]  # fmt: skip


def body(data: bytes, chance: random.Random) -> bytes:
    """Bytes with something put in, taken out, changed or repeated."""
    for _ in range(chance.randint(1, 3)):
        at = chance.randint(0, len(data))
        match chance.randrange(4):
            case 0:
                data = data[:at] + chance.choice(PIECES) + data[at:]
            case 1:
                data = data[:at] + data[at + chance.randint(1, 20) :]
            case 2:
                data = data[:at] + bytes((chance.randrange(256),)) + data[at + 1 :]
            case 3:
                data = data[:at] + data[at // 2 :]
    return data


def request(made: Request, chance: random.Random) -> None:
    """Bend the body, a header or the query, in place."""
    match chance.randrange(4):
        case 0 | 1 if made.body:
            made.body = body(made.body, chance)
        case 2 if made.headers:
            made.headers[chance.choice(list(made.headers))] = chance.choice(TEXTS)
        case _:
            made.query = body(made.query.encode(), chance).decode("latin-1")
