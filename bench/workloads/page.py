"""The table and the plots: docs/bench/workloads.md and docs/images/workloads-ENGINE.png."""

from __future__ import annotations

import os
import platform
import re
import statistics
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "bench" / "workloads.md"
IMAGES = ROOT / "docs" / "images"
MARK = "<!-- measured -->"
# What the paper reports, as means over its five notebooks.
PAPER_REUSED = 0.75
PAPER_CHANGED = 2.08
PAPER_UNCHANGED = 18.4

Trials = list[dict[str, Any]]


def title(engine: str) -> str:
    """An engine by its name for people."""
    return "TaskVine" if engine == "taskvine" else f"Dask, {engine}"


def seconds(label: str) -> Callable[[dict[str, Any]], float]:
    return lambda trial: trial["seconds"][label]


def ratio(above: str, below: str) -> Callable[[dict[str, Any]], float]:
    return lambda trial: trial["seconds"][above] / trial["seconds"][below]


def cpu_ratio(trial: dict[str, Any]) -> float:
    return trial["cpu"]["audit"] / trial["cpu"]["plain unchanged"]


def reused(trial: dict[str, Any]) -> float:
    return trial["repeats"]["changed"]["reused"]


def middle(trials: Trials, value: Callable[[dict[str, Any]], float]) -> float:
    return statistics.median(map(value, trials))


def counts(trials: Trials, label: str) -> str:
    """Tasks that ran against tasks that must."""
    found = {
        f"{sum(trial['repeats'][label]['ran'].values())} / "
        f"{sum(trial['repeats'][label]['must_run'].values())}"
        for trial in trials
    }
    return ", ".join(sorted(found))


TITLES = (
    *("", "tasks", "plain s", "audit s", "unchanged s", "comments s", "changed s"),
    *("audit / plain", "in CPU", "ran / must", "reused", "changed / ideal"),
    *("plain / changed", "audit / changed", "audit / unchanged", "store MB", "data MB", "wrong"),
)


def row(name: str, trials: Trials) -> list[str]:
    return [
        f"**{name}**",
        str(trials[0]["repeats"]["changed"]["n_tasks"]),
        *(
            f"{middle(trials, seconds(label)):.1f}"
            for label in ("plain unchanged", "audit", "unchanged", "comments", "changed")
        ),
        f"{middle(trials, ratio('audit', 'plain unchanged')):.2f}",
        f"{middle(trials, cpu_ratio):.2f}",
        counts(trials, "changed"),
        f"{100 * middle(trials, reused):.1f} %",
        f"{middle(trials, lambda trial: trial['to_ideal']):.2f}",
        f"{middle(trials, ratio('plain changed', 'changed')):.1f}x",
        f"{middle(trials, ratio('audit', 'changed')):.1f}x",
        f"{middle(trials, ratio('audit', 'unchanged')):.1f}x",
        f"{trials[0]['store_bytes'] / 1e6:.1f}",
        f"{trials[0]['data_bytes'] / 1e6:.1f}",
        str(sum(len(trial["wrong"]) for trial in trials)),
    ]


def means(by_name: dict[str, Trials]) -> list[str]:
    def mean(value: Callable[[dict[str, Any]], float]) -> float:
        return statistics.mean(middle(trials, value) for trials in by_name.values())

    empty = [""] * 7
    return [
        "mean (paper)",
        *empty[1:],
        f"{mean(ratio('audit', 'plain unchanged')):.2f}",
        f"{mean(cpu_ratio):.2f}",
        "",
        f"{100 * mean(reused):.1f} % ({100 * PAPER_REUSED:.0f} %)",
        f"{mean(lambda trial: trial['to_ideal']):.2f}",
        f"{mean(ratio('plain changed', 'changed')):.1f}x",
        f"{mean(ratio('audit', 'changed')):.1f}x ({PAPER_CHANGED}x)",
        f"{mean(ratio('audit', 'unchanged')):.1f}x ({PAPER_UNCHANGED}x)",
        *("", "", ""),
    ]


def grouped(trials: Trials) -> dict[str, Trials]:
    by_name: dict[str, Trials] = {}
    for trial in trials:
        by_name.setdefault(trial["workload"], []).append(trial)
    return by_name


