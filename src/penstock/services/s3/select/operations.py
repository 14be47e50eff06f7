"""SelectObjectContent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.s3 import reading
from penstock.services.s3.access import OBJECT_ARN, load_policy, may
from penstock.services.s3.encryption import customer_keys, opening
from penstock.services.s3.select import engine, output, source
from penstock.services.s3.select.grammar import Parser, Query
from penstock.services.s3.select.terms import invalid
from penstock.wire.errors import AwsError

AT_ONCE = 2
"""Queries of one server that run at the same time; others wait for so long."""
WAIT_S = 20.0
EVENT_BYTES = 128 * 1024
KEEP_ALIVE_S = 5.0


class Running:
    """Bounds how many queries run, and hold an object in memory, at once."""

    def __init__(self, _: object) -> None:
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def enter(self) -> Callable[[], None]:
        """Wait for a slot; returns what gives it back. Raises AwsError Busy."""
        try:
            await asyncio.wait_for(self._slots.acquire(), WAIT_S)
        except TimeoutError:
            raise AwsError("Busy", "The service is unavailable. Please retry.", 503) from None
        return self._slots.release


@operation("s3:SelectObjectContent", action="s3:GetObject", resource=OBJECT_ARN, policy=load_policy)
async def select_object_content(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_SelectObjectContent.html"""
    if params["ExpressionType"].upper() != "SQL":
        raise invalid("InvalidExpressionType", "The ExpressionType is not valid. Only SQL expressions are supported.")
    engine.duckdb()
    kind, options, compression = _input(params["InputSerialization"])
    if "ScanRange" in params:
        _check_scan(kind, options, compression)
    parser = Parser(params["Expression"], call.now)
    parser.source()
    wanted = {"Bucket": params["Bucket"], "Key": params["Key"]}
    for member in (customer_keys.ALGORITHM, customer_keys.KEY, customer_keys.MD5):
        if member in params:
            wanted[member] = params[member]
    if "ExpectedBucketOwner" in params:
        wanted["ExpectedBucketOwner"] = params["ExpectedBucketOwner"]
    as_reader = await may(call, "GetObject", wanted)
    found = await reading.find_object(as_reader, wanted)
    opening.check(as_reader, wanted, found.record.encryption)
    body = await reading.bytes_of(as_reader, wanted, found, 0, found.record.size)
    leave = await call.node.own(Running).enter()
    try:
        memory = await source.gather(body, compression, _delimiter(kind, options))
    except BaseException:
        leave()
        raise
    selection = Selection(memory, parser, kind, options, params, leave)
    first = await selection.begin()
    return {"Payload": selection.events(first, bool((params.get("RequestProgress") or {}).get("Enabled")))}


def _input(how: dict[str, Any]) -> tuple[str, dict[str, Any], str]:
    kinds = [kind for kind in ("CSV", "JSON", "Parquet") if kind in how]
    if len(kinds) != 1:
        raise invalid("InvalidDataSource", "Invalid data source type. Only CSV, JSON, and Parquet are supported.")
    compression = how.get("CompressionType", "NONE")
    if kinds[0] == "Parquet" and compression != "NONE":
        raise invalid(
            "InvalidCompressionFormat", "Parquet files are compressed by column: CompressionType must be NONE."
        )
    return kinds[0], how[kinds[0]] or {}, compression


def _delimiter(kind: str, options: dict[str, Any]) -> bytes:
    return str(options.get("RecordDelimiter", "\n")).encode() if kind == "CSV" else b"\n"


def _check_scan(kind: str, options: dict[str, Any], compression: str) -> None:
    if kind == "Parquet" or compression != "NONE" or options.get("Type") == "DOCUMENT":
        raise AwsError("UnsupportedScanRangeInput", "Scan range queries are not supported on this type of object.", 400)
    if options.get("AllowQuotedRecordDelimiter"):
        raise AwsError(
            "UnsupportedScanRangeInput",
            "Scan range queries are not supported where AllowQuotedRecordDelimiter is set.",
            400,
        )


def _narrow(memory: source.Memory, options: dict[str, Any], scan: dict[str, Any]) -> None:
    """Keep the records of the scan range alone, and a header that is used."""
    data = memory.head(memory.processed)
    begin, end = source.check_range(scan, len(data))
    kept = source.cut(data, begin, end)
    if begin > 0 and options.get("FileHeaderInfo", "NONE") != "NONE":
        kept = data[: data.find(b"\n") + 1] + kept
    memory.replace(kept)


