"""DuckDB's httpfs against the endpoint and bucket of the command line; the extension comes from its wheel."""

import sys
from pathlib import Path

import duckdb
import duckdb_extension_httpfs

endpoint, bucket = sys.argv[1:]
session = duckdb.connect()
(extension,) = Path(duckdb_extension_httpfs.__file__).parent.glob("extensions/*/httpfs.duckdb_extension")
session.execute(f"LOAD '{extension}'")
host = endpoint.removeprefix("http://")
session.execute(
    f"CREATE SECRET (TYPE s3, KEY_ID 'test', SECRET 'test', ENDPOINT '{host}', URL_STYLE 'path', USE_SSL false)"
)
session.execute(f"COPY (SELECT range AS i, range % 7 AS k FROM range(100000)) TO 's3://{bucket}/t.parquet'")
total = session.execute(f"SELECT sum(i) FROM 's3://{bucket}/t.parquet' WHERE k = 3").fetchall()
assert total == [(sum(i for i in range(100000) if i % 7 == 3),)], total
for number in (1, 2):
    session.execute(f"COPY (SELECT {number} AS a) TO 's3://{bucket}/c d/é {number}.csv'")
assert session.execute(f"SELECT sum(a) FROM 's3://{bucket}/c d/*.csv'").fetchall() == [(3,)]
years = "SELECT range % 3 + 2024 AS year, range AS i FROM range(30)"
session.execute(f"COPY ({years}) TO 's3://{bucket}/tree' (FORMAT parquet, PARTITION_BY (year))")
tree = f"read_parquet('s3://{bucket}/tree/**/*.parquet', hive_partitioning = true)"
assert session.execute(f"SELECT count(*) FROM {tree} WHERE year = 2025").fetchall() == [(10,)]
print("ok")
