"""Who may use a key: its key policy, which must allow even inside its account, and its grants.

https://docs.aws.amazon.com/kms/latest/developerguide/policy-evaluation.html. The policy loader reads the key on its
way and leaves it in `call.seen`, so that most operations look at the store once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from penstock.core import arn, authz
from penstock.core.call import Call
from penstock.core.identity import Kind, RequiredPolicy
from penstock.core.operation import Handler, Params, PolicyLoader, operation
from penstock.services.kms import errors, finding, grants_in_force, managed
from penstock.services.kms.records import AWS, Key
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError

Named: TypeAlias = Callable[[Call, Params], str]
"""Which parameter's text names the key that a call is about."""

VIA = "kms:ViaService"
_OF_METADATA = ("Describe", "Get", "List")


def of_key_id(_: Call, params: Params) -> str:
    """The usual: KeyId."""
    return str(params["KeyId"])


def key_operation(
    name: str,
    *,
    named: Named = of_key_id,
    across: bool = False,
    action: str | None = None,
    unsupported: Mapping[str, tuple[Any, ...]] | None = None,
) -> Callable[[Handler], Handler]:
    """`@operation` for one that is about one key. across: a key of another account may be named, by its ARN."""
    return operation(
        f"kms:{name}",
        resource=resource_of(named),
        action=action,
        policy=policy_of(named, across=across),
        conditions=conditions,
        unsupported=unsupported,
    )


def seen(call: Call) -> Key:
    """The key that the call is about. Raises the AwsError with which looking for it ended."""
    if isinstance(call.seen, Key):
        return call.seen
    found: AwsError = call.seen
    raise found


def resource_of(named: Named) -> Callable[[Call, Params], str]:
    """The key's ARN; where there is no such key, the ARN it would have."""

    def resource(call: Call, params: Params) -> str:
        if isinstance(call.seen, Key):
            return call.seen.arn
        text = named(call, params)
        return text if text.startswith("arn:") else arn.build("kms", call.region, call.account, f"key/{text}")

    return resource


def policy_of(named: Named, *, across: bool) -> PolicyLoader:
    """Loads the key's policy, with a statement for each grant that allows this very call."""

    async def load(call: Call, params: Params) -> RequiredPolicy | None:
        try:
            key, policy = await look(call, params, named(call, params), _operation(call))
        except AwsError as error:
            call.seen = error
            return None
        call.seen = key
        if key.account != call.account:
            if not across:
                raise authz_denied(call, key)
            call.account = key.account
        if key.manager == AWS:
            _check_managed(call, key)
        return policy

    return load


async def look(
    call: Call, params: Params, text: str, operation_name: str, account: str = ""
) -> tuple[Key, RequiredPolicy]:
    """A key, and its policy with the grants in force for that operation. Raises AwsError NotFoundException.

    account: where a plain id or alias is looked for (default: the call's). A key that AWS manages for a service is made
    when somebody first names its alias.
    """
    named = finding.reference(call, text, account or call.account)

    def body(txn: Transaction) -> tuple[Key, RequiredPolicy]:
        key = finding.follow(txn, call, named)
        return key, RequiredPolicy(grants_in_force.added_to_policy(txn, call, params, key, operation_name))

    try:
        return await call.store.transact(body, read_only=True)
    except AwsError:
        if named.account != call.principal.account or not await managed.make(call, named.alias):
            raise
    return await call.store.transact(body, read_only=True)


async def require(call: Call, params: Params, key: Key, policy: RequiredPolicy, action: str) -> None:
    """Demand a permission on a further key (a ReEncrypt's destination, an alias's target). Raises AwsError."""
    principal = call.principal
    if key.manager == AWS:
        _check_managed(call, key, action)
    if principal.kind is Kind.ROOT and principal.account == key.account:
        return
    about = Call(
        call.node, call.operation, principal, key.account, call.region, call.request_id, source_ip=call.source_ip,
        secure=call.secure, endpoint=call.endpoint, user_agent=call.user_agent, context=call.context,
    )  # fmt: skip
    about.seen = key
    await authz.require(
        about, params, action, key.arn, owner=key.account, policy=policy, must_be_named=True,
        conditions=conditions(about, params),
    )  # fmt: skip


