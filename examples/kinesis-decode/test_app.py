import base64

import pytest
from app import handler, reading_of


def record(text, number="1"):
    data = base64.b64encode(text.encode()).decode()
    return {"kinesis": {"data": data, "sequenceNumber": number, "partitionKey": "p"}}


def test_a_record_is_decoded():
    assert reading_of(record('{"a": 1}')) == {"a": 1}
    with pytest.raises(ValueError, match="object"):
        reading_of(record("[]"))


def test_the_first_that_fails_is_named():
    event = {"Records": [record("{}", "1"), record("x", "2"), record("{}", "3")]}
    assert handler(event, None) == {"batchItemFailures": [{"itemIdentifier": "2"}]}
