"""Settings: one frozen object, made once at start from flags, environment and file (in that order of precedence).

Nothing else reads the environment. Each field's environment variable is PENSTOCK_<FIELD>, its key in the TOML file the
field's name, its flag --<field-with-dashes>.
"""

from __future__ import annotations

import os
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be set. Sizes are bytes and times seconds unless the name says otherwise."""

    host: str = "127.0.0.1"
    port: int = 4566
    tls_port: int = -1
    """A second port that speaks TLS; 0 takes a free one, -1: none."""
    tls_host: str = ""
    """The address of the TLS port; empty: `host`."""
    tls_certificate: str = ""
    """PEM file, its chain included. Empty: one of our own, made at first use and kept in `tls` inside `data`."""
    tls_key: str = ""
    """PEM file of its key; empty: the certificate's file holds it."""
    data: str = "penstock-data"
    store: str = ""
    """`memory://`, `rocks://PATH` or `postgresql://…`; empty: RocksDB inside `data`."""
    blobs: str = ""
    """`file://PATH`; empty: inside `data`. Nodes that share a store must share it."""
    blob_cache_mib: int = 64
    """Memory for large objects that are read again and again, in MiB; 0 keeps none."""
    limits: bool = True
    """Enforce AWS's quotas and rates. Off for load tests; permissions and sizes hold regardless."""
    item_collection_bytes: int = 10 * 1024**3
    """The most that items of one partition key may take in a DynamoDB table with local indexes, entries included."""
    s3_buckets: int = 10_000
    """The most general-purpose buckets that an account may have."""
    s3_directory_buckets: int = 100
    """The most directory buckets that an account may have in a region."""
    region: str = "us-east-1"
    """The region of a request whose signature names none."""
    access_key_id: str = "test"
    secret_access_key: str = "test"
    default_credentials: bool = True
    """Let the well-known keys (test/test, 12-digit account ids) act as root on loopback."""
    master_key: str = ""
    """32 bytes (64 hexadecimal digits, or base64) that secrets at rest are sealed under."""
    master_key_file: str = ""
    """A file that holds that key. Neither given: `master.key` inside `data`, made at first use."""
    function_default_credentials: bool = True
    """Let a function whose code carries the well-known keys use them, as any program of this machine may; off: a
    function has its role's permissions and no way to others."""
    function_network: str = "isolated"
    """`isolated`: a function reaches Penstock and nothing else. `host`: it shares the host's network."""
    function_runtimes: str = ""
    """Comma-separated `runtime=interpreter`: which interpreter runs functions of an AWS runtime id."""
    function_folders: str = ""
    """Comma-separated folders of this host whose code functions may run live (`S3Bucket=hot-reload`); empty: none."""
    function_images: str = ""
    """`podman`, `docker` or the path of one, whose images functions may be made of; empty: the first that answers; `off`."""
    function_concurrency: int = 1000
    function_idle_s: float = 300.0
    function_transition_s: float = 0.0
    """How long a function is Pending after it was made, and an update of it InProgress."""
    log_level: str = "INFO"
    log_format: str = "text"
    """`text` or `json`."""
    max_body_bytes: int = 5 * 1024**3 + 64 * 1024**2
    max_json_bytes: int = 16 * 1024**2
    """A JSON or CBOR request's body (DynamoDB's 16 MB)."""
    max_rest_json_bytes: int = 70_167_211
    """A REST-JSON request's body (a 50 MB package in base64)."""
    max_query_bytes: int = 4 * 1024**2
    """A query request's form."""
    max_xml_bytes: int = 20 * 1024**2
    """A document that S3 has to have whole (a thousand keys to delete)."""
    max_connections: int = 4096
    max_requests: int = 2048
    """Operations at work at a time; more are told to slow down."""
    header_timeout_s: float = 20.0
    body_timeout_s: float = 60.0
    idle_timeout_s: float = 120.0
    drain_timeout_s: float = 10.0


class BadSettingError(ValueError):
    """A setting that does not exist or cannot be read as its type; the message names it and where it came from."""


_BOOLEANS = {"1": True, "on": True, "true": True, "yes": True, "0": False, "off": False, "false": False, "no": False}


def load(
    flags: Mapping[str, Any], environment: Mapping[str, str] | None = None, file: str | os.PathLike[str] | None = None
) -> Settings:
    """Merge file < environment < flags over the defaults.

    `flags` holds only what was given on the command line, by field name. Raises BadSettingError.
    """
    environment = os.environ if environment is None else environment
    file = file or environment.get("PENSTOCK_CONFIG")
    values: dict[str, Any] = {}
    types_by_field = typing.get_type_hints(Settings)
    if file:
        for name, value in _read(file).items():
            values[name] = _convert(types_by_field, name, value, f"{file}: {name}")
    for variable, text in environment.items():
        name = variable.removeprefix("PENSTOCK_").lower()
        if variable.startswith("PENSTOCK_") and name in types_by_field:
            values[name] = _convert(types_by_field, name, text, variable)
    for name, value in flags.items():
        values[name] = _convert(types_by_field, name, value, "--" + name.replace("_", "-"))
    return Settings(**values)


def _read(file: str | os.PathLike[str]) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(file).read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadSettingError(f"the settings in {file} cannot be read: {error}") from error


def _convert(types_by_field: Mapping[str, Any], name: str, value: Any, where: str) -> Any:
    kind = types_by_field.get(name)
    if kind is None:
        raise BadSettingError(f"{where}: there is no setting of that name; `penstock up --help` lists them")
    if kind is bool and isinstance(value, str):
        if value.lower() not in _BOOLEANS:
            raise BadSettingError(f"{where}: {value!r} is neither on nor off")
        return _BOOLEANS[value.lower()]
    if isinstance(kind, types.UnionType):
        return value
    try:
        return kind(value)
    except (TypeError, ValueError):
        raise BadSettingError(f"{where}: {value!r} is not {kind.__name__}") from None
