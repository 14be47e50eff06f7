"""S3 Select: SQL over one object. `grammar` reads the language and writes DuckDB's; `source` brings the object's bytes to
where DuckDB reads them, which is memory; `engine` runs a query that can reach nothing else; `output` writes the records;
`operations` is SelectObjectContent. DuckDB comes with the extra `select` and is loaded at the first query.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/s3-select-sql-reference.html
"""
