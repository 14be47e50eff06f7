// S3, DynamoDB, Lambda and STS as an application uses them. Arguments: endpoint, function's package (a file).
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { Readable } from "node:stream";
import { DynamoDBClient, CreateTableCommand, GetItemCommand, PutItemCommand, QueryCommand, waitUntilTableExists } from "@aws-sdk/client-dynamodb";
import { CreateFunctionCommand, InvokeCommand, InvokeWithResponseStreamCommand, LambdaClient, waitUntilFunctionActiveV2 } from "@aws-sdk/client-lambda";
import { CreateBucketCommand, CreateMultipartUploadCommand, CompleteMultipartUploadCommand, DeleteObjectsCommand, GetObjectCommand, HeadObjectCommand, ListObjectsV2Command, PutObjectCommand, S3Client, UploadPartCommand } from "@aws-sdk/client-s3";
import { AssumeRoleCommand, GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";

const [endpoint, packageFile, runtime] = process.argv.slice(2);
const id = randomBytes(6).toString("hex");
const config = {
  endpoint, region: "us-east-1", maxAttempts: 1,
  credentials: { accessKeyId: "test", secretAccessKey: "test" },
};

async function s3() {
  const client = new S3Client({ ...config, forcePathStyle: true });
  const Bucket = `js-${id}`;
  await client.send(new CreateBucketCommand({ Bucket }));
  const body = randomBytes(300_000);
  const put = await client.send(new PutObjectCommand({ Bucket, Key: "a b+c/é", Body: body, Metadata: { k: "v" } }));
  assert.equal(put.ETag, `"${createHash("md5").update(body).digest("hex")}"`);
  assert.ok(put.ChecksumCRC32);  // the SDK's default since 2025
  const got = await client.send(new GetObjectCommand({ Bucket, Key: "a b+c/é" }));
  assert.deepEqual(Buffer.from(await got.Body.transformToByteArray()), body);
  assert.deepEqual(got.Metadata, { k: "v" });
  const large = randomBytes(3_000_000);
  const pieces = Readable.from([large.subarray(0, 1_000_000), large.subarray(1_000_000)], { objectMode: false });
  await client.send(new PutObjectCommand({ Bucket, Key: "streamed", Body: pieces, ContentLength: large.length, ChecksumAlgorithm: "SHA256" }));
  const part = await client.send(new GetObjectCommand({ Bucket, Key: "streamed", Range: "bytes=999990-1000009" }));
  assert.deepEqual(Buffer.from(await part.Body.transformToByteArray()), large.subarray(999_990, 1_000_010));
  const { UploadId } = await client.send(new CreateMultipartUploadCommand({ Bucket, Key: "parts", ChecksumAlgorithm: "CRC32" }));
  const first = await client.send(new UploadPartCommand({ Bucket, Key: "parts", UploadId, PartNumber: 1, Body: body }));
  const Parts = [{ PartNumber: 1, ETag: first.ETag, ChecksumCRC32: first.ChecksumCRC32 }];
  await client.send(new CompleteMultipartUploadCommand({ Bucket, Key: "parts", UploadId, MultipartUpload: { Parts } }));
  const listed = await client.send(new ListObjectsV2Command({ Bucket }));
  assert.deepEqual(listed.Contents.map(o => [o.Key, o.Size]), [["a b+c/é", 300_000], ["parts", 300_000], ["streamed", 3_000_000]]);
  await client.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects: [{ Key: "parts" }] } }));
  await assert.rejects(client.send(new HeadObjectCommand({ Bucket, Key: "parts" })), { name: "NotFound" });
  await assert.rejects(client.send(new GetObjectCommand({ Bucket, Key: "parts" })), { name: "NoSuchKey" });
}

async function dynamodb() {
  const client = new DynamoDBClient(config);
  const TableName = `js-${id}`;
  await client.send(new CreateTableCommand({
    TableName, BillingMode: "PAY_PER_REQUEST",
    AttributeDefinitions: [{ AttributeName: "p", AttributeType: "S" }, { AttributeName: "s", AttributeType: "N" }],
    KeySchema: [{ AttributeName: "p", KeyType: "HASH" }, { AttributeName: "s", KeyType: "RANGE" }],
  }));
  await waitUntilTableExists({ client, maxWaitTime: 20, minDelay: 0.1, maxDelay: 0.5 }, { TableName });
  for (let n = 0; n < 5; n++) {
    const Item = { p: { S: "é" }, s: { N: `${n}` }, b: { B: new Uint8Array([0, 255]) }, m: { M: { l: { L: [{ BOOL: true }] } } } };
    await client.send(new PutItemCommand({ TableName, Item }));
  }
  const { Item } = await client.send(new GetItemCommand({ TableName, Key: { p: { S: "é" }, s: { N: "3" } } }));
  assert.deepEqual(Item.m, { M: { l: { L: [{ BOOL: true }] } } });
  assert.deepEqual([...Item.b.B], [0, 255]);
  const found = await client.send(new QueryCommand({
    TableName, KeyConditionExpression: "p = :p AND s > :s", ScanIndexForward: false,
    ExpressionAttributeValues: { ":p": { S: "é" }, ":s": { N: "1" } },
  }));
  assert.deepEqual(found.Items.map(i => i.s.N), ["4", "3", "2"]);
  await assert.rejects(client.send(new PutItemCommand({
    TableName, Item: { p: { S: "é" }, s: { N: "1" } }, ConditionExpression: "attribute_not_exists(p)",
  })), { name: "ConditionalCheckFailedException" });
}

async function lambda() {
  const client = new LambdaClient(config);
  const FunctionName = `js-${id}`;
  await client.send(new CreateFunctionCommand({
    FunctionName, Runtime: runtime, Handler: "app.handler", Role: "arn:aws:iam::000000000000:role/none",
    Code: { ZipFile: readFileSync(packageFile) },
  }));
  await waitUntilFunctionActiveV2({ client, maxWaitTime: 20, minDelay: 0.2, maxDelay: 1 }, { FunctionName });
  const Payload = JSON.stringify({ text: "zażółć" });
  const answer = await client.send(new InvokeCommand({ FunctionName, Payload, LogType: "Tail" }));
  assert.equal(answer.StatusCode, 200);
  assert.deepEqual(JSON.parse(answer.Payload.transformToString()), { text: "zażółć" });
  const { EventStream } = await client.send(new InvokeWithResponseStreamCommand({ FunctionName, Payload }));
  const came = [];
  let ended = false;
  for await (const event of EventStream) {
    if (event.PayloadChunk) came.push(event.PayloadChunk.Payload);
    ended ||= event.InvokeComplete !== undefined;
  }
  assert.deepEqual(JSON.parse(Buffer.concat(came).toString()), { text: "zażółć" });
  assert.ok(ended);
  await assert.rejects(client.send(new InvokeCommand({ FunctionName: "nobody" })), { name: "ResourceNotFoundException" });
}

async function sts() {
  const caller = await new STSClient(config).send(new GetCallerIdentityCommand({}));
  assert.equal(caller.Arn, "arn:aws:iam::000000000000:root");
  const wrong = new STSClient({ ...config, credentials: { accessKeyId: "test", secretAccessKey: "wrong" } });
  await assert.rejects(wrong.send(new GetCallerIdentityCommand({})), { name: "SignatureDoesNotMatch" });
  const role = { RoleArn: `arn:aws:iam::000000000000:role/none-${id}`, RoleSessionName: "session" };
  await assert.rejects(new STSClient(config).send(new AssumeRoleCommand(role)), { name: "AccessDenied" });
}

await Promise.all([s3(), dynamodb(), lambda(), sts()]);
console.log("all");
