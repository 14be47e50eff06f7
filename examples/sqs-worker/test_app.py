import json

from app import handler


def record(name, body):
    return {"messageId": name, "body": body}


def test_only_what_failed_comes_back():
    good = json.dumps({"task": "resize", "id": 1})
    event = {"Records": [record("a", good), record("b", "{}"), record("c", "no json")]}
    assert handler(event, None) == {"batchItemFailures": [{"itemIdentifier": "b"}, {"itemIdentifier": "c"}]}
