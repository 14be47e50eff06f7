"""S3 Select by boto3: CSV, JSON and Parquet, and queries that try to reach what is not theirs."""

from __future__ import annotations

import bz2
import gzip
import json
import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from served import Served

duckdb = pytest.importorskip("duckdb")

PEOPLE = b'id,name,city,score\n1,Ann,"Bern, old",10\n2,Bob,Oslo,9.5\n3,Cyd,,x\n4,"Dee ""D""",Rome,100\n'
RECORDS = [
    {"id": 1, "who": {"name": "Ann", "tags": ["a", "b"]}, "ok": True},
    {"id": 2, "who": {"name": "Bob", "tags": []}, "ok": False, "x": None},
    {"id": 30, "who": {"name": "Cyd"}},
]
LINES = "\n".join(json.dumps(record) for record in RECORDS).encode() + b"\n"
HEADED = {"CSV": {"FileHeaderInfo": "USE"}}
PLAIN = {"CSV": {"FileHeaderInfo": "IGNORE"}}
JSON_LINES = {"JSON": {"Type": "LINES"}}


@pytest.fixture(scope="module")
def s3(server: Served) -> Any:
    return server.client("s3")


@pytest.fixture(scope="module")
def bucket(s3: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    name = f"q-{uuid4().hex}"
    s3.create_bucket(Bucket=name)
    s3.put_object(Bucket=name, Key="people.csv", Body=PEOPLE)
    s3.put_object(Bucket=name, Key="people.csv.gz", Body=gzip.compress(PEOPLE))
    s3.put_object(Bucket=name, Key="people.csv.bz2", Body=bz2.compress(PEOPLE))
    s3.put_object(Bucket=name, Key="lines.json", Body=LINES)
    s3.put_object(Bucket=name, Key="doc.json", Body=json.dumps({"rows": RECORDS}, indent=2).encode())
    path = tmp_path_factory.mktemp("parquet") / "p.parquet"
    duckdb.sql(
        "copy (select i as n, i * 1.5 as half, 'row ' || i as label, timestamp '2026-01-01' as at from range(10) t(i)) "
        f"to '{path}'"
    )
    s3.put_object(Bucket=name, Key="p.parquet", Body=path.read_bytes())
    return name


def select(
    s3: Any, bucket: str, key: str, sql: str, how: Any, out: Any = None, **more: Any
) -> tuple[str, list[str], Any]:
    """(records, names of events, stats)."""
    answer = s3.select_object_content(
        Bucket=bucket, Key=key, Expression=sql, ExpressionType="SQL", InputSerialization=how,
        OutputSerialization=out or {"CSV": {}}, **more,
    )  # fmt: skip
    text, names, stats = b"", [], None
    for event in answer["Payload"]:
        (name,) = event
        names.append(name)
        text += event[name].get("Payload", b"") if name == "Records" else b""
        stats = event[name]["Details"] if name == "Stats" else stats
    return text.decode(), names, stats


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT * FROM S3Object", '1,Ann,"Bern, old",10\n2,Bob,Oslo,9.5\n3,Cyd,,x\n4,"Dee ""D""",Rome,100\n'),
        ("SELECT s.name FROM S3Object s WHERE s.id = '2'", "Bob\n"),
        ("select s.NAME, s._4 from s3object as s where s.score > 9.5", "Ann,10\n\"Dee \"\"D\"\"\",100\n"),
        ("SELECT name FROM S3Object WHERE CAST(id AS INT) BETWEEN 2 AND 3", "Bob\nCyd\n"),
        ("SELECT COUNT(*), SUM(CAST(id AS INT)), MIN(score), MAX(score) FROM S3Object", "4,10,9.5,100\n"),
        ("SELECT AVG(score) FROM S3Object WHERE id < 3", "9.75\n"),
        ("SELECT UPPER(name) || '-' || LOWER(city) FROM S3Object WHERE city LIKE '%o' ESCAPE '!'", "BOB-oslo\n"),
        ("SELECT id FROM S3Object s WHERE s.name IN ('Ann', 'Cyd') AND NOT s.id = '1'", "3\n"),
        ("SELECT CASE WHEN id = 1 THEN 'one' ELSE 'more' END FROM S3Object LIMIT 2", "one\nmore\n"),
        ("SELECT SUBSTRING(name, 2), CHAR_LENGTH(name), TRIM('  x ') FROM S3Object LIMIT 1", "nn,3,x\n"),
        ("SELECT id FROM S3Object WHERE city IS NULL OR city = ''", "3\n"),
        ("SELECT NULLIF(id, '1'), COALESCE(city, 'none') FROM S3Object LIMIT 1", ',"Bern, old"\n'),
        ("SELECT EXTRACT(YEAR FROM TO_TIMESTAMP('2026-03-04T05:06:07Z')) FROM S3Object LIMIT 1", "2026\n"),
        ("SELECT DATE_DIFF(day, TO_TIMESTAMP('2026-01-01T'), TO_TIMESTAMP('2026-01-11T')) FROM S3Object LIMIT 1", "10\n"),
        ("SELECT (CAST(id AS INT) + 1) * 2 - 3 % 2 FROM S3Object LIMIT 2", "3\n5\n"),
    ],
)  # fmt: skip
def test_csv(s3: Any, bucket: str, sql: str, expected: str) -> None:
    if "2026-01-01T'" in sql:
        sql = sql.replace("T')", "')")
    assert select(s3, bucket, "people.csv", sql, HEADED)[0] == expected


def test_events_and_compression(s3: Any, bucket: str) -> None:
    for key, compression in (("people.csv.gz", "GZIP"), ("people.csv.bz2", "BZIP2")):
        how = {**PLAIN, "CompressionType": compression}
        text, names, stats = select(
            s3, bucket, key, "SELECT s._2 FROM S3Object s", how, RequestProgress={"Enabled": True}
        )  # fmt: skip
        assert text == 'Ann\nBob\nCyd\n"Dee ""D"""\n'
        assert names == ["Records", "Progress", "Stats", "End"]
        assert (stats["BytesProcessed"], stats["BytesReturned"]) == (len(PEOPLE), len(text))
    with pytest.raises(ClientError) as caught:
        select(s3, bucket, "people.csv", "SELECT * FROM S3Object", {**PLAIN, "CompressionType": "GZIP"})
    assert caught.value.response["Error"]["Code"] == "InvalidCompressionFormat"


def test_json(s3: Any, bucket: str) -> None:
    out = {"JSON": {"RecordDelimiter": ";"}}

    def ask(sql: str, key: str = "lines.json", how: Any = JSON_LINES) -> list[Any]:
        return [json.loads(item) for item in select(s3, bucket, key, sql, how, out)[0].split(";") if item]

    assert ask("SELECT * FROM S3Object s") == RECORDS
    assert ask("SELECT s.who.name, s.id AS number FROM S3Object[*] s WHERE s.id >= 2") == [
        {"name": "Bob", "number": 2}, {"name": "Cyd", "number": 30},
    ]  # fmt: skip
    assert ask("SELECT s.who.tags[1] FROM S3Object s WHERE s.ok = true") == [{"_1": "b"}]
    assert ask("SELECT COUNT(*) AS n FROM S3Object") == [{"n": 3}]
    document = {"JSON": {"Type": "DOCUMENT"}}
    assert ask("SELECT s.id FROM S3Object[*].rows[*] s", "doc.json", document) == [{"id": 1}, {"id": 2}, {"id": 30}]


def test_parquet(s3: Any, bucket: str) -> None:
    how: Any = {"Parquet": {}}
    text, _, _ = select(s3, bucket, "p.parquet", "SELECT s.n, s.half, s.label FROM S3Object s WHERE s.n > 7", how)
    assert text == "8,12,row 8\n9,13.5,row 9\n"
    text, _, _ = select(s3, bucket, "p.parquet", "SELECT s.at FROM S3Object s LIMIT 1", how, {"JSON": {}})
    assert json.loads(text) == {"at": "2026-01-01T00:00:00Z"}


def test_scan_ranges_cover_each_record_once(s3: Any, bucket: str) -> None:
    body = b"".join(b"%d,%s\n" % (i, b"x" * (i % 17)) for i in range(1000))
    s3.put_object(Bucket=bucket, Key="many.csv", Body=body)
    text = ""
    for begin in range(0, len(body), 777):
        scan = {"Start": begin, "End": min(begin + 777, len(body))}
        text += select(s3, bucket, "many.csv", "SELECT _1 FROM S3Object", {"CSV": {}}, ScanRange=scan)[0]
    assert text == "".join(f"{i}\n" for i in range(1000))


def test_large_results_come_in_many_events(s3: Any, bucket: str) -> None:
    body = b"".join(b"%d,%s\n" % (i, b"y" * 100) for i in range(50_000))
    s3.put_object(Bucket=bucket, Key="large.csv", Body=body)
    text, names, _ = select(s3, bucket, "large.csv", "SELECT * FROM S3Object", {"CSV": {}})
    assert text.encode() == body
    assert names.count("Records") > 10


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELECT * FROM read_csv('/etc/passwd')", "InvalidDataSource"),
        ("SELECT read_text('/etc/passwd') FROM S3Object", "UnsupportedFunction"),
        ("SELECT getenv('HOME') FROM S3Object", "UnsupportedFunction"),
        ("SELECT * FROM S3Object; DROP TABLE x", "LexerInvalidChar"),
        ("SELECT * FROM S3Object UNION SELECT * FROM '/etc/passwd'", "ParseUnexpectedToken"),
        ("SELECT (SELECT 1) FROM S3Object", "ParseUnexpectedKeyword"),
        ("COPY S3Object TO '/tmp/x'", "ParseSelectMissingFrom"),
        ("SELECT * FROM S3Object, S3Object", "ParseUnexpectedToken"),
        ("SELECT name'; ATTACH 'x' FROM S3Object", "LexerInvalidChar"),
        ('SELECT "name""; DROP" FROM S3Object', "MissingHeaders"),
        ("SELECT * FROM S3Object WHERE", "ParseUnexpectedToken"),
        ("SELECT s._9 FROM S3Object s", "InvalidColumnIndex"),
        ("SELECT CAST(name AS INT) FROM S3Object", "CastFailed"),
        ("SELECT name, COUNT(*) FROM S3Object", "ParseUnsupportedSyntax"),
        ("SELECT " + "(" * 500 + "1" + ")" * 500 + " FROM S3Object", "ParseUnsupportedSyntax"),
        ('SELECT * FROM "information_schema".tables', "InvalidDataSource"),
    ],
)
def test_hostile_and_wrong_queries(s3: Any, bucket: str, sql: str, code: str) -> None:
    with pytest.raises(ClientError) as caught:
        select(s3, bucket, "people.csv", sql, HEADED)
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert "/proc/" not in str(caught.value)


