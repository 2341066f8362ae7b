"""What the commands print, and the JSON behind it."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

from nbrewind import roots
from nbrewind._native import analyze_cell
from nbrewind.cli.notebook import CodeCell

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def cell_line(cell: CodeCell, found: dict[str, Any]) -> str:
    """One line for one cell."""
    tasks = found.get("tasks") or {}
    counts = (
        f"  tasks {tasks['hit']} hit, {tasks['run']} run"
        if tasks.get("hit") or tasks.get("run")
        else ""
    )
    why = "; ".join(found.get("why") or [])
    return f"{cell.id:<14} {found['status']:<9} {found['seconds']:8.2f} s{counts}  {why}".rstrip()


def summarise(
    reports: list[dict[str, Any]], seconds: float, *, shadow: bool = False
) -> dict[str, Any]:
    """The JSON of a run: cells, tasks, seconds."""
    why: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    not_captured: list[str] = []
    for found in reports:
        tasks = found.get("tasks") or {}
        for key in ("hit", "run", "pruned"):
            totals[key] += tasks.get(key, 0)
        why.update(tasks.get("why") or {})
        not_captured += found.get("not_captured") or []
    saved = sum(
        found.get("recorded_seconds", 0) - found["seconds"]
        for found in reports
        if found["status"] in {"replayed", "restored"}
    )
    summary: dict[str, Any] = {
        "cells": [
            {
                "id": found["cell_id"],
                "status": found["status"],
                "seconds": round(found["seconds"], 4),
                "why": found.get("why") or [],
                **({"why_not": found["why_not"]} if found.get("why_not") else {}),
                **({"marks": found["marks"]} if found.get("marks") else {}),
            }
            for found in reports
        ],
        "tasks": {**{key: totals[key] for key in ("hit", "run", "pruned")}, "why": dict(why)},
        "not_captured": not_captured,
        "seconds": round(seconds, 3),
        "seconds_saved": round(max(saved, 0.0), 3),
    }
    if shadow:
        compared = [
            found["shadow"] for found in reports if found.get("shadow", {}).get("would_replay")
        ]
        summary["shadow"] = {
            "compared": len(compared),
            "differences": [
                f"{found['cell_id']}: {name}"
                for found in reports
                if found.get("shadow", {}).get("would_replay") and not found["shadow"]["marks"]
                for name in found["shadow"]["differences"]
            ],
        }
    return summary


def summary_text(summary: dict[str, Any]) -> str:
    """The last lines of a run."""
    counts = Counter(cell["status"] for cell in summary["cells"])
    tasks = summary["tasks"]
    cells = ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "no cells"
    lines = [
        f"{cells}; tasks: {tasks['hit']} hit, {tasks['run']} run, {tasks['pruned']} not needed"
    ]
    lines += [f"  {count} tasks ran: {reason}" for reason, count in sorted(tasks["why"].items())]
    lines += [f"  not kept: {text}" for text in summary["not_captured"]]
    lines.append(f"{summary['seconds']:.2f} s, {summary['seconds_saved']:.2f} s saved")
    if "shadow" in summary:
        told = summary["shadow"]
        lines.append(
            f"shadow: {told['compared']} replays compared, {len(told['differences'])} differ"
        )
        lines += [f"  differs: {text}" for text in told["differences"]]
    return "\n".join(lines)


def write_task_log(path: str, reports: list[dict[str, Any]]) -> None:
    """One JSON object a line for each task that was executed."""
    with open(path, "w", encoding="utf-8") as file:
        for found in reports:
            for task in found.get("executed_tasks") or []:
                file.write(json.dumps(task) + "\n")


def verdicts(reports: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What executing again showed, per cell; a cell that reads what differs is judged as the cell that made it."""
    found = []
    judged: dict[str, str] = {}
    for item in reports:
        told = item.get("shadow") or {}
        differences = told.get("differences", [])
        if item["status"] == "failed":
            verdict = "failed"
        elif not told.get("would_replay"):
            differences = item.get("why") or []
            verdict = _verdict_by_inputs(differences, judged)
            if verdict != "not checked":
                judged.update(dict.fromkeys(_names_made_by(item.get("source") or ""), verdict))
        elif not differences:
            verdict = "reproduced"
        else:
            verdict = "nondeterministic" if told["marks"] else "differs"
            judged.update(dict.fromkeys(differences, verdict))
        found.append({"id": item["cell_id"], "verdict": verdict, "differences": differences})
    return found


_CHANGED = re.compile(r"`(\w+)` (changed|and the names it shares objects with changed)")


def _verdict_by_inputs(why: list[str], judged: dict[str, str]) -> str:
    """Of a cell whose inputs no record has: that of the cells which made them, when there is no other reason."""
    names = [match[1] for match in map(_CHANGED.fullmatch, why) if match is not None]
    if not why or len(names) < len(why) or not judged.keys() >= set(names):
        return "not checked"
    kinds = {judged[name] for name in names}
    return "differs" if "differs" in kinds else "nondeterministic"


def _names_made_by(source: str) -> list[str]:
    effects = json.loads(analyze_cell(source))
    return [*effects["writes"], *effects["mutates"]]


def error_of(cell: CodeCell) -> str:
    """The failed cell's error in one line."""
    for output in cell.node.get("outputs", []):
        if output.get("output_type") == "error":
            return _COLOUR.sub("", f"{output['ename']}: {output['evalue']}")
    return "it raised"


def restore_text(found: dict[str, Any]) -> str:
    """A restore report, one line per name."""
    from nbrewind.kernel.extension import show_restore

    return show_restore(found)


def run_line(run: dict[str, Any]) -> str:
    """One recorded run in one line."""
    status = "replayed" if run.get("of") else run["status"]
    state = (
        status if run["replayable"] else f"{status}, not replayable: {'; '.join(run['why_not'])}"
    )
    first = next((line for line in run["source"].splitlines() if line.strip()), "")
    return f"{run['run_id'][:8]}  {run['cell_id'] or '-':<14} {run['seconds']:8.2f} s  {state:<10} {first[:60]}"


def gc_text(found: dict[str, Any], n_kept: int, is_dry_run: bool) -> str:
    """What cleaning up did, or would do."""
    size = roots.show_size
    would = "would be " if is_dry_run else ""
    lines = [f"{size(found['bytes_before'])} -> {size(found['bytes_after'])}"]
    for kind, count in sorted(found["n_retired"].items()):
        lines.append(f"  {count} records of kind {kind} {would}dropped")
    lines.append(f"  {n_kept} checkpoints kept")
    if found["waiting_bytes"]:
        lines.append(
            f"  {size(found['waiting_bytes'])} go with the next `nbrewind gc` after "
            f"{found['waiting_seconds']:.0f} s: others have the store open and may still read them"
        )
    if found["n_live_writers"]:
        lines.append(f"  {found['n_live_writers']} running kernels or workers: left alone")
    if found["over_budget_bytes"]:
        lines.append(
            f"  {size(found['over_budget_bytes'])} above the budget: pins, the newest checkpoints "
            "and running kernels need it"
        )
    if found["is_disk_full"]:
        lines.append(
            "  the disk is too full to move what is live; nothing was lost. Free a little, then again"
        )
    return "\n".join(lines)
