"""An account's IAM against a model of it, with SIGKILL and restart as one of the steps: what is there, what keeps what from
being deleted, and, in a real call to another service, what it all allows.
"""

from __future__ import annotations

import json
import tempfile
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from served import Served

USERS = st.sampled_from(["ann", "bob", "eve"])
GROUPS = st.sampled_from(["readers", "writers"])
POLICIES = st.sampled_from(["p", "q"])
DOCUMENTS = st.sampled_from(["Allow", "Deny", "Other"])
ARN = "arn:aws:iam::000000000000:policy/"

_shared: list[Served] = []


def served() -> Served:
    if not _shared:
        _shared.append(Served(Path(tempfile.mkdtemp(prefix="penstock-model-"))).start())
    return _shared[0]


def document(what: str) -> str:
    """Allow or Deny dynamodb:ListTables, or allow something else."""
    effect, action = ("Allow", "sqs:*") if what == "Other" else (what, "dynamodb:ListTables")
    return json.dumps({"Version": "2012-10-17", "Statement": {"Effect": effect, "Action": action, "Resource": "*"}})


@dataclass
class User:
    id: str
    inline: dict[str, str] = field(default_factory=dict)
    attached: set[str] = field(default_factory=set)
    groups: set[str] = field(default_factory=set)
    boundary: str = ""
    keys: dict[str, tuple[str, bool]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


@dataclass
class Group:
    inline: dict[str, str] = field(default_factory=dict)
    attached: set[str] = field(default_factory=set)


class IamModel(RuleBasedStateMachine):
    """The model: users, groups, and managed policies as the documents of their versions, the default one last."""

    @initialize()
    def begin(self) -> None:
        self._connect()
        self.users: dict[str, User] = {}
        self.groups: dict[str, Group] = {}
        self.policies: dict[str, list[str]] = {}

    def _connect(self) -> None:
        self.iam = served().client("iam")
        self.clients: dict[str, Any] = {}

    def expect(self, code: str, what: Callable[..., Any], **params: Any) -> Any:
        """Call, and get that error; "" for success."""
        try:
            answer = what(**params)
        except ClientError as error:
            assert error.response["Error"]["Code"] == code, error
            return None
        assert not code, f"{code} expected of {params}"
        return answer

    @rule(name=USERS)
    def create_user(self, name: str) -> None:
        made = self.expect("EntityAlreadyExists" if name in self.users else "", self.iam.create_user, UserName=name)
        if made:
            self.users[name] = User(made["User"]["UserId"])

    @rule(name=USERS)
    def delete_user(self, name: str) -> None:
        user = self.users.get(name)
        code = "NoSuchEntity" if user is None else ""
        if user is not None and (user.inline or user.attached or user.groups or user.keys):
            code = "DeleteConflict"
        self.expect(code, self.iam.delete_user, UserName=name)
        if not code:
            del self.users[name]

    @rule(name=USERS, new=USERS)
    def rename_user(self, name: str, new: str) -> None:
        code = "NoSuchEntity" if name not in self.users else ""
        if not code and new != name and new in self.users:
            code = "EntityAlreadyExists"
        self.expect(code, self.iam.update_user, UserName=name, NewUserName=new)
        if not code:
            self.users[new] = self.users.pop(name)

    @rule(name=GROUPS)
    def create_group(self, name: str) -> None:
        if self.expect("EntityAlreadyExists" if name in self.groups else "", self.iam.create_group, GroupName=name):
            self.groups[name] = Group()

    @rule(name=GROUPS)
    def delete_group(self, name: str) -> None:
        group = self.groups.get(name)
        code = "NoSuchEntity" if group is None else ""
        if group is not None and (group.inline or group.attached or self._members(name)):
            code = "DeleteConflict"
        self.expect(code, self.iam.delete_group, GroupName=name)
        if not code:
            del self.groups[name]

    def _members(self, group: str) -> set[str]:
        return {name for name, user in self.users.items() if group in user.groups}

    @rule(user=USERS, group=GROUPS, add=st.booleans())
    def membership(self, user: str, group: str, add: bool) -> None:
        there = user in self.users and group in self.groups
        call = self.iam.add_user_to_group if add else self.iam.remove_user_from_group
        is_member = there and group in self.users[user].groups
        self.expect("" if there and (add or is_member) else "NoSuchEntity", call, UserName=user, GroupName=group)
        if there:
            (self.users[user].groups.add if add else self.users[user].groups.discard)(group)

    @rule(name=POLICIES, what=DOCUMENTS)
    def create_policy(self, name: str, what: str) -> None:
        code = "EntityAlreadyExists" if name in self.policies else ""
        self.expect(code, self.iam.create_policy, PolicyName=name, PolicyDocument=document(what))
        if not code:
            self.policies[name] = [what]

    @rule(name=POLICIES, what=DOCUMENTS)
    def new_default_version(self, name: str, what: str) -> None:
        versions = self.policies.get(name)
        code = "NoSuchEntity" if versions is None else "LimitExceeded" if len(versions) == 5 else ""
        self.expect(
            code, self.iam.create_policy_version, PolicyArn=ARN + name, PolicyDocument=document(what), SetAsDefault=True
        )
        if versions is not None and not code:
            versions.append(what)

    @rule(name=POLICIES)
    def delete_policy(self, name: str) -> None:
        versions = self.policies.get(name)
        carried = any(name in one.attached for one in (*self.users.values(), *self.groups.values()))
        bounds = any(user.boundary == name for user in self.users.values())
        code = "NoSuchEntity" if versions is None else ""
        if versions is not None and (carried or bounds or len(versions) > 1):
            code = "DeleteConflict"
        self.expect(code, self.iam.delete_policy, PolicyArn=ARN + name)
        if not code:
            del self.policies[name]

    @rule(name=st.one_of(USERS, GROUPS), policy=POLICIES, attach=st.booleans())
    def attachment(self, name: str, policy: str, attach: bool) -> None:
        is_user = name not in ("readers", "writers")
        one: User | Group | None = self.users.get(name) if is_user else self.groups.get(name)
        verb, noun = "attach" if attach else "detach", "user" if is_user else "group"
        call = getattr(self.iam, f"{verb}_{noun}_policy")
        known = policy in self.policies if attach else one is not None and policy in one.attached
        params = {"UserName" if is_user else "GroupName": name, "PolicyArn": ARN + policy}
        self.expect("" if one is not None and known else "NoSuchEntity", call, **params)
        if one is not None and known:
            (one.attached.add if attach else one.attached.discard)(policy)

    @rule(name=st.one_of(USERS, GROUPS), policy=POLICIES, what=DOCUMENTS)
    def put_inline(self, name: str, policy: str, what: str) -> None:
        is_user = name not in ("readers", "writers")
        one: User | Group | None = self.users.get(name) if is_user else self.groups.get(name)
        call = self.iam.put_user_policy if is_user else self.iam.put_group_policy
        params = {"UserName" if is_user else "GroupName": name, "PolicyName": policy, "PolicyDocument": document(what)}
        self.expect("" if one is not None else "NoSuchEntity", call, **params)
        if one is not None:
            one.inline[policy] = what

    @rule(name=USERS, policy=POLICIES)
    def delete_inline(self, name: str, policy: str) -> None:
        known = name in self.users and policy in self.users[name].inline
        code = "" if known else "NoSuchEntity"
        self.expect(code, self.iam.delete_user_policy, UserName=name, PolicyName=policy)
        if known:
            del self.users[name].inline[policy]

    @rule(name=USERS, policy=POLICIES)
    def bound(self, name: str, policy: str) -> None:
        known = name in self.users and policy in self.policies
        self.expect(
            "" if known else "NoSuchEntity", self.iam.put_user_permissions_boundary, UserName=name,
            PermissionsBoundary=ARN + policy,
        )  # fmt: skip
        if known:
            self.users[name].boundary = policy

    @precondition(lambda self: any(user.boundary for user in self.users.values()))
    @rule()
    def unbound(self) -> None:
        for name, user in self.users.items():
            if user.boundary:
                self.iam.delete_user_permissions_boundary(UserName=name)
                user.boundary = ""

    @rule(name=USERS)
    def create_key(self, name: str) -> None:
        user = self.users.get(name)
        code = "NoSuchEntity" if user is None else "LimitExceeded" if len(user.keys) == 2 else ""
        made = self.expect(code, self.iam.create_access_key, UserName=name)
        if made and user is not None:
            user.keys[made["AccessKey"]["AccessKeyId"]] = made["AccessKey"]["SecretAccessKey"], True

    @precondition(lambda self: any(user.keys for user in self.users.values()))
    @rule(data=st.data(), how=st.sampled_from(["Active", "Inactive", "delete"]))
    def change_key(self, data: st.DataObject, how: str) -> None:
        name = data.draw(st.sampled_from(sorted(name for name, user in self.users.items() if user.keys)))
        user, key_id = self.users[name], sorted(self.users[name].keys)[0]
        if how == "delete":
            self.iam.delete_access_key(UserName=name, AccessKeyId=key_id)
            del user.keys[key_id]
        else:
            self.iam.update_access_key(UserName=name, AccessKeyId=key_id, Status=how)
            user.keys[key_id] = user.keys[key_id][0], how == "Active"

    @rule(name=USERS, key=st.sampled_from(["team", "Team", "env"]), value=st.sampled_from(["", "x"]), put=st.booleans())
    def tag(self, name: str, key: str, value: str, put: bool) -> None:
        user = self.users.get(name)
        code = "" if user is not None else "NoSuchEntity"
        if put:
            self.expect(code, self.iam.tag_user, UserName=name, Tags=[{"Key": key, "Value": value}])
        else:
            self.expect(code, self.iam.untag_user, UserName=name, TagKeys=[key])
        if user is not None:
            user.tags = {k: v for k, v in user.tags.items() if k.lower() != key.lower()} | ({key: value} if put else {})

    @precondition(lambda self: any(user.keys for user in self.users.values()))
    @rule()
    def what_it_allows(self) -> None:
        """A real call with each key, signed, evaluated, and refused where the model says so."""
        for user in self.users.values():
            for key_id, (secret, active) in user.keys.items():
                code = "" if self._allowed(user) else "AccessDeniedException"
                if key_id not in self.clients:
                    self.clients[key_id] = served().client("dynamodb", key_id, secret)
                self.expect(code if active else "UnrecognizedClientException", self.clients[key_id].list_tables)

    def _allowed(self, user: User) -> bool:
        carriers = [user, *(self.groups[name] for name in user.groups)]
        said = [what for one in carriers for what in one.inline.values()]
        said += [self.policies[name][-1] for one in carriers for name in one.attached]
        bounded = self.policies[user.boundary][-1] if user.boundary else "Allow"
        return "Allow" in said and "Deny" not in said and bounded == "Allow"

    @rule(luck=st.integers(0, 5))
    def crash(self, luck: int) -> None:
        if luck == 4:  # not the simplest choice, which Hypothesis tries first and for every step
            served().restart()
            self._connect()

    @invariant()
    def all_is_there(self) -> None:
        if not hasattr(self, "users"):
            return
        details = self.iam.get_account_authorization_details(Filter=["User", "Group", "LocalManagedPolicy"])
        assert not details["IsTruncated"]
        found = {row["UserName"]: row for row in details["UserDetailList"]}
        assert sorted(found) == sorted(self.users)
        for name, user in self.users.items():
            row = found[name]
            assert row["UserId"] == user.id
            assert sorted(row["GroupList"]) == sorted(user.groups)
            assert sorted(p["PolicyName"] for p in row.get("UserPolicyList", [])) == sorted(user.inline)
            assert sorted(p["PolicyName"] for p in row["AttachedManagedPolicies"]) == sorted(user.attached)
            assert row.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn", ARN) == ARN + user.boundary
            assert {tag["Key"]: tag["Value"] for tag in row.get("Tags", [])} == user.tags
            keys = self.iam.list_access_keys(UserName=name)["AccessKeyMetadata"]
            assert {key["AccessKeyId"]: key["Status"] for key in keys} == {
                key_id: "Active" if active else "Inactive" for key_id, (_, active) in user.keys.items()
            }
        assert sorted(row["GroupName"] for row in details["GroupDetailList"]) == sorted(self.groups)
        shown = {row["PolicyName"]: row for row in details["Policies"]}
        assert sorted(shown) == sorted(self.policies)
        for name, versions in self.policies.items():
            assert len(shown[name]["PolicyVersionList"]) == len(versions)
            carriers = sum(name in one.attached for one in (*self.users.values(), *self.groups.values()))
            assert shown[name]["AttachmentCount"] == carriers

    def teardown(self) -> None:
        with urllib.request.urlopen(f"{served().endpoint}/_penstock/reset", b"") as answer:
            assert answer.status == 200


def run(examples: int, steps: int) -> None:
    try:
        TestCase = IamModel.TestCase
        TestCase.settings = settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )  # fmt: skip
        TestCase("runTest").runTest()
    finally:
        for server in _shared:
            server.kill()
        _shared.clear()


def test_an_account_is_what_its_model_says() -> None:
    run(5, 40)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_accounts_are_what_their_models_say() -> None:
    run(40, 60)
