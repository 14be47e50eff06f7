"""Many clients on one account: what AWS does atomically has one winner, quotas hold to the number, no change is lost."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from served import Served

CLIENTS = 6
ALLOW = json.dumps({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}})


@pytest.fixture(scope="module")
def clients(server: Served) -> list[Any]:
    return [server.client("iam") for _ in range(CLIENTS)]


@pytest.fixture
def name() -> str:
    return f"m{uuid.uuid4().hex[:12]}"


def together(clients: list[Any], calls: int, what: Callable[[Any, int], Any]) -> Counter[str]:
    """Run `what(client, number)` many times at once: how often each error code came, "" for success."""

    def one(number: int) -> str:
        try:
            what(clients[number % CLIENTS], number)
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return ""

    with ThreadPoolExecutor(CLIENTS) as pool:
        return Counter(pool.map(one, range(calls)))


def test_a_name_has_one_maker_in_any_case(clients: list[Any], name: str) -> None:
    def make(client: Any, number: int) -> None:
        client.create_user(UserName=name.upper() if number % 2 else name)

    assert together(clients, 18, make) == {"": 1, "EntityAlreadyExists": 17}
    assert together(clients, 18, lambda c, n: c.delete_user(UserName=name)) == {"": 1, "NoSuchEntity": 17}


def test_a_user_has_no_more_than_two_keys(clients: list[Any], name: str) -> None:
    clients[0].create_user(UserName=name)
    assert together(clients, 12, lambda c, n: c.create_access_key(UserName=name)) == {"": 2, "LimitExceeded": 10}
    assert len(clients[0].list_access_keys(UserName=name)["AccessKeyMetadata"]) == 2


def test_a_role_carries_no_more_than_ten_policies(clients: list[Any], name: str) -> None:
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    clients[0].create_role(
        RoleName=name, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": trust})
    )
    arns = [clients[0].create_policy(PolicyName=f"{name}{n}", PolicyDocument=ALLOW)["Policy"]["Arn"] for n in range(14)]
    codes = together(clients, 14, lambda c, n: c.attach_role_policy(RoleName=name, PolicyArn=arns[n]))
    assert codes == {"": 10, "LimitExceeded": 4}
    attached = {p["PolicyArn"] for p in clients[0].list_attached_role_policies(RoleName=name)["AttachedPolicies"]}
    assert len(attached) == 10
    counts = {arn: clients[0].get_policy(PolicyArn=arn)["Policy"]["AttachmentCount"] for arn in arns}
    assert counts == {arn: int(arn in attached) for arn in arns}


def test_versions_are_numbered_once_and_there_are_five(clients: list[Any], name: str) -> None:
    arn = clients[0].create_policy(PolicyName=name, PolicyDocument=ALLOW)["Policy"]["Arn"]

    def make(client: Any, number: int) -> None:
        client.create_policy_version(PolicyArn=arn, PolicyDocument=ALLOW, SetAsDefault=number % 2 == 0)

    assert together(clients, 12, make) == {"": 4, "LimitExceeded": 8}
    versions = clients[0].list_policy_versions(PolicyArn=arn)["Versions"]
    assert [version["VersionId"] for version in versions] == ["v5", "v4", "v3", "v2", "v1"]
    assert sum(version["IsDefaultVersion"] for version in versions) == 1


def test_no_change_of_one_user_is_lost(clients: list[Any], name: str) -> None:
    clients[0].create_user(UserName=name)
    for n in range(5):
        clients[0].create_group(GroupName=f"{name}{n}")

    def change(client: Any, number: int) -> None:
        match number % 3:
            case 0:
                client.tag_user(UserName=name, Tags=[{"Key": f"t{number}", "Value": ""}])
            case 1:
                client.put_user_policy(UserName=name, PolicyName=f"p{number}", PolicyDocument=ALLOW)
            case _:
                client.add_user_to_group(UserName=name, GroupName=f"{name}{number // 3 % 5}")

    assert together(clients, 45, change) == {"": 45}
    assert len(clients[0].list_user_tags(UserName=name)["Tags"]) == 15
    assert len(clients[0].list_user_policies(UserName=name)["PolicyNames"]) == 15
    assert len(clients[0].list_groups_for_user(UserName=name)["Groups"]) == 5


def test_what_is_deleted_while_it_is_used_is_either(clients: list[Any], name: str) -> None:
    """A policy is never attached to somebody once it is gone, and never gone while it is attached."""
    clients[0].create_user(UserName=name)
    for round_ in range(6):
        arn = clients[0].create_policy(PolicyName=f"{name}{round_}", PolicyDocument=ALLOW)["Policy"]["Arn"]

        def act(client: Any, number: int, arn: str = arn) -> None:
            if number % 2:
                client.delete_policy(PolicyArn=arn)
            else:
                client.attach_user_policy(UserName=name, PolicyArn=arn)

        together(clients, 2, act)
        attached = [p["PolicyArn"] for p in clients[0].list_attached_user_policies(UserName=name)["AttachedPolicies"]]
        if arn in attached:
            assert clients[0].get_policy(PolicyArn=arn)["Policy"]["AttachmentCount"] == 1
        else:
            with pytest.raises(clients[0].exceptions.NoSuchEntityException):
                clients[0].get_policy(PolicyArn=arn)
