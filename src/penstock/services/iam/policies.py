"""Customer managed policies and their versions; AWS's own are read beside them and cannot be changed.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_managed-versioning.html
"""

from __future__ import annotations

from itertools import chain
from typing import Any

from penstock.core.authz.validate import Purpose
from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.iam import arns, documents, errors, ids, keys, listing, managed, quotas, tagging
from penstock.services.iam.managed import Managed
from penstock.services.iam.records import Policy, PolicyVersion
from penstock.services.iam.state import State, changing, reading


def view(state: State, policy: Policy | Managed, *, full: bool = True) -> dict[str, Any]:
    """A policy as answers show it; lists leave description and tags out."""
    arn = policy.arn if isinstance(policy, Managed) else arns.arn(state.account, policy)
    shown: dict[str, Any] = {
        "PolicyName": policy.name,
        "PolicyId": policy.id,
        "Arn": arn,
        "Path": policy.path,
        "DefaultVersionId": policy.version if isinstance(policy, Managed) else f"v{policy.default}",
        "AttachmentCount": len(state.names(keys.uses(state.account, "attached", arn))),
        "PermissionsBoundaryUsageCount": len(state.names(keys.uses(state.account, "bounded", arn))),
        "IsAttachable": True,
        "CreateDate": policy.created,
        "UpdateDate": policy.updated,
    }
    if full:
        if policy.description:
            shown["Description"] = policy.description
        shown["Tags"] = [] if isinstance(policy, Managed) else tagging.to_list(policy.tags)
    return shown


def version_view(policy: Policy, version: PolicyVersion, *, document: bool) -> dict[str, Any]:
    """A version as answers show it; lists leave the document out."""
    shown: dict[str, Any] = {
        "VersionId": f"v{version.number}",
        "IsDefaultVersion": version.number == policy.default,
        "CreateDate": version.created,
    }
    return {"Document": documents.shown(version.text)} | shown if document else shown


def find(state: State, arn: str) -> Policy | Managed:
    """The policy of an ARN, AWS's or the account's. Raises AwsError NoSuchEntity or ValidationError."""
    if not arn.startswith("arn:") or ":policy/" not in arn:
        raise errors.invalid("Invalid ARN:  Could not be parsed!")
    policy = managed.find(arn) or state.policy_by_arn(arn)
    if policy is None:
        raise errors.no_such("policy", arn)
    return policy


def own(state: State, arn: str) -> Policy:
    """The account's policy of an ARN, for a change. Raises AwsError AccessDenied for one of AWS's."""
    policy = find(state, arn)
    if isinstance(policy, Managed):
        raise errors.denied("Cannot perform the operation on an AWS managed policy.")
    return policy


def _version(policy: Policy, version_id: str) -> PolicyVersion:
    for version in policy.versions:
        if f"v{version.number}" == version_id:
            return version
    raise errors.no_such_entity(f"Policy version {version_id} does not exist or is not attachable.")


def _checked(text: str) -> str:
    documents.checked(text, Purpose.IDENTITY)
    if documents.size(text) > quotas.MANAGED_CHARS:
        raise errors.limit(f"Cannot exceed quota for PolicySize: {quotas.MANAGED_CHARS}")
    return text


@operation("iam:CreatePolicy", resource=arns.new(Policy))
@changing
def create_policy(state: State, call: Call, params: Params) -> Result:
    text = _checked(params["PolicyDocument"])
    state.check_count(Policy, quotas.POLICIES, "PoliciesPerAccount", call)
    now = int(call.now)
    policy = Policy(
        name=params["PolicyName"],
        path=params.get("Path", "/"),
        id=ids.unique(ids.POLICY),
        created=now,
        updated=now,
        description=params.get("Description", ""),
        versions=[PolicyVersion(number=1, text=text, created=now)],
        tags=tagging.given(params.get("Tags")),
    )
    state.add(policy)
    shown = view(state, policy, full=False)
    return {"Policy": shown | {"Tags": tagging.to_list(policy.tags)} if policy.tags else shown}


@operation("iam:GetPolicy", resource=arns.policy_arn)
@reading
def get_policy(state: State, call: Call, params: Params) -> Result:
    return {"Policy": view(state, find(state, params["PolicyArn"]))}


@operation("iam:ListPolicies", resource=arns.all_of(Policy))
@reading
def list_policies(state: State, call: Call, params: Params) -> Result:
    scope, prefix = params.get("Scope", "All"), params.get("PathPrefix", "/")
    usage = params.get("PolicyUsageFilter", "")
    of_aws = () if scope == "Local" else managed.all_policies().values()
    of_account = () if scope == "AWS" else state.all(Policy)
    found: list[tuple[str, Policy | Managed]] = []
    for policy in chain[Policy | Managed](of_aws, of_account):
        arn = policy.arn if isinstance(policy, Managed) else arns.arn(state.account, policy)
        if policy.path.startswith(prefix) and _is_used(
            state, arn, usage, only_attached=params.get("OnlyAttached", False)
        ):
            found.append((arn, policy))
    return listing.page_of_list(
        found, params, "ListPolicies", "Policies", lambda pair: pair[0], lambda pair: view(state, pair[1], full=False)
    )  # fmt: skip


