"""GenerateMac and VerifyMac: https://docs.aws.amazon.com/kms/latest/developerguide/hmac.html"""

from __future__ import annotations

import hmac

from penstock.core.call import Call
from penstock.core.operation import Params, Result
from penstock.services.kms import access, grant_tokens, rules
from penstock.services.kms.material import OpenMaterial
from penstock.services.kms.records import Key
from penstock.services.kms.specs import MAC
from penstock.wire.errors import AwsError


async def _mac(call: Call, params: Params) -> tuple[Key, bytes]:
    """The key, and the message's MAC under it."""
    grant_tokens.check(params)
    key = access.seen(call)
    algorithm = params["MacAlgorithm"]
    rules.check_use(key, call.now, MAC, call.operation.name, algorithm)
    rules.check_dry_run(params)
    assert key.current is not None
    secret = await call.node.own(OpenMaterial).of(key, key.current)
    assert isinstance(secret, bytes)
    return key, hmac.digest(secret, params["Message"], "sha" + algorithm.rpartition("_")[2])


@access.key_operation("GenerateMac", across=True)
async def generate_mac(call: Call, params: Params) -> Result:
    key, mac = await _mac(call, params)
    return {"Mac": mac, "MacAlgorithm": params["MacAlgorithm"], "KeyId": key.arn}


@access.key_operation("VerifyMac", across=True)
async def verify_mac(call: Call, params: Params) -> Result:
    key, mac = await _mac(call, params)
    if not hmac.compare_digest(mac, params["Mac"]):
        raise AwsError("KMSInvalidMacException")
    return {"KeyId": key.arn, "MacValid": True, "MacAlgorithm": params["MacAlgorithm"]}
