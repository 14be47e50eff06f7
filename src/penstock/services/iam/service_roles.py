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
    "custom-resource.application-autoscaling": "ApplicationAutoScaling_CustomResource",
    "accountdiscovery.ssm": "AmazonSSM_AccountDiscovery",
    "acm": "CertificateManager",
    "appmesh": "AppMesh",
    "autoscaling": "AutoScaling",
    "autoscaling-plans": "AutoScalingPlans_EC2AutoScaling",
    "cassandra.application-autoscaling": "ApplicationAutoScaling_CassandraTable",
    "cks.kms": "KeyManagementServiceCustomKeyStores",
    "cloudtrail": "CloudTrail",
    "codestar-notifications": "CodeStarNotifications",
    "connect": "AmazonConnect",
    "dms": "DMSServerless",
    "dms-fleet-advisor": "DMSFleetAdvisor",
    "docdb-elastic": "DocDB-Elastic",
    "dynamodb.application-autoscaling": "ApplicationAutoScaling_DynamoDBTable",
    "ec2-instance-connect": "Ec2InstanceConnect",
    "ec2.application-autoscaling": "ApplicationAutoScaling_EC2SpotFleetRequest",
    "ecr": "ECRTemplate",
    "ecs": "ECS",
    "eks": "AmazonEKS",
    "eks-connector": "AmazonEKSConnector",
    "eks-fargate": "AmazonEKSForFargate",
    "eks-nodegroup": "AmazonEKSNodegroup",
    "elasticache": "ElastiCache",
    "elasticbeanstalk": "ElasticBeanstalk",
    "elasticfilesystem": "AmazonElasticFileSystem",
    "elasticloadbalancing": "ElasticLoadBalancing",
    "email.cognito-idp": "AmazonCognitoIdpEmailService",
    "emr-containers": "AmazonEMRContainers",
    "emrwal": "EMRWAL",
    "fis": "FIS",
    "grafana": "AmazonGrafana",
    "imagebuilder": "ImageBuilder",
    "iotmanagedintegrations": "IoTManagedIntegrations",
    "kafka": "Kafka",
    "kafkaconnect": "KafkaConnect",
    "kinesisreplication.dynamodb": "DynamoDBKinesisDataStreamsReplication",
    "lakeformation": "LakeFormationDataAccess",
    "lex": "LexBots",
    "lexv2": "LexV2Bots",
    "m2": "AWSM2",
    "memorydb": "MemoryDB",
    "mq": "AmazonMQ",
    "mrk.kms": "KeyManagementServiceMultiRegionKeys",
    "notifications": "AwsUserNotifications",
    "observability.aoss": "AmazonOpenSearchServerless",
    "opensearchservice": "AmazonOpenSearchService",
    "ops.apigateway": "APIGateway",
    "ops.emr-serverless": "AmazonEMRServerless",
    "opsdatasync.ssm": "SystemsManagerOpsDataSync",
    "opsinsights.ssm": "AmazonSSM_OpsInsights",
    "organizations": "Organizations",
    "pullthroughcache.ecr": "ECRPullThroughCache",
    "ram": "ResourceAccessManager",
    "rds": "RDS",
    "replication.cassandra": "KeyspacesReplication",
    "replication.dynamodb": "DynamoDBReplication",
    "replication.ecr": "ECRReplication",
    "repository.sync.codeconnections": "GitSync",
    "resource-explorer-2": "ResourceExplorer",
    "rolesanywhere": "RolesAnywhere",
    "s3-outposts": "S3OnOutposts",
    "ses": "AmazonSES",
    "shield": "AWSShield",
    "ssm": "AmazonSSM",
    "ssm-incidents": "IncidentManager",
    "ssm-quicksetup": "SSMQuickSetup",
    "sso": "SSO",
    "vpcorigin.cloudfront": "CloudFrontVPCOrigin",
    "waf": "WAFLogging",
    "wafv2": "WAFV2Logging",
}
"""Service (without .amazonaws.com) -> what its role is called after AWSServiceRoleFor."""
_DESCRIPTIONS = {
    "rds": "Allows Amazon RDS to manage AWS resources on your behalf",
    "ssm": "Provides access to AWS Resources managed or used by Amazon SSM.",
    "sso": "Service-linked role used by AWS SSO to manage AWS resources, including IAM roles, policies and SAML IdP on "
    "your behalf.",
}
_WITH_SUFFIX = frozenset({"autoscaling", "connect", "lexv2"})


def _short(service: str) -> str:
    return service.removesuffix(".amazonaws.com")


def _name(service: str, suffix: str) -> str:
    words = _short(service).replace("-", ".").split(".")
    name = _NAMES.get(_short(service)) or "".join(word[:1].upper() + word[1:] for word in reversed(words))
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
    if suffix and _short(service) not in _WITH_SUFFIX:
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
        description=params.get("Description") or _DESCRIPTIONS.get(_short(service)),
        linked_service=service,
    )
    if state.taken(Role, role.name) is not None:
        raise errors.invalid_input(
            f"Service role name {role.name} has been taken in this account, please try a different suffix."
        )  # fmt: skip
    state.add(role)
    shown = roles.view(call.account, role)
    del shown["MaxSessionDuration"]
    return {"Role": shown}


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
