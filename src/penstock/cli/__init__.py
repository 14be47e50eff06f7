"""The `penstock` command. Puts a node together from its parts; they are put together only here.

One file a command; this one holds the argument parser. Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import msgspec

from penstock import __version__
from penstock.cli import blueprints, clock, debug, functions, iam
from penstock.config import BadSettingError, Settings, load

_HELP: dict[str, str] = {
    "host": "address to listen on (default 127.0.0.1: this machine only)",
    "port": "port to listen on; 0 picks a free one (default 4566)",
    "tls_port": "a second port that speaks TLS; 0 picks a free one (default -1: none)",
    "tls_host": "address that the TLS port listens on (default: --host)",
    "tls_certificate": "its certificate and chain, a PEM file (default: one of our own, kept in DATA/tls)",
    "tls_key": "that certificate's key, a PEM file (default: the certificate's file holds it)",
    "data": "directory that keeps everything (default ./penstock-data; made if missing)",
    "store": "where records live: rocks://PATH (default), postgresql://USER@HOST/DB, memory:// (kept nowhere)",
    "blobs": "where large bodies live: file://PATH (default, inside --data); nodes on one store must share it",
    "blob_cache_mib": "MiB of memory for large objects that are read again and again (default 64; 0: none)",
    "item_collection_bytes": "bytes that items of one partition key may take in a DynamoDB table with local indexes (10 GB)",
    "s3_buckets": "general-purpose buckets that an account may have (default 10,000)",
    "s3_directory_buckets": "directory buckets that an account may have in a region (default 100)",
    "limits": "on|off: enforce AWS's rates and quotas (default on; sizes and permissions hold either way)",
    "region": "region of requests whose signature names none (default us-east-1)",
    "access_key_id": "the access key id that acts as the account's root user (default test)",
    "secret_access_key": "its secret (default test)",
    "default_credentials": "on|off: accept that key, and 12-digit account ids as keys, from loopback (default on)",
    "master_key": "32 bytes, in hex or base64, that keys are encrypted under at rest; give it by the environment",
    "master_key_file": "a file that holds that key (default: DATA/master.key, made when first needed)",
    "function_default_credentials": "on|off: let functions that carry the well-known keys use them (default on)",
    "function_network": "isolated: functions reach Penstock only (default); host: they share this machine's network",
    "function_runtimes": "run functions of AWS's runtimes on other interpreters, e.g. python3.12=/usr/bin/python3.12",
    "function_concurrency": "execution environments at most (default 1000)",
    "function_images": "podman, docker or a path of one, whose images functions are made of; off (default: what answers)",
    "function_folders": "folders whose code functions may run live, by the bucket name hot-reload (default none)",
    "function_transition_s": "keep new functions Pending and updates InProgress this long, as on AWS (default 0)",
    "function_idle_s": "end an environment that was idle this long (default 300)",
    "log_level": "DEBUG, INFO, WARNING or ERROR (default INFO)",
    "log_format": "text or json (default text)",
    "max_body_bytes": "largest request body",
    "max_json_bytes": "largest body of a JSON or CBOR request (default 16 MiB)",
    "max_rest_json_bytes": "largest body of a REST-JSON request, Lambda's packages for one (default 70,167,211, as on AWS)",
    "max_query_bytes": "largest body of a query request: IAM, STS (default 4 MiB)",
    "max_xml_bytes": "largest XML document of S3 (default 20 MiB)",
    "max_connections": "connections at most",
    "max_requests": "requests under way at most; more are told to slow down",
    "header_timeout_s": "a request's headers must arrive within this time",
    "body_timeout_s": "a request's body may pause this long",
    "idle_timeout_s": "an idle connection is closed after this time",
    "drain_timeout_s": "at shutdown, requests under way get this long",
}

_EXAMPLES = """examples:
  penstock up                                        serve on 127.0.0.1:4566, keep data in ./penstock-data
  penstock up --port 4570 --data /tmp/a              a second server beside it
  penstock up --store postgresql://u@db/penstock     records in PostgreSQL
  penstock up --tls-port 4567                        TLS beside it, under a certificate of our own
  eval "$(penstock env)"                             point the AWS CLI and SDKs of this shell here
  penstock demo                                      see S3 -> Lambda -> S3 -> Lambda -> DynamoDB on real data
  penstock new hello-world hello                     start a function from a blueprint
  penstock deploy hello && penstock invoke hello     make it, run it
  penstock logs -f hello                             follow what it prints
  penstock debug hello                               attach a debugger to it
  penstock iam why --last-denied                     what was denied lately, and for want of which statement
  penstock iam least-privilege --role app            the smallest policy for what a role really called
  penstock clock advance 30d                         see retention, expiry and schedules at work
  penstock scrub --data /srv/penstock                look for bit rot while the server is down
  penstock doctor                                    what protects functions on this machine, and what is missing
