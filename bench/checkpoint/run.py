"""What audit mode costs, beside a plain kernel, Kishu and dill after every cell.

    python bench/checkpoint/run.py tables [--rounds 5] [--with plain,nbrewind,kishu,dill] [--kishu-python PATH]

All contenders run the same cells through a real kernel, in turn within each round, so that noise of the machine meets
them alike. CPU seconds are those of the kernel's process. Ratios are taken within a round; shown are the median and the
range. Undo is the time to get from the state after the last cell back to that before it. A contender whose probe shows
something else than the plain kernel's is marked.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from kernel import Kernel, Measured
from workloads import WORKLOADS

KISHU_SETUP = """
import os as _os, json as _json
_os.environ["ENV_KISHU_TEST_MODE"] = "1"
_os.environ["KISHU_PATH_ROOT"] = _os.getcwd()
_json.dump({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, open("book.ipynb", "w"))
from kishu import init_kishu
init_kishu("book.ipynb")
"""
KISHU_UNDO = """
_kishu.checkout(_kishu._kishu_graph.list_history()[1].commit_id, skip_notebook=True)
"""
DILL_AFTER = """
import dill as _dill, io as _io
_kept = {}
for _name, _value in list(globals().items()):
    if not _name.startswith("_") and _name not in ("In", "Out", "exit", "quit", "get_ipython", "open"):
        try:
            _kept[_name] = _dill.dumps(_value)
        except Exception:
            pass
with open(f"state-{len(_os.listdir())}.dill", "wb") as _file:
    _dill.dump(_kept, _file)
"""


def bytes_in(folder: Path) -> int:
    """What a folder takes on the disk."""
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())


def measure(
    contender: str, workload: str, pythons: dict[str, str], scratch: Path
) -> dict[str, float | str]:
    """One contender, once, in a kernel of its own."""
    cells, probe = WORKLOADS[workload]
    folder = Path(tempfile.mkdtemp(dir=scratch))
    before = list(cells)[-2]
    found: dict[str, float | str] = {}
    try:
        with Kernel(folder, pythons.get(contender, sys.executable)) as kernel:
            after = None
            if contender == "nbrewind":
                kernel.run("%load_ext nbrewind", is_silent=True)
                kernel.open_comm()
                kernel.ask("configure", mode="audit", notebook="book.ipynb")
            elif contender == "kishu":
                kernel.run(KISHU_SETUP, is_silent=True)
            elif contender == "dill":
                kernel.run("import os as _os", is_silent=True)
                after = lambda cell: kernel.run(DILL_AFTER, is_silent=True)  # noqa: E731
            measured: Measured = kernel.run_all(cells, after)
            found = {
                "cpu": measured.cpu,
                "wall": measured.wall,
                "peak": measured.peak_bytes / 1e6,
                "store": bytes_in(folder) / 1e6,
            }
            if contender == "nbrewind":
                # As a user would: right after the last cell.
                _, found["undo"], _ = kernel.restore(before)
                kernel.ask("undo-restore")
            found["shown"] = kernel.run(probe, is_silent=True)
            if contender == "kishu":
                started = time.perf_counter()
                kernel.run(KISHU_UNDO, is_silent=True)
                found["undo"] = time.perf_counter() - started
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return found


def spread(values: list[float], unit: str = "") -> str:
    """Median and range."""
    return f"{statistics.median(values):.2f}{unit} ({min(values):.2f}-{max(values):.2f})"


def table(workload: str, results: dict[str, list[dict[str, float | str]]]) -> str:
    """All contenders as a Markdown table."""
    plain = results["plain"]
    lines = [
        f"### {workload}",
        "",
        "| | CPU s | CPU, of plain | wall s | store MB | peak MB | peak, of plain | undo s | right |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for contender, runs in results.items():

        def column(name: str, runs: list[dict[str, float | str]] = runs) -> list[float]:
            return [float(run[name]) for run in runs if name in run]

        cpu = [
            float(run["cpu"]) / float(other["cpu"]) for run, other in zip(runs, plain, strict=True)
        ]
        peak = [
            float(run["peak"]) / float(other["peak"])
            for run, other in zip(runs, plain, strict=True)
        ]
        undo = column("undo")
        is_right = all(run["shown"] == plain[0]["shown"] for run in runs)
        lines.append(
            f"| {contender} | {spread(column('cpu'))} | {spread(cpu, 'x')} | {spread(column('wall'))} | "
            f"{statistics.median(column('store')):.0f} | {statistics.median(column('peak')):.0f} | "
            f"{statistics.median(peak):.2f}x | {spread(undo) if undo else ''} | {'yes' if is_right else 'NO'} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--with", dest="contenders", default="plain,nbrewind")
    parser.add_argument("--kishu-python", default="")
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()))
    arguments = parser.parse_args()
    contenders = arguments.contenders.split(",")
    other = arguments.kishu_python or sys.executable
    pythons = {"kishu": other, "dill": other}
    results: dict[str, list[dict[str, float | str]]] = {contender: [] for contender in contenders}
    for number in range(arguments.rounds):
        for contender in contenders:
            found = measure(contender, arguments.workload, pythons, arguments.scratch)
            results[contender].append(found)
            print(
                f"round {number + 1}: {contender}: {json.dumps(found)}", file=sys.stderr, flush=True
            )
    load = os.getloadavg()[0]
    print(table(arguments.workload, results))
    print(
        f"\n{arguments.rounds} rounds; load average at the end {load:.1f} on {os.cpu_count()} cores."
    )


if __name__ == "__main__":
    main()
