"""Virtual MFA devices: their codes (RFC 6238, 30 s, 6 digits) are checked when they are enabled, and by STS.

Codes follow the host's clock, which authenticator apps follow too, and not one that was moved.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_mfa_enable_virtual.html
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Any

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.iam import arns, errors, listing, tagging, users
from penstock.services.iam.records import MfaDevice, User, VirtualMfa
from penstock.services.iam.state import State, changing, reading
from penstock.services.iam.users import name_of_caller

USER = arns.existing(User)
STEP_S = 30
_SEED_BYTES = 40
_STEPS_AROUND = 10
_STEPS_OFF = 1
"""By how many time steps a device's clock may differ when a code is asked for."""
_PER_USER = 8


def code_at(seed: bytes, step: int) -> str:
    """The 6 digits of a time step."""
    digest = hmac.digest(seed, step.to_bytes(8, "big"), hashlib.sha1)
    at = digest[-1] & 15
    return f"{(int.from_bytes(digest[at : at + 4], 'big') & 0x7FFFFFFF) % 1_000_000:06d}"


def _serial(account: str, device: VirtualMfa) -> str:
    return f"arn:aws:iam::{account}:mfa{device.path}{device.name}"


def _resource(call: Call, params: Params) -> str:
    return str(params["SerialNumber"])


def _new_arn(call: Call, params: Params) -> str:
    return f"arn:aws:iam::{call.account}:mfa{params.get('Path', '/')}{params['VirtualMFADeviceName']}"


def _get(state: State, serial: str) -> VirtualMfa:
    device = state.find(VirtualMfa, serial.rpartition("/")[2])
    if device is None or _serial(state.account, device) != serial:
        raise errors.no_such_entity(f"VirtualMFADevice with serial number {serial} doesn't exist.")
    return device


def _check_codes(device: VirtualMfa, call: Call, params: Params) -> None:
    """Two codes that follow each other, of about now. Raises AwsError InvalidAuthenticationCode."""
    step = int(call.node.clock.host_now()) // STEP_S
    given = (params["AuthenticationCode1"], params["AuthenticationCode2"])
    for at in range(step - _STEPS_AROUND, step + _STEPS_AROUND + 1):
        if given == (code_at(device.seed, at), code_at(device.seed, at + 1)):
            return
    raise errors.bad_code("Authentication code for device is not valid.")


def accept(state: State, user: str, serial: str, code: str, host_now: float) -> bool | None:
    """Whether the code is what the device of that user shows, and later than any it was used with; see `Directory`."""
    device = state.find(VirtualMfa, serial.rpartition("/")[2])
    if device is None or device.user != user or _serial(state.account, device) != serial:
        return None
    step = int(host_now) // STEP_S
    for at in range(max(step - _STEPS_OFF, device.used + 1), step + _STEPS_OFF + 1):
        if hmac.compare_digest(code_at(device.seed, at).encode(), code.encode()):
            device.used = at
            state.save(device)
            return True
    return False


def _assigned(state: State, params: Params) -> tuple[User, VirtualMfa]:
    user, device = state.get(User, params["UserName"]), _get(state, params["SerialNumber"])
    if device.user != user.name:
        raise errors.no_such_entity(
            f"MFA Device with serial number {params['SerialNumber']} is not assigned to the user."
        )
    return user, device


@operation("iam:CreateVirtualMFADevice", resource=_new_arn)
@changing
def create_virtual_mfa_device(state: State, call: Call, params: Params) -> Result:
    device = VirtualMfa(
        name=params["VirtualMFADeviceName"], path=params.get("Path", "/"), seed=secrets.token_bytes(_SEED_BYTES),
        created=int(call.now), tags=tagging.given(params.get("Tags")),
    )  # fmt: skip
    state.add(device)
    shown: dict[str, Any] = {
        "SerialNumber": _serial(call.account, device), "Base32StringSeed": base64.b32encode(device.seed),
    }  # fmt: skip
    if device.tags:
        shown["Tags"] = tagging.to_list(device.tags)
    return {"VirtualMFADevice": shown}


@operation("iam:DeleteVirtualMFADevice", resource=_resource)
@changing
def delete_virtual_mfa_device(state: State, call: Call, params: Params) -> Result:
    device = _get(state, params["SerialNumber"])
    if device.user:
        raise errors.conflict("MFA VirtualDevice in use. Must deactivate first.")
    state.remove(device)
    return {}