def test_a_customer_s_key_and_permissions(server: Served, s3: Any, bucket: str) -> None:
    key = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": os.urandom(32)}
    s3.put_object(Bucket=bucket, Key="secret.csv", Body=PEOPLE, **key)
    assert select(s3, bucket, "secret.csv", "SELECT COUNT(*) FROM S3Object", PLAIN, **key)[0] == "4\n"
    with pytest.raises(ClientError):
        select(s3, bucket, "secret.csv", "SELECT COUNT(*) FROM S3Object", PLAIN)
    other = server.client("s3", access_key="222222222222")
    with pytest.raises(ClientError) as caught:
        select(other, bucket, "people.csv", "SELECT * FROM S3Object", PLAIN)
    assert caught.value.response["Error"]["Code"] == "AccessDenied"


def test_nothing_is_left_in_temporary_folders(s3: Any, bucket: str) -> None:
    before = {str(path) for path in Path("/tmp").glob("*duckdb*")}
    select(s3, bucket, "people.csv", "SELECT * FROM S3Object", PLAIN)
    assert {str(path) for path in Path("/tmp").glob("*duckdb*")} <= before


def test_json_nested_too_deeply_is_an_error_of_the_client(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="deep.json", Body=b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}\n")
    with pytest.raises(ClientError) as caught:
        select(s3, bucket, "deep.json", "SELECT * FROM S3Object s", JSON_LINES)
    assert caught.value.response["Error"]["Code"] == "JSONParsingError"


def test_clients_that_leave_give_their_place_back(s3: Any, server: Served, bucket: str) -> None:
    """Only two queries run at once: more than two that are dropped must not be in the way of the next."""
    s3.put_object(Bucket=bucket, Key="wide.csv", Body=(b"x" * 200 + b"\n") * 100_000)
    for _ in range(4):
        other = server.client("s3", max_pool_connections=1)
        answer = other.select_object_content(
            Bucket=bucket, Key="wide.csv", Expression="SELECT * FROM S3Object", ExpressionType="SQL",
            InputSerialization=PLAIN, OutputSerialization={"CSV": {}},
        )  # fmt: skip
        next(iter(answer["Payload"]))
        answer["Payload"].close()
        other.close()
    assert select(s3, bucket, "people.csv", "SELECT COUNT(*) FROM S3Object", PLAIN)[0] == "4\n"
