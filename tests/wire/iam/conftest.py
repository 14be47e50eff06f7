"""Users with policies of their own."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from served import Served


@pytest.fixture
def user(server: Served) -> Callable[..., Callable[[str], Any]]:
    """Makes a user with statements; gives what makes clients of it."""

    def make(*statements: dict[str, Any], **tags: str) -> Callable[[str], Any]:
        iam, name = server.client("iam"), f"u{uuid.uuid4().hex[:12]}"
        iam.create_user(UserName=name, Tags=[{"Key": key, "Value": value} for key, value in tags.items()])
        document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=document)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return lambda service: server.client(service, key["AccessKeyId"], key["SecretAccessKey"])

    return make
