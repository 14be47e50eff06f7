"""`setup.json` beside a function: the calls that make what the function needs, run by `penstock deploy`."""

from __future__ import annotations

import json
import re
from functools import reduce
from pathlib import Path
from typing import Any

from penstock.cli.running import client

_THERE_ALREADY = frozenset(
    {"BucketAlreadyOwnedByYou", "BucketAlreadyExists", "ResourceInUseException", "ResourceConflictException"}
)


class SetupError(Exception):
    """setup.json cannot be carried out; the message is for the person at the terminal."""


def run(folder: Path, endpoint: str, region: str, known: dict[str, str]) -> None:
    """Make the calls, in order; what is there already is left as it is. Raises SetupError, and what the calls raise.

    A step is {"call": "s3:CreateBucket", "with": its parameters}. "{name}" in a text stands for what is known: the
    function, its arn, the account, and what a step has saved from its answer ("save": {"stream": "Table.LatestStreamArn"}).
    "show": a field of the answer to print.
    """
    from botocore.exceptions import ClientError

    path = folder / "setup.json"
    if not path.is_file():
        return
    try:
        steps = [(step["call"].partition(":"), step.get("with", {}), step) for step in json.loads(path.read_text())]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SetupError(f"{path} must be a list of steps with a call and its parameters: {error}") from None
    known = dict(known)
    for (service, _, operation), parameters, step in steps:
        try:
            answer = _method(client(endpoint, service, region), operation)(**_filled(parameters, known))
        except ClientError as error:
            if error.response["Error"]["Code"] not in _THERE_ALREADY:
                raise
            continue
        for name, field in step.get("save", {}).items():
            known[name] = str(_field(answer, field))
        if "show" in step:
            print(_field(answer, step["show"]))


def _method(service: Any, operation: str) -> Any:
    methods = {name: method for method, name in service.meta.method_to_api_mapping.items()}
    if operation not in methods:
        raise SetupError(f"setup.json: {service.meta.service_model.service_name} has no {operation}")
    return getattr(service, methods[operation])


def _filled(value: Any, known: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(each, known) for name, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, known) for each in value]
    if isinstance(value, str):
        return re.sub(r"\{(\w+)\}", lambda match: known.get(match[1], match[0]), value)
    return value


def _field(answer: Any, path: str) -> Any:
    try:
        return reduce(lambda at, name: at[name], path.split("."), answer)
    except (KeyError, TypeError):
        raise SetupError(f"setup.json: the answer has no {path}") from None
