"""`script/bench`: measure this checkout, and set it beside the baseline that is kept in git.

  script/bench                    end to end: DynamoDB, S3, Lambda, start, memory
  script/bench load --seconds 5   the same, longer
  script/bench store|wire|edge... one part alone: bench/<part>.py
  script/bench --save             keep the end-to-end figures as bench/baseline.json

No figure here fails a test: machines differ and are shared. Compare runs of one machine, on one day.
"""

from __future__ import annotations

import argparse
import json
import platform
import runpy
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
BASELINE = HERE / "baseline.json"
PARTS = sorted(p.stem for p in HERE.glob("*.py") if p.stem not in ("run", "load", "workloads"))


def main() -> int:
    """Returns the exit status: 0 unless a workload failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", default="load", choices=["load", *PARTS])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--save", action="store_true")
    arguments, rest = parser.parse_known_args()
    sys.path[:0] = [str(HERE), str(HERE.parent / "src"), str(HERE.parent / "tests")]
    if arguments.part != "load":
        sys.argv = [arguments.part, *rest]
        runpy.run_path(str(HERE / f"{arguments.part}.py"), run_name="__main__")
        return 0
    import load

    found = load.run(arguments.seconds)
    baseline = json.loads(BASELINE.read_text())["figures"] if BASELINE.exists() else {}
    for name, figures in found.items():
        cells = []
        for unit, value in figures.items():
            before = baseline.get(name, {}).get(unit)
            cells.append(f"{unit} {value:g}" + (f" (baseline {before:g})" if before is not None else ""))
        print(f"{name:36} {'  '.join(cells)}")
    if arguments.save:
        where = f"{platform.machine()}, Python {platform.python_version()}"
        BASELINE.write_text(json.dumps({"where": where, "figures": found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
