"""The report of Contributor Insights, asked for over HTTP with a signature."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from served import Served


def ask(server: Served, query: str, access_key: str | None = "test") -> tuple[int, dict[str, Any]]:
    url = f"{server.endpoint}/_dynamodb/contributors?{query}"
    request = AWSRequest("GET", url)
    if access_key is not None:
        SigV4Auth(Credentials(access_key, "test"), "dynamodb", "us-east-1").add_auth(request)
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=dict(request.headers))) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_report(server: Served) -> None:
    name = f"asked-{time.time_ns()}"
    client = server.client("dynamodb")
    client.create_table(
        TableName=name, BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
    )  # fmt: skip
    assert ask(server, f"TableName={name}")[0] == 400
    client.update_contributor_insights(TableName=name, ContributorInsightsAction="ENABLE")
    for n in range(6):
        client.put_item(TableName=name, Item={"pk": {"S": f"k{n % 4 // 3}"}})
    status, report = ask(server, f"TableName={name}&Rule=PKC&MaxContributorCount=5")
    assert status == 200
    assert report == {
        "KeyLabels": ["pk"], "AggregationStatistic": "Sum", "AggregateValue": 6.0, "ApproximateUniqueCount": 2,
        "Contributors": [
            {"Keys": ["k0"], "ApproximateAggregateValue": 5.0}, {"Keys": ["k1"], "ApproximateAggregateValue": 1.0}
        ],
    }  # fmt: skip
    assert ask(server, f"TableName={name}", access_key=None)[0] in (400, 403)
    assert ask(server, f"TableName={name}", access_key="999999999999")[0] == 400
    for bad in ("Rule=X", "Minutes=0", "Minutes=x", "MaxContributorCount=101"):
        status, refusal = ask(server, f"TableName={name}&{bad}")
        assert (status, refusal["__type"]) == (400, "ValidationException")
