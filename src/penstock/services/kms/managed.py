"""Keys that AWS manages for its services, under aliases alias/aws/<service>: made when they are first named.

https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#aws-managed-cmk
"""

from __future__ import annotations

import json
import uuid

from penstock.core.call import Call
from penstock.services.kms import finding, keys, material
from penstock.services.kms.records import AWS, Alias, Key, encode
from penstock.services.kms.rules import DAY_S
from penstock.services.kms.specs import ENCRYPT, SYMMETRIC
from penstock.store.api import Transaction

SERVICES = frozenset(
    "acm backup cloudwatch codebuild codecommit dms dynamodb ebs elasticfilesystem es fsx glue kafka kinesis "
    "kinesisvideo lambda lex lightsail rds redshift s3 secretsmanager ses sns sqs ssm workspaces xray".split()
)
THROUGH_SERVICE = frozenset(
    "Encrypt Decrypt ReEncryptFrom ReEncryptTo GenerateDataKey GenerateDataKeyWithoutPlaintext GenerateDataKeyPair "
    "GenerateDataKeyPairWithoutPlaintext CreateGrant".split()
)
"""What a service may do with its key for those who may use the service."""
ROTATION_DAYS = 365


def policy_for(service: str, account: str, region: str) -> str:
    """The key policy that AWS gives such a key: its account may look at it, and use it through the service."""
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Id": f"auto-{service}-1",
            "Statement": [
                {
                    "Sid": f"Allow access through {service} for all principals in the account that are authorized to use "
                    f"{service}",
                    "Effect": "Allow",
                    "Principal": {"AWS": "*"},
                    "Action": [
                        "kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:CreateGrant",
                        "kms:DescribeKey",
                    ],
                    "Resource": "*",
                    "Condition": {
                        "StringEquals": {
                            "kms:CallerAccount": account,
                            "kms:ViaService": f"{service}.{region}.amazonaws.com",
                        }
                    },
                },
                {
                    "Sid": "Allow direct access to key metadata to the account",
                    "Effect": "Allow",
                    "Principal": {"AWS": f"arn:aws:iam::{account}:root"},
                    "Action": ["kms:Describe*", "kms:Get*", "kms:List*"],
                    "Resource": "*",
                },
            ],
        }
    )  # fmt: skip


_WHAT = {"s3": "S3 objects"}


async def make(call: Call, alias: str) -> bool:
    """Make the key of alias/aws/<service> unless it is there. False: AWS has no such alias."""
    service = alias.removeprefix(finding.AWS_ALIAS)
    if service not in SERVICES or service == alias:
        return False
    account, region, now = call.principal.account, call.region, call.now
    key_id = str(uuid.uuid4())
    fresh = await material.made(call.node, account, key_id, SYMMETRIC)
    key = Key(
        key_id, account, region, now, SYMMETRIC, ENCRYPT, policy_for(service, account, region),
        description=f"Default key that protects my {_WHAT.get(service, service + ' data')} when no other key is defined",
        manager=AWS,
        aliases=[alias], materials=[fresh], rotation_days=ROTATION_DAYS, next_rotation_at=now + ROTATION_DAYS * DAY_S,
    )  # fmt: skip

    def body(txn: Transaction) -> None:
        where = keys.alias(account, region, alias)
        if txn.get(where) is None:
            txn.set(where, encode(Alias(key_id, now, now)))
            finding.save(txn, key, 0.0)

    await call.store.transact(body)
    return True
