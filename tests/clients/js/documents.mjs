// DynamoDB by documents (lib-dynamodb): native values there and back, pages, batches, transactions, PartiQL. Argument: endpoint.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { CreateTableCommand, DynamoDBClient, TransactionCanceledException, waitUntilTableExists } from "@aws-sdk/client-dynamodb";
import { BatchGetCommand, BatchWriteCommand, DeleteCommand, DynamoDBDocumentClient, ExecuteStatementCommand, ExecuteTransactionCommand, GetCommand, NumberValue, paginateQuery, paginateScan, PutCommand, QueryCommand, TransactWriteCommand, UpdateCommand } from "@aws-sdk/lib-dynamodb";

const [endpoint] = process.argv.slice(2);
const TableName = `documents-${randomBytes(6).toString("hex")}`;
const config = { endpoint, region: "us-east-1", maxAttempts: 1, credentials: { accessKeyId: "test", secretAccessKey: "test" } };
const plain = new DynamoDBClient(config);
const client = DynamoDBDocumentClient.from(plain, { unmarshallOptions: { wrapNumbers: false } });

await plain.send(new CreateTableCommand({
  TableName, BillingMode: "PAY_PER_REQUEST",
  KeySchema: [{ AttributeName: "pk", KeyType: "HASH" }, { AttributeName: "sk", KeyType: "RANGE" }],
  AttributeDefinitions: [{ AttributeName: "pk", AttributeType: "S" }, { AttributeName: "sk", AttributeType: "N" }],
}));
await waitUntilTableExists({ client: plain, minDelay: 0.1, maxDelay: 0.5, maxWaitTime: 20 }, { TableName });

// Every type there and back.
const Item = {
  pk: "types", sk: 1, text: "é", empty: "", yes: true, nothing: null, list: [1, "two", { three: [3] }], map: { a: { b: 1.5 } },
  bytes: new Uint8Array([0, 1, 255]), texts: new Set(["a", "b"]), numbers: new Set([1, 2]),
};
await client.send(new PutCommand({ TableName, Item }));
const found = await client.send(new GetCommand({ TableName, Key: { pk: "types", sk: 1 } }));
assert.deepEqual(found.Item, Item);
const large = "12345678901234567890123456789012345678";
await client.send(new PutCommand({ TableName, Item: { pk: "large", sk: 1, n: NumberValue.from(large) } }));
const exact = DynamoDBDocumentClient.from(new DynamoDBClient(config), { unmarshallOptions: { wrapNumbers: true } });
assert.equal((await exact.send(new GetCommand({ TableName, Key: { pk: "large", sk: 1 } }))).Item.n.value, large);

const updated = await client.send(new UpdateCommand({
  TableName, Key: { pk: "types", sk: 1 }, ReturnValues: "UPDATED_NEW",
  UpdateExpression: "SET #m.a.b = #m.a.b + :one ADD texts :more", ExpressionAttributeNames: { "#m": "map" },
  ExpressionAttributeValues: { ":one": 1, ":more": new Set(["c"]) },
}));
assert.deepEqual(updated.Attributes, { map: { a: { b: 2.5 } }, texts: new Set(["a", "b", "c"]) });

// Batches and pages.
for (let begin = 0; begin < 100; begin += 25) {
  const requests = Array.from({ length: 25 }, (_, i) => ({ PutRequest: { Item: { pk: "many", sk: begin + i } } }));
  assert.deepEqual((await client.send(new BatchWriteCommand({ RequestItems: { [TableName]: requests } }))).UnprocessedItems, {});
}
const Keys = [{ pk: "many", sk: 3 }, { pk: "many", sk: 1000 }];
const got = await client.send(new BatchGetCommand({ RequestItems: { [TableName]: { Keys } } }));
assert.deepEqual(got.Responses[TableName], [Keys[0]]);
const numbers = [];
const query = { TableName, KeyConditionExpression: "pk = :p", ExpressionAttributeValues: { ":p": "many" }, ScanIndexForward: false };
for await (const page of paginateQuery({ client, pageSize: 30 }, query)) numbers.push(...page.Items.map((item) => item.sk));
assert.deepEqual(numbers, Array.from({ length: 100 }, (_, i) => 99 - i));
let scanned = 0;
for await (const page of paginateScan({ client, pageSize: 40 }, { TableName })) scanned += page.Count;
assert.equal(scanned, 102);

// Transactions say why they were cancelled.
await assert.rejects(
  client.send(new TransactWriteCommand({
    TransactItems: [
      { Put: { TableName, Item: { pk: "t", sk: 1 } } },
      { Update: {
        TableName, Key: { pk: "types", sk: 1 }, UpdateExpression: "SET a = :a", ConditionExpression: "texts = :a",
        ExpressionAttributeValues: { ":a": "other" }, ReturnValuesOnConditionCheckFailure: "ALL_OLD",
      } },
    ],
  })),
  (error) => {
    assert.ok(error instanceof TransactionCanceledException);
    assert.deepEqual(error.CancellationReasons.map((reason) => reason.Code), ["None", "ConditionalCheckFailed"]);
    return true;
  },
);

// PartiQL.
await client.send(new ExecuteStatementCommand({
  Statement: `INSERT INTO "${TableName}" VALUE {'pk': ?, 'sk': ?, 'deep': {'list': [1, ?]}}`, Parameters: ["sql", 1, { x: [true] }],
}));
const selected = await client.send(new ExecuteStatementCommand({
  Statement: `SELECT deep.list[1] FROM "${TableName}" WHERE pk = 'sql' AND sk = 1`,
}));
assert.deepEqual(selected.Items, [{ "list[1]": { x: [true] } }]);
let token, counted = 0;
do {
  const page = await client.send(new ExecuteStatementCommand({
    Statement: `SELECT sk FROM "${TableName}" WHERE pk = ? AND sk >= ? ORDER BY sk DESC`, Parameters: ["many", 10], Limit: 37, NextToken: token,
  }));
  counted += page.Items.length;
  token = page.NextToken;
} while (token);
assert.equal(counted, 90);
await client.send(new ExecuteTransactionCommand({
  TransactStatements: [
    { Statement: `UPDATE "${TableName}" SET done = ? WHERE pk = 'sql' AND sk = 1`, Parameters: [true] },
    { Statement: `DELETE FROM "${TableName}" WHERE pk = 'large' AND sk = 1` },
  ],
}));
const old = await client.send(new DeleteCommand({ TableName, Key: { pk: "sql", sk: 1 }, ReturnValues: "ALL_OLD" }));
assert.equal(old.Attributes.done, true);
const gone = { TableName, KeyConditionExpression: "pk = :p", ExpressionAttributeValues: { ":p": "large" } };
assert.equal((await client.send(new QueryCommand(gone))).Count, 0);
console.log("all");
