"""PartiQL statements: what they read and write, what they refuse, pages, batches, transactions."""

from __future__ import annotations

from typing import Any

import pytest

from dynamodb_calls import Calls

V = "ValidationException: "


@pytest.fixture
async def ddb() -> Calls:
    calls = Calls()
    await calls(
        "CreateTable", TableName="music", BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "artist", "KeyType": "HASH"}, {"AttributeName": "song", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n in ("artist", "song", "genre")],
        GlobalSecondaryIndexes=[{
            "IndexName": "by-genre", "Projection": {"ProjectionType": "ALL"},
            "KeySchema": [{"AttributeName": "genre", "KeyType": "HASH"}, {"AttributeName": "song", "KeyType": "RANGE"}],
        }],
    )  # fmt: skip
    for artist in ("Acme", "Bold"):
        for song, year in (("one", 1990), ("two", 2000), ("three", 2010)):
            await calls(
                "ExecuteStatement",
                Statement="INSERT INTO music VALUE {'artist': ?, 'song': ?, 'year': ?, 'genre': 'rock', "
                "'awards': {'grammy': [2000, 2001]}, 'tags': <<'a', 'b'>>}",
                Parameters=[{"S": artist}, {"S": song}, {"N": str(year)}],
            )
    return calls


async def run(ddb: Calls, statement: str, *parameters: dict[str, Any], **more: Any) -> list[Any]:
    if parameters:
        more["Parameters"] = list(parameters)
    items: list[Any] = (await ddb("ExecuteStatement", Statement=statement, **more))["Items"]
    return items


async def songs(ddb: Calls, where: str, *parameters: dict[str, Any]) -> list[str]:
    found = await run(ddb, f"SELECT song FROM music WHERE {where}", *parameters)
    assert all(item.keys() == {"song"} for item in found)
    return [item["song"]["S"] for item in found]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("artist = 'Acme'", ["one", "three", "two"]),
        ("'Acme' = artist AND song = 'two'", ["two"]),
        ("artist = 'Acme' AND song > 'one'", ["three", "two"]),
        ("artist = 'Acme' AND song BETWEEN 'one' AND 'three'", ["one", "three"]),
        ("artist = 'Acme' AND song NOT BETWEEN 'one' AND 'three'", ["two"]),
        ("artist = 'Acme' AND begins_with(song, 't')", ["three", "two"]),
        ("artist = 'Acme' AND begins_with(\"song\", 't') AND \"year\" < 2005", ["two"]),
        ("artist = 'Acme' AND song IN ['one', 'two']", ["one", "two"]),
        ("artist = 'Acme' AND song NOT IN ('one', 'two')", ["three"]),
        ("artist = 'Acme' AND (song = 'one' OR year = 2010)", ["one", "three"]),
        ("artist IN ['Acme', 'Bold'] AND song = 'one'", ["one", "one"]),
        ("artist = 'Acme' AND awards.grammy[0] = 2000 AND song != 'one'", ["three", "two"]),
        ("artist = 'Acme' AND awards.grammy[5] IS MISSING AND song = 'one'", ["one"]),
        ("artist = 'Acme' AND nothing IS NOT MISSING", []),
        ("artist = 'Acme' AND nothing NOT MISSING", []),
        ("artist = 'Acme' AND NOT contains(tags, 'c') AND song = 'one'", ["one"]),
        ("artist = 'Acme' AND size(tags) = 2 AND song = 'one'", ["one"]),
        ("artist = 'Acme' AND attribute_type(tags, 'SS') AND song = 'one'", ["one"]),
        ("artist = 'Acme' AND tags = <<'b', 'a'>> AND song = 'one'", ["one"]),
        ("artist = 'Acme' AND year IS NULL", []),
        ("song = 'one' AND artist <> 'Bold'", ["one"]),
        ("artist = 'Nobody'", []),
    ],
)
async def test_where(ddb: Calls, where: str, expected: list[str]) -> None:
    assert await songs(ddb, where) == expected


