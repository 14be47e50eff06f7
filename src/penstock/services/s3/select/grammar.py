"""The SQL of S3 Select, read by its own grammar and written as DuckDB's: nothing that is not of the grammar gets through.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/s3-select-sql-reference-select.html. Columns of CSV and values of JSON
are text; where they meet a number they are read as one, and are missing where they are none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from penstock.services.s3.select import functions
from penstock.services.s3.select.terms import BOOL, NUMBER, TEXT, TIME, Term, check_size, invalid, number, quoted
from penstock.wire.errors import AwsError

EXPRESSION_BYTES = 256 * 1024
_TOKEN = re.compile(
    r"""\s*(?:(?P<number>[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+)|(?P<text>'(?:[^']|'')*')|(?P<name>"(?:[^"]|"")+")"""
    r"""|(?P<word>[A-Za-z_]\w*)|(?P<sign><>|!=|<=|>=|\|\||[-+*/%=<>(),.\[\]]))"""
)
_RESERVED = frozenset(
    "SELECT FROM WHERE LIMIT AND OR NOT BETWEEN IN LIKE ESCAPE IS NULL MISSING CASE WHEN THEN ELSE END AS TRUE FALSE".split()
)
T = TypeVar("T")
_DEEPEST = 60
_TOKENS = 20_000
_DIGITS = 18
Resolve = Callable[[Sequence[str | int]], Term]
"""From a path (names and indices) to the value there."""


class Query(NamedTuple):
    """columns: (name or "", expression), None for *. where: "" for all. path: what follows S3Object: names, "*" for [*]."""

    columns: list[tuple[str, Term]] | None
    where: str
    limit: int | None
    aggregates: bool


