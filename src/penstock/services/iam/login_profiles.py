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


def _hashed(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=2**12, r=8, p=1)


def _view(user: User, login: LoginProfile) -> dict[str, Any]:
    return {"UserName": user.name, "CreateDate": login.created, "PasswordResetRequired": login.reset_required}


def _login(user: User) -> LoginProfile:
    if user.login is None:
        raise errors.no_such_entity(f"Login Profile for User {user.name} cannot be found.")
    return user.login


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
    salt = secrets.token_bytes(16)
    user.login = LoginProfile(
        created=int(call.now), salt=salt, hashed=_hashed(password, salt),
        reset_required=params.get("PasswordResetRequired", False),
    )  # fmt: skip
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
        login.hashed = _hashed(params["Password"], login.salt)
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
    login.hashed = _hashed(params["NewPassword"], login.salt)
    login.reset_required = False
    state.save(user)
    return {}
