import os
from decimal import Decimal

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
from app import item_of  # noqa: E402


def test_numbers_are_numbers_and_nothing_is_left_out():
    assert item_of({"id": "7", "name": "Ann", "note": ""}) == {"id": Decimal(7), "name": "Ann"}
