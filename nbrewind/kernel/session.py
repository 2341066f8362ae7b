"""One kernel session: what runs, what is replayed, and the state between cells.

The seam is `run_cell_async` of the shell. There a cell is either replayed, or executed with everything loaded that it
may read; the end of an executed run (after figures were shown) is the `post_run_cell` event, where the run is
recorded. Recording never fails a cell.
"""

from __future__ import annotations

import asyncio
import builtins
import functools
import json
import os
import re
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult

from nbrewind import _native
from nbrewind.fingerprint import is_library_module
from nbrewind.kernel import outside, packages, record, repeat
from nbrewind.kernel.ambient import Ambient
from nbrewind.kernel.history import History
from nbrewind.kernel.namespace import CoVariable, NamespaceState
from nbrewind.kernel.outputs import OutputTap

MODES = ("off", "audit", "repeat")


class CannotReplay(Exception):
    """A replayed value is needed and cannot be had; the run that made it has to execute."""

    def __init__(self, text: str, *run_ids: str) -> None:
        super().__init__(text)
        self.run_ids = list(run_ids)


@dataclass
class Run:
    """One execution on its way."""

    run_id: str
    source: str
    cell_id: str | None
    effects: dict[str, Any]
    present: set[str]
    absent: set[str]
    before: dict[str, dict[str, Any]]
    before_versions: dict[str, CoVariable]
    before_ambient: dict[str, str | None]
    unknown: list[str]
    threads: set[int]
    modules: set[str]
    why: list[str] = field(default_factory=list)
    started: float = 0.0
    clock: float = 0.0
    cpu: float = 0.0
    watch: outside.Watch | None = None
    # Environment and module path before the run.
    places: tuple[dict[str, str], list[str]] = field(default_factory=lambda: ({}, []))
    # Files that tasks read by paths they computed; the task report, when some had not ended with the cell.
    task_files: dict[str, str | None] = field(default_factory=dict)
    unfinished: Any = None
    # What lazy values stand for, as it was when the cell began.
    lazy_files: dict[str, str | None] = field(default_factory=dict)
    # Shadow mode: the record that would have stood for this run.
    shadow: dict[str, Any] | None = None