async def test_parameters(ddb: Calls) -> None:
    assert await songs(ddb, "artist = ? AND song IN [?, ?]", {"S": "Acme"}, {"S": "one"}, {"S": "two"}) == [
        "one",
        "two",
    ]
    wrong = "Number of parameters in request and statement don't match."
    assert await ddb.error("ExecuteStatement", Statement="SELECT * FROM music WHERE artist = ?") == V + wrong
    assert await ddb.error("ExecuteStatement", Statement="SELECT * FROM music", Parameters=[{"S": "x"}]) == V + wrong


async def test_index_and_order(ddb: Calls) -> None:
    rock = "SELECT song FROM \"music\".\"by-genre\" WHERE genre = 'rock' AND song > 'one' ORDER BY song DESC"
    assert [item["song"]["S"] for item in await run(ddb, rock)] == ["two", "two", "three", "three"]
    both = "SELECT artist, song FROM music WHERE artist IN ['Acme', 'Bold'] ORDER BY artist DESC, song ASC"
    found = [(item["artist"]["S"], item["song"]["S"]) for item in await run(ddb, both)]
    assert found == [(artist, song) for artist in ("Bold", "Acme") for song in ("one", "three", "two")]
    for statement, message in (
        ("SELECT * FROM music ORDER BY song", "Must have WHERE clause in the statement when using ORDER BY clause."),
        (
            "SELECT * FROM music WHERE year = 1 ORDER BY song",
            "Must have at least one non-optional hash key condition in WHERE clause when using ORDER BY clause.",
        ),
        (
            "SELECT * FROM music WHERE artist = 'a' ORDER BY year",
            "Variable reference year in ORDER BY clause must be part of the primary key",
        ),
        ("SELECT * FROM music.none", "The table does not have the specified index"),
        ("SELECT * FROM music LIMIT 5", "Unsupported clause: LIMIT"),
    ):
        assert await ddb.error("ExecuteStatement", Statement=statement) == V + message


async def test_projection_shows_last_names(ddb: Calls) -> None:
    one = "FROM music WHERE artist = 'Acme' AND song = 'one'"
    assert await run(ddb, f"SELECT year, awards.grammy, nothing {one}") == [
        {"year": {"N": "1990"}, "grammy": {"L": [{"N": "2000"}, {"N": "2001"}]}}
    ]
    assert await run(ddb, f"SELECT awards.grammy[1], awards.grammy[7] {one}") == [{"grammy[1]": {"N": "2001"}}]
    assert "overlap" in await ddb.error("ExecuteStatement", Statement=f"SELECT awards, awards.grammy {one}")


@pytest.mark.parametrize("where", ["", " WHERE artist IN ['Bold', 'Acme']", " WHERE artist = 'Acme'"])
async def test_pages(ddb: Calls, where: str) -> None:
    whole = await run(ddb, f"SELECT * FROM music{where}")
    found: list[Any] = []
    more: dict[str, Any] = {}
    pages = 0
    while True:
        page = await ddb("ExecuteStatement", Statement=f"SELECT * FROM music{where}", Limit=2, **more)
        found += page["Items"]
        pages += 1
        if "NextToken" not in page:
            break
        more = {"NextToken": page["NextToken"]}
    assert found == whole
    assert pages >= len(whole) // 2
    first = await ddb("ExecuteStatement", Statement="SELECT * FROM music", Limit=1)
    assert first["LastEvaluatedKey"].keys() == {"artist", "song"}
    assert (
        await ddb.error("ExecuteStatement", Statement="SELECT year FROM music", NextToken=first["NextToken"])
        == V + "NextToken does not match request"
    )