class Selection:
    """One query under way. What runs on threads is DuckDB's; its connection and the memory are closed at the end."""

    def __init__(
        self,
        memory: source.Memory,
        parser: Parser,
        kind: str,
        options: dict[str, Any],
        params: Params,
        leave: Callable[[], None],
    ) -> None:
        """leave: called once, when it is over."""
        self._memory = memory
        self._leave: Callable[[], None] | None = leave
        self._scan = params.get("ScanRange")
        self._parser = parser
        self._kind = kind
        self._options = options
        self._output = params["OutputSerialization"]
        self._connection: Any = None
        self._table: engine.Table | None = None
        self._write: output.Write | None = None

    async def begin(self) -> list[bytes]:
        """Run the query up to its first rows, so that what is wrong with it is an answer of its own. Raises AwsError."""
        try:
            first: list[bytes] = await self._on_thread(self._start)
            return first
        except BaseException:
            self.close()
            raise

    async def events(self, first: list[bytes], progress: bool) -> AsyncIterator[dict[str, dict[str, Any]]]:
        """The event stream."""
        returned = 0
        job: asyncio.Future[list[bytes] | None] | None = None
        try:
            some: list[bytes] | None = first
            while some is not None:
                for payload in some:
                    returned += len(payload)
                    yield {"Records": {"Payload": payload}}
                job = asyncio.ensure_future(self._on_thread(self._more))
                while not (await asyncio.wait([job], timeout=KEEP_ALIVE_S))[0]:
                    yield {"Cont": {}}
                some = job.result()
            details = {
                "BytesScanned": self._memory.scanned, "BytesProcessed": self._memory.processed, "BytesReturned": returned,
            }  # fmt: skip
            if progress:
                yield {"Progress": {"Details": details}}
            yield {"Stats": {"Details": details}}
            yield {"End": {}}
        finally:
            if job is not None and not job.done():  # nobody reads on: what is under way ends before its data goes
                job.cancel()
                await asyncio.wait([job])
            self.close()

    async def _on_thread(self, work: Any) -> Any:
        """On a thread; cancelled, it interrupts the query and waits until the thread is done."""
        job = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            return await asyncio.shield(job)
        except asyncio.CancelledError:
            if self._connection is not None:
                self._connection.interrupt()
            await asyncio.wait([job])
            if not job.cancelled():
                job.exception()  # of an interruption; asyncio would log one that nobody has looked at
            raise

    def _start(self) -> list[bytes]:
        try:
            if self._scan is not None:
                _narrow(self._memory, self._options, self._scan)
            self._connection = engine.connect(self._memory)
            self._table = table = self._made()
            query = self._parser.query(table.resolve)
            as_json = "JSON" in self._output
            self._connection.execute(engine.statement(table, query, shown=as_json or not query.aggregates))
            kinds = [str(column[1]) == "JSON" for column in self._connection.description]
            names = _names(table, query)
            whole = query.columns is None and isinstance(table, engine.JsonTable)
            self._write = output.writer(self._output, names, kinds, whole=whole)
            return self._more() or []
        except engine.duckdb().Error as error:
            raise engine.problem(error, self._table) from None

    def _made(self) -> engine.Table:
        memory, parser = self._memory, self._parser
        if self._kind == "JSON":
            kind = self._options.get("Type", "")
            if kind not in ("LINES", "DOCUMENT"):
                raise invalid("InvalidJsonType", "The JsonType is not valid. Only DOCUMENT and LINES are supported.")
            return engine.JsonTable(memory, kind, parser.path)
        if [step for step in parser.path if step != "*"]:
            raise invalid("InvalidKeyPath", "The key path in the SQL expression is not valid.")
        if self._kind == "Parquet":
            return engine.ParquetTable(memory, self._connection)
        return engine.CsvTable(memory, self._options)

    def _more(self) -> list[bytes] | None:
        """The next rows, in pieces for events; None after the last."""
        assert self._write is not None
        try:
            rows = self._connection.fetchmany(engine.ROWS)
        except engine.duckdb().Error as error:
            raise engine.problem(error, self._table) from None
        if not rows:
            return None
        pieces: list[bytes] = []
        gathered = bytearray()
        for row in rows:
            gathered += self._written(row)
            if len(gathered) >= EVENT_BYTES:
                pieces += [
                    bytes(gathered[at : at + 8 * EVENT_BYTES]) for at in range(0, len(gathered), 8 * EVENT_BYTES)
                ]
                gathered.clear()
        return [*pieces, bytes(gathered)] if gathered else pieces

    def _written(self, row: tuple[Any, ...]) -> bytes:
        assert self._write is not None
        try:
            return self._write(row).encode()
        except RecursionError:
            raise invalid(
                "JSONParsingError", "Encountered an error parsing the JSON file: it is nested too deeply."
            ) from None

    def close(self) -> None:
        """Let go of everything."""
        leave, self._leave = self._leave, None
        if leave is None:
            return
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._memory.close()
        leave()

    def __del__(self) -> None:
        # Events that nobody began to read (the client had gone) end without their `finally`.
        self.close()


def _names(table: engine.Table, query: Query) -> list[str]:
    if query.columns is None:
        return list(table.names) or ["json"]
    return [name or f"_{i + 1}" for i, (name, _) in enumerate(query.columns)]
