"""DuckDB, shut in: one connection for one query, which can read one file in memory and nothing else.

No other file, no network, no extension, no spilling to disk, bounded memory; settings are locked before the query runs.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from typing import Any

from penstock.services.s3.select.grammar import Query
from penstock.services.s3.select.source import Memory
from penstock.services.s3.select.terms import BOOL, NUMBER, TEXT, TIME, Term, invalid, named, quoted
from penstock.wire.errors import AwsError, not_implemented

MEMORY = "512MB"
ROWS = 1000
_BY_INDEX = re.compile(r"_(\d+)", re.ASCII)
_HEAD_BYTES = 1024 * 1024
_NO_NULL = "\x01\x02\x01"
"""No field says this: an empty field is text, not missing."""
_SETTINGS = (
    "SET autoinstall_known_extensions=false", "SET autoload_known_extensions=false", "SET temp_directory=''",
    f"SET memory_limit='{MEMORY}'", "SET threads=1", "SET TimeZone='UTC'",
)  # fmt: skip


def duckdb() -> Any:
    """The module. Raises AwsError NotImplemented where the extra `select` is not installed."""
    try:
        import duckdb as module
    except ImportError:
        raise not_implemented("S3 Select without the extra `select` (pip install 'penstock[select]')") from None
    return module


_UNWANTED = {"type_pushdown", "scalar_fn_pushdown"}
"""They make a CAST the reader's business, where it fails for rows that TRY_CAST lets pass."""


class Table:
    """What the query reads. sql: DuckDB's expression for it. names: its columns, () for JSON."""

    names: Sequence[str] = ()
    sql = ""
    problem = "InternalError"
    """The code for a file that cannot be read as what it should be."""

    def resolve(self, path: Sequence[str | int]) -> Term:
        """What a reference stands for. Raises AwsError."""
        raise NotImplementedError

    def everything(self) -> str:
        """What * stands for."""
        return ", ".join(named(name) for name in self.names)

    def _column(self, first: str | int) -> int:
        match = _BY_INDEX.fullmatch(str(first))
        if match is not None:
            index = int(match.group(1)) - 1
            if not 0 <= index < len(self.names):
                raise invalid("InvalidColumnIndex", "The column index in the SQL expression is not valid.")
            return index
        for i, name in enumerate(self.names):
            if name == first:
                return i
        for i, name in enumerate(self.names):
            if name.lower() == str(first).lower():
                return i
        raise invalid(
            "MissingHeaders", "Some headers in the query are missing from the file. Check the file and try again."
        )


class CsvTable(Table):
    """Columns of text, named by the header or by their number."""

    problem = "CSVParsingError"

    def __init__(self, memory: Memory, options: dict[str, Any]) -> None:
        header = options.get("FileHeaderInfo", "NONE")
        if header not in ("NONE", "USE", "IGNORE"):
            raise invalid(
                "InvalidFileHeaderInfo", "The FileHeaderInfo is not valid. Only NONE, USE, and IGNORE are supported."
            )
        delimiter, quote = options.get("FieldDelimiter", ","), options.get("QuoteCharacter", '"')
        escape, comment = options.get("QuoteEscapeCharacter", '"'), options.get("Comments", "")
        if len(delimiter) != 1 or len(quote) > 1 or len(escape) > 1 or len(comment) > 1:
            raise invalid("InvalidRequestParameter", "Delimiters and quotes must be single characters.")
        first, width = _first_record(memory, delimiter, quote)
        self._headed = header == "USE"
        self.names = _unique(first) if self._headed else [f"_{i + 1}" for i in range(width)]
        columns = ", ".join(f"{quoted(name)}: 'VARCHAR'" for name in self.names)
        self.sql = (
            f"read_csv({quoted(memory.path)}, columns={{{columns}}}, auto_detect=false, header={header != 'NONE'}, "
            f"delim={quoted(delimiter)}, quote={quoted(quote)}, escape={quoted(escape if quote else '')}, "
            f"comment={quoted(comment)}, null_padding=true, strict_mode=false, nullstr={quoted(_NO_NULL)})"
        )

    def resolve(self, path: Sequence[str | int]) -> Term:
        if len(path) > 1:
            raise invalid("InvalidTableAlias", "The SQL expression contains an invalid table alias.")
        return Term(named(self.names[self._column(path[0])]), TEXT)


class JsonTable(Table):
    """Records of JSON, in the one column `json`."""

    problem = "JSONParsingError"

    def __init__(self, memory: Memory, kind: str, path: Sequence[str]) -> None:
        form = "newline_delimited" if kind == "LINES" else "unstructured"
        sql = (
            f"SELECT json FROM read_json_objects({quoted(memory.path)}, format='{form}', maximum_object_size=134217728)"
        )
        for step in path[1:] if path and path[0] == "*" else path:
            what = "unnest(json_extract(json, '$[*]'))" if step == "*" else f"json_extract(json, {_json_path([step])})"
            sql = f"SELECT {what} AS json FROM ({sql})"
        self.sql = f"(SELECT json FROM ({sql}) WHERE json IS NOT NULL)"

    def resolve(self, path: Sequence[str | int]) -> Term:
        where = _json_path(path)
        return Term(f"json_extract_string(json, {where})", TEXT, f"json_extract(json, {where})")

    def everything(self) -> str:
        return "json"