async def test_update(ddb: Calls) -> None:
    where = "WHERE artist = 'Acme' AND song = 'one'"
    update = (
        "UPDATE music SET year = year + 1 - 2, awards.grammy = list_append(awards.grammy, [2002]) "
        f"SET tags = set_add(tags, <<'c'>>) REMOVE genre {where} RETURNING MODIFIED NEW *"
    )
    assert await run(ddb, update) == [
        {
            "year": {"N": "1989"},
            "awards": {"M": {"grammy": {"L": [{"N": "2000"}, {"N": "2001"}, {"N": "2002"}]}}},
            "tags": {"SS": ["a", "b", "c"]},
        }
    ]
    assert await run(ddb, f"UPDATE music SET tags = set_delete(tags, ?) {where}", {"SS": ["a", "b"]}) == []
    (old,) = await run(ddb, f"UPDATE music REMOVE awards.grammy[0] {where} RETURNING ALL OLD *")
    assert old["tags"] == {"SS": ["c"]}
    assert await run(ddb, f"SELECT awards FROM music {where}") == [
        {"awards": {"M": {"grammy": {"L": [{"N": "2001"}, {"N": "2002"}]}}}}
    ]
    failed = "ConditionalCheckFailedException: The conditional request failed"
    assert await ddb.error("ExecuteStatement", Statement=f"UPDATE music SET a = 1 {where} AND year = 5") == failed
    gone = "UPDATE music SET a = 1 WHERE artist = 'Acme' AND song = 'none'"
    assert await ddb.error("ExecuteStatement", Statement=gone) == failed
    for where in (
        "",
        " WHERE artist = 'Acme'",
        " WHERE artist = 'Acme' AND song > 'a'",
        " WHERE artist = 'A' OR song = 'b'",
    ):
        assert (
            await ddb.error("ExecuteStatement", Statement=f"UPDATE music SET a = 1{where}")
            == V + "Where clause does not contain a mandatory equality on all key attributes"
        )
    key = "UPDATE music SET artist = 'b' WHERE artist = 'Acme' AND song = 'one'"
    assert "This attribute is part of the key" in await ddb.error("ExecuteStatement", Statement=key)


async def test_insert_and_delete(ddb: Calls) -> None:
    insert = "INSERT INTO music VALUE {'artist': 'Acme', 'song': 'one'}"
    duplicate = "DuplicateItemException: Duplicate primary key exists in table"
    assert await ddb.error("ExecuteStatement", Statement=insert) == duplicate
    delete = "DELETE FROM music WHERE artist = 'Acme' AND song = 'one'"
    assert "failed" in await ddb.error("ExecuteStatement", Statement=delete + " AND year = 1")
    (old,) = await run(ddb, delete + " AND year = 1990 RETURNING ALL OLD *")
    assert old["year"] == {"N": "1990"}
    assert await run(ddb, delete) == []
    assert await run(ddb, insert) == []
    assert await songs(ddb, "artist = 'Acme' AND song = 'one'") == ["one"]
    missing = "ResourceNotFoundException: Requested resource not found"
    assert await ddb.error("ExecuteStatement", Statement="SELECT * FROM nowhere") == missing


async def test_capacity(ddb: Calls) -> None:
    async def used(statement: str, **more: Any) -> Any:
        return (await ddb("ExecuteStatement", Statement=statement, ReturnConsumedCapacity="TOTAL", **more))[
            "ConsumedCapacity"
        ]

    read = "SELECT * FROM music WHERE artist IN ['Acme', 'Bold'] AND song = 'one'"
    assert await used(read) == {"TableName": "music", "CapacityUnits": 1.0}
    assert await used(read, ConsistentRead=True) == {"TableName": "music", "CapacityUnits": 2.0}
    write = "UPDATE music SET a = 1 WHERE artist = 'Acme' AND song = 'one'"
    assert await used(write) == {"TableName": "music", "CapacityUnits": 2.0}