def table(trials: Trials) -> str:
    """Medians over the rounds of one engine."""
    by_name = grouped(trials)
    rows = [row(name, found) for name, found in by_name.items()]
    lines = [list(TITLES), ["---"] * len(TITLES), *rows, means(by_name)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def ideal_table(trials: Trials) -> str:
    """What the ideal repeat consists of."""
    names = ("set-up", "cells", "tasks", "loading", "planning", "total")
    lines = [["ideal, seconds", *names, "changed repeat"], ["---"] * (len(names) + 2)]
    for name, found in grouped(trials).items():
        parts = [
            f"{middle(found, lambda trial, part=part: trial['ideal'][part]):.2f}" for part in names
        ]
        lines.append([name, *parts, f"{middle(found, seconds('changed')):.2f}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def extras(trials: Trials) -> str:
    """Every task and cell that ran beyond those that must, with its reason; and all that differs."""
    lines = []
    for trial in trials:
        for label, repeat in trial["repeats"].items():
            where = f"{trial['workload']}, {label}"
            lines += [f"- {where}: task {task['task']}: {task['why']}" for task in repeat["extra"]]
            lines += [
                f"- {where}: cell {cell}: {'; '.join(why)}"
                for cell, why in repeat["executed_extra"].items()
            ]
        lines += [f"- {trial['workload']}: WRONG: {what}" for what in trial["wrong"]]
        lines += [f"- {trial['workload']}: not kept: {what}" for what in trial["not_captured"]]
    found = list(dict.fromkeys(lines))
    return "\n".join(found) or "Nothing else ran, everything was kept, no result differs."


def machine(trials: Trials) -> str:
    """What this was measured on."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*: (.*)", info)
    loads = [trial["load"] for trial in trials]
    rounds = max(len(found) for found in grouped(trials).values())
    return (
        f"{os.cpu_count()} cores ({model.group(1) if model else platform.machine()}), "
        f"{trials[0].get('date', date.today())}, {rounds} round{'s' if rounds > 1 else ''}; "
        f"load average before each workload {min(loads):.1f} to {max(loads):.1f}."
    )


def text(results: Trials) -> str:
    """All engines."""
    parts = []
    for engine, is_small in dict.fromkeys((trial["engine"], trial["small"]) for trial in results):
        trials = [
            trial for trial in results if (trial["engine"], trial["small"]) == (engine, is_small)
        ]
        size = ", at the size of the tests: right or wrong, not fast or slow" if is_small else ""
        parts += [f"## {title(engine)}{size}", machine(trials), table(trials), ideal_table(trials)]
        parts.append(extras(trials))
    return "\n\n".join(parts) + "\n"


def plot(results: Trials, folder: Path) -> None:
    """Seconds of every step, and what was reused, one picture per engine; small trials have none."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    bars = (
        ("plain changed", "plain, changed", "0.6"),
        ("audit", "audit", "tab:orange"),
        ("changed", "repeat, changed", "tab:blue"),
        ("unchanged", "repeat, unchanged", "tab:green"),
    )
    whole = [trial for trial in results if not trial["small"]]
    for engine in dict.fromkeys(trial["engine"] for trial in whole):
        by_name = grouped([trial for trial in whole if trial["engine"] == engine])
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(11, 3.6), width_ratios=(3, 1), layout="constrained"
        )
        for number, (label, shown, colour) in enumerate(bars):
            heights = [middle(found, seconds(label)) for found in by_name.values()]
            places = [place + 0.2 * (number - 1.5) for place in range(len(heights))]
            drawn = left.bar(places, heights, 0.19, label=shown, color=colour)
            left.bar_label(drawn, fmt="%.1f", fontsize=7)
        ideals = [
            middle(found, lambda trial: trial["ideal"]["total"]) for found in by_name.values()
        ]
        for place, ideal in enumerate(ideals):
            left.plot(
                [place, place + 0.2],
                [ideal, ideal],
                color="black",
                label="ideal repeat, changed" if place == 0 else None,
            )
        left.set_xticks(range(len(by_name)), list(by_name))
        left.set_ylabel("seconds")
        left.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=5)
        shares = [100 * middle(found, reused) for found in by_name.values()]
        right.bar(range(len(shares)), shares, color="tab:blue")
        right.axhline(100 * PAPER_REUSED, color="black", linestyle="--", label="paper, mean")
        right.set_xticks(range(len(by_name)), list(by_name), rotation=40)
        right.set_ylabel("tasks reused after the change, %")
        right.set_ylim(0, 105)
        right.legend(fontsize=8)
        figure.suptitle(title(engine))
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(folder / f"workloads-{engine}.png", dpi=110)
        plt.close(figure)


def write(results: Trials) -> None:
    """The measured part of the page, and the pictures."""
    head = PAGE.read_text().split(MARK)[0]
    PAGE.write_text(f"{head}{MARK}\n\n{text(results)}")
    plot(results, IMAGES)
