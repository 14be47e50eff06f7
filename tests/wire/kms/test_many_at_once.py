"""Many clients on one key: what AWS does atomically has one winner, and no update is lost."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from botocore.exceptions import ClientError

from served import Served

CLIENTS = 6


def together(server: Served, calls: int, what: Any) -> list[str]:
    """Run `what(client, number)` many times at once: the error codes, "" for success."""
    clients = [server.client("kms") for _ in range(CLIENTS)]

    def one(number: int) -> str:
        try:
            what(clients[number % CLIENTS], number)
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return ""

    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(one, range(calls)))


def test_one_alias_has_one_maker(server: Served) -> None:
    kms = server.client("kms")
    keys = [kms.create_key()["KeyMetadata"]["KeyId"] for _ in range(3)]
    name = f"alias/{uuid.uuid4().hex}"
    codes = together(server, 18, lambda c, n: c.create_alias(AliasName=name, TargetKeyId=keys[n % 3]))
    assert sorted(codes) == ["", *["AlreadyExistsException"] * 17]
    owner = kms.describe_key(KeyId=name)["KeyMetadata"]["KeyId"]
    found = {key: [a["AliasName"] for a in kms.list_aliases(KeyId=key)["Aliases"]] for key in keys}
    assert found == {key: [name] if key == owner else [] for key in keys}


def test_no_tag_alias_grant_or_rotation_is_lost(server: Served) -> None:
    kms = server.client("kms")
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    sealed = kms.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]
    stem = uuid.uuid4().hex

    def change(client: Any, number: int) -> None:
        match number % 4:
            case 0:
                client.tag_resource(KeyId=key_id, Tags=[{"TagKey": f"t{number}", "TagValue": ""}])
            case 1:
                client.create_alias(AliasName=f"alias/{stem}-{number}", TargetKeyId=key_id)
            case 2:
                client.create_grant(
                    KeyId=key_id, GranteePrincipal="arn:aws:iam::000000000000:user/u", Operations=["Decrypt"]
                )
            case _:
                client.rotate_key_on_demand(KeyId=key_id)

    assert set(together(server, 60, change)) == {""}
    assert len(kms.list_resource_tags(KeyId=key_id)["Tags"]) == 15
    assert len(kms.list_aliases(KeyId=key_id)["Aliases"]) == 15
    assert len(kms.list_grants(KeyId=key_id)["Grants"]) == 15
    assert len(kms.list_key_rotations(KeyId=key_id)["Rotations"]) == 15
    assert kms.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"x"


def test_a_service_has_one_key(server: Served) -> None:
    found: set[str] = set()
    region = "ap-southeast-2"
    clients = [server.client("kms", region=region) for _ in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        for answer in pool.map(lambda c: c.describe_key(KeyId="alias/aws/sqs"), clients):
            found.add(answer["KeyMetadata"]["KeyId"])
    assert len(found) == 1
    assert len(server.client("kms", region=region).list_keys()["Keys"]) == 1
