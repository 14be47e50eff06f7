import os

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
from app import change_of  # noqa: E402


def image(text):
    return {"Id": {"N": "1"}, "Message": {"S": text}}


def test_each_kind_of_change_counts():
    assert change_of({"eventName": "INSERT", "dynamodb": {"NewImage": image("abc")}}) == (1, 3)
    assert change_of({"eventName": "MODIFY", "dynamodb": {"NewImage": image("a"), "OldImage": image("abc")}}) == (0, -2)
    assert change_of({"eventName": "REMOVE", "dynamodb": {"OldImage": image("abc")}}) == (-1, -3)