class ParquetTable(Table):
    """Columns with types."""

    problem = "ParquetParsingError"

    def __init__(self, memory: Memory, connection: Any) -> None:
        self.sql = f"read_parquet({quoted(memory.path)})"
        described = connection.execute(f"DESCRIBE SELECT * FROM {self.sql}").fetchall()
        self.names = [str(row[0]) for row in described]
        self._kinds = [_kind(str(row[1])) for row in described]

    def resolve(self, path: Sequence[str | int]) -> Term:
        index = self._column(path[0])
        sql = named(self.names[index])
        for step in path[1:]:
            sql += f"[{step + 1}]" if isinstance(step, int) else f"[{quoted(step)}]"
        return Term(sql, self._kinds[index] if len(path) == 1 else TEXT)


def connect(memory: Memory) -> Any:
    """A connection that can read that file and nothing else."""
    connection = duckdb().connect(":memory:")
    for setting in _SETTINGS:
        connection.execute(setting)
    known = {name for (name,) in connection.execute("SELECT name FROM duckdb_optimizers()").fetchall()}
    connection.execute(f"SET disabled_optimizers={quoted(','.join(known & _UNWANTED))}")
    connection.execute(f"SET allowed_paths=[{quoted(memory.path)}]")
    connection.execute("SET enable_external_access=false")
    connection.execute("SET lock_configuration=true")
    return connection


def statement(table: Table, query: Query, *, shown: bool) -> str:
    """The query in DuckDB's SQL. shown: columns as JSON shows them."""
    if query.columns is None:
        columns = table.everything()
    else:
        columns = ", ".join(
            f"{(term.shown or term.sql) if shown else term.sql} AS {named(f'c{i}')}"
            for i, (_, term) in enumerate(query.columns)
        )
    sql = f"SELECT {columns} FROM {table.sql}"
    if query.where:
        sql += f" WHERE {query.where}"
    return sql if query.limit is None else f"{sql} LIMIT {query.limit}"


def problem(error: Exception, table: Table | None) -> AwsError:
    """What a client is told of DuckDB's error."""
    module = duckdb()
    if isinstance(error, module.OutOfMemoryException):
        return AwsError("Busy", "The service is unavailable. Please retry: the query needs too much memory.", 503)
    if isinstance(error, module.ConversionException) or "Could not convert" in str(error):
        why = "Attempt to convert from one data type to another using CAST failed"
        return invalid("CastFailed", f"{why}: {_first_line(error)}")
    if isinstance(error, (module.BinderException, module.ParserException, module.CatalogException)):
        return invalid(
            "ParseUnsupportedSyntax", f"The SQL expression contains unsupported syntax: {_first_line(error)}"
        )
    code = table.problem if table is not None else "ParquetParsingError"
    return invalid(code, f"Encountered an error parsing the file. Check the file and try again. {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return re.sub(r"/proc/self/fd/\d+", "the object", str(error).partition("\n")[0])[:300]


def _first_record(memory: Memory, delimiter: str, quote: str) -> tuple[list[str], int]:
    """The first record, and how many fields the widest of the first has."""
    try:
        text = memory.head(_HEAD_BYTES).decode("utf-8-sig", errors="ignore")
    except UnicodeDecodeError:
        raise invalid(
            "InvalidTextEncoding", "The encoding type is not valid. Only UTF-8 encoding is supported."
        ) from None
    options: dict[str, Any] = {"quotechar": quote} if quote else {"quoting": csv.QUOTE_NONE}
    first: list[str] | None = None
    width = 1
    try:
        for record in csv.reader(io.StringIO(text), delimiter=delimiter, **options):
            if first is None:
                first = record
            width = max(width, len(record))
    except csv.Error:
        pass
    return first or ["_1"], width


def _unique(names: list[str]) -> list[str]:
    seen: set[str] = set()
    found = []
    for i, name in enumerate(names):
        own = name if name and name.lower() not in seen else f"_{i + 1}"
        seen.add(own.lower())
        found.append(own)
    return found


def _json_path(path: Sequence[str | int]) -> str:
    steps = "$"
    for step in path:
        if isinstance(step, str) and ('"' in step or "\\" in step):
            raise invalid("InvalidKeyPath", "The key path in the SQL expression is not valid.")
        steps += f"[{step}]" if isinstance(step, int) else f'."{step}"'
    return quoted(steps)


def _kind(type_name: str) -> str:
    if type_name.startswith(("TIMESTAMP", "DATE")):
        return TIME
    if type_name == "BOOLEAN":
        return BOOL
    numbers = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
    return NUMBER if type_name in (*numbers, "FLOAT", "DOUBLE") or type_name.startswith("DECIMAL") else TEXT
