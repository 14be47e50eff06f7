"""What makes the first boto3 client of a function cheap: the zygote does once what botocore does for every client.

Runs in the zygote, on the functions' own botocore: standard library only. Nothing here changes what a client does. A
function that carries its own botocore gets that one as it is (see `sandbox`).
"""

from __future__ import annotations

import os
import sys
import types
from typing import Any

_NAMES_MAX = 4096


def keep_what_never_changes() -> None:
    """Have botocore remember model files, the list of services and handlers' signatures across sessions."""
    loaders = sys.modules.get("botocore.loaders")
    hooks = sys.modules.get("botocore.hooks")
    if loaders is None or hooks is None:
        return
    _keep_models(loaders)
    _keep_signatures(hooks)
    _keep_aliases(hooks)


def _keep_models(loaders: Any) -> None:
    load = loaders.JSONFileLoader.load_file
    find = loaders.Loader.list_available_services
    parsed: dict[str, Any] = {}
    services: dict[tuple[str, ...], list[str]] = {}

    def load_file(self: Any, file_path: str) -> Any:
        found = parsed.get(file_path)
        if found is None:
            found = load(self, file_path)
            if found is not None:
                parsed[file_path] = found
        return found

    def list_available_services(self: Any, type_name: str) -> Any:
        key = (type_name, *self.search_paths)
        found = services.get(key)
        if found is None:
            found = services[key] = find(self, type_name)
        return list(found)

    loaders.JSONFileLoader.load_file = load_file
    loaders.Loader.list_available_services = list_available_services


def _keep_signatures(hooks: Any) -> None:
    ask = hooks.accepts_kwargs
    known: dict[types.FunctionType, Any] = {}

    def accepts_kwargs(function: Any) -> Any:
        if type(function) is not types.FunctionType:
            return ask(function)  # a bound method: remembering it would keep its object
        found = known.get(function)
        if found is None:
            found = known[function] = ask(function)
        return found

    hooks.accepts_kwargs = accepts_kwargs


def _keep_aliases(hooks: Any) -> None:
    """An event's present name follows from its old one alone, unless a session brings a table of its own."""
    work_out = hooks.EventAliaser._alias_event_name
    usual = hooks.EVENT_ALIASES
    known: dict[str, str] = {}

    def alias_event_name(self: Any, event_name: str) -> Any:
        if self._event_aliases is not usual:
            return work_out(self, event_name)
        found = known.get(event_name)
        if found is None:
            found = work_out(self, event_name)
            if len(known) < _NAMES_MAX:
                known[event_name] = found
        return found

    hooks.EventAliaser._alias_event_name = alias_event_name


def make_client(service: str) -> None:
    """Make a client of the service and drop it: its model stays parsed. A service botocore lacks is passed over."""
    boto3 = sys.modules.get("boto3")
    if boto3 is None:
        return
    before = dict(os.environ)
    os.environ.update(
        AWS_ENDPOINT_URL="http://127.0.0.1:9", AWS_EC2_METADATA_DISABLED="true", AWS_DEFAULT_REGION="us-east-1",
        AWS_ACCESS_KEY_ID="none", AWS_SECRET_ACCESS_KEY="none", HOME="/nonexistent",  # noqa: S106
    )  # fmt: skip
    try:
        boto3.session.Session().client(service)
    except Exception:
        return
    finally:
        os.environ.clear()
        os.environ.update(before)
