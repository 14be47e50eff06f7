"""Service-linked roles: made for one service, changed by nobody else.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/create-service-linked-role.html
"""

from __future__ import annotations

import json
import uuid

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.iam import arns, errors, ids, roles
from penstock.services.iam.records import Role
from penstock.services.iam.state import State, changing, reading

_NAMES = {
    "autoscaling.amazonaws.com": "AutoScaling",
    "batch.amazonaws.com": "Batch",
    "dynamodb.application-autoscaling.amazonaws.com": "ApplicationAutoScaling_DynamoDBTable",
    "ecs.amazonaws.com": "ECS",
    "elasticloadbalancing.amazonaws.com": "ElasticLoadBalancing",
    "kafka.amazonaws.com": "Kafka",
    "opensearchservice.amazonaws.com": "AmazonOpenSearchService",
    "ops.apigateway.amazonaws.com": "APIGateway",
    "organizations.amazonaws.com": "Organizations",
    "rds.amazonaws.com": "RDS",
    "replication.dynamodb.amazonaws.com": "DynamoDBReplication",
    "kinesisreplication.dynamodb.amazonaws.com": "DynamoDBKinesisDataStreamsReplication",
    "sso.amazonaws.com": "SSO",
}
_WITH_SUFFIX = frozenset({"autoscaling.amazonaws.com", "connect.amazonaws.com", "lex.amazonaws.com"})


def _name(service: str, suffix: str) -> str:
    words = service.removesuffix(".amazonaws.com").replace("-", ".").split(".")
    name = _NAMES.get(service) or "".join(word[:1].upper() + word[1:] for word in reversed(words))
    return f"AWSServiceRoleFor{name}" + (f"_{suffix}" if suffix else "")


def _resource(call: Call, params: Params) -> str:
    service = params["AWSServiceName"]
    name = _name(service, params.get("CustomSuffix", ""))
    return f"arn:aws:iam::{call.account}:role/aws-service-role/{service}/{name}"


@operation(
    "iam:CreateServiceLinkedRole",
    resource=_resource,
    conditions=lambda call, params: {"iam:AWSServiceName": params["AWSServiceName"]},
)
@changing
def create_service_linked_role(state: State, call: Call, params: Params) -> Result:
    service, suffix = params["AWSServiceName"], params.get("CustomSuffix", "")
    if not service.endswith(".amazonaws.com"):
        raise errors.invalid_input(f"Service name {service} is not valid.")
    if suffix and service not in _WITH_SUFFIX:
        raise errors.invalid_input(f"Custom suffix is not allowed for {service}")
    trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}],
    }
    role = Role(
        name=_name(service, suffix),
        path=f"/aws-service-role/{service}/",
        id=ids.unique(ids.ROLE),
        created=int(call.now),
        trust=json.dumps(trust),
        description=params.get("Description"),
        linked_service=service,
    )
    if state.taken(Role, role.name) is not None:
        raise errors.invalid_input(
            f"Service role name {role.name} has been taken in this account, please try a different suffix."
        )  # fmt: skip
    state.add(role)
    return {"Role": roles.view(call.account, role)}


@operation("iam:DeleteServiceLinkedRole", resource=arns.existing(Role))
@changing
def delete_service_linked_role(state: State, call: Call, params: Params) -> Result:
    role = state.get(Role, params["RoleName"])
    if not role.linked_service:
        raise errors.invalid_input(f"Role {role.name} is not a service linked role.")
    state.remove(role)
    return {"DeletionTaskId": f"task/aws-service-role/{role.linked_service}/{role.name}/{uuid.uuid4()}"}


@operation("iam:GetServiceLinkedRoleDeletionStatus")
@reading
def get_service_linked_role_deletion_status(state: State, call: Call, params: Params) -> Result:
    """The role went with the call that asked for it, so a task is either done or none of ours."""
    parts = params["DeletionTaskId"].split("/")
    if len(parts) != 5 or parts[:2] != ["task", "aws-service-role"]:
        raise errors.no_such_entity(f"Deletion task {params['DeletionTaskId']} cannot be found.")
    return {"Status": "SUCCEEDED"}
