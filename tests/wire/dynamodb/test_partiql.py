"""PartiQL with boto3 against a real server: the resource layer, pages, and what policies say of statements."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from served import Served


@pytest.fixture(scope="module")
def table(server: Served) -> str:
    client, name = server.client("dynamodb"), f"partiql-{uuid.uuid4().hex}"
    client.create_table(
        TableName=name, BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[
            {"AttributeName": "pk", "AttributeType": "S"}, {"AttributeName": "sk", "AttributeType": "N"},
            {"AttributeName": "g", "AttributeType": "S"},
        ],
        GlobalSecondaryIndexes=[{
            "IndexName": "by-g", "KeySchema": [{"AttributeName": "g", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "ALL"},
        }],
    )  # fmt: skip
    for begin in range(0, 100, 25):
        inserts = [
            {
                "Statement": f"INSERT INTO \"{name}\" VALUE {{'pk': ?, 'sk': {n}, 'g': 'G'}}",
                "Parameters": [{"S": f"p{n % 2}"}],
            }
            for n in range(begin, begin + 25)
        ]
        assert all("Error" not in each for each in client.batch_execute_statement(Statements=inserts)["Responses"])
    return name


def test_pages_of_a_scan_and_of_a_partition(server: Served, table: str) -> None:
    client = server.client("dynamodb")
    for where, count in (("", 100), (" WHERE pk = 'p1'", 50), (" WHERE pk IN ['p0', 'p1'] AND sk < 10", 10)):
        found: list[Any] = []
        more: dict[str, Any] = {}
        while True:
            page = client.execute_statement(Statement=f'SELECT * FROM "{table}"{where}', Limit=7, **more)
            found += page["Items"]
            if "NextToken" not in page:
                break
            more = {"NextToken": page["NextToken"]}
        assert len({(item["pk"]["S"], item["sk"]["N"]) for item in found}) == len(found) == count


def test_errors_are_the_models(server: Served, table: str) -> None:
    client = server.client("dynamodb")
    insert = f"INSERT INTO \"{table}\" VALUE {{'pk': 'p0', 'sk': 0}}"
    with pytest.raises(client.exceptions.DuplicateItemException):
        client.execute_statement(Statement=insert)
    with pytest.raises(client.exceptions.TransactionCanceledException) as caught:
        client.execute_transaction(TransactStatements=[{"Statement": insert}])
    assert caught.value.response["CancellationReasons"] == [
        {"Code": "DuplicateItem", "Message": "Duplicate primary key exists in table"}
    ]
    with pytest.raises(client.exceptions.ConditionalCheckFailedException) as failed:
        client.execute_statement(
            Statement=f"DELETE FROM \"{table}\" WHERE pk = 'p0' AND sk = 0 AND g = 'other'",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    assert failed.value.response["Item"]["g"] == {"S": "G"}
    with pytest.raises(ClientError) as refused:
        client.execute_statement(Statement="x" * 8193)
    assert "less than or equal to 8192" in str(refused.value)


def user(server: Served, *statements: dict[str, Any]) -> Any:
    """A DynamoDB client of a new user who may do what the statements say."""
    iam, name = server.client("iam"), f"u{uuid.uuid4().hex}"
    iam.create_user(UserName=name)
    document = {"Version": "2012-10-17", "Statement": list(statements)}
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps(document))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return server.client("dynamodb", key["AccessKeyId"], key["SecretAccessKey"])


def test_a_parameter_that_is_no_value_fails_the_whole_batch(server: Served, table: str) -> None:
    client = server.client("dynamodb", parameter_validation=False)
    one = {"Statement": f'SELECT * FROM "{table}" WHERE pk=?', "Parameters": [{"S": 1}]}
    with pytest.raises(ClientError, match="SerializationException"):
        client.batch_execute_statement(Statements=[one])


def test_policies(server: Served, table: str) -> None:
    arn = f"arn:aws:dynamodb:us-east-1:000000000000:table/{table}"
    client = user(
        server,
        {"Effect": "Allow", "Action": ["dynamodb:PartiQLSelect", "dynamodb:PartiQLUpdate"], "Resource": arn},
        {
            "Effect": "Deny", "Action": "dynamodb:PartiQLSelect", "Resource": "*",
            "Condition": {"Bool": {"dynamodb:FullTableScan": ["true"]}},
        },
    )  # fmt: skip

    def denied(statement: str) -> None:
        with pytest.raises(ClientError) as caught:
            client.execute_statement(Statement=statement)
        assert caught.value.response["Error"]["Code"] == "AccessDeniedException"
        if statement.startswith("SELECT"):
            return
        told = client.batch_execute_statement(Statements=[{"Statement": statement}])["Responses"][0]
        assert told["Error"]["Code"] == "AccessDenied"
        with pytest.raises(ClientError):
            client.execute_transaction(TransactStatements=[{"Statement": statement}])

    one = "WHERE pk = 'p0' AND sk = 0"
    assert len(client.execute_statement(Statement=f"SELECT * FROM \"{table}\" WHERE pk = 'p0'")["Items"]) == 50
    assert client.batch_execute_statement(Statements=[{"Statement": f'SELECT sk FROM "{table}" {one}'}])[
        "Responses"
    ] == [{"TableName": table, "Item": {"sk": {"N": "0"}}}]
    client.execute_statement(Statement=f'UPDATE "{table}" SET a = 1 {one}')
    client.execute_transaction(TransactStatements=[{"Statement": f'UPDATE "{table}" SET a = 2 {one}'}])
    denied(f'SELECT * FROM "{table}"')
    denied(f'DELETE FROM "{table}" {one}')
    denied(f"INSERT INTO \"{table}\" VALUE {{'pk': 'new', 'sk': 1}}")
    denied(f'SELECT * FROM "{table}"."by-g" WHERE g = \'G\'')


def test_policies_of_leading_keys(server: Served, table: str) -> None:
    client = user(
        server,
        {
            "Effect": "Allow", "Action": "dynamodb:PartiQL*", "Resource": "*",
            "Condition": {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["p1"]}},
        },
    )  # fmt: skip
    for statement, may in (
        ("SELECT * FROM \"{}\" WHERE pk = 'p1'", True),
        ("SELECT * FROM \"{}\" WHERE pk IN ['p1', 'p0']", False),
        ("UPDATE \"{}\" SET a = 1 WHERE pk = 'p1' AND sk = 1", True),
        ("UPDATE \"{}\" SET a = 1 WHERE pk = 'p0' AND sk = 0", False),
    ):
        if may:
            client.execute_statement(Statement=statement.format(table))
        else:
            with pytest.raises(ClientError) as caught:
                client.execute_statement(Statement=statement.format(table))
            assert caught.value.response["Error"]["Code"] == "AccessDeniedException"
