"""What was found, beside what the analysis says: of single runs, and of edits."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from bench.verdicts.edits import HARMLESS, Edit
from bench.verdicts.pages import Cells, Page
from nbrewind import _native


@dataclass
class Counts:
    """Sums over notebooks, and a line for everything that is not as it should be."""

    n: Counter[str] = field(default_factory=Counter)
    lines: list[str] = field(default_factory=list)

    def share(self, part: str, whole: str) -> float:
        """One count as a share of another; of nothing, all."""
        return self.n[part] / self.n[whole] if self.n[whole] else 1.0


Trace = list[dict[str, Any]]


def _cells(cells: Cells) -> list[dict[str, str]]:
    return [{"id": cell, "source": source} for cell, source in cells]


def facts(page: Page, trace: list[dict[str, Any]], counts: Counts) -> None:
    """Reads, bindings and changes of every cell, as they were and as the analysis says."""
    whole = json.loads(_native.analyze_notebook(json.dumps(_cells(page.cells))))
    taken: dict[str, set[str]] = {}
    for edge in whole["edges"]:
        taken.setdefault(edge["to"], set()).add(edge["name"])
    for at, (done, effects) in enumerate(zip(trace, whole["cells"], strict=True)):
        place = f"{page.name} {done['cell']}"
        counts.n["cells"] += 1
        is_unknown = bool(effects["unknown"])
        counts.n["unknown"] += is_unknown
        if is_unknown:
            counts.lines.append(f"unknown: {place}: {effects['unknown'][0]['construct']}")
        known = set(effects["reads"]) | set(effects["mutates"]) | taken.get(done["cell"], set())
        for name in done["reads"]:
            counts.n["reads"] += 1
            if name in known or is_unknown:
                counts.n["reads seen"] += 1
            else:
                counts.lines.append(f"read: {place}: {name}")
        said = changed_by(page.cells, at, sorted(done["values"]))
        for name in done["binds"]:
            counts.n["bindings"] += 1
            if name in effects["writes"] or name in said or is_unknown:
                counts.n["bindings seen"] += 1
            else:
                counts.lines.append(f"binding: {place}: {name}")
        for name in done["changes"]:
            counts.n["changes"] += 1
            if name in said or is_unknown:
                counts.n["changes seen"] += 1
            else:
                counts.lines.append(f"change: {place}: {name}")
        if done["error"] or is_unknown:
            # What comes behind the line that failed did not happen, and is no wrong claim.
            continue
        for name in said:
            if done["values"][name] is None:
                continue
            counts.n["claims"] += 1
            if name in done["binds"] or name in done["changes"]:
                counts.n["claims right"] += 1
            else:
                counts.lines.append(f"claim: {place}: {name}")


def changed_by(cells: Cells, at: int, names: list[str]) -> set[str]:
    """The names whose value this cell makes or changes: a cell below it that reads one of them depends on it."""
    this = cells[at][0]
    changed = set()
    for name in names:
        # One at a time: looking at an object may run code that changes another one.
        probed = _cells([*cells[: at + 1], ("probe", name)])
        edges = json.loads(_native.analyze_notebook(json.dumps(probed)))["edges"]
        if any((edge["from"], edge["to"], edge["name"]) == (this, "probe", name) for edge in edges):
            changed.add(name)
    return changed


def _result(done: dict[str, Any]) -> Any:
    return [done["shown"], done["error"]]


def differs(before: dict[str, Any], after: dict[str, Any]) -> tuple[list[str], list[str]]:
    """What a cell shows, binds, changes or writes to a file that is not as it was; and what it changes in place that
    was not as it was before the cell began, so that the cell may have done to it what it did."""
    found = []
    if _result(before) != _result(after):
        found.append("what it shows")
    for path in sorted({*before["written"], *after["written"]}):
        if before["files"].get(path) != after["files"].get(path):
            found.append(f"the file {path}")
    inherited = []
    bound = {*before["binds"], *after["binds"]}
    for name in sorted({*bound, *before["changes"], *after["changes"]}):
        if before["values"].get(name) == after["values"].get(name):
            continue
        if name in bound or before["inputs"].get(name) == after["inputs"].get(name):
            found.append(name)
        else:
            inherited.append(name)
    return found, inherited


def edit(
    page: Page,
    edited: Edit,
    before: list[dict[str, Any]],
    after: list[dict[str, Any]] | None,
    unsteady: set[str],
    counts: Counts,
    recorded: dict[str, Any] | None = None,
) -> None:
    """The verdicts after one edit. `unsteady` cells give something else at every run, whatever is edited.

    With what an audit `recorded` the verdicts that use it are counted as well.
    """
    sources = dict(page.cells)
    others = [cell for cell, source in edited.cells if sources.get(cell) == source]
    if edited.kind == "move":
        # It has the same text at another place.
        others = [cell for cell in others if cell != edited.what.split()[0]]
    place = f"{page.name}, {edited.kind} {edited.what}"
    counts.n["edits"] += 1
    counts.n[f"edits: {edited.kind}"] += 1
    changes: dict[str, tuple[list[str], list[str]]] = {}
    if edited.kind in HARMLESS:
        counts.n["harmless"] += 1
    else:
        assert after is not None
        were = {done["cell"]: done for done in before}
        are = {done["cell"]: done for done in after}
        for cell in others:
            if cell not in unsteady:
                changes[cell] = differs(were[cell], are[cell])
        counts.n["judged"] += len(changes)
        n_differ = sum(bool(changed) for changed, _ in changes.values())
        counts.n["differ"] += n_differ
        counts.n[f"differ: {edited.kind}"] += n_differ
    before_text, after_text = json.dumps(_cells(page.cells)), json.dumps(_cells(edited.cells))
    runs = (before, after or [])
    said = json.loads(_native.stale(before_text, after_text))
    _judge(edited, place, said, others, changes, counts, "", runs)
    if recorded is not None:
        said = json.loads(_native.stale(before_text, after_text, json.dumps(recorded)))
        _judge(edited, place, said, others, changes, counts, "audited ", runs)


def _judge(
    edited: Edit,
    place: str,
    said: dict[str, Any],
    others: list[str],
    changes: dict[str, tuple[list[str], list[str]]],
    counts: Counts,
    how: str,
    runs: tuple[Trace, Trace],
) -> None:
    """Counts verdicts, under names that begin with `how`, beside what really changed in the `runs`."""
    flagged = {*said["stale"], *said["unknown"]}
    if edited.kind in HARMLESS:
        if flagged.isdisjoint(others):
            counts.n[f"{how}left alone"] += 1
        else:
            first = min(flagged & set(others))
            counts.lines.append(f"{how}harmless: {place}: {first}: {said['reasons'][first]}")
        return
    for cell, (changed, inherited) in changes.items():
        if changed and cell in flagged:
            counts.n[f"{how}found"] += 1
            counts.n[f"{how}found: {edited.kind}"] += 1
        elif changed:
            counts.lines.append(f"{how}missed: {place}: {cell}: {', '.join(changed)}")
        if cell in flagged:
            counts.n[f"{how}flagged"] += 1
            counts.n[f"{how}flagged: {edited.kind}"] += 1
            if changed or inherited:
                counts.n[f"{how}right"] += 1
                counts.n[f"{how}right: {edited.kind}"] += 1
            else:
                why = _why_false(cell, {*flagged, *_edited(runs, others)}, runs)
                counts.n[f"{how}{why}"] += 1
                line = f"{how}false: {place}: {cell}: {said['reasons'][cell]} ({why})"
                counts.lines.append(line)


# Why a cell that was flagged gave what it had given.
READ_ANOTHER_VALUE = "read another value"
READ_WHAT_RAN = "read what ran again"
READ_NOTHING = "read nothing of it"


def _edited(runs: tuple[Trace, Trace], others: list[str]) -> set[str]:
    return {done["cell"] for run in runs for done in run} - set(others)


def _why_false(cell: str, ran_again: set[str], runs: tuple[Trace, Trace]) -> str:
    """What a cell that was flagged and gave what it had given really read: another value than before; or the same
    value, which a cell had left that had to run again, so that only running that one tells; or neither."""
    at = [next(at for at, done in enumerate(run) if done["cell"] == cell) for run in runs]
    one, other = (run[place] for run, place in zip(runs, at, strict=True))
    names = {*one["reads"], *other["reads"]}
    if any(one["inputs"].get(name) != other["inputs"].get(name) for name in names):
        return READ_ANOTHER_VALUE
    for run, place in zip(runs, at, strict=True):
        for name in names:
            for done in reversed(run[:place]):
                if name in done["binds"] or name in done["changes"]:
                    if done["cell"] in ran_again:
                        return READ_WHAT_RAN
                    break
    return READ_NOTHING