@operation("iam:EnableMFADevice", resource=USER)
@changing
def enable_mfa_device(state: State, call: Call, params: Params) -> Result:
    user, device = state.get(User, params["UserName"]), _get(state, params["SerialNumber"])
    if device.user:
        raise errors.already("MFA Device is already in use.")
    if len(user.mfa) >= _PER_USER:
        raise errors.limit(f"Cannot exceed quota for MfaDevicesPerUser: {_PER_USER}")
    _check_codes(device, call, params)
    device.user, device.enabled = user.name, int(call.now)
    user.mfa.append(MfaDevice(serial=params["SerialNumber"], enabled=int(call.now)))
    state.save(device)
    state.save(user)
    return {}


@operation("iam:ResyncMFADevice", resource=USER)
@changing
def resync_mfa_device(state: State, call: Call, params: Params) -> Result:
    """The codes are checked; a clock that both sides read needs no further settling."""
    _, device = _assigned(state, params)
    _check_codes(device, call, params)
    return {}


@operation("iam:DeactivateMFADevice", resource=USER)
@changing
def deactivate_mfa_device(state: State, call: Call, params: Params) -> Result:
    user, device = _assigned(state, {"UserName": name_of_caller(call, params), **params})
    user.mfa = [mine for mine in user.mfa if mine.serial != params["SerialNumber"]]
    device.user, device.enabled = "", 0.0
    state.save(device)
    state.save(user)
    return {}


@operation("iam:ListMFADevices", resource=USER)
@reading
def list_mfa_devices(state: State, call: Call, params: Params) -> Result:
    user = state.get(User, name_of_caller(call, params))
    return listing.page_of_list(
        user.mfa, params, f"Mfa:{user.name}", "MFADevices", lambda mine: mine.serial,
        lambda mine: {"UserName": user.name, "SerialNumber": mine.serial, "EnableDate": mine.enabled},
    )  # fmt: skip


@operation("iam:GetMFADevice", resource=USER)
@reading
def get_mfa_device(state: State, call: Call, params: Params) -> Result:
    device = _get(state, params["SerialNumber"])
    if not device.user or params.get("UserName", device.user) != device.user:
        raise errors.no_such_entity(
            f"MFA Device with serial number {params['SerialNumber']} is not assigned to the user."
        )
    return {"UserName": device.user, "SerialNumber": params["SerialNumber"], "EnableDate": device.enabled}


@operation("iam:ListVirtualMFADevices", resource="arn:aws:iam::{account}:mfa/*")
@reading
def list_virtual_mfa_devices(state: State, call: Call, params: Params) -> Result:
    wanted = params.get("AssignmentStatus", "Any")
    found = [
        device for device in state.all(VirtualMfa) if wanted == "Any" or bool(device.user) is (wanted == "Assigned")
    ]

    def view(device: VirtualMfa) -> dict[str, Any]:
        shown: dict[str, Any] = {"SerialNumber": _serial(call.account, device)}
        if device.user:
            shown["User"] = users.view(call.account, state.get(User, device.user), full=False)
            shown["EnableDate"] = device.enabled
        return shown

    return listing.page_of_list(found, params, "VirtualMfa", "VirtualMFADevices", lambda device: device.name, view)


@operation("iam:TagMFADevice", resource=_resource)
@changing
def tag_mfa_device(state: State, call: Call, params: Params) -> Result:
    device = _get(state, params["SerialNumber"])
    device.tags = tagging.merged(device.tags, tagging.given(params["Tags"]))
    state.save(device)
    return {}


@operation("iam:UntagMFADevice", resource=_resource)
@changing
def untag_mfa_device(state: State, call: Call, params: Params) -> Result:
    device = _get(state, params["SerialNumber"])
    device.tags = tagging.removed(device.tags, params["TagKeys"])
    state.save(device)
    return {}


@operation("iam:ListMFADeviceTags", resource=_resource)
@reading
def list_mfa_device_tags(state: State, call: Call, params: Params) -> Result:
    return tagging.list_tags(_get(state, params["SerialNumber"]).tags, params, "mfa")
