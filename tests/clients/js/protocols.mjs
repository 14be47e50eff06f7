// What the SDK speaks besides JSON over HTTP/1.1: Kinesis over HTTP/2, with its stream of events, and CloudWatch in CBOR.
import assert from "node:assert/strict";
import { CloudWatchClient, GetMetricStatisticsCommand, PutMetricDataCommand } from "@aws-sdk/client-cloudwatch";
import { KinesisClient, SubscribeToShardCommand } from "@aws-sdk/client-kinesis";
import { AwsSmithyRpcV2CborProtocol } from "@aws-sdk/core/protocols";

const [endpoint] = process.argv.slice(2);
const config = {
  endpoint, region: "us-east-1", maxAttempts: 1,
  credentials: { accessKeyId: "test", secretAccessKey: "test" },
};

const kinesis = new KinesisClient(config);
assert.equal(kinesis.config.requestHandler.metadata.handlerProtocol, "h2");
const ask = ShardId => kinesis.send(new SubscribeToShardCommand({
  ConsumerARN: "arn:aws:kinesis:us-east-1:000000000000:stream/s/consumer/c:1", ShardId, StartingPosition: { Type: "LATEST" },
}));
const answer = await ask("s");
const came = [];
await assert.rejects(async () => {
  for await (const event of answer.EventStream) {
    came.push(Buffer.from(event.SubscribeToShardEvent.Records[0].Data).toString());
    console.log(came.at(-1));  // the test puts the next one when it sees this
  }
}, { name: "ResourceInUseException" });
assert.deepEqual(came, ["one", "two"]);
await assert.rejects(ask("none"), { name: "ResourceNotFoundException" });
kinesis.destroy();

const at = new Date("2026-01-01T12:00:00Z");

async function metrics(more, expected) {
  const client = new CloudWatchClient({ ...config, ...more });
  const sent = [];
  const note = next => args => {
    const { "smithy-protocol": protocol, "content-encoding": coding } = args.request.headers;
    sent.push([protocol, coding]);
    return next(args);
  };
  client.middlewareStack.add(note, { step: "finalizeRequest", priority: "low" });
  await client.send(new PutMetricDataCommand({
    Namespace: "n", MetricData: Array.from({ length: 1000 }, () => ({ MetricName: "m", Value: 0.5, Timestamp: at })),
  }));
  const statistics = Namespace => client.send(new GetMetricStatisticsCommand({
    Namespace, MetricName: "m", StartTime: at, EndTime: at, Period: 60, Statistics: ["Sum"],
  }));
  const { Datapoints } = await statistics("n");
  assert.deepEqual(Datapoints, [{ Timestamp: at, Sum: 1.5 }]);
  await assert.rejects(statistics("none"), e => e.$metadata.httpStatusCode === 404 && e.message === "no such thing");
  assert.deepEqual(sent[0], expected);
}

await metrics({}, [undefined, "gzip"]);
// (Compressing, the SDK's CBOR still announces the length that the body had before.)
await metrics({ protocol: AwsSmithyRpcV2CborProtocol, disableRequestCompression: true }, ["rpc-v2-cbor", undefined]);
console.log("all");
