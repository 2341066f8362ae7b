"""What cells really do and what edits really change, beside what the analysis says.

    python -m bench.verdicts [--edits N] [--generated N] [--audited] [--show WORD] [--write] [NOTEBOOK ...]

Every notebook is run, edited in every way, and run from scratch again. `--show` prints the lines that begin with WORD
(`missed`, `false`, `harmless`, `read`, `binding`, `change`, `claim`, `unknown`, or `all`); `--write` makes
docs/bench/verdicts.md.
Exit code 1 if a cell was missed, or one flagged that had to be left alone, in a notebook written by hand.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from bench.verdicts import audits, compare, edits, pages
from bench.verdicts.compare import Counts
from bench.verdicts.pages import Page
from bench.verdicts.runs import RunDidNotEnd, Runner

ROOT = Path(__file__).parents[2]


def examine(
    page: Page,
    runner: Runner,
    counts: Counts,
    n_edits: int,
    seed: int = 0,
    recorded: dict[str, Any] | None = None,
) -> None:
    """One notebook: its facts, then its edits; perhaps also with what an audit recorded."""
    before = runner.run(page.cells, page.files)
    again = runner.run(page.cells, page.files)
    counts.n["notebooks"] += 1
    compare.facts(page, before, counts)
    unsteady = {
        one["cell"]
        for one, other in zip(before, again, strict=True)
        if any(compare.differs(one, other))
    }
    counts.n["unsteady"] += len(unsteady)
    for edit in edits.all_edits(page, before, seed)[:n_edits]:
        is_harmless = edit.kind in edits.HARMLESS
        try:
            after = None if is_harmless else runner.run(edit.cells, page.files)
        except RunDidNotEnd:
            # A loop without an end, or deeper recursion than the process has stack for.
            counts.n["did not end"] += 1
            continue
        compare.edit(page, edit, before, after, unsteady, counts, recorded)


def _table(title: str, counts: Counts) -> list[str]:
    rows = [
        ("reads seen", "reads seen", "reads", ">= 99 %"),
        ("bindings seen", "bindings seen", "bindings", "100 %"),
        ("changes in place seen", "changes seen", "changes", ">= 90 %"),
        ("what is said to be bound or changed is", "claims right", "claims", ">= 85 %"),
        ("cells with unknown effects", "unknown", "cells", "<= 5 %"),
        ("cells that an edit changed, flagged", "found", "differ", "100 %"),
        ("cells that are flagged changed", "right", "flagged", ">= 85 %"),
        ("edits that change nothing, left alone", "left alone", "harmless", "100 %"),
    ]
    lines = [
        f"## {title}",
        "",
        f"{counts.n['notebooks']} notebooks, {counts.n['cells']} cells, {counts.n['edits']} edits, "
        f"{counts.n['judged']} verdicts on cells that were not edited.",
        "",
        "| | share | of | goal |",
        "|---|---|---|---|",
    ]
    for name, part, whole, goal in rows:
        lines.append(
            f"| {name} | {100 * counts.share(part, whole):.2f} % | {counts.n[whole]} | {goal} |"
        )
    if counts.n["audited flagged"]:
        # The same edits, with the facts of an audit.
        rows = [
            ("cells that an edit changed, flagged", "found", "differ", "100 %"),
            ("cells that are flagged changed", "right", "flagged", ">= 95 %"),
            ("edits that change nothing, left alone", "left alone", "harmless", "100 %"),
        ]
        for name, part, whole, goal in rows:
            whole = f"audited {whole}" if whole == "flagged" else whole
            share = 100 * counts.share(f"audited {part}", whole)
            lines.append(f"| audited: {name} | {share:.2f} % | {counts.n[whole]} | {goal} |")
    for how in ("", "audited "):
        lines += _apart(counts, how)
    kinds = sorted(
        {key.removeprefix("edits: ") for key in counts.n if key.startswith("edits: ")}
        - set(edits.HARMLESS)
    )
    lines += ["", "| edit | edits | cells changed | flagged of these | flagged in all | right |"]
    lines += ["|---|---|---|---|---|---|"]
    for kind in kinds:
        lines.append(
            f"| {kind} | {counts.n[f'edits: {kind}']} | {counts.n[f'differ: {kind}']} "
            f"| {100 * counts.share(f'found: {kind}', f'differ: {kind}'):.1f} % "
            f"| {counts.n[f'flagged: {kind}']} "
            f"| {100 * counts.share(f'right: {kind}', f'flagged: {kind}'):.1f} % |"
        )
    return lines


def _apart(counts: Counts, how: str) -> list[str]:
    """Of the cells that were flagged, with the others that gave what they had given set apart by why."""
    right, whole = counts.n[f"{how}right"], counts.n[f"{how}flagged"]
    if not whole:
        return []
    words = {
        compare.READ_ANOTHER_VALUE: "gave the same although what they read was another value",
        compare.READ_WHAT_RAN: "read what a flagged cell left as it was: running that one tells",
        compare.READ_NOTHING: "read nothing that the edit reached",
    }
    with_what = " with what an audit recorded," if how else ""
    lines = ["", f"Of the {whole} cells that are flagged{with_what} {right} changed. Others", ""]
    for why, text in words.items():
        lines.append(f"* {text}: {counts.n[f'{how}{why}']}")
    known = right + counts.n[f"{how}{compare.READ_NOTHING}"]
    share = 100 * right / known if known else 100.0
    lines += ["", f"Without the first two, which only running tells, {share:.2f} % are right."]
    return lines


def _show(lines: Sequence[str], words: Sequence[str]) -> None:
    for line in lines:
        if "all" in words or line.partition(":")[0] in words:
            print(line, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write the page when asked."""
    parser = argparse.ArgumentParser(prog="python -m bench.verdicts")
    parser.add_argument("notebooks", nargs="*")
    parser.add_argument(
        "--edits", type=int, default=10_000, help="of every notebook (default: all)"
    )
    parser.add_argument("--generated", type=int, default=0, help="notebooks that are generated")
    parser.add_argument(
        "--audited", action="store_true", help="audit them, and judge with that, too"
    )
    parser.add_argument("--show", action="append", default=[])
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args(argv)
    by_hand = {
        "Written by hand": pages.written(),
        "Written by hand after the analysis was improved by those": pages.written_later(),
        "Written by hand after it was improved by these, too": pages.written_third(),
        "Written by hand after it was improved by all of these": pages.written_fourth(),
        "Written by hand of five other kinds": pages.written_fifth(),
        "Written by hand of five more kinds": pages.written_sixth(),
        "Written by hand of six fields more": pages.written_seventh(),
        "Written by hand of four fields more": pages.written_eighth(),
        "Written by hand of five fields more": pages.written_ninth(),
    }
    lines: list[str] = []
    began = time.monotonic()
    runner = Runner()
    hand, made = Counts(), Counts()
    try:
        for title, found in by_hand.items():
            counts = Counts()
            for page in found:
                if options.notebooks and page.name not in options.notebooks:
                    continue
                n_lines = len(counts.lines)
                recorded = audits.recorded(page) if options.audited else None
                examine(page, runner, counts, options.edits, recorded=recorded)
                _show(counts.lines[n_lines:], options.show)
                print(f"{page.name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
            hand.n += counts.n
            lines += [*([""] if lines else []), *_table(title, counts)]
        if options.generated:
            for page in pages.generated(options.generated):
                n_lines = len(made.lines)
                examine(page, runner, made, options.edits)
                _show(made.lines[n_lines:], options.show)
            lines += ["", *_table("Generated", made)]
    finally:
        runner.close()
    print("\n".join(lines))
    if options.write:
        path = ROOT / "docs/bench/verdicts.md"
        head, _, _ = path.read_text(encoding="utf-8").partition("<!-- measured -->")
        text = "\n".join(lines)
        path.write_text(f"{head}<!-- measured -->\n\n{text}\n\n{date.today()}.\n", encoding="utf-8")
    is_wrong = hand.n["found"] < hand.n["differ"] or hand.n["left alone"] < hand.n["harmless"]
    return int(is_wrong)


if __name__ == "__main__":
    sys.exit(main())
