"""PartiQL: statements as another way to write what the other operations do.

Text to tokens (`tokens`), to a `syntax.Statement` (`grammar`, `literals`), to the parameters of the operation that it means
(`plan`, with `projection` for what SELECT shows), which is then carried out as if it had been asked for (`execute`, `batch`,
`transaction`). So reads, writes, conditions, indexes and capacity are those of the rest of the service: nothing here touches
the store but to look at a table's keys. Source: "PartiQL - a SQL-compatible query language for Amazon DynamoDB" of the
developer guide.
"""

from penstock.services.dynamodb.partiql import batch, execute, transaction

__all__ = ["batch", "execute", "transaction"]
