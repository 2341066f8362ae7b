"""What marimo's graph flags after an edit, beside what we flag and what really changes.

    python -m bench.verdicts.beside PYTHON_WITH_MARIMO [NOTEBOOK ...] [--edits N]

The edits and the truth are those of `python -m bench.verdicts`: every notebook written by hand is edited, and run from
scratch. marimo flags what descends in its graph from what was edited; order on the page means nothing to it, and names
that several cells bind are errors there, after which it would run nothing. Here it is given the benefit: the graph it
has all the same is asked. Cells with magics are no Python, so notebooks that have one are left out for both.
"""

from __future__ import annotations

import argparse
import ast
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.verdicts import compare, edits, pages
from bench.verdicts.pages import Cells, Page
from bench.verdicts.runs import RunDidNotEnd, Runner
from nbrewind import _native

PEERS = Path(__file__).parents[1] / "analysis/peers.py"


class Marimo:
    """A process that is asked about pairs of pages."""

    def __init__(self, python: str) -> None:
        self._process = subprocess.Popen(
            [python, PEERS, "flags"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def flagged(self, before: Cells, after: Cells) -> set[str]:
        """The cells that it would run again."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps([before, after]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("marimo does not answer; what it said is above")
        return set(json.loads(line))

    def close(self) -> None:
        """It ends when nothing more comes."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def ours(before: Cells, after: Cells) -> set[str]:
    """The cells that we flag."""
    said = json.loads(_native.stale(*(json.dumps(_cells(cells)) for cells in (before, after))))
    return {*said["stale"], *said["unknown"]}


def _cells(cells: Cells) -> list[dict[str, str]]:
    return [{"id": cell, "source": source} for cell, source in cells]


def _is_python(page: Page) -> bool:
    try:
        for _, source in page.cells:
            ast.parse(source)
    except SyntaxError:
        return False
    return True


def judge(
    page: Page,
    edit: edits.Edit,
    before: list[dict[str, Any]],
    after: list[dict[str, Any]] | None,
    unsteady: set[str],
    flagged: set[str],
    counts: Counter[str],
) -> None:
    """Adds one edit to the counts; `after` is missing where nothing else may be flagged."""
    sources = dict(page.cells)
    others = {cell for cell, source in edit.cells if sources.get(cell) == source}
    if edit.kind == "move":
        others.discard(edit.what.split()[0])
    if after is None:
        counts["harmless"] += 1
        counts["left alone"] += flagged.isdisjoint(others)
        return
    were = {done["cell"]: done for done in before}
    are = {done["cell"]: done for done in after}
    for cell in others - unsteady:
        changed, inherited = compare.differs(were[cell], are[cell])
        counts["differ"] += bool(changed)
        counts["found"] += bool(changed) and cell in flagged
        counts["flagged"] += cell in flagged
        counts["right"] += cell in flagged and bool(changed or inherited)


def main(argv: Sequence[str] | None = None) -> int:
    """Run, ask both, print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.verdicts.beside")
    parser.add_argument("python")
    parser.add_argument("notebooks", nargs="*")
    parser.add_argument("--edits", type=int, default=10_000, help="of every notebook")
    options = parser.parse_args(argv)
    marimo, runner = Marimo(options.python), Runner()
    counts: dict[str, Counter[str]] = {"NBRewind": Counter(), "marimo": Counter()}
    n_notebooks = n_edits = 0
    try:
        for page in pages.written():
            if options.notebooks and page.name not in options.notebooks or not _is_python(page):
                continue
            n_notebooks += 1
            before = runner.run(page.cells, page.files)
            again = runner.run(page.cells, page.files)
            unsteady = {
                one["cell"]
                for one, other in zip(before, again, strict=True)
                if any(compare.differs(one, other))
            }
            for edit in edits.all_edits(page, before, 0)[: options.edits]:
                try:
                    is_harmless = edit.kind in edits.HARMLESS
                    after = None if is_harmless else runner.run(edit.cells, page.files)
                except RunDidNotEnd:
                    continue
                n_edits += 1
                for who, flagged in (
                    ("NBRewind", ours(page.cells, edit.cells)),
                    ("marimo", marimo.flagged(page.cells, edit.cells)),
                ):
                    judge(page, edit, before, after, unsteady, flagged, counts[who])
    finally:
        runner.close()
        marimo.close()
    print(
        f"{n_notebooks} notebooks, {n_edits} edits; {counts['marimo']['differ']} cells changed.\n"
    )
    print("| | changed cells that are flagged | flagged cells that changed | harmless edits |")
    print("|---|---|---|---|")
    for who, n in counts.items():
        shares = [
            f"{100 * n[part] / max(1, n[whole]):.1f} % of {n[whole]}"
            for part, whole in (
                ("found", "differ"),
                ("right", "flagged"),
                ("left alone", "harmless"),
            )
        ]
        print(f"| {who} | {' | '.join(shares)} left alone |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
