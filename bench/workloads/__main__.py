"""Run the five workloads of the paper and tell what came out. The exit code is 1 when a result is wrong.

python -m bench.workloads [--only dv5,rag] [--engines threads,distributed,taskvine] [--small] [--rounds 1] [--write]

Every step is a new process. `--json FILE` keeps what was found, and a run that is given a file that is there
already goes on where that one ended. `--write` makes docs/bench/workloads.md and its pictures of it.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import sys
import tempfile
from pathlib import Path

import nbrewind
from bench.workloads import page, vine
from bench.workloads.cases import ENGINES, WORKLOADS
from bench.workloads.run import Trial
from demo.run import Stop


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.workloads",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--only", default=",".join(WORKLOADS))
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--small", action="store_true", help="the size of the tests")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--work", type=Path, help="folder to work in (default: a temporary one)")
    parser.add_argument("--json", type=Path, help="keep what was found here, and go on from it")
    parser.add_argument("--write", action="store_true", help="write docs/bench/workloads.md")
    return parser.parse_args()


def as_installed() -> None:
    """Have the package's bytecode, as after an installation.

    From its sources alone every process compiles it, where processes may not write bytecode.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    compileall.compile_dir(Path(nbrewind.__file__).parent, quiet=1)


def main() -> int:
    """Measure, print, and write the page if asked."""
    options = parse()
    as_installed()
    results = []
    engines = options.engines.split(",")
    if "taskvine" in engines and (reason := vine.why_not()) is not None:
        print(f"left out: taskvine ({reason})", file=sys.stderr)
        engines.remove("taskvine")
    if options.json and options.json.exists():
        results = json.loads(options.json.read_text())
    known = {(trial["workload"], trial["engine"], trial["round"]) for trial in results}
    with tempfile.TemporaryDirectory(prefix="nbrewind-workloads-") as scratch:
        work = options.work or Path(scratch)
        for number in range(options.rounds):
            for engine in engines:
                for name in options.only.split(","):
                    if (name, engine, number) in known:
                        continue
                    folder = work / f"{name}-{engine}-{number}"
                    trial = Trial(WORKLOADS[name], engine, folder.resolve(), small=options.small)
                    try:
                        with trial.served():
                            trial.measure()
                    except Stop as reason:
                        trial.broken.append(str(reason))
                    found = {**trial.found, "round": number, "broken": trial.broken}
                    print(json.dumps(found), file=sys.stderr, flush=True)
                    results.append(found)
                    if options.json:
                        options.json.write_text(json.dumps(results, indent=1))
    whole = [trial for trial in results if "to_ideal" in trial]
    if whole:
        print(page.text(whole))
    if options.write:
        page.write(whole)
    for trial in results:
        for claim in trial["broken"]:
            print(f"BROKEN  {trial['workload']}, {trial['engine']}: {claim}")
    return 1 if any(trial.get("wrong") or trial not in whole for trial in results) else 0


if __name__ == "__main__":
    sys.exit(main())
