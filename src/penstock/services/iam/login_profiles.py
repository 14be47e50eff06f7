"""Console passwords, as records: nothing here asks for one.

Source: https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateLoginProfile.html
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.iam import arns, errors
from penstock.services.iam.records import LoginProfile, User
from penstock.services.iam.state import State, changing, reading
from penstock.services.iam.users import name_of_caller

USER = arns.existing(User)
_REMEMBERED = 24
"""As many as PasswordReusePrevention may ask for."""


def _hashed(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=2**12, r=8, p=1)


def _view(user: User, login: LoginProfile) -> dict[str, Any]:
    return {"UserName": user.name, "CreateDate": login.created, "PasswordResetRequired": login.reset_required}


def _login(user: User) -> LoginProfile:
    if user.login is None:
        raise errors.no_such_entity(f"Login Profile for User {user.name} cannot be found.")
    return user.login


def _set(state: State, call: Call, login: LoginProfile, password: str) -> None:
    """Give the profile a new password. Raises AwsError PasswordPolicyViolation where it was used too lately."""
    kept = int((state.settings().password_policy or {}).get("PasswordReusePrevention", 0))
    if kept and any(_hashed(password, old[:16]) == old[16:] for old in login.used[-kept:]):
        raise errors.password("Password was used too recently.")
    login.changed = int(call.now)
    login.salt = secrets.token_bytes(16)
    login.hashed = _hashed(password, login.salt)
    login.used = [*login.used, login.salt + login.hashed][-_REMEMBERED:]


def _check_strength(state: State, password: str) -> None:
    """Raises AwsError PasswordPolicyViolation where the account's password policy asks for more."""
    policy = state.settings().password_policy or {"MinimumPasswordLength": 8}
    wanting = (
        len(password) < int(policy.get("MinimumPasswordLength", 6))
        or (policy.get("RequireSymbols") and not any(c in "!@#$%^&*()_+-=[]{}|'" for c in password))
        or (policy.get("RequireNumbers") and not any(c.isdigit() for c in password))
        or (policy.get("RequireUppercaseCharacters") and not any(c.isupper() for c in password))
        or (policy.get("RequireLowercaseCharacters") and not any(c.islower() for c in password))
    )
    if wanting:
        raise errors.password("Password does not conform to the account password policy.")


@operation("iam:CreateLoginProfile", resource=USER)
@changing
def create_login_profile(state: State, call: Call, params: Params) -> Result:
    user = state.get(User, name_of_caller(call, params))
    if user.login is not None:
        raise errors.already(f"Login Profile for user {user.name} already exists.")
    password = params.get("Password")
    if password is None:
        raise errors.invalid("Password is required.")
    _check_strength(state, password)
    user.login = LoginProfile(
        created=int(call.now), salt=b"", hashed=b"", reset_required=params.get("PasswordResetRequired", False)
    )
    _set(state, call, user.login, password)
    state.save(user)
    return {"LoginProfile": _view(user, user.login)}


@operation("iam:GetLoginProfile", resource=USER)
@reading
def get_login_profile(state: State, call: Call, params: Params) -> Result:
    user = state.get(User, name_of_caller(call, params))
    return {"LoginProfile": _view(user, _login(user))}


@operation("iam:UpdateLoginProfile", resource=USER)
@changing
def update_login_profile(state: State, call: Call, params: Params) -> Result:
    user = state.get(User, params["UserName"])
    login = _login(user)
    if "Password" in params:
        _check_strength(state, params["Password"])
        _set(state, call, login, params["Password"])
    login.reset_required = params.get("PasswordResetRequired", login.reset_required)
    state.save(user)
    return {}


@operation("iam:DeleteLoginProfile", resource=USER)
@changing
def delete_login_profile(state: State, call: Call, params: Params) -> Result:
    user = state.get(User, name_of_caller(call, params))
    _login(user)
    user.login = None
    state.save(user)
    return {}


@operation("iam:ChangePassword", resource=USER)
@changing
def change_password(state: State, call: Call, params: Params) -> Result:
    user = state.get(User, name_of_caller(call, {}))
    login = _login(user)
    if not secrets.compare_digest(_hashed(params["OldPassword"], login.salt), login.hashed):
        raise errors.denied("The old password was incorrect.")
    _check_strength(state, params["NewPassword"])
    _set(state, call, login, params["NewPassword"])
    login.reset_required = False
    state.save(user)
    return {}
