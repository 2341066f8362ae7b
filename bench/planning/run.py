"""What planning costs: microseconds of the processor a task and peak memory, for graphs of 1,000 to 100,000 tasks.

    python bench/planning/run.py [--sizes 1000,10000,100000] [--rounds 3] [--write]

The graph has chains of three functions of the user's own, one of which calls a helper, and a tree
of sums; the records that the repeated plans look up are those that a run would have left behind.
Nothing is executed. Every round is a process of its own. Beside it, on the same tasks, stands what
Dask pays for its own tokens. `--write` makes docs/bench/planning.md of it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CHUNK = "0" * 64


def _helper(x: int) -> int:
    return x * 2


def load(number: int) -> int:
    """One partition."""
    return number


def work(x: int, scale: float = 1.0) -> float:
    """What is done with it."""
    return _helper(x) * scale


def shape(x: float, kind: str) -> float:
    """One more step."""
    return x if kind == "a" else -x


def last(values: list[float], offset: int) -> float:
    """What everything ends in."""
    return sum(values) + offset


def graph_of(n_tasks: int, offset: int = 0) -> tuple[dict[Any, Any], Any]:
    """Chains of three, summed eight at a time, and one last task that an edit concerns."""
    from dask._task_spec import List, Task, TaskRef

    dsk: dict[Any, Any] = {}
    level = []
    for i in range(int(n_tasks / (3 + 1 / 7))):
        dsk["load", i] = Task(("load", i), load, i)
        dsk["work", i] = Task(("work", i), work, TaskRef(("load", i)), scale=1.5)
        dsk["shape", i] = Task(("shape", i), shape, TaskRef(("work", i)), "a")
        level.append(("shape", i))
    depth = 0
    while len(level) > 8:
        depth += 1
        above = []
        for at in range(0, len(level), 8):
            key = (f"sum{depth}", at)
            refs = List(*map(TaskRef, level[at : at + 8]))
            dsk[key] = Task(key, sum, refs)
            above.append(key)
        level = above
    dsk["last"] = Task("last", last, List(*map(TaskRef, level)), offset)
    return dsk, "last"


def leave_records(cache: Any, plan: Any, names: set[str] | None = None) -> None:
    """What a run of this plan would have stored."""
    from nbrewind.tasks import worker
    from nbrewind.tasks.components import components, notes

    [chunk] = cache.store.put(b"a result")
    for node in plan.graph.nodes:
        fact, decision = plan.facts[node.idx], plan.decisions[node.idx]
        if node.kind != "task" or decision.keep is None:
            continue
        record = {
            "fingerprint": fact.fp,
            "name": fact.name,
            "seconds": 0.01,
            "components": components(fact, node, plan.facts),
            "notes": notes(fact),
            "status": "ok",
            "value": {"head": [chunk], "buffers": [], "digest": CHUNK},
            "bytes": 8,
            "files": [],
            "marks": [],
            "draws": [],
        }
        cache.store.append(worker.KIND, fact.fp, json.dumps(record), [chunk])
    cache.store.commit()


def measure_one(n_tasks: int, *, with_memory: bool) -> dict[str, Any]:
    """One round, in this process."""
    sys.path.insert(0, str(ROOT))
    from dask.tokenize import tokenize

    from nbrewind import tasks

    found: dict[str, Any] = {"load": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory(prefix="nbrewind-bench-") as folder:

        def plan(name: str, replay: bool, offset: int = 0, all_keys: bool = False) -> Any:
            cache = tasks.TaskCache(os.path.join(folder, "store"), replay=replay)
            dsk, key = graph_of(n_tasks, offset)
            keys = [one for one in dsk if one[0] == "shape"] if all_keys else [key]
            cache.begin_run()
            if with_memory:
                tracemalloc.start()
            started, wall = time.process_time(), time.perf_counter()
            submission = cache.submit(dsk, keys)
            seconds, wall = time.process_time() - started, time.perf_counter() - wall
            assert submission is not None, cache._report.not_captured
            report = cache._report
            found[name] = {
                "us": 1e6 * seconds / len(dsk),
                "wall_us": 1e6 * wall / len(dsk),
                "n_hit": report.n_hit,
                "n_run": report.n_run,
            }
            if with_memory:
                found[name]["bytes"] = tracemalloc.get_traced_memory()[1] / len(dsk)
                tracemalloc.stop()
            return cache, submission.plan

        # What every process pays once.
        tiny, key = graph_of(50)
        warm = tasks.TaskCache(os.path.join(folder, "warm"), replay=True)
        warm.submit(tiny, [key])

        cache, planned = plan("cold", replay=False)
        leave_records(cache, planned)
        del planned
        plan("all hit", replay=True)
        plan("all hit, every chain asked for", replay=True, all_keys=True)
        plan("last task edited", replay=True, offset=1)
        assert found["all hit"]["n_run"] == 0
        assert found["all hit, every chain asked for"]["n_run"] == 0
        assert found["last task edited"]["n_run"] >= 1
    if not with_memory:
        dsk, _ = graph_of(min(n_tasks, 3000))
        started = time.process_time()
        for task in dsk.values():
            tokenize(task)
        found["dask tokens"] = {"us": 1e6 * (time.process_time() - started) / len(dsk)}
    return found


CASES = ("cold", "all hit", "all hit, every chain asked for", "last task edited")


def table(rounds: dict[int, list[dict[str, Any]]], memory: dict[int, dict[str, Any]]) -> str:
    """Medians, and the range over all rounds."""
    lines = [
        "| tasks | "
        + " | ".join(f"{case}: us a task" for case in CASES)
        + " | Dask's own tokens: us"
        " a task | cold: peak memory, kB a task |",
        "|---" * (len(CASES) + 3) + "|",
    ]
    for size, found in rounds.items():
        cells = [f"{size:,}"]
        for case in (*CASES, "dask tokens"):
            values = [one[case]["us"] for one in found]
            cells.append(
                f"**{statistics.median(values):.1f}** ({min(values):.1f} .. {max(values):.1f})"
            )
        cells.append(f"{memory[size]['cold']['bytes'] / 1e3:.2f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def machine(rounds: dict[int, list[dict[str, Any]]]) -> str:
    """What this was measured on."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*: (.*)", info)
    loads = [one["load"] for found in rounds.values() for one in found]
    return (
        f"{os.cpu_count()} cores ({model.group(1) if model else platform.machine()}), Python "
        f"{platform.python_version()}, {date.today()}. Load before the rounds: {min(loads):.1f} to "
        f"{max(loads):.1f}."
    )


def main() -> None:
    """Measure, print, and write the page if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1000,10000,100000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="write docs/bench/planning.md")
    parser.add_argument("--one", type=int, help="one round of this size, as JSON")
    parser.add_argument("--memory", action="store_true")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure_one(options.one, with_memory=options.memory)))
        return

    def run(size: int, *more: str) -> dict[str, Any]:
        command = [sys.executable, __file__, "--one", str(size), *more]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        found: dict[str, Any] = json.loads(done.stdout)
        print(f"{size}: {json.dumps(found)}", file=sys.stderr)
        return found

    sizes = [int(size) for size in options.sizes.split(",")]
    rounds = {size: [run(size) for _ in range(options.rounds)] for size in sizes}
    memory = {size: run(size, "--memory") for size in sizes}
    text = f"{machine(rounds)}\n\n{table(rounds, memory)}\n"
    print(text)
    if options.write:
        page = ROOT / "docs" / "bench" / "planning.md"
        head = page.read_text().split("<!-- measured -->")[0]
        page.write_text(f"{head}<!-- measured -->\n\n{text}")


if __name__ == "__main__":
    main()
