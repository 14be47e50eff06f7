// S3, DynamoDB and Kinesis (over HTTP/2) as an application in Java uses them. Arguments: endpoint, then "services" and a
// unique name, or "shard": what the test puts into the shard is printed.
import java.net.URI;
import java.security.MessageDigest;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.ExecutionException;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.dynamodb.DynamoDbClient;
import software.amazon.awssdk.services.dynamodb.model.*;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.awssdk.services.kinesis.model.ResourceInUseException;
import software.amazon.awssdk.services.kinesis.model.ShardIteratorType;
import software.amazon.awssdk.services.kinesis.model.SubscribeToShardEvent;
import software.amazon.awssdk.services.kinesis.model.SubscribeToShardResponseHandler;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.s3.model.ChecksumAlgorithm;
import software.amazon.awssdk.services.s3.model.ChecksumMode;
import software.amazon.awssdk.services.s3.model.NoSuchKeyException;

public class Services {
    static final StaticCredentialsProvider KEYS = StaticCredentialsProvider.create(AwsBasicCredentials.create("test", "test"));

    static void check(boolean holds, String what) {
        if (!holds) {
            System.err.println("does not hold: " + what);
            System.exit(1);
        }
    }

    static void objects(URI endpoint, String bucket) throws Exception {
        try (S3Client s3 = S3Client.builder().endpointOverride(endpoint).region(Region.US_EAST_1).credentialsProvider(KEYS).forcePathStyle(true).build()) {
            s3.createBucket(b -> b.bucket(bucket));
            byte[] body = new byte[300_000];
            new Random(1).nextBytes(body);
            String md5 = HexFormat.of().formatHex(MessageDigest.getInstance("MD5").digest(body));
            for (ChecksumAlgorithm algorithm : new ChecksumAlgorithm[] {null, ChecksumAlgorithm.CRC32, ChecksumAlgorithm.SHA1, ChecksumAlgorithm.SHA256}) {
                String key = "a b+c/é" + algorithm;
                var put = s3.putObject(b -> b.bucket(bucket).key(key).checksumAlgorithm(algorithm).metadata(Map.of("k", "v")), RequestBody.fromBytes(body));
                check(put.eTag().equals("\"" + md5 + "\""), "the ETag is the MD5");
                var got = s3.getObjectAsBytes(b -> b.bucket(bucket).key(key).checksumMode(ChecksumMode.ENABLED));
                check(Arrays.equals(got.asByteArray(), body) && got.response().metadata().equals(Map.of("k", "v")), "the object comes back");
            }
            check(s3.listObjectsV2Paginator(b -> b.bucket(bucket).maxKeys(3)).contents().stream().count() == 4, "all keys are listed");
            try {
                s3.getObject(b -> b.bucket(bucket).key("missing")).close();
                check(false, "a missing key is missed");
            } catch (NoSuchKeyException expected) {
                check(expected.statusCode() == 404, "a missing key is a 404");
            }
        }
    }

    static void items(URI endpoint, String table) {
        try (DynamoDbClient client = DynamoDbClient.builder().endpointOverride(endpoint).region(Region.US_EAST_1).credentialsProvider(KEYS).build()) {
            client.createTable(b -> b.tableName(table).billingMode(BillingMode.PAY_PER_REQUEST)
                .attributeDefinitions(AttributeDefinition.builder().attributeName("p").attributeType(ScalarAttributeType.S).build())
                .keySchema(KeySchemaElement.builder().attributeName("p").keyType(KeyType.HASH).build()));
            client.waiter().waitUntilTableExists(b -> b.tableName(table));
            Map<String, AttributeValue> item = Map.of("p", AttributeValue.fromS("é"), "b", AttributeValue.fromB(SdkBytes.fromByteArray(new byte[] {0, -1})));
            client.putItem(b -> b.tableName(table).item(item));
            check(client.getItem(b -> b.tableName(table).key(Map.of("p", AttributeValue.fromS("é")))).item().equals(item), "the item comes back");
            try {
                client.putItem(b -> b.tableName(table).item(item).conditionExpression("attribute_not_exists(p)"));
                check(false, "the condition fails");
            } catch (ConditionalCheckFailedException expected) {
                check(expected.statusCode() == 400, "a failed condition is a 400");
            }
        }
    }

    static void shard(URI endpoint) throws Exception {
        try (KinesisAsyncClient client = KinesisAsyncClient.builder().endpointOverride(endpoint).region(Region.US_EAST_1).credentialsProvider(KEYS).build()) {
            var handler = SubscribeToShardResponseHandler.builder()
                .subscriber(event -> {
                    if (event instanceof SubscribeToShardEvent records) {
                        System.out.println(records.records().get(0).data().asUtf8String());
                        System.out.flush();
                    }
                }).build();
            try {
                client.subscribeToShard(b -> b.consumerARN("arn:aws:kinesis:us-east-1:000000000000:stream/s/consumer/c:1").shardId("s")
                    .startingPosition(p -> p.type(ShardIteratorType.LATEST)), handler).get();
                check(false, "the stream ends with an error");
            } catch (ExecutionException ended) {
                check(ended.getCause() instanceof ResourceInUseException, "the error has its type: " + ended.getCause());
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        URI endpoint = URI.create(arguments[0]);
        if (arguments[1].equals("shard")) {
            shard(endpoint);
        } else {
            objects(endpoint, arguments[2]);
            items(endpoint, arguments[2]);
        }
        System.out.println("all");
        System.exit(0);
    }
}
