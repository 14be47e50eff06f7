"""What makes the first boto3 client of a function cheap: the zygote does once what botocore does for every client.

Runs in the zygote, on the functions' own botocore: standard library only. Nothing here changes what a client does. A
function that carries its own botocore gets that one as it is (see `sandbox`).
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import sys
import types
from collections.abc import Iterator
from typing import Any

_NAMES_MAX = 4096
_REHEARSED = "dynamodb"


def keep_what_never_changes() -> None:
    """Have botocore remember model files, the list of services and handlers' signatures across sessions."""
    loaders = sys.modules.get("botocore.loaders")
    hooks = sys.modules.get("botocore.hooks")
    if loaders is None or hooks is None:
        return
    _keep_models(loaders)
    _keep_signatures(hooks)
    _keep_aliases(hooks)
    hooks.NodeList.__copy__ = lambda self: hooks.NodeList(self.first[:], self.middle[:], self.last[:])  # not by `copy`


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
        if type(function) is types.MethodType:
            function = function.__func__  # remembering the method itself would keep its object
        if type(function) is not types.FunctionType:
            return ask(function)
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
    with _nobodys_variables():
        _client(service)


def rehearse() -> None:
    """Do once, in a fork, what a function's first client and first call do; nothing of it stays but its memory.

    A page that a fork writes to for the first time is copied by the kernel: a client writes to about 2,000 of them, if
    only to count references, which is half of what it costs. So a fork that waits does so before anybody waits for it.
    """
    with _nobodys_variables():
        client = _client(_REHEARSED)
        if client is not None:
            client.meta.events.register("before-send", _answer_for_aws)
            try:
                client.list_tables()
            except Exception:
                pass
    del client
    gc.collect()


def _answer_for_aws(request: Any, **_: Any) -> Any:
    """An empty answer in place of a connection."""
    awsrequest: Any = sys.modules["botocore.awsrequest"]
    raw = io.BytesIO(b"{}")
    raw.stream = lambda *_, **__: iter([b"{}"])  # type: ignore[attr-defined]
    return awsrequest.AWSResponse(request.url, 200, {"content-type": "application/x-amz-json-1.0"}, raw)


@contextlib.contextmanager
def _nobodys_variables() -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(
        AWS_ENDPOINT_URL="http://127.0.0.1:9", AWS_EC2_METADATA_DISABLED="true", AWS_DEFAULT_REGION="us-east-1",
        AWS_ACCESS_KEY_ID="none", AWS_SECRET_ACCESS_KEY="none", HOME="/nonexistent",  # noqa: S106
    )  # fmt: skip
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _client(service: str) -> Any:
    boto3 = sys.modules.get("boto3")
    if boto3 is None:
        return None
    try:
        return boto3.session.Session().client(service)
    except Exception:
        return None