def authz_denied(call: Call, key: Key) -> AwsError:
    """AccessDenied for an operation that AWS does not let work on another account's key."""
    return errors.denied(call.principal.arn, call.operation.action, key.arn)


def _check_managed(call: Call, key: Key, action: str = "") -> None:
    """A key that AWS manages is used through its service alone, and nobody changes it."""
    name = (action or call.operation.action).partition(":")[2]
    if name.startswith(_OF_METADATA):
        return
    if (call.context or {}).get(VIA) and name in managed.THROUGH_SERVICE:
        return
    raise authz_denied(call, key)


def _operation(call: Call) -> str:
    return "ReEncryptFrom" if call.operation.name == "ReEncrypt" else call.operation.name


_FROM_PARAMS = {
    "kms:MessageType": "MessageType", "kms:SigningAlgorithm": "SigningAlgorithm", "kms:MacAlgorithm": "MacAlgorithm",
    "kms:KeyAgreementAlgorithm": "KeyAgreementAlgorithm", "kms:DataKeyPairSpec": "KeyPairSpec",
    "kms:WrappingAlgorithm": "WrappingAlgorithm", "kms:WrappingKeySpec": "WrappingKeySpec",
    "kms:ExpirationModel": "ExpirationModel", "kms:ReplicaRegion": "ReplicaRegion",
    "kms:PrimaryRegion": "PrimaryRegion", "kms:ScheduleKeyDeletionPendingWindowInDays": "PendingWindowInDays",
    "kms:RotationPeriodInDays": "RotationPeriodInDays", "kms:GranteePrincipal": "GranteePrincipal",
    "kms:RetiringPrincipal": "RetiringPrincipal", "kms:GrantOperations": "Operations",
    "kms:BypassPolicyLockoutSafetyCheck": "BypassPolicyLockoutSafetyCheck", "kms:EncryptionAlgorithm": "EncryptionAlgorithm",
}  # fmt: skip


def conditions(call: Call, params: Params) -> dict[str, Any]:
    """KMS's condition keys: https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html"""
    found: dict[str, Any] = {"kms:CallerAccount": call.principal.account}
    for name, parameter in _FROM_PARAMS.items():
        if parameter in params:
            found[name] = params[parameter]
    context = params.get("EncryptionContext") or params.get("SourceEncryptionContext")
    if context:
        found["kms:EncryptionContextKeys"] = list(context)
        found.update((f"kms:EncryptionContext:{name}", value) for name, value in context.items())
    constraints = params.get("Constraints")
    if constraints:
        found["kms:GrantConstraintType"] = list(constraints)
    if call.operation.name == "CreateGrant":
        found["kms:GrantIsForAWSResource"] = VIA in (call.context or {})
    key_id = str(params.get("KeyId", ""))
    if "alias/" in key_id:
        found["kms:RequestAlias"] = key_id[key_id.index("alias/") :]
    key = call.seen
    if isinstance(key, Key):
        _describe(found, key)
    elif call.operation.name == "CreateKey":
        found["kms:KeySpec"] = params.get("KeySpec") or params.get("CustomerMasterKeySpec") or "SYMMETRIC_DEFAULT"
        found["kms:KeyUsage"] = params.get("KeyUsage", "ENCRYPT_DECRYPT")
        found["kms:KeyOrigin"] = params.get("Origin", "AWS_KMS")
        found["kms:MultiRegion"] = bool(params.get("MultiRegion"))
    found.update((f"aws:RequestTag/{tag['TagKey']}", tag["TagValue"]) for tag in params.get("Tags", ()))
    if "Tags" in params:
        found["aws:TagKeys"] = [tag["TagKey"] for tag in params["Tags"]]
    return found


def _describe(found: dict[str, Any], key: Key) -> None:
    found["kms:KeySpec"] = key.spec
    found["kms:KeyUsage"] = key.usage
    found["kms:KeyOrigin"] = key.origin
    found["kms:MultiRegion"] = bool(key.primary)
    if key.primary:
        found["kms:MultiRegionKeyType"] = "PRIMARY" if key.primary == key.region else "REPLICA"
    if key.aliases:
        found["kms:ResourceAliases"] = key.aliases
    found.update((f"aws:ResourceTag/{name}", value) for name, value in key.tags.items())
