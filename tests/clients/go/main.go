// S3, DynamoDB, KMS, IAM, STS and CloudWatch Logs as an application in Go uses them. Arguments: endpoint, a unique name.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
)

func must(err error, what string) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
		os.Exit(1)
	}
}

func check(holds bool, what string) {
	if !holds {
		fmt.Fprintln(os.Stderr, "does not hold: "+what)
		os.Exit(1)
	}
}

func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return fmt.Sprint(err)
}

func random(size int) []byte {
	data := make([]byte, size)
	_, err := rand.Read(data)
	must(err, "random bytes")
	return data
}

func objects(ctx context.Context, cfg aws.Config, bucket string) {
	client := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true })
	_, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &bucket})
	must(err, "CreateBucket")
	body := random(300_000)
	for _, algorithm := range []s3types.ChecksumAlgorithm{"", "CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"} {
		key := "a b+c/é" + string(algorithm)
		_, err = client.PutObject(ctx, &s3.PutObjectInput{
			Bucket: &bucket, Key: &key, Body: bytes.NewReader(body), ChecksumAlgorithm: algorithm,
			Metadata: map[string]string{"k": "v"},
		})
		must(err, "PutObject "+string(algorithm))
		got, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key, ChecksumMode: "ENABLED"})
		must(err, "GetObject "+string(algorithm))
		read, err := io.ReadAll(got.Body) // the SDK holds it against the checksum
		must(err, "GetObject's body "+string(algorithm))
		check(bytes.Equal(read, body) && got.Metadata["k"] == "v", "the object comes back")
	}
	large := random(11 << 20)
	key := "parts"
	_, err = manager.NewUploader(client).Upload(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(large)})
	must(err, "multipart upload")
	into := manager.NewWriteAtBuffer(nil)
	_, err = manager.NewDownloader(client).Download(ctx, into, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	must(err, "ranged download")
	check(bytes.Equal(into.Bytes(), large), "the parts come back")
	asked, err := s3.NewPresignClient(client).PresignGetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	must(err, "PresignGetObject")
	answer, err := http.Get(asked.URL)
	must(err, "presigned GET")
	check(answer.StatusCode == 200 && answer.ContentLength == int64(len(large)), "the presigned address answers")
	answer.Body.Close()
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: &bucket, MaxKeys: aws.Int32(2)})
	count := 0
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		must(err, "ListObjectsV2")
		count += len(page.Contents)
	}
	check(count == 7, "all keys are listed")
	missing := "missing"
	_, err = client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &missing})
	check(code(err) == "NoSuchKey", "a missing key is said: "+code(err))
}

func items(ctx context.Context, cfg aws.Config, table string) {
	client := dynamodb.NewFromConfig(cfg)
	_, err := client.CreateTable(ctx, &dynamodb.CreateTableInput{
		TableName: &table, BillingMode: ddb.BillingModePayPerRequest,
		AttributeDefinitions: []ddb.AttributeDefinition{{AttributeName: aws.String("p"), AttributeType: "S"}},
		KeySchema:            []ddb.KeySchemaElement{{AttributeName: aws.String("p"), KeyType: "HASH"}},
	})
	must(err, "CreateTable")
	waiter := dynamodb.NewTableExistsWaiter(client, func(o *dynamodb.TableExistsWaiterOptions) { o.MinDelay = 50 * time.Millisecond })
	must(waiter.Wait(ctx, &dynamodb.DescribeTableInput{TableName: &table}, 20*time.Second), "waiting for the table")
	item := map[string]ddb.AttributeValue{
		"p": &ddb.AttributeValueMemberS{Value: "é"}, "n": &ddb.AttributeValueMemberN{Value: "1.50"},
		"b": &ddb.AttributeValueMemberB{Value: []byte{0, 255}},
	}
	_, err = client.PutItem(ctx, &dynamodb.PutItemInput{TableName: &table, Item: item})
	must(err, "PutItem")
	key := map[string]ddb.AttributeValue{"p": &ddb.AttributeValueMemberS{Value: "é"}}
	got, err := client.GetItem(ctx, &dynamodb.GetItemInput{TableName: &table, Key: key})
	must(err, "GetItem") // the SDK checks the answer's CRC-32
	check(got.Item["n"].(*ddb.AttributeValueMemberN).Value == "1.5", "the number comes back")
	_, err = client.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: &table, Item: item, ConditionExpression: aws.String("attribute_not_exists(p)"),
	})
	var failed *ddb.ConditionalCheckFailedException
	check(errors.As(err, &failed), "a failed condition has its type: "+code(err))
}

func people(ctx context.Context, cfg aws.Config, name string) {
	client := iam.NewFromConfig(cfg)
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}`
	role, err := client.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: &trust})
	must(err, "CreateRole")
	made, err := sts.NewFromConfig(cfg).AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: role.Role.Arn, RoleSessionName: &name})
	must(err, "AssumeRole")
	as := cfg.Copy()
	keys := made.Credentials
	as.Credentials = credentials.NewStaticCredentialsProvider(*keys.AccessKeyId, *keys.SecretAccessKey, *keys.SessionToken)
	who, err := sts.NewFromConfig(as).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	must(err, "GetCallerIdentity")
	check(strings.HasSuffix(*who.Arn, ":assumed-role/"+name+"/"+name), "the session is the role's: "+*who.Arn)
	_, err = kms.NewFromConfig(as).CreateKey(ctx, &kms.CreateKeyInput{})
	check(code(err) == "AccessDeniedException", "the session may not create keys: "+code(err))
	_, err = iam.NewFromConfig(as).ListUsers(ctx, &iam.ListUsersInput{})
	check(code(err) == "AccessDenied", "the session may not list users: "+code(err))
}

func keys(ctx context.Context, cfg aws.Config) {
	client := kms.NewFromConfig(cfg)
	key, err := client.CreateKey(ctx, &kms.CreateKeyInput{})
	must(err, "CreateKey")
	context := map[string]string{"purpose": "test"}
	sealed, err := client.Encrypt(ctx, &kms.EncryptInput{KeyId: key.KeyMetadata.KeyId, Plaintext: []byte("secret"), EncryptionContext: context})
	must(err, "Encrypt")
	opened, err := client.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob, EncryptionContext: context})
	must(err, "Decrypt")
	check(string(opened.Plaintext) == "secret", "what was sealed is opened")
	_, err = client.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob})
	check(code(err) == "InvalidCiphertextException", "another context does not open it: "+code(err))
}

func main() {
	endpoint, name := os.Args[1], os.Args[2]
	ctx := context.Background()
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithRegion("us-east-1"), config.WithBaseEndpoint(endpoint), config.WithRetryMaxAttempts(1),
		config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider("test", "test", "")))
	must(err, "configuration")
	objects(ctx, cfg, name)
	items(ctx, cfg, name)
	people(ctx, cfg, name)
	keys(ctx, cfg)
	fmt.Println("all")
}