class Session:
    """Joins one IPython shell and one store."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.kernel = getattr(shell, "kernel", None)
        self.namespace: dict[str, Any] = shell.user_ns
        self.mode = "off"
        self.shadow = False
        self.history: History | None = None
        self.notebook: str | None = None
        self.session_id = uuid.uuid4().hex
        self.run_number = 0
        self.ambient = Ambient()
        self.state = NamespaceState(self.namespace, self.ambient.places.root)
        self.symbolic_ambient: dict[str, str | None] = {}
        self.ambient_pending: dict[str, dict[str, Any]] = {}
        # The newest snapshot of every kind of ambient state that any run changed.
        self.ambient_chunks: dict[str, dict[str, Any]] = {}
        # Imports, magics and configuration calls so far, and those of replayed cells that this process has not run.
        self.process: list[dict[str, Any]] = []
        self.process_pending: list[dict[str, Any]] = []
        # Runs that changed the process where nothing looks, in order.
        self.hidden: list[str] = []
        self.shown: list[str] = []
        self.scratch: dict[str, Any] = {"__name__": "__main__", "__builtins__": builtins}
        self.distrusted: set[str] = set()
        self.reports: list[dict[str, Any]] = []
        self.tags: dict[str, list[str]] = {}
        self.tasks: Any = None
        self.current: Run | None = None
        self.base_modules = {name.partition(".")[0] for name in list(sys.modules)}
        self.tap = OutputTap(self.kernel) if self.kernel is not None else None
        self.undo: dict[str, Any] | None = None
        self.listeners: list[Callable[[dict[str, Any]], None]] = []
        # Runs whose tasks had not ended with the cell: (record, task report).
        self.unsettled: list[tuple[dict[str, Any], Any]] = []
        # The mode that a kernelspec asks for; it begins with the first cell, so that a driver can choose the store.
        self.default_mode: str | None = None
        self._depth = 0
        self._complained: set[str] = set()
        self._install()

    # --- The seam -------------------------------------------------------------------------------------------------

    def _install(self) -> None:
        shell = self.shell
        original = shell.run_cell_async

        @functools.wraps(original)
        async def run_cell_async(
            raw_cell: str,
            store_history: bool = False,
            silent: bool = False,
            *args: Any,
            **kwargs: Any,
        ) -> Any:
            if self.default_mode is not None and store_history and not silent:
                mode, self.default_mode = self.default_mode, None
                with self.guarded("opening the store"):
                    self.configure(mode)
            if self._passes_through(raw_cell, store_history, silent):
                return await original(raw_cell, store_history, silent, *args, **kwargs)
            self._depth += 1
            try:
                replayed = self._begin(raw_cell, kwargs.get("cell_id"), kwargs.get("cell_meta"))
                if replayed is not None:
                    return replayed
                return await original(raw_cell, store_history, silent, *args, **kwargs)
            finally:
                self._depth -= 1

        shell.run_cell_async = run_cell_async
        shell.events.register("post_run_cell", self._finish)

    def _passes_through(self, raw_cell: str, store_history: bool, silent: bool) -> bool:
        text = raw_cell.strip()
        return (
            self.mode == "off"
            or silent
            or not store_history
            or self._depth > 0
            or not text
            or text.startswith(("%nbrewind", "%load_ext nbrewind", "%reload_ext nbrewind"))
        )

    def _begin(self, source: str, cell_id: str | None, cell_meta: Any) -> ExecutionResult | None:
        """Decide; returns the result of a replayed cell, or None when the cell is to be executed."""
        started = time.perf_counter()
        why: list[str] = []
        try:
            with self.guarded("looking for a record"):
                try:
                    run = self.observe(source, cell_id)
                    if self.mode == "repeat":
                        found, why = repeat.decide(self, run, self._tags(cell_id, cell_meta))
                        if found is not None and not self.shadow:
                            return self._replayed(found, run, started)
                        run.shadow = found
                    if run.effects["marks"].get("history") and self.shown:
                        raise CannotReplay(
                            "this cell reads `_`, `Out` or `In`, which replayed cells do not fill; they must execute",
                            *self.shown,
                        )
                    run.why = why
                    repeat.prepare(self, run)
                    self._start(run, started)
                except (CannotReplay, KeyboardInterrupt):
                    raise
                except Exception as error:
                    # The cell must not run in a namespace that lacks what replayed cells promised.
                    promised = {version.made_by for version in self.state.bound.values()} - {""}
                    if self.state.pending() and promised:
                        raise CannotReplay(
                            f"{type(error).__name__}: {error}", *sorted(promised)
                        ) from error
                    raise
        except CannotReplay as error:
            return self._refused(error, source, cell_id, started)
        return None

    @contextmanager
    def guarded(self, doing: str) -> Iterator[None]:
        """Trouble of ours is told once on standard error of the kernel, and the user's cell goes on."""
        try:
            yield
        except (CannotReplay, KeyboardInterrupt):
            raise
        except Exception as error:  # noqa: BLE001 - nothing of ours may fail a cell
            self.complain(f"{doing}: {type(error).__name__}: {error}", error)

    def complain(self, text: str, error: BaseException | None = None) -> None:
        """Say once, in the kernel's log, what went wrong."""
        if text in self._complained:
            return
        self._complained.add(text)
        log = getattr(self.kernel, "log", None)
        if log is not None:
            log.warning("nbrewind: this run is not recorded (%s)", text, exc_info=error)
        self.say({"status": "not recorded", "why": [text]})

    def _tags(self, cell_id: str | None, cell_meta: Any) -> list[str]:
        own = (cell_meta or {}).get("nbrewind", {}) if isinstance(cell_meta, dict) else {}
        return list(own.get("tags", self.tags.get(cell_id or "", [])))

    # --- A run ----------------------------------------------------------------------------------------------------

    def observe(self, source: str, cell_id: str | None) -> Run:
        """The state that the cell would start from, and what it could read of it."""
        self.settle()
        effects = analyze(source)
        changed, _ = self.state.sweep(suspects=set())
        for version in changed:
            version.recipe = None
        self.state.remember_objects()
        # Between cells only the kernel's own threads draw.
        self.ambient.settle(self.symbolic_ambient)
        self.read_ambient()
        wanted = {
            *effects["reads"],
            *effects["mutates"],
            *effects["deletes"],
            *effects["string_names"],
        }
        wanted.update((effects.get("directives") or {}).get("reads") or [])
        if runs_bodies(source, effects):
            wanted.update(effects["loads"])
        present, absent = self.state.closure(wanted)
        unknown = [f"{entry['construct']} (line {entry['line']})" for entry in effects["unknown"]]
        for name in sorted(present):
            unknown += [
                mark for mark in self.state.facts(name).marks if mark.startswith("unknown:")
            ]
        return Run(
            run_id=uuid.uuid4().hex,
            source=source,
            cell_id=cell_id,
            effects=effects,
            present=present,
            absent=absent,
            before={name: self.state.name_fact(name) for name in self.state.bound},
            before_versions=dict(self.state.bound),
            before_ambient=dict(self.symbolic_ambient),
            unknown=unknown,
            threads={thread.ident or 0 for thread in threading.enumerate()},
            modules=set(sys.modules),
            lazy_files=record.lazy_files(self, present),
        )

    def settle(self) -> None:
        """Runs whose tasks went on after the cell become replayable when the tasks have ended."""
        if self.history is None or self.tasks is None:
            return
        for run, report in list(self.unsettled):
            files = self.tasks.settle(report)
            if files is not None:
                self.unsettled.remove((run, report))
                record.settle(self, run, files)

    def read_ambient(self) -> None:
        """Bring the ambient state up to date, apart from what replayed cells changed and nobody has restored."""
        for name, fp in self.ambient.fingerprints().items():
            if name not in self.ambient_pending:
                self.symbolic_ambient[name] = fp
        self.add_symbolic(self.symbolic_ambient)

    def add_symbolic(self, ambient: dict[str, str | None]) -> None:
        """State that is known by what was executed, not by looking."""
        ambient["configuration"] = record.configuration_fp(self.process)
        ambient["libraries"] = "+".join(self.hidden) or None

    def _start(self, run: Run, started: float) -> None:
        assert self.history is not None
        # Preparing may have loaded names: their objects are the ones that the cell starts with.
        self.state.remember_objects()
        if self.tasks is not None:
            self.tasks.begin_run()
        if self.tap is not None:
            self.tap.start()
        # Preparing may have started engines and imported modules: those are not the cell's.
        run.threads = {thread.ident or 0 for thread in threading.enumerate()}
        run.modules = set(sys.modules)
        run.places = (dict(os.environ), list(sys.path))
        run.started = time.time()
        run.clock = time.perf_counter()
        run.cpu = time.process_time()
        run.watch = outside.Watch((os.path.realpath(self.history.path) + os.sep,), self.namespace)
        run.watch.start()
        self.current = run

    def _finish(self, result: Any) -> None:
        run, self.current = self.current, None
        if run is None or run.watch is None:
            return
        seconds = time.perf_counter() - run.clock
        findings = run.watch.stop()
        sys.stdout.flush()
        sys.stderr.flush()
        outputs = self.tap.stop() if self.tap is not None else []
        status = "ok"
        error = None
        if result is None:
            status = "interrupted"
        else:
            error = result.error_before_exec or result.error_in_exec
            if error is not None:
                status = (
                    "interrupted"
                    if isinstance(error, KeyboardInterrupt | asyncio.CancelledError)
                    else "failed"
                )
        report: dict[str, Any] = {
            "cell_id": run.cell_id,
            "run_id": run.run_id,
            "status": "executed" if status == "ok" else "failed",
            "seconds": seconds,
            "why": run.why,
            "tasks": {"hit": 0, "run": 0, "pruned": 0, "why": {}},
        }
        with self.guarded("recording a run"):
            if self.tasks is not None:
                found = self.tasks.end_run()
                report["tasks"] = {
                    "hit": found.n_hit,
                    "run": found.n_run,
                    "pruned": found.n_pruned,
                    "why": found.why,
                }
                report["executed_tasks"] = found.executed
                report["not_captured"] = found.not_captured
                run.task_files = found.files
                run.unfinished = found if found.unfinished else None
            made = record.record_run(self, run, findings, outputs, status, seconds, report["tasks"])
            if run.unfinished is not None:
                self.unsettled.append((made, run.unfinished))
            report["replayable"] = made["replayable"]
            report["why_not"] = made["why_not"]
            report["record_seconds"] = time.perf_counter() - run.clock - seconds
            if self.shadow:
                report["shadow"] = repeat.compare_shadow(self, run, made)
        self.say(report)

    def _replayed(self, found: dict[str, Any], run: Run, started: float) -> ExecutionResult:
        try:
            repeat.replay(self, found)
        except Exception as error:
            raise CannotReplay(
                f"its record cannot be replayed: {type(error).__name__}: {error}", found["run_id"]
            ) from error
        self._note_replay(found, run)
        if any(output["kind"] == "execute_result" for output in found["outputs"]):
            self.shown.append(found["run_id"])
        shell = self.shell
        count = shell.execution_count
        if self.tap is not None:
            self.tap.publish(found["outputs"], count)
        result = self._result(run.source, run.cell_id)
        self.say(
            {
                "cell_id": run.cell_id,
                "run_id": found["run_id"],
                "status": "replayed",
                "seconds": time.perf_counter() - started,
                "recorded_seconds": found["seconds"],
                "why": [],
                "marks": found.get("marks", []),
                "tasks": {"hit": 0, "run": 0, "pruned": 0, "why": {}},
            }
        )
        return result

    def _note_replay(self, found: dict[str, Any], run: Run) -> None:
        """So that the history knows this text as the cell's latest; durable with the next commit."""
        assert self.history is not None
        self.history.note_replay(
            {
                "run_id": found["run_id"],
                "cell_id": run.cell_id,
                "notebook": self.notebook,
                "source": run.source,
            }
        )

    def _result(self, source: str, cell_id: str | None) -> ExecutionResult:
        """The shell's bookkeeping for a cell that it did not execute itself."""
        shell = self.shell
        result = ExecutionResult(ExecutionInfo(source, True, False, True, cell_id))
        result.execution_count = shell.execution_count
        shell.history_manager.store_inputs(shell.execution_count, source, source)
        shell.execution_count += 1
        return result

    def _refused(
        self, error: CannotReplay, source: str, cell_id: str | None, started: float
    ) -> ExecutionResult:
        result = self._result(source, cell_id)
        result.error_in_exec = error
        try:
            raise error
        except CannotReplay:
            self.shell.showtraceback()
        self.say(
            {
                "cell_id": cell_id,
                "status": "failed",
                "seconds": time.perf_counter() - started,
                "why": [str(error)],
                "restart_without": error.run_ids,
                "tasks": {"hit": 0, "run": 0, "pruned": 0, "why": {}},
            }
        )
        return result

    # --- Control --------------------------------------------------------------------------------------------------

    def configure(
        self,
        mode: str,
        store: str | None = None,
        notebook: str | None = None,
        shadow: bool = False,
        distrusted: list[str] | None = None,
        tags: dict[str, list[str]] | None = None,
    ) -> None:
        """Set the mode and, once, the store. Raises `StoreError` when the store cannot be used."""
        if mode not in MODES:
            raise ValueError(f"mode is one of {', '.join(MODES)}, not {mode!r}")
        self.default_mode = None
        if notebook is not None:
            self.notebook = notebook
        if self.history is None and mode != "off":
            self.history = History(
                store or os.environ.get("NBREWIND_STORE") or os.path.join(os.getcwd(), ".nbrewind")
            )
        self.shadow = shadow
        self.distrusted.update(distrusted or [])
        self.tags.update(tags or {})
        self.mode = mode
        self._set_up_tasks()
        if mode != "off":
            self.state.sweep(suspects=set())
            self.read_ambient()

    def _set_up_tasks(self) -> None:
        with self.guarded("setting up the task cache"):
            from nbrewind import tasks

            if self.mode == "off" or self.history is None:
                tasks.uninstall()
                self.tasks = None
                return
            self.tasks = tasks.TaskCache(
                self.history.path,
                replay=self.mode == "repeat" and not self.shadow,
                salt=packages.python_version(),
            )
            tasks.install(self.tasks)

    def say(self, report: dict[str, Any]) -> None:
        """Keep a report for whoever asks; the comm sends it on."""
        self.reports.append(report)
        for listener in list(self.listeners):
            listener(report)


@functools.lru_cache(maxsize=512)
def _analyze(source: str) -> str:
    return _native.analyze_cell(source)


def analyze(source: str) -> dict[str, Any]:
    """The effects of a cell."""
    found: dict[str, Any] = json.loads(_analyze(source))
    return found


def runs_bodies(source: str, effects: dict[str, Any]) -> bool:
    """True when what the cell defines may run at once without being named: decorators, and classes with bases."""
    raw = source.encode()
    for item in effects["statements"]:
        if item["kind"] == "definition":
            text = raw[item["start"] : item["end"]].lstrip()
            if text.startswith(b"@") or b"\n@" in text or _BASES.match(text):
                return True
    return False


_BASES = re.compile(rb"class\s+\w+\s*[(\[]")


def user_modules() -> list[str]:
    """Modules of the user's own that are loaded."""
    return [
        name
        for name, module in list(sys.modules.items())
        if name not in {"__main__", "__mp_main__"}
        and getattr(module, "__file__", None)
        and not is_library_module(name)
    ]
