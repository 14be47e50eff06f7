"""A Region's keys against a model of them, with SIGKILL and restart, and days going by, as steps."""

from __future__ import annotations

import json
import os
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

ALIASES = st.sampled_from(["alias/a", "alias/b", "alias/c/d"])
NUMBERS = st.integers(0, 4)
DAY_S = 86400
ROTATIONS = 25
"""On demand, of one key."""
USER = "arn:aws:iam::000000000000:user/u"

_shared: list[Served] = []


def served() -> Served:
    if not _shared:
        _shared.append(Served(Path(tempfile.mkdtemp(prefix="penstock-model-"))).start())
    return _shared[0]


def ask(path: str, body: Any) -> Any:
    with urllib.request.urlopen(served().endpoint + path, json.dumps(body).encode()) as answer:
        return json.load(answer)


@dataclass
class Key:
    id: str
    state: str = "Enabled"
    due: float = 0.0
    description: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    grants: set[str] = field(default_factory=set)
    rotations: int = 0
    sealed: dict[bytes, tuple[bytes, dict[str, str]]] = field(default_factory=dict)
    """Ciphertext -> plaintext and encryption context."""


class KmsModel(RuleBasedStateMachine):
    """The model: keys in the order made, and which of them an alias is for. now: days that have gone by, in seconds."""

    @initialize()
    def begin(self) -> None:
        self.kms = served().client("kms")
        self.keys: list[Key] = []
        self.aliases: dict[str, Key] = {}
        self.gone: list[Key] = []
        self.now = 0.0
        self.create()

    def expect(self, code: str, what: Callable[..., Any], **params: Any) -> Any:
        """Call, and get that error; "" for success."""
        try:
            answer = what(**params)
        except ClientError as error:
            assert error.response["Error"]["Code"] == code, (error, params)
            return None
        assert not code, f"{code} expected of {params}"
        return answer

    def key(self, number: int) -> Key:
        return self.keys[number % len(self.keys)]

    def usable(self, key: Key) -> str:
        """The error of using the key, "" for none."""
        return {"Enabled": "", "Disabled": "DisabledException", "PendingDeletion": "KMSInvalidStateException"}[
            key.state
        ]

    @rule()
    def create(self) -> None:
        if len(self.keys) < 5:
            self.keys.append(Key(self.kms.create_key()["KeyMetadata"]["KeyId"]))

    @precondition(lambda self: self.keys)
    @rule(number=NUMBERS, enable=st.booleans())
    def switch(self, number: int, enable: bool) -> None:
        key = self.key(number)
        code = "KMSInvalidStateException" if key.state == "PendingDeletion" else ""
        self.expect(code, self.kms.enable_key if enable else self.kms.disable_key, KeyId=key.id)
        if not code:
            key.state = "Enabled" if enable else "Disabled"

    @precondition(lambda self: self.keys)
    @rule(number=NUMBERS, days=st.sampled_from([7, 30]))
    def schedule_deletion(self, number: int, days: int) -> None:
        key = self.key(number)
        code = "KMSInvalidStateException" if key.state == "PendingDeletion" else ""
        self.expect(code, self.kms.schedule_key_deletion, KeyId=key.id, PendingWindowInDays=days)
        if not code:
            key.state, key.due = "PendingDeletion", self.now + days * DAY_S

    @precondition(lambda self: self.keys)
    @rule(number=NUMBERS)
    def cancel_deletion(self, number: int) -> None:
        key = self.key(number)
        code = "" if key.state == "PendingDeletion" else "KMSInvalidStateException"
        self.expect(code, self.kms.cancel_key_deletion, KeyId=key.id)
        if not code:
            key.state = "Disabled"

    @rule(days=st.sampled_from([1, 6, 8]))
    def days_go_by(self, days: int) -> None:
        ask("/_penstock/clock", {"advance_s": days * DAY_S + 60})
        self.now += days * DAY_S + 60
        for key in [key for key in self.keys if key.state == "PendingDeletion" and key.due <= self.now]:
            self.keys.remove(key)
            self.gone.append(key)
            self.aliases = {name: of for name, of in self.aliases.items() if of is not key}

    @precondition(lambda self: self.keys)
    @rule(name=ALIASES, number=NUMBERS, how=st.sampled_from(["create", "update", "delete"]))
    def alias(self, name: str, number: int, how: str) -> None:
        key, known = self.key(number), name in self.aliases
        if how == "delete":
            self.expect("" if known else "NotFoundException", self.kms.delete_alias, AliasName=name)
            self.aliases.pop(name, None)
            return
        code = "KMSInvalidStateException" if key.state == "PendingDeletion" else ""
        if how == "create":
            code = "AlreadyExistsException" if known else code
            self.expect(code, self.kms.create_alias, AliasName=name, TargetKeyId=key.id)
        else:
            code = code if known else "NotFoundException"
            self.expect(code, self.kms.update_alias, AliasName=name, TargetKeyId=key.id)
        if not code:
            self.aliases[name] = key

    @precondition(lambda self: self.keys)
    @rule(number=NUMBERS, name=st.sampled_from(["x", "y"]), value=st.sampled_from(["", "1"]), put=st.booleans())
    def tag(self, number: int, name: str, value: str, put: bool) -> None:
        key = self.key(number)
        code = "KMSInvalidStateException" if key.state == "PendingDeletion" else ""
        if put:
            self.expect(code, self.kms.tag_resource, KeyId=key.id, Tags=[{"TagKey": name, "TagValue": value}])
        else:
            self.expect(code, self.kms.untag_resource, KeyId=key.id, TagKeys=[name])
        if not code:
            key.tags = {k: v for k, v in key.tags.items() if k != name} | ({name: value} if put else {})

    @precondition(lambda self: self.keys)
    @rule(number=NUMBERS, revoke=st.booleans())
    def grant(self, number: int, revoke: bool) -> None:
        key = self.key(number)
        if revoke and key.grants:
            self.kms.revoke_grant(KeyId=key.id, GrantId=key.grants.pop())
            return
        code = self.usable(key)
        made = self.expect(
            code, self.kms.create_grant, KeyId=key.id, GranteePrincipal=USER, Operations=["Encrypt", "Decrypt"]
        )
        if made:
            key.grants.add(made["GrantId"])

    @precondition(lambda self: self.keys)
    @rule(number=NUMBERS)
    def rotate(self, number: int) -> None:
        key = self.key(number)
        spent = key.rotations >= ROTATIONS
        self.expect(
            self.usable(key) or ("LimitExceededException" if spent else ""), self.kms.rotate_key_on_demand, KeyId=key.id
        )
        key.rotations += key.state == "Enabled" and not spent

    @precondition(lambda self: self.keys)
    @rule(number=NUMBERS, context=st.sampled_from([{}, {"order": "17"}]))
    def encrypt(self, number: int, context: dict[str, str]) -> None:
        key, plain = self.key(number), os.urandom(20)
        made = self.expect(self.usable(key), self.kms.encrypt, KeyId=key.id, Plaintext=plain, EncryptionContext=context)
        if made:
            key.sealed[made["CiphertextBlob"]] = plain, context

    @rule()
    def decrypt(self) -> None:
        """Whatever was ever sealed opens under its context, whatever was rotated since, or fails as its key's state says."""
        for key in (*self.keys, *self.gone):
            for blob, (plain, context) in key.sealed.items():
                code = "NotFoundException" if key in self.gone else self.usable(key)
                opened = self.expect(code, self.kms.decrypt, CiphertextBlob=blob, EncryptionContext=context)
                assert opened is None or (opened["Plaintext"], opened["KeyId"].rpartition("/")[2]) == (plain, key.id)
                if not code:
                    other = {"order": "18"}
                    self.expect(
                        "InvalidCiphertextException", self.kms.decrypt, CiphertextBlob=blob, EncryptionContext=other
                    )

    @precondition(lambda self: self.keys)
    @rule(number=NUMBERS)
    def describe(self, number: int) -> None:
        key = self.key(number)
        shown = self.kms.describe_key(KeyId=key.id)["KeyMetadata"]
        assert (shown["KeyState"], shown["Enabled"]) == (key.state, key.state == "Enabled")
        tags = self.kms.list_resource_tags(KeyId=key.id)["Tags"]
        assert {tag["TagKey"]: tag["TagValue"] for tag in tags} == key.tags
        assert {one["GrantId"] for one in self.kms.list_grants(KeyId=key.id)["Grants"]} == key.grants
        assert len(self.kms.list_key_rotations(KeyId=key.id)["Rotations"]) == key.rotations

    @rule(luck=st.integers(0, 5))
    def crash(self, luck: int) -> None:
        if luck == 4:  # not the simplest choice, which Hypothesis tries first and for every step
            served().restart()
            self.kms = served().client("kms")

    @invariant()
    def all_is_there(self) -> None:
        if not hasattr(self, "keys"):
            return
        listed = {row["KeyId"] for row in self.kms.list_keys()["Keys"]}
        assert listed == {key.id for key in self.keys}
        aliases = {row["AliasName"]: row["TargetKeyId"] for row in self.kms.list_aliases()["Aliases"]}
        assert aliases == {name: key.id for name, key in self.aliases.items()}

    def teardown(self) -> None:
        ask("/_penstock/reset", {})
        if self.now:
            served().restart()  # which brings the clock back too


def run(examples: int, steps: int) -> None:
    try:
        TestCase = KmsModel.TestCase
        TestCase.settings = settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )  # fmt: skip
        TestCase("runTest").runTest()
    finally:
        for server in _shared:
            server.kill()
        _shared.clear()


def test_keys_are_what_their_model_says() -> None:
    run(6, 40)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_many_keys_are_what_their_models_say() -> None:
    run(30, 60)
