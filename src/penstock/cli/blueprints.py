"""`penstock new`: a function to start from, copied out of the examples."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

NEW = """copies a blueprint into a folder of your own: app.py (the handler), function.json (its parameters), policy.json (what
its role may do), event.json (an event to try it with) and test_app.py.

examples:
  penstock new                              the blueprints, a line each
  penstock new hello-world my-function
  penstock deploy my-function && penstock invoke my-function --event my-function/event.json"""


def folder_of_all() -> Path:
    """Where the blueprints are: in the installed package, or in the repository."""
    installed = Path(__file__).parent / "blueprints"
    return installed if installed.is_dir() else Path(__file__).resolve().parents[3] / "examples"


def blueprints() -> dict[str, str]:
    """Name -> what it does, in a line."""
    found = {}
    for folder in sorted(folder_of_all().iterdir()):
        handler = folder / "app.py"
        if handler.is_file():
            found[folder.name] = handler.read_text().split('"""')[1].strip().splitlines()[0]
    return found


def add_parser(commands: Any) -> None:
    """Add the `new` command to the command line's sub-parsers."""
    shape = argparse.RawDescriptionHelpFormatter
    new = commands.add_parser("new", help="start a function from a blueprint", description=NEW, formatter_class=shape)
    new.add_argument("blueprint", nargs="?")
    new.add_argument("folder", nargs="?", type=Path, help="a new folder (default: the blueprint's name)")
    new.set_defaults(run=_new)


def _new(arguments: argparse.Namespace) -> int:
    known = blueprints()
    if not arguments.blueprint:
        width = max(map(len, known))
        print("\n".join(f"{name:{width}}  {what}" for name, what in known.items()))
        return 0
    if arguments.blueprint not in known:
        print(f"penstock: no blueprint {arguments.blueprint}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    target = arguments.folder or Path(arguments.blueprint)
    if target.exists():
        print(f"penstock: {target} is there already", file=sys.stderr)
        return 2
    shutil.copytree(folder_of_all() / arguments.blueprint, target, ignore=shutil.ignore_patterns("__pycache__"))
    wanted = json.loads((target / "function.json").read_text()).get("Layers", [])
    steps = [f"penstock layer {layer} {layer}" for layer in wanted]
    steps += [f"penstock deploy {target}", f"penstock invoke {target.name} --event {target}/event.json"]
    print(f"{target} is made. Next: {' && '.join(steps)}")
    return 0
