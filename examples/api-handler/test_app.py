import os

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
from app import handler, request_of  # noqa: E402


def test_both_forms_of_events_are_understood():
    rest = {"httpMethod": "GET", "path": "/notes/7", "body": None}
    http = {"version": "2.0", "requestContext": {"http": {"method": "GET"}}, "rawPath": "/notes/7"}
    assert request_of(rest) == request_of(http) == ("GET", "7", {})


def test_what_is_wrong_is_said():
    assert handler({"httpMethod": "POST", "path": "/", "body": "{"}, None)["statusCode"] == 400
    assert handler({"httpMethod": "PUT", "path": "/", "body": "{}"}, None)["statusCode"] == 405
