"""What is stored of a scalable target, a policy, a scheduled action and an activity. Times are seconds since the epoch."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import msgspec

from penstock.core.call import Call
from penstock.core.operation import Params
from penstock.services.application_autoscaling import keys
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError, not_implemented

NAMESPACE = "dynamodb"
ROLE_SERVICE = "dynamodb.application-autoscaling.amazonaws.com"
ROLE_NAME = "AWSServiceRoleForApplicationAutoScaling_DynamoDBTable"
DIMENSIONS = {
    "dynamodb:table:ReadCapacityUnits": "DynamoDBReadCapacityUtilization",
    "dynamodb:table:WriteCapacityUnits": "DynamoDBWriteCapacityUtilization",
    "dynamodb:index:ReadCapacityUnits": "DynamoDBReadCapacityUtilization",
    "dynamodb:index:WriteCapacityUnits": "DynamoDBWriteCapacityUtilization",
}
"""What can be scaled -> the metric that it can be scaled by."""


class Place(NamedTuple):
    """What is scaled: e.g. table/orders or table/orders/index/by-day, and dynamodb:table:ReadCapacityUnits."""

    account: str
    region: str
    resource: str
    dimension: str

    @property
    def key(self) -> bytes:
        """Of the target's record."""
        return keys.target(self.account, self.region, NAMESPACE, self.resource, self.dimension)

    @property
    def table_name(self) -> str:
        """The table's name."""
        return self.resource.split("/")[1]

    @property
    def index_name(self) -> str:
        """The index's name; empty of a table."""
        parts = self.resource.split("/")
        return parts[3] if len(parts) == 4 else ""

    @property
    def reads(self) -> bool:
        """Whether it is the read capacity."""
        return self.dimension.endswith("ReadCapacityUnits")

    def named(self, kind: str, name: str) -> bytes:
        """The key of its policy or scheduled action of that name."""
        return keys.named(kind, self.account, self.region, NAMESPACE, self.resource, self.dimension, name)

    def all_named(self, kind: str) -> tuple[bytes, bytes]:
        """The range of its policies or scheduled actions."""
        return keys.all_named(kind, self.account, self.region, NAMESPACE, self.resource, self.dimension)


class Target(msgspec.Struct, omit_defaults=True):
    """A scalable target."""

    id: str
    resource: str
    dimension: str
    least: int
    most: int
    created_at: float
    suspended: dict[str, bool] = {}
    tags: dict[str, str] = {}
    scaled_out_at: float = 0.0
    scaled_in_at: float = 0.0
    looked_minute: int = 0
    """The last minute whose consumption was looked at."""


class Policy(msgspec.Struct, omit_defaults=True):
    """A policy of target tracking. configuration: TargetTrackingScalingPolicyConfiguration as given."""

    id: str
    name: str
    resource: str
    dimension: str
    created_at: float
    configuration: dict[str, Any]

    def arn(self, account: str, region: str) -> str:
        """As AWS names policies."""
        return (
            f"arn:aws:autoscaling:{region}:{account}:scalingPolicy:{self.id}:resource/dynamodb/{self.resource}"
            f":policyName/{self.name}"
        )


class Action(msgspec.Struct, omit_defaults=True):
    """A scheduled action. due: when it is next carried out; 0: never again."""

    id: str
    name: str
    resource: str
    dimension: str
    created_at: float
    schedule: str
    zone: str = ""
    begins_at: float = 0.0
    ends_at: float = 0.0
    least: int | None = None
    most: int | None = None
    due: float = 0.0

    def arn(self, account: str, region: str) -> str:
        """As AWS names scheduled actions."""
        return (
            f"arn:aws:autoscaling:{region}:{account}:scheduledAction:{self.id}:resource/dynamodb/{self.resource}"
            f":scheduledActionName/{self.name}"
        )


class Activity(msgspec.Struct, omit_defaults=True):
    """Something that was done, or was tried."""

    id: str
    resource: str
    dimension: str
    description: str
    cause: str
    began_at: float
    ended_at: float
    status: str
    message: str


Record = TypeVar("Record", Target, Policy, Action, Activity)
encode = msgspec.json.Encoder().encode


def decode(stored: bytes, kind: type[Record]) -> Record:
    """A record of a kind."""
    return msgspec.json.decode(stored, type=kind)


def invalid(message: str) -> AwsError:
    """A ValidationException."""
    return AwsError("ValidationException", message)


def place_of(call: Call, params: Params) -> Place:
    """What a request is about. Raises ValidationException, and NotImplemented for what is not DynamoDB's."""
    refuse_others(params)
    resource, dimension = params["ResourceId"], params["ScalableDimension"]
    if dimension not in DIMENSIONS:
        raise invalid("Unsupported service namespace, resource type or scalable dimension")
    parts = resource.split("/")
    of_index = dimension.startswith("dynamodb:index:")
    if (
        parts[0] != "table"
        or len(parts) != (4 if of_index else 2)
        or not all(parts)
        or (of_index and parts[2] != "index")
    ):
        raise invalid("ResourceId does not match the scalable dimension: " + resource)
    return Place(call.account, call.region, resource, dimension)


def refuse_others(params: Params) -> None:
    """Raises NotImplemented for what is not DynamoDB's."""
    if params["ServiceNamespace"] != NAMESPACE:
        raise not_implemented(f"application-autoscaling of {params['ServiceNamespace']}")


def load_target(txn: Transaction, place: Place) -> Target | None:
    """The target there."""
    stored = txn.get(place.key)
    return None if stored is None else decode(stored, Target)


def require_target(txn: Transaction, place: Place) -> Target:
    """The target there. Raises ObjectNotFoundException."""
    found = load_target(txn, place)
    if found is None:
        raise AwsError(
            "ObjectNotFoundException",
            f"No scalable target registered for service namespace: {NAMESPACE}, resource ID: {place.resource}, "
            f"scalable dimension: {place.dimension}",
        )
    return found


def target_arn(account: str, region: str, id: str) -> str:
    """A target's ARN."""
    return f"arn:aws:application-autoscaling:{region}:{account}:scalable-target/{id}"


ANY_TARGET = "arn:{partition}:application-autoscaling:{region}:{account}:scalable-target/*"
"""For the permission check of what names a target by its resource."""


def conditions(_: Call, params: Params) -> dict[str, Any]:
    """Condition keys of what is about one dimension of one service, tags apart."""
    return {
        "application-autoscaling:service-namespace": params.get("ServiceNamespace"),
        "application-autoscaling:scalable-dimension": params.get("ScalableDimension"),
    }