def _is_used(state: State, arn: str, usage: str, *, only_attached: bool) -> bool:
    if usage == "PermissionsBoundary":
        return bool(state.names(keys.uses(state.account, "bounded", arn)))
    if only_attached or usage == "PermissionsPolicy":
        return bool(state.names(keys.uses(state.account, "attached", arn)))
    return True


@operation("iam:DeletePolicy", resource=arns.policy_arn)
@changing
def delete_policy(state: State, call: Call, params: Params) -> Result:
    policy = own(state, params["PolicyArn"])
    for how in ("attached", "bounded"):
        if state.names(keys.uses(state.account, how, params["PolicyArn"])):
            raise errors.conflict("Cannot delete a policy attached to entities.")
    if len(policy.versions) > 1:
        raise errors.conflict(
            "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. "
            "The default version is deleted with the policy."
        )
    state.remove(policy)
    return {}


@operation("iam:CreatePolicyVersion", resource=arns.policy_arn)
@changing
def create_policy_version(state: State, call: Call, params: Params) -> Result:
    text = _checked(params["PolicyDocument"])
    policy = own(state, params["PolicyArn"])
    if len(policy.versions) >= quotas.POLICY_VERSIONS:
        raise errors.limit(
            f"A managed policy can have up to {quotas.POLICY_VERSIONS} versions. Before you create a new version, you "
            "must delete an existing version."
        )
    version = PolicyVersion(number=policy.next_version, text=text, created=int(call.now))
    policy.next_version += 1
    policy.versions.append(version)
    policy.updated = int(call.now)
    if params.get("SetAsDefault", False):
        policy.default = version.number
    state.save(policy)
    return {"PolicyVersion": version_view(policy, version, document=False)}


@operation("iam:GetPolicyVersion", resource=arns.policy_arn)
@reading
def get_policy_version(state: State, call: Call, params: Params) -> Result:
    policy = find(state, params["PolicyArn"])
    if isinstance(policy, Managed):
        if params["VersionId"] != policy.version:
            raise errors.no_such_entity(
                f"Policy {policy.arn} version {params['VersionId']} does not exist or is not attachable."
            )
        return {"PolicyVersion": managed_version(policy) | {"Document": documents.shown(policy.text)}}
    return {"PolicyVersion": version_view(policy, _version(policy, params["VersionId"]), document=True)}


def managed_version(policy: Managed) -> dict[str, Any]:
    """The one version of AWS's own policy, without its document."""
    return {"VersionId": policy.version, "IsDefaultVersion": True, "CreateDate": policy.updated}


@operation("iam:ListPolicyVersions", resource=arns.policy_arn)
@reading
def list_policy_versions(state: State, call: Call, params: Params) -> Result:
    policy = find(state, params["PolicyArn"])
    if isinstance(policy, Managed):
        return {"Versions": [managed_version(policy)], "IsTruncated": False}
    return listing.page_of_list(
        policy.versions, params, f"Versions:{params['PolicyArn']}", "Versions",
        lambda version: f"{policy.next_version - version.number:09d}",
        lambda version: version_view(policy, version, document=False),
    )  # fmt: skip


@operation("iam:DeletePolicyVersion", resource=arns.policy_arn)
@changing
def delete_policy_version(state: State, call: Call, params: Params) -> Result:
    policy = own(state, params["PolicyArn"])
    version = _version(policy, params["VersionId"])
    if version.number == policy.default:
        raise errors.conflict("Cannot delete the default version of a policy.")
    policy.versions.remove(version)
    state.save(policy)
    return {}


@operation("iam:SetDefaultPolicyVersion", resource=arns.policy_arn)
@changing
def set_default_policy_version(state: State, call: Call, params: Params) -> Result:
    policy = own(state, params["PolicyArn"])
    policy.default = _version(policy, params["VersionId"]).number
    policy.updated = int(call.now)
    state.save(policy)
    return {}


@operation("iam:TagPolicy", resource=arns.policy_arn)
@changing
def tag_policy(state: State, call: Call, params: Params) -> Result:
    policy = own(state, params["PolicyArn"])
    policy.tags = tagging.merged(policy.tags, tagging.given(params["Tags"]))
    state.save(policy)
    return {}


@operation("iam:UntagPolicy", resource=arns.policy_arn)
@changing
def untag_policy(state: State, call: Call, params: Params) -> Result:
    policy = own(state, params["PolicyArn"])
    policy.tags = tagging.removed(policy.tags, params["TagKeys"])
    state.save(policy)
    return {}


@operation("iam:ListPolicyTags", resource=arns.policy_arn)
@reading
def list_policy_tags(state: State, call: Call, params: Params) -> Result:
    policy = find(state, params["PolicyArn"])
    return tagging.list_tags({} if isinstance(policy, Managed) else policy.tags, params, "policy")
