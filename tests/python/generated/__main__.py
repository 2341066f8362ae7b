"""The long run: `python -m tests.python.generated --seeds 1000 --from 0`.

Prints every seed that fails with the smallest notebook found for it, and at the end how much was executed. With
`--sessions` every seed is a session in one kernel instead, of runs, restores and replays.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.python.generated.cases import Case, make_case
from tests.python.generated.check import Found, Lab, shrink
from tests.python.generated.sessions import Session


def kind_of(found: Found) -> str:
    """What sort of difference the first one is; a smaller case must have the same sort."""
    if not found.differences:
        return ""
    first = found.differences[0].split("\n")[0]
    words = first.split(": ", 1)[-1]
    for kind in ("trouble", "refused", "shows", "state", "settings", "files", "memory"):
        if kind in words:
            return kind
    return "other"


def smallest(case: Case, lab: Lab, kind: str, attempts: int) -> Case:
    """The case shrunk while it fails in the same way."""
    return shrink(
        case,
        lambda smaller: kind_of(lab.check(smaller)) == kind,
        attempts,
        lambda text: None,
    )


def _work(job: tuple[list[int], int]) -> Iterator[tuple[int, Found, str]]:
    seeds, attempts = job
    with tempfile.TemporaryDirectory(prefix="nbrewind-generated-") as folder:
        with Lab(Path(folder)) as lab:
            for seed in seeds:
                case = make_case(seed)
                found = lab.check(case)
                text = ""
                if found.differences and attempts:
                    case = smallest(case, lab, kind_of(found), attempts)
                    found.differences = lab.check(case).differences or found.differences
                    text = f"{case}\n"
                yield seed, found, text


def _worker(job: tuple[list[int], int], queue: multiprocessing.Queue[object]) -> None:
    try:
        for item in _work(job):
            queue.put(item)
    finally:
        queue.put(None)


class Totals:
    """How much was executed of what changed, over many cases."""

    def __init__(self) -> None:
        self.n_cases = self.n_failed = self.n_skipped = self.n_restarts = 0
        self.n_cells = self.n_executed = self.n_changed = self.n_never = 0
        self.misses: Counter[str] = Counter()

    def add(self, found: Found) -> None:
        """Count one case."""
        self.n_cases += 1
        self.n_failed += bool(found.differences)
        self.n_skipped += bool(found.skipped)
        self.n_restarts += found.n_restarts
        self.n_cells += found.n_cells
        self.n_executed += found.n_executed
        self.n_changed += found.n_changed
        self.n_never += found.n_never
        self.misses.update(found.misses)

    @property
    def ratio(self) -> float:
        """Cells that executed against those whose text or inputs no recorded run had."""
        return self.n_executed / max(self.n_changed, 1)

    def __str__(self) -> str:
        needed = self.n_changed + self.n_never
        return (
            f"{self.n_cases} cases, {self.n_failed} failed, {self.n_skipped} without one result; "
            f"{self.n_cells} cells, {self.n_executed} executed, {self.n_changed} changed "
            f"({self.ratio:.2f}x; {self.n_executed / max(needed, 1):.2f}x with the {self.n_never} that no record "
            f"can stand for), {self.n_restarts} restarts"
        )


def main() -> int:
    """Run the seeds; 1 when one fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.python.generated")
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--shrink", type=int, default=150, help="attempts to shrink a failing case")
    parser.add_argument("--case", type=Path, help="run one case from a file instead")
    parser.add_argument(
        "--show", action="store_true", help="print the notebooks, and why cells ran"
    )
    parser.add_argument("--sessions", action="store_true", help="sessions in one kernel instead")
    options = parser.parse_args()
    if options.sessions:
        return _sessions(range(options.first, options.first + options.seeds))
    if options.case is not None or options.show:
        return _one(options)
    queue: multiprocessing.Queue[object] = multiprocessing.Queue()
    seeds = list(range(options.first, options.first + options.seeds))
    processes = [
        multiprocessing.Process(
            target=_worker, args=((seeds[at :: options.workers], options.shrink), queue)
        )
        for at in range(options.workers)
    ]
    for process in processes:
        process.start()
    totals, n_ended = Totals(), 0
    while n_ended < len(processes):
        item = queue.get()
        if item is None:
            n_ended += 1
            continue
        assert isinstance(item, tuple)
        seed, found, text = item
        totals.add(found)
        if totals.n_cases % 50 == 0:
            print(totals, flush=True)
        if found.differences:
            print(f"##### seed {seed} fails\n{text}", "\n".join(found.differences[:4]), flush=True)
    for process in processes:
        process.join()
    print(totals)
    for why, n_times in totals.misses.most_common(25):
        print(f"  {n_times:5} {why}")
    return 1 if totals.n_failed or totals.n_cases < len(seeds) else 0


def _sessions(seeds: range) -> int:
    n_failed = n_done = 0
    with tempfile.TemporaryDirectory(prefix="nbrewind-generated-") as folder:
        with Lab(Path(folder) / "lab") as lab:
            for seed in seeds:
                session = Session(seed, lab, Path(folder))
                found = session.run()
                n_failed += bool(found)
                n_done += len(session.done)
                if found:
                    print(f"##### seed {seed} fails\n{make_case(seed)}\n{session}", flush=True)
    print(f"{len(seeds)} sessions, {n_done} things done, {n_failed} failed")
    return 1 if n_failed else 0


def _one(options: argparse.Namespace) -> int:
    totals = Totals()
    with tempfile.TemporaryDirectory(prefix="nbrewind-generated-") as folder:
        with Lab(Path(folder)) as lab:
            for seed in range(options.first, options.first + options.seeds):
                case = make_case(seed)
                if options.case is not None:
                    case = Case.from_json(options.case.read_text())
                found = lab.check(case)
                totals.add(found)
                print(case, *found.differences, *found.missed, sep="\n")
                if options.case is not None:
                    break
    print(totals)
    return 1 if totals.n_failed else 0


if __name__ == "__main__":
    sys.exit(main())