class Parser:
    """One expression. `alias` and `path` are known after `source()`, which must come first."""

    def __init__(self, text: str, now: float) -> None:
        """now: what UTCNOW() is, seconds since the epoch. Raises AwsError."""
        if len(text.encode()) > EXPRESSION_BYTES:
            raise AwsError(
                "ExpressionTooLong", "The SQL expression is too long: The maximum byte-length is 256 KB.", 400
            )
        self._tokens = _tokens(text)
        self._at = 0
        self._depth = 0
        self._now = now
        self._after_source = 0
        self.alias = ""
        self.path: list[str] = []
        self.resolve: Resolve = lambda path: Term("", TEXT)
        self.aggregates = 0

    def source(self) -> None:
        """Read the FROM clause, wherever it stands."""
        depth = 0
        for at, (kind, value) in enumerate(self._tokens, 1):
            depth += (value == "(") - (value == ")") if kind == "sign" else 0
            if kind == "word" and value.upper() == "FROM" and depth == 0:
                self._at = at
                break
        else:
            raise AwsError("ParseSelectMissingFrom", "The SQL expression is missing the FROM clause.", 400)
        kind, value = self._next()
        if kind not in ("word", "name") or value.strip('"').upper() != "S3OBJECT":
            raise AwsError("InvalidDataSource", "Invalid data source type. Only S3Object is supported.", 400)
        self.path = self._source_path()
        self._take("AS")
        kind, value = self._peek()
        if kind == "name" or (kind == "word" and value.upper() not in _RESERVED):
            self._at += 1
            self.alias = value.strip('"')
        self._after_source = self._at
        self._at = 0

    def _source_path(self) -> list[str]:
        path: list[str] = []
        while True:
            if self._sign("["):
                self._expect("*")
                self._expect("]")
                path.append("*")
            elif self._sign("."):
                path.append(self._name())
            else:
                return path

    def query(self, resolve: Resolve) -> Query:
        """Read it all. Raises AwsError."""
        self.resolve = resolve
        self._keyword("SELECT")
        columns: list[tuple[str, Term]] | None = None
        if not self._star():
            columns = self._list(self._column, lambda column: column[1])
        self._keyword("FROM")
        self._at = self._after_source
        where, limit = "", None
        if self._take("WHERE"):
            before = self.aggregates
            where = _condition(self._expression())
            if self.aggregates != before:
                raise invalid("ParseUnsupportedSyntax", "Aggregates are not allowed in WHERE.")
        if self._take("LIMIT"):
            kind, value = self._next()
            limit = _whole(kind, value)
            if limit is None:
                raise invalid("ParseUnsupportedSyntax", "LIMIT must be a whole number.")
        if self._peek()[0]:
            raise invalid("ParseUnexpectedToken", f"Unexpected token found: {self._peek()[1]!r}")
        return Query(columns, where, limit, self.aggregates > 0)

    def _star(self) -> bool:
        if self._sign("*"):
            return True
        kind, value = self._peek()
        if kind in ("word", "name") and value.strip('"').lower() == self.alias.lower() and self.alias:
            following = self._tokens[self._at + 1 : self._at + 3]
            if following == [("sign", "."), ("sign", "*")]:
                self._at += 3
                return True
        return False

    def _column(self) -> tuple[str, Term]:
        begin = self._at
        term = self._expression()
        if self._take("AS"):
            return self._name(), term
        kind, value = self._peek()
        if kind == "name" or (kind == "word" and value.upper() not in _RESERVED):
            self._at += 1
            return value.strip('"'), term
        last = self._tokens[self._at - 1]
        is_path = last[0] in ("word", "name") and all(
            t[0] != "sign" or t[1] == "." for t in self._tokens[begin : self._at]
        )
        return (last[1].strip('"') if is_path and last[1].upper() not in _RESERVED else ""), term

    # expressions, by precedence

    def _expression(self) -> Term:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise invalid("ParseUnsupportedSyntax", "The SQL expression is nested too deeply.")
        found = self._chain("OR", self._and)
        self._depth -= 1
        return found

    def _and(self) -> Term:
        return self._chain("AND", self._not)

    def _chain(self, word: str, operand: Callable[[], Term]) -> Term:
        found = operand()
        if not self._take(word):
            return found
        conditions = [_condition(found)]
        size = 0
        while True:
            conditions.append(_condition(operand()))
            size += len(conditions[-1])
            check_size(size)
            if not self._take(word):
                return Term(f"({f' {word} '.join(conditions)})", BOOL)

    def _not(self) -> Term:
        nots = 0
        while self._take("NOT"):
            nots += 1
        found = self._comparison()
        return Term(f"(NOT {_condition(found)})", BOOL) if nots % 2 else found

    def _comparison(self) -> Term:
        left = self._concatenation()
        kind, value = self._peek()
        if kind == "sign" and value in ("=", "<>", "!=", "<", ">", "<=", ">="):
            self._at += 1
            return _compared(left, "<>" if value == "!=" else value, self._concatenation())
        if self._take("IS"):
            negated = self._take("NOT")
            if not self._take("MISSING"):
                self._keyword("NULL")
            return Term(f"({left.sql} IS {'NOT ' if negated else ''}NULL)", BOOL)
        negated = self._take("NOT")
        found: Term | None = None
        if self._take("BETWEEN"):
            low = self._concatenation()
            self._keyword("AND")
            high = self._concatenation()
            found = Term(f"({_compared(left, '>=', low).sql} AND {_compared(left, '<=', high).sql})", BOOL)
        elif self._take("IN"):
            found = self._in(left)
        elif self._take("LIKE"):
            pattern = self._concatenation()
            escape = f" ESCAPE {self._concatenation().sql}" if self._take("ESCAPE") else ""
            found = Term(f"({left.sql} LIKE {pattern.sql}{escape})", BOOL)
        if found is None:
            if negated:
                raise invalid("ParseUnexpectedToken", "Unexpected token found: NOT")
            return left
        return Term(f"(NOT {found.sql})", BOOL) if negated else found

    def _in(self, left: Term) -> Term:
        self._expect("(")
        tests = self._list(lambda: _compared(left, "=", self._concatenation()), lambda test: test)
        self._expect(")")
        return Term(f"({' OR '.join(test.sql for test in tests)})", BOOL)

    def _list(self, read: Callable[[], T], term: Callable[[T], Term]) -> list[T]:
        """What stands between commas, bounded all together."""
        found = [read()]
        size = len(term(found[0]).sql)
        while self._sign(","):
            found.append(read())
            size += len(term(found[-1]).sql)
            check_size(size)
        return found

    def _concatenation(self) -> Term:
        found = self._sum()
        while self._sign("||"):
            found = Term(f"(CAST({found.sql} AS VARCHAR) || CAST({self._sum().sql} AS VARCHAR))", TEXT)
        return found

    def _sum(self) -> Term:
        found = self._product()
        while self._peek() in (("sign", "+"), ("sign", "-")):
            sign = self._next()[1]
            found = Term(f"({number(found)} {sign} {number(self._product())})", NUMBER)
        return found

    def _product(self) -> Term:
        found = self._unary()
        while self._peek() in (("sign", "*"), ("sign", "/"), ("sign", "%")):
            sign = self._next()[1]
            found = Term(f"({number(found)} {sign} {number(self._unary())})", NUMBER)
        return found

    def _unary(self) -> Term:
        minus = 0
        while self._peek() in (("sign", "-"), ("sign", "+")):
            minus += self._next()[1] == "-"
        found = self._primary()
        return Term(f"(-{number(found)})", NUMBER) if minus % 2 else found

    def _primary(self) -> Term:
        kind, value = self._next()
        if kind == "number":
            return Term(value, NUMBER)
        if kind == "text":
            return Term(quoted(value[1:-1].replace("''", "'")), TEXT)
        if value == "(":
            inner = self._expression()
            self._expect(")")
            return Term(f"({inner.sql})", inner.kind)
        if kind == "name":
            return self._reference(value[1:-1].replace('""', '"'), bare=False)
        if kind != "word":
            raise invalid("ParseUnexpectedToken", f"Unexpected token found: {value!r}")
        match value.upper():
            case "TRUE" | "FALSE":
                return Term(value.upper(), BOOL)
            case "NULL" | "MISSING":
                return Term("NULL", TEXT)
            case "CASE":
                return self._case()
            case "CAST":
                return self._cast()
            case "DATE" | "INTERVAL" | "EXISTS":
                raise invalid(
                    "ParseUnsupportedSyntax", f"The SQL expression contains unsupported syntax: {value.upper()}"
                )
        if self._peek() == ("sign", "("):
            return self._call(value.upper())
        if value.upper() in _RESERVED:
            raise invalid("ParseUnexpectedKeyword", f"Unexpected keyword found: KEYWORD:{value.lower()}")
        return self._reference(value, bare=True)

    def _case(self) -> Term:
        subject = None if self._peek() == ("word", "WHEN") or self._peek()[1].upper() == "WHEN" else self._expression()
        sql = "CASE"
        results: list[Term] = []
        while self._take("WHEN"):
            wanted = self._expression()
            test = _compared(subject, "=", wanted).sql if subject is not None else _condition(wanted)
            self._keyword("THEN")
            results.append(self._expression())
            sql += f" WHEN {test} THEN {results[-1].sql}"
            check_size(len(sql))
        if not results:
            raise invalid("ParseExpectedWhenClause", "Did not find the expected WHEN clause in the SQL expression.")
        if self._take("ELSE"):
            results.append(self._expression())
            sql += f" ELSE {results[-1].sql}"
        self._keyword("END")
        return Term(f"({sql} END)", results[0].kind)

    def _cast(self) -> Term:
        self._expect("(")
        inner = self._expression()
        self._keyword("AS")
        kind, value = self._next()
        arguments: list[str] = []
        if self._sign("("):
            while self._peek()[0] == "number":
                arguments.append(self._next()[1])
                self._sign(",")
            self._expect(")")
        self._expect(")")
        return functions.cast(inner, value if kind == "word" else "", arguments)

    def _call(self, name: str) -> Term:
        self._expect("(")
        if name == "UTCNOW":
            found = Term(f"make_timestamp({round(self._now * 1e6)})", TIME)
        elif name in functions.SPECIAL:
            found = functions.SPECIAL[name](self)
        elif name == "COUNT" and self._sign("*"):
            self.aggregates += 1
            found = Term("COUNT(*)", NUMBER)
        else:
            arguments: list[Term] = []
            if self._peek() != ("sign", ")"):
                arguments = self._list(self._expression, lambda argument: argument)
            if name in functions.AGGREGATES:
                self.aggregates += 1
            found = functions.call(name, arguments)
        self._expect(")")
        return found

    def _reference(self, first: str, *, bare: bool) -> Term:
        path: list[str | int] = [first]
        while True:
            if self._sign("."):
                path.append(self._name())
            elif self._sign("["):
                kind, value = self._next()
                index = _whole(kind, value)
                if index is not None:
                    path.append(index)
                elif kind == "text":
                    path.append(value[1:-1])
                else:
                    raise invalid("ParseUnexpectedToken", f"Unexpected token found: {value!r}")
                self._expect("]")
            else:
                break
        names = (self.alias.lower(),) if self.alias else ("s3object",)
        if first.lower() in names and len(path) > 1:
            path = path[1:]
        return self.resolve(path)

    # tokens

    def expression(self) -> Term:
        """The next expression, for functions with a syntax of their own."""
        return self._expression()

    def word(self) -> str:
        """The next word, in upper case, or "" where something else is next."""
        kind, value = self._peek()
        if kind != "word":
            return ""
        self._at += 1
        return value.upper()

    def take(self, word: str) -> bool:
        """Whether that keyword is next; it is stepped over."""
        return self._take(word)

    def comma(self) -> None:
        """Step over a comma. Raises AwsError where there is none."""
        self._expect(",")

    def sign(self, sign: str) -> bool:
        """Whether that sign is next; it is stepped over."""
        return self._sign(sign)

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("", "")

    def _next(self) -> tuple[str, str]:
        found = self._peek()
        if not found[0]:
            raise invalid("ParseUnexpectedToken", "Unexpected end of the SQL expression.")
        self._at += 1
        return found

    def _sign(self, sign: str) -> bool:
        if self._peek() == ("sign", sign):
            self._at += 1
            return True
        return False

    def _expect(self, sign: str) -> None:
        if not self._sign(sign):
            raise invalid("ParseExpectedTokenType", f"Did not find the expected token {sign!r} in the SQL expression.")

    def _take(self, word: str) -> bool:
        kind, value = self._peek()
        if kind == "word" and value.upper() == word:
            self._at += 1
            return True
        return False

    def _keyword(self, word: str) -> None:
        if not self._take(word):
            raise invalid("ParseExpectedKeyword", f"Did not find the expected keyword {word} in the SQL expression.")

    def _name(self) -> str:
        kind, value = self._next()
        if kind == "name":
            return value[1:-1].replace('""', '"')
        if kind == "word":
            return value
        raise invalid("ParseExpectedIdentForAlias", f"Did not find the expected identifier, but {value!r}.")


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    at, text = 0, text.rstrip().removesuffix(";").rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise AwsError(
                "LexerInvalidChar", f"The SQL expression contains an invalid character at position {at}.", 400
            )
        found.append((match.lastgroup, match.group(match.lastgroup)))
        if len(found) > _TOKENS:
            raise AwsError("ExpressionTooLong", f"The SQL expression is too long: it has over {_TOKENS} words.", 400)
        at = match.end()
    return found


def _whole(kind: str, value: str) -> int | None:
    return int(value) if kind == "number" and value.isdigit() and len(value) <= _DIGITS else None


def _condition(term: Term) -> str:
    return term.sql if term.kind == BOOL else f"TRY_CAST({term.sql} AS BOOLEAN)"


def _compared(left: Term, sign: str, right: Term) -> Term:
    if NUMBER in (left.kind, right.kind):
        return Term(f"({number(left)} {sign} {number(right)})", BOOL)
    if BOOL in (left.kind, right.kind):
        return Term(f"({_condition(left)} {sign} {_condition(right)})", BOOL)
    return Term(f"({left.sql} {sign} {right.sql})", BOOL)