"""


def main(argv: list[str] | None = None) -> int:
    """Entry point of the command line. Returns the exit status: 0 done, 1 failed, 2 wrong usage."""
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
    except BadSettingError as error:
        print(f"penstock: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return status


def settings_of(arguments: argparse.Namespace) -> Settings:
    """The settings of a parsed command line, environment and file included. Raises BadSettingError."""
    given = {name: getattr(arguments, name) for name in _fields() if getattr(arguments, name, None) is not None}
    return load(given, file=arguments.config)


def _fields() -> tuple[str, ...]:
    return tuple(field.name for field in msgspec.structs.fields(Settings))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="penstock",
        description="S3, DynamoDB, Lambda and the services between them as one durable program: AWS clients unchanged.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"penstock {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_settings(commands.add_parser("up", help="run the server until it is told to stop"), _up)
    _add_settings(commands.add_parser("doctor", help="examine this machine: what works, what protects"), _doctor)
    env = commands.add_parser("env", help="print the exports that point AWS clients at a server")
    env.add_argument("--unset", action="store_true", help="print what undoes them")
    _add_settings(env, _env)
    demo = commands.add_parser("demo", help="run the main job on real data: S3 -> Lambda -> S3 -> Lambda -> DynamoDB")
    demo.add_argument("--keep", action="store_true", help="leave the server up afterwards and print its exports")
    demo.add_argument("--endpoint", help="use a server that is already running, e.g. http://127.0.0.1:4566")
    _add_settings(demo, _demo)
    scrub = commands.add_parser("scrub", help="read every record and every file, and tell what is damaged")
    scrub.add_argument("--endpoint", help="a server that is running, e.g. http://127.0.0.1:4566; else it must not be")
    _add_settings(scrub, _scrub)
    blueprints.add_parser(commands)
    functions.add_parsers(commands)
    debug.add_parser(commands)
    iam.add_parser(commands)
    clock.add_parser(commands)
    version = commands.add_parser("version", help="print the version")
    version.set_defaults(run=_version)
    return parser


def _add_settings(parser: argparse.ArgumentParser, run: Any) -> None:
    group = parser.add_argument_group(
        "settings", "each also as PENSTOCK_<NAME> in the environment and <name> in the TOML file of --config"
    )
    for name in _fields():
        group.add_argument("--" + name.replace("_", "-"), metavar="X", help=_HELP.get(name, ""))
    group.add_argument("--config", metavar="FILE", help="TOML file of settings (or PENSTOCK_CONFIG)")
    parser.set_defaults(run=run)


def _up(arguments: argparse.Namespace) -> int:
    from penstock.cli.up import up

    return up(settings_of(arguments))


def _doctor(arguments: argparse.Namespace) -> int:
    from penstock.cli.doctor import doctor

    return doctor(settings_of(arguments))


def _env(arguments: argparse.Namespace) -> int:
    from penstock.cli.env import exports

    print(exports(settings_of(arguments), unset=arguments.unset))
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    from penstock.cli.demo import demo

    return demo(settings_of(arguments), endpoint=arguments.endpoint, keep=arguments.keep)


def _scrub(arguments: argparse.Namespace) -> int:
    from penstock.cli.scrub import scrub

    return scrub(settings_of(arguments), arguments.endpoint)


def _version(_: argparse.Namespace) -> int:
    print(f"penstock {__version__}")
    return 0
