import base64
import json

from app import transformed


def result(document):
    data = base64.b64encode(json.dumps(document).encode()).decode()
    return transformed({"recordId": "1", "data": data})


def test_a_record_is_transformed_dropped_or_marked():
    made = result({"ticker": "PEN", "price": 9})
    assert made["result"] == "Ok"
    assert json.loads(base64.b64decode(made["data"])) == {"ticker": "pen", "price": 9}
    assert result({"ticker": "PEN", "price": 1})["result"] == "Dropped"
    assert result([])["result"] == "ProcessingFailed"
