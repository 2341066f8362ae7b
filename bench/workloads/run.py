"""Runs one workload through plain, audit and repeats, each step in new processes, and holds all against the truth.

The truth of every repeat is a run of the same notebook in the plain kernel, in a folder of its own: the outputs of
all cells, the files in `results/`, and the final values as a probe cell sees them must be equal.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

from bench.workloads import vine
from bench.workloads.cases import SETUP, Size, Workload, count_extra, write_variant
from demo.run import Step, Stop, digest, n_bytes, nbrewind, outputs_of, run
from nbrewind import _native
from nbrewind.tasks import worker

N_CORES = os.cpu_count() or 1
# What planning may cost for one task; the bar of the task cache.
PLANNING = 50e-6
BOOK = "book.ipynb"


def result_files(folder: Path) -> dict[str, str]:
    """Digests of all files that the notebook saved."""
    results = folder / "results"
    return {
        str(path.relative_to(results)): digest(path)
        for path in sorted(results.rglob("*"))
        if path.is_file()
    }


def cell_seconds(path: Path) -> dict[str, float]:
    """How long every cell of an executed notebook was busy."""
    found = {}
    for cell in json.loads(path.read_text())["cells"]:
        times = cell.get("metadata", {}).get("execution", {})
        if "iopub.status.busy" in times and "iopub.status.idle" in times:
            start, end = (
                datetime.fromisoformat(times[name].replace("Z", "+00:00"))
                for name in ("iopub.status.busy", "iopub.status.idle")
            )
            found[cell["id"]] = (end - start).total_seconds()
    return found


def plain(path: Path) -> Step:
    """The notebook in the plain kernel, in a new process, its outputs written into it."""
    program = Path(__file__).with_name("plain.py")
    step = run([sys.executable, str(program), str(path)], path.parent)
    if step.code:
        raise Stop(f"the plain run of {path} failed:\n{step.errors[-3000:]}")
    return step


def children_cpu() -> float:
    """CPU seconds of all processes that were started from here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def task_log(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in path.read_text().splitlines()] if path.exists() else []