async def test_batches(ddb: Calls) -> None:
    statements = [
        {"Statement": "INSERT INTO music VALUE {'artist': 'New', 'song': 'a'}"},
        {"Statement": "INSERT INTO music VALUE {'artist': 'Acme', 'song': 'one'}"},
        {"Statement": "UPDATE music SET a = 1 WHERE artist = ? AND song = 'none'", "Parameters": [{"S": "Acme"}]},
        {"Statement": "UPDATE music SET a = 1 WHERE artist = 'Acme'"},
        {"Statement": "DELETE FROM nowhere WHERE a = 1"},
        {"Statement": "nonsense"},
        {
            "Statement": "DELETE FROM music WHERE artist = 'Acme' AND song = 'one' AND year = 1",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        },
    ]
    found = (await ddb("BatchExecuteStatement", Statements=statements))["Responses"]
    assert found[0] == {"TableName": "music"}
    assert [each.get("Error", {}).get("Code") for each in found] == [
        None, "DuplicateItem", "ConditionalCheckFailed", "ValidationError", "ResourceNotFound", "ValidationError",
        "ConditionalCheckFailed",
    ]  # fmt: skip
    assert found[6]["Error"]["Item"]["year"] == {"N": "1990"}
    reads = [
        {"Statement": "SELECT song FROM music WHERE artist = 'New' AND song = 'a'"},
        {"Statement": "SELECT * FROM music WHERE artist = 'New' AND song = 'b'", "ConsistentRead": True},
        {"Statement": "SELECT * FROM music WHERE artist = 'New'"},
    ]
    result = await ddb("BatchExecuteStatement", Statements=reads, ReturnConsumedCapacity="TOTAL")
    assert result["Responses"][:2] == [{"TableName": "music", "Item": {"song": {"S": "a"}}}, {"TableName": "music"}]
    assert result["Responses"][2]["Error"]["Code"] == "ValidationError"
    assert result["ConsumedCapacity"] == [{"TableName": "music", "CapacityUnits": 1.5}]
    assert (await ddb.error("BatchExecuteStatement", Statements=[statements[0], reads[0]])).startswith(V)


async def test_transactions(ddb: Calls) -> None:
    insert = {"Statement": "INSERT INTO music VALUE {'artist': 'T', 'song': 'a', 'n': 1}"}
    check = {"Statement": "EXISTS(SELECT * FROM music WHERE artist = 'Acme' AND song = 'one' AND year = 1990)"}
    update = {"Statement": "UPDATE music SET n = ? WHERE artist = 'Acme' AND song = 'two'", "Parameters": [{"N": "7"}]}
    for _ in range(2):
        done = await ddb("ExecuteTransaction", TransactStatements=[insert, check, update], ClientRequestToken="t1")
        assert done["Responses"] == [{}, {}, {}]
    reads = [
        {"Statement": "SELECT n FROM music WHERE artist = 'T' AND song = 'a'"},
        {"Statement": "SELECT n FROM music WHERE artist = 'Acme' AND song = 'two'"},
        {"Statement": "SELECT n FROM music WHERE artist = 'T' AND song = 'none'"},
    ]
    done = await ddb("ExecuteTransaction", TransactStatements=reads, ReturnConsumedCapacity="TOTAL")
    assert done["Responses"] == [{"Item": {"n": {"N": "1"}}}, {"Item": {"n": {"N": "7"}}}, {}]
    assert done["ConsumedCapacity"] == [{"TableName": "music", "CapacityUnits": 6.0, "ReadCapacityUnits": 6.0}]
    other = await ddb.error("ExecuteTransaction", TransactStatements=[insert], ClientRequestToken="t1")
    assert other.startswith("IdempotentParameterMismatchException")
    wrong = {"Statement": "EXISTS(SELECT * FROM music WHERE artist = 'Acme' AND song = 'one' AND year = 1)"}
    cancelled = await ddb.error("ExecuteTransaction", TransactStatements=[insert, wrong, update])
    assert cancelled == (
        "TransactionCanceledException: Transaction cancelled, please refer cancellation reasons for specific reasons "
        "[DuplicateItem, ConditionalCheckFailed, None]"
    )
    for statements in ([insert, reads[0]], [{"Statement": "SELECT * FROM music WHERE artist = 'T'"}], [update, update]):
        assert (await ddb.error("ExecuteTransaction", TransactStatements=statements)).startswith(V)
