import pytest

pytest.importorskip("awswrangler")
from app import target_of  # noqa: E402


def test_the_name_changes_and_the_folder_stays():
    assert target_of("2026/orders.json") == "2026/orders.csv"
    assert target_of("orders") == "orders.csv"
