"""API: creates and reads notes in a DynamoDB table, behind API Gateway or a function URL."""

import base64
import json
import os

import boto3

table = boto3.resource("dynamodb").Table(os.environ.get("TABLE", "notes"))


def request_of(event):
    """Method, last part of the path and decoded body, of an event of API Gateway (REST, HTTP) or of a function URL."""
    if event.get("version") == "2.0":
        method, path = event["requestContext"]["http"]["method"], event["rawPath"]
    else:
        method, path = event["httpMethod"], event["path"]
    body = event.get("body") or ""
    if event.get("isBase64Encoded"):
        body = base64.b64decode(body).decode()
    return method, path.rstrip("/").rpartition("/")[2], json.loads(body) if body else {}


def answer(status, document):
    """What API Gateway makes an HTTP response of."""
    return {"statusCode": status, "headers": {"Content-Type": "application/json"}, "body": json.dumps(document)}


def handler(event, context):
    """POST with {"id", "title"} stores a note; GET /.../ID reads it."""
    try:
        method, name, body = request_of(event)
    except ValueError:
        return answer(400, {"message": "the body is no JSON"})
    if method == "POST":
        if not isinstance(body.get("id"), str):
            return answer(400, {"message": "id is missing"})
        table.put_item(Item={"id": body["id"], "title": str(body.get("title", ""))})
        return answer(201, {"id": body["id"]})
    if method == "GET":
        item = table.get_item(Key={"id": name}).get("Item")
        return answer(200, item) if item else answer(404, {"message": f"there is no note {name}"})
    return answer(405, {"message": f"{method} is not supported"})