class Trial:
    """One workload on one engine, once: its folders, its store, and what was found."""

    def __init__(
        self,
        workload: Workload,
        engine: str,
        work: Path,
        *,
        small: bool,
        without: tuple[str, ...] = (),
    ) -> None:
        self.workload = workload
        self.small = small
        self.size: Size = workload.size(small=small)
        self.port = vine.free_port() if engine == "taskvine" else None
        self.variant: dict[str, Any] = {
            "engine": engine,
            "small": small,
            "without": without,
            "port": self.port,
        }
        self.work = work
        shutil.rmtree(work, ignore_errors=True)
        self.home = work / "home"
        # CPU seconds of processes that no step starts.
        self.served_cpu: Callable[[], float] = float
        self.must_execute = set(workload.must_execute) - set(without)
        # Claims that do not hold.
        self.broken: list[str] = []
        self.found: dict[str, Any] = {
            "workload": workload.name,
            "engine": engine,
            "small": small,
            "load": os.getloadavg()[0],
            "date": date.today().isoformat(),
            "seconds": {},
            "cpu": {},
            "repeats": {},
        }

    def expect(self, holds: bool, claim: str, found: object = None) -> None:
        if not holds:
            self.broken.append(claim + (f" (found {found})" if found is not None else ""))

    def note(self, label: str, step: Step, cpu_before: float) -> None:
        """How long a step took, and the CPU seconds of its processes, which other work disturbs less."""
        self.found["seconds"][label] = step.seconds
        self.found["cpu"][label] = self.cpu() - cpu_before

    def cpu(self) -> float:
        """CPU seconds of all processes of the steps so far, those of a worker that serves them among them."""
        return children_cpu() + self.served_cpu()

    @contextlib.contextmanager
    def served(self) -> Iterator[None]:
        """What the engine needs besides the notebook, for as long as steps are made."""
        if self.port is None:
            yield
            return
        with vine.worker(self.port, self.work / "worker") as cpu:
            self.served_cpu = cpu
            try:
                yield
            finally:
                self.served_cpu = float

    # -- steps

    def scratch(self, label: str, *, is_changed: bool) -> Path:
        """The truth: the notebook and a probe in the plain kernel. Gives the executed notebook."""
        path = self.work / f"plain-{label}" / BOOK
        write_variant(self.workload, path, is_changed=is_changed, has_probe=True, **self.variant)
        before = self.cpu()
        self.note(f"plain {label}", plain(path), before)
        return path

    def floor(self) -> None:
        """What no repeat can save: a new process, a kernel, the imports, the cluster."""
        path = self.work / "setup" / BOOK
        write_variant(self.workload, path, only=SETUP, **self.variant)
        before = self.cpu()
        self.note("set-up", plain(path), before)

    def audit(self, truth: Path | None = None) -> None:
        """The notebook as it is, recorded."""
        write_variant(self.workload, self.home / BOOK, **self.variant)
        step = self._run("audit", "audit", [], truth, has_probe=False)
        self.found["cells"] = {
            "plain": cell_seconds(truth) if truth is not None else {},
            "audit": {cell["id"]: cell["seconds"] for cell in step.result.get("cells", [])},
        }
        others = [cell for cell in step.result.get("cells", []) if cell["status"] != "executed"]
        self.expect(not others, "audit executes every cell", others)
        self.found["store_bytes"] = n_bytes(self.home / ".nbrewind")
        self.found["data_bytes"] = n_bytes(self.home / "data")
        self.found["not_captured"] = step.result.get("not_captured", [])
        shutil.copytree(self.home / ".nbrewind", self.work / "audited")

    def reset(self) -> None:
        """The store as the audit left it, so that no repeat finds what another one stored."""
        shutil.rmtree(self.home / ".nbrewind")
        shutil.copytree(self.work / "audited", self.home / ".nbrewind")

    def repeat(
        self,
        label: str,
        truth: Path,
        *,
        is_changed: bool = False,
        is_reformatted: bool = False,
        has_probe: bool = False,
    ) -> None:
        """A repeat after an edit: which cells and tasks ran, and is everything as in the truth."""
        write_variant(
            self.workload,
            self.home / BOOK,
            is_changed=is_changed,
            is_reformatted=is_reformatted,
            has_probe=has_probe,
            **self.variant,
        )
        log = self.home / "tasks.jsonl"
        log.unlink(missing_ok=True)
        step = self._run("repeat", label, ["--task-log", str(log)], truth, has_probe=has_probe)
        executed = {
            cell["id"]: cell["why"]
            for cell in step.result.get("cells", [])
            if cell["status"] == "executed"
        }
        tasks = task_log(log)
        must_execute = self.must_execute if is_changed else set()
        must_run = self.size.must_run if is_changed else {}
        ran = Counter(str(task["task"]) for task in tasks)
        extra, missing = count_extra(ran, must_run)
        n_tasks = self.size.n_tasks_changed if is_changed else self.size.n_tasks
        self.found["repeats"][label] = {
            "executed": sorted(executed),
            "executed_extra": {
                cell: why for cell, why in executed.items() if cell not in {*must_execute, "probe"}
            },
            "n_tasks": n_tasks,
            "ran": dict(ran),
            "must_run": dict(must_run),
            "extra": [task for task in tasks if extra[str(task["task"])]],
            "reused": 1 - sum(ran.values()) / n_tasks,
            "tasks": step.result.get("tasks", {}),
            "task_seconds": [[task["task"], task["seconds"]] for task in tasks],
            "cell_seconds": {cell["id"]: cell["seconds"] for cell in step.result.get("cells", [])},
        }
        self.expect(not missing, f"{label}: the tasks that must run do", (missing, dict(ran)))
        self.expect(not extra, f"{label}: no other task runs", dict(extra))
        self.expect(
            not self.found["repeats"][label]["executed_extra"],
            f"{label}: the cells that execute are {sorted(must_execute)}",
            sorted(executed),
        )

    def _run(
        self,
        command: str,
        label: str,
        options: list[str],
        truth: Path | None,
        *,
        has_probe: bool,
    ) -> Step:
        out = self.home / "out.ipynb"
        out.unlink(missing_ok=True)
        shutil.rmtree(self.home / "results", ignore_errors=True)
        before = self.cpu()
        step = nbrewind([command, BOOK, "-o", out.name, "--json", *options], self.home)
        if step.code or not out.exists():
            raise Stop(f"nbrewind {command} ended with {step.code}: {step.errors.strip()[-2000:]}")
        self.note(label, step, before)
        if truth is None:
            return step
        ours, scratch = outputs_of(out), outputs_of(truth)
        if not has_probe:
            scratch.pop("probe", None)
        wrong = [f"the outputs of {cell}" for cell in scratch if ours.get(cell) != scratch[cell]]
        if result_files(self.home) != result_files(truth.parent):
            wrong.append("the files in results/")
        self.found.setdefault("wrong", []).extend(f"{label}: {what}" for what in wrong)
        self.expect(not wrong, f"{label}: everything equals a plain run", wrong)
        return step

    # -- the ideal

    def ideal(self, truth: Path) -> None:
        """What the changed repeat would take if nothing but the tasks and cells that must run cost anything.

        Set-up, the other cells that must execute, the changed tasks (their critical path, or their sum on all
        cores, whichever is longer), loading the frontier, planning.
        """
        repeat = self.found["repeats"]["changed"]
        longest: dict[str, float] = {}
        total = 0.0
        left = Counter(self.size.must_run)
        for name, seconds in repeat["task_seconds"]:
            if left[name]:
                left[name] -= 1
                longest[name] = max(longest.get(name, 0.0), seconds or 0.0)
                total += seconds or 0.0
        busy = cell_seconds(truth)
        parts = {
            "set-up": self.found["seconds"]["set-up"],
            "cells": sum(
                busy.get(cell, 0.0) for cell in self.must_execute - {self.workload.compute}
            ),
            "tasks": max(sum(longest.values()), total / N_CORES),
            "loading": self.loading(),
            "planning": PLANNING * self.size.n_tasks_changed,
        }
        self.found["ideal"] = {**parts, "total": sum(parts.values())}
        self.found["to_ideal"] = self.found["seconds"]["changed"] / self.found["ideal"]["total"]

    def loading(self) -> float:
        """Seconds to load the frontier, in one process."""
        path = str(self.work / "audited")
        values = {}
        for record in _native.Store(path, "r").records(worker.KIND):
            payload = json.loads(record["payload"])
            if payload.get("name") == self.workload.frontier and payload["status"] == "ok":
                values[payload["fingerprint"]] = worker.Stored(
                    path, payload["fingerprint"], payload["name"], payload["value"]
                )
        started = time.perf_counter()
        for stored in values.values():
            worker.load(stored)
        return time.perf_counter() - started

    def probe_after_change(self, truth: Path) -> None:
        """The final values after the changed repeat, read by a cell that was never recorded."""
        write_variant(
            self.workload, self.home / BOOK, is_changed=True, has_probe=True, **self.variant
        )
        self._run("repeat", "changed, values", [], truth, has_probe=True)

    # -- from begin to end

    def measure(self) -> None:
        """Every step, in an order in which what is compared runs close together."""
        truth = self.scratch("unchanged", is_changed=False)
        self.audit(truth)
        self.repeat("unchanged", truth)
        self.reset()
        self.repeat("comments", truth, is_reformatted=True)
        self.repeat("comments, values", truth, is_reformatted=True, has_probe=True)
        changed = self.scratch("changed", is_changed=True)
        self.expect(
            outputs_of(truth)["probe"] != outputs_of(changed)["probe"],
            "the change changes the final values",
        )
        self.reset()
        self.repeat("changed", changed, is_changed=True)
        self.floor()
        self.ideal(changed)
        self.probe_after_change(changed)

    def check_change(self) -> None:
        """The change, in a notebook that was reformatted as well, and what the final values are then."""
        truth = self.scratch("changed", is_changed=True)
        self.audit()
        self.repeat("changed", truth, is_changed=True, is_reformatted=True, has_probe=True)

    def check_unchanged(self) -> None:
        """The notebook as it was audited, held against what the audit gave."""
        self.audit()
        truth = self.work / "audit" / BOOK
        truth.parent.mkdir()
        (self.home / "out.ipynb").rename(truth)
        (self.home / "results").rename(truth.parent / "results")
        self.repeat("unchanged", truth)
