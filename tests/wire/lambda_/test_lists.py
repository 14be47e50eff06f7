"""Every list of Lambda's page by page, through a restart; and accounts and regions that know nothing of each other."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from served import Served
from wire.lambda_.test_event_sources import table
from wire.lambda_.test_functions import ROLE, RUNTIME, create, package

OTHER = "111122223333"


class Listed:
    """A list read one entry a page. named: the member that tells entries apart; of an ARN, the qualifier."""

    def __init__(self, server: Served, operation: str, member: str, named: str, **parameters: Any) -> None:
        self.server, self.operation, self.member, self.named = server, operation, member, named
        self.parameters = parameters
        self.found: list[Any] = []
        self.marker: dict[str, str] = {}

    def page(self) -> bool:
        """Read the next page; whether there are more."""
        client = self.server.client("lambda")
        page = getattr(client, self.operation)(MaxItems=1, **self.marker, **self.parameters)
        [entry] = page[self.member]
        name = entry[self.named]
        self.found.append(name.rpartition(":")[2] if self.named == "FunctionArn" else name)
        self.marker = {"Marker": page["NextMarker"]} if "NextMarker" in page else {}
        return bool(self.marker)


def test_every_list_has_pages_that_a_restart_does_not_end(own_server: Served) -> None:
    server = own_server
    client = server.client("lambda")
    for name in ("b", "a", "c"):
        create(server, FunctionName=name)
    for turn in range(2):
        client.update_function_configuration(FunctionName="a", Description=str(turn))
        client.publish_version(FunctionName="a")
    for alias in ("z", "y"):
        client.create_alias(FunctionName="a", Name=alias, FunctionVersion="1")
        client.create_function_url_config(FunctionName="a", Qualifier=alias, AuthType="NONE")
        client.put_function_event_invoke_config(FunctionName="a", Qualifier=alias, MaximumRetryAttempts=0)
        client.put_provisioned_concurrency_config(
            FunctionName="a", Qualifier="z" if alias == "z" else "2", ProvisionedConcurrentExecutions=1
        )
        client.publish_layer_version(LayerName="l", Content={"ZipFile": package("", "python/x.py")})
    client.publish_layer_version(LayerName="k", Content={"ZipFile": package("", "python/x.py")})
    _, stream = table(server)
    mappings = [
        client.create_event_source_mapping(
            FunctionName=name, EventSourceArn=stream, StartingPosition="LATEST", Enabled=False
        )["UUID"]
        for name in ("b", "c")
    ]  # fmt: skip

    of_a = {"FunctionName": "a"}
    lists = [
        (Listed(server, "list_functions", "Functions", "FunctionName"), ["a", "b", "c"]),
        (Listed(server, "list_versions_by_function", "Versions", "Version", **of_a), ["$LATEST", "1", "2"]),
        (Listed(server, "list_aliases", "Aliases", "Name", **of_a), ["y", "z"]),
        (Listed(server, "list_function_url_configs", "FunctionUrlConfigs", "FunctionArn", **of_a), ["y", "z"]),
        (
            Listed(server, "list_function_event_invoke_configs", "FunctionEventInvokeConfigs", "FunctionArn", **of_a),
            ["y", "z"],
        ),
        (
            Listed(
                server, "list_provisioned_concurrency_configs", "ProvisionedConcurrencyConfigs", "FunctionArn", **of_a
            ),
            ["2", "z"],
        ),
        (Listed(server, "list_layers", "Layers", "LayerName"), ["k", "l"]),
        (Listed(server, "list_layer_versions", "LayerVersions", "Version", LayerName="l"), [2, 1]),
        (Listed(server, "list_event_source_mappings", "EventSourceMappings", "UUID"), sorted(mappings)),
    ]
    for listed, _ in lists:
        assert listed.page()
    server.restart()
    for listed, wanted in lists:
        while listed.page():
            pass
        assert listed.found == wanted, listed.operation
    client = server.client("lambda")
    marker = client.list_functions(MaxItems=1)["NextMarker"]
    for operation, parameters in (("list_layers", {}), ("list_aliases", {"FunctionName": "a"})):
        with pytest.raises(ClientError) as refusal:
            getattr(client, operation)(Marker=marker, **parameters)
        assert refusal.value.response["Error"]["Code"] == "InvalidParameterValueException", "a marker of another list"


def test_accounts_and_regions_know_nothing_of_each_other(own_server: Served) -> None:
    places = {
        ("000000000000", "us-east-1"): own_server.client("lambda"),
        ("000000000000", "eu-west-1"): own_server.client("lambda", region="eu-west-1"),
        (OTHER, "us-east-1"): own_server.client("lambda", access_key=OTHER),
    }
    for (account, region), client in places.items():
        client.create_function(
            FunctionName="f", Runtime=RUNTIME, Role=ROLE.replace("000000000000", account), Handler="app.handler",
            Code={"ZipFile": package()}, Description=f"{account} {region}", Publish=True,
        )  # fmt: skip
        client.create_alias(FunctionName="f", Name="live", FunctionVersion="1")
        layer = client.publish_layer_version(LayerName="l", Content={"ZipFile": package("", "python/x.py")})
        assert layer["LayerVersionArn"] == f"arn:aws:lambda:{region}:{account}:layer:l:1"
    first = places["000000000000", "us-east-1"]
    first.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=900)
    first.delete_layer_version(LayerName="l", VersionNumber=1)
    for (account, region), client in places.items():
        [shown] = client.list_functions()["Functions"]
        assert shown["FunctionArn"] == f"arn:aws:lambda:{region}:{account}:function:f"
        assert shown["Description"] == f"{account} {region}"
        left = client.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"]
        assert left == (100 if client is first else 1000)
        assert len(client.list_layer_versions(LayerName="l")["LayerVersions"]) == (0 if client is first else 1)
        if client is not first:
            code = "ResourceNotFoundException" if account != OTHER else "AccessDeniedException"
            for operation in ("get_function", "delete_function", "list_aliases", "publish_version", "get_policy"):
                with pytest.raises(ClientError) as refusal:
                    getattr(client, operation)(FunctionName="arn:aws:lambda:us-east-1:000000000000:function:f")
                assert refusal.value.response["Error"]["Code"] == code, operation
    first.delete_function(FunctionName="f")
    for client in places.values():
        assert len(client.list_functions()["Functions"]) == (0 if client is first else 1)
        if client is not first:
            assert client.get_alias(FunctionName="f", Name="live")["FunctionVersion"] == "1"
