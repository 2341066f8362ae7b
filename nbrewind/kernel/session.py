"""One kernel session: what runs, what is replayed, and the state between cells.

The seam is `run_cell_async` of the shell. There a cell is either replayed, or executed with everything loaded that it
may read; the end of an executed run (after figures were shown) is the `post_run_cell` event, where the run is
recorded. Recording never fails a cell.
"""

from __future__ import annotations

import asyncio
import atexit
import builtins
import functools
import hashlib
import io
import json
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from typing import Any

from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult

from nbrewind import _native
from nbrewind.fingerprint import is_library_module, loaded_modules
from nbrewind.fingerprint.objects import FINALIZES
from nbrewind.fingerprint.writing import UNWRITTEN
from nbrewind.hush import hushed
from nbrewind.kernel import (
    asking,
    baseline,
    figures,
    hidden,
    looking,
    outside,
    packages,
    record,
    repeat,
    results,
    settings,
    shown,
    speaking,
    unrecorded,
    witnessed,
)
from nbrewind.kernel.ambient import Ambient, Provider, handlers_of
from nbrewind.kernel.budget import Budget
from nbrewind.kernel.history import History
from nbrewind.kernel.log import Log, LogRun
from nbrewind.kernel.namespace import CoVariable, FactsThen, NamespaceState, is_history
from nbrewind.kernel.outputs import OutputTap
from nbrewind.kernel.quiet import Quiet
from nbrewind.kernel.requests import Interrupts
from nbrewind.kernel.takeback import journal
from nbrewind.kernel.waiting import Waiting

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
    before: FactsThen
    before_versions: dict[str, CoVariable]
    before_ambient: dict[str, str | None]
    unknown: list[str]
    # Names under which the shell keeps results and inputs, and that the run reads.
    history: list[str]
    # What these hold, by content, where that is known.
    results: dict[str, str] | None
    # It asks for the text of code; it imports modules by names that it computes.
    reads_text: bool
    imports_by_name: bool
    threads: set[int]
    modules: set[str]
    # Of `unknown` what is so still when the run has ended (see `witnessed`).
    unseen: list[str] = field(default_factory=list)
    shell_hooks: frozenset[tuple[str, int]] = frozenset()
    # Settings that are gone when the cell ends.
    contextual: dict[str, Any] = field(default_factory=dict)
    # Who writes what is logged.
    handlers: dict[str, Any] = field(default_factory=dict)
    # Containers of libraries that it hands to calls.
    containers: hidden.Containers = field(default_factory=dict)
    why: list[str] = field(default_factory=list)
    started: float = 0.0
    clock: float = 0.0
    cpu: float = 0.0
    watch: outside.Watch | None = None
    # Environment and module path before the run.
    places: tuple[dict[str, str], list[str]] = field(default_factory=lambda: ({}, []))
    # Files that tasks read by paths they computed; the task report, when some had not ended with the cell.
    task_files: dict[str, str | None] = field(default_factory=dict)
    # The tasks that it asked for, by name (see `nbrewind.tasks.forecast`).
    task_groups: dict[str, Any] = field(default_factory=dict)
    unfinished: Any = None
    # Settings of libraries that it looked at, among those that can be watched.
    looked_at: set[str] = field(default_factory=set)
    looks: looking.Looks = field(default_factory=looking.Looks)
    # What lazy values stand for, as it was when the cell began.
    lazy_files: dict[str, str | None] = field(default_factory=dict)
    # A patch of `unittest.mock` was in force when the cell began.
    was_patched: bool = False
    # The one result that it showed, and what is kept of it.
    result: Any = None
    kept_result: shown.Kept = None
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
        # Where the history is, once it is opened; None: beside the notebook.
        self.store: str | None = None
        # JupyterLab tells kernels the path of their notebook.
        hint = os.environ.get("JPY_SESSION_NAME", "")
        self.notebook: str | None = os.path.basename(hint) if hint.endswith(".ipynb") else None
        self.session_id = uuid.uuid4().hex
        self.run_number = 0
        self.figures = figures.Figures(self)
        self.ambient = Ambient(
            Provider(
                figures.PROVIDER,
                self.figures.now,
                self.figures.bring,
                default=lambda: figures.NONE_OPEN,
                is_late=True,
            )
        )
        self.state = NamespaceState(self.namespace, self.ambient.places.root)
        self.symbolic_ambient: dict[str, str | None] = {}
        self.ambient_pending: dict[str, dict[str, Any]] = {}
        # The newest snapshot of every kind of ambient state that any run changed.
        self.ambient_chunks: dict[str, dict[str, Any]] = {}
        # Imports, magics and configuration calls so far, and those of replayed cells that this process has not run.
        self.process: list[dict[str, Any]] = []
        self.process_pending: list[dict[str, Any]] = []
        # Runs that changed the process where nothing looks, in order; and what they may have changed.
        self.hidden: list[str] = []
        self.hidden_why: list[str] = []
        # What code may read that they hung into libraries.
        self.hidden_reads: set[str] = set()
        # Cells that ran without being recorded, in order: what they did is worked out when recording begins.
        self.unexplained: list[str] = []
        # Constructs that nothing can see through, which this process executed.
        self.unseen: list[str] = []
        # Settings in cells that failed: nobody knows whether they were made.
        self.leftover: list[dict[str, Any]] = []
        # Cells that were not recorded may have set a generator of random numbers.
        self.may_be_seeded = False
        self.shown = shown.Shown()
        # Results of restored cells that are what names hold which are not loaded yet (see `results`).
        self.held: list[tuple[str, CoVariable, int, Any]] = []
        self.scratch: dict[str, Any] = {"__name__": "__main__", "__builtins__": builtins}
        self.distrusted: set[str] = set()
        # Of runs that made the state: fingerprints of their text as the notebook has it, and as it ran.
        self.texts: dict[str, tuple[str, str]] = {}
        # Sets of classes of which a value was loaded right after it was stored, and was what it had been.
        self.proven: set[frozenset[bytes]] = set()
        self.reports: list[dict[str, Any]] = []
        self.tags: dict[str, list[str]] = {}
        self.tasks: Any = None
        self.current: Run | None = None
        self.base_modules = {name.partition(".")[0] for name in list(sys.modules)}
        self.tap = OutputTap(self.kernel) if self.kernel is not None else None
        self.undo: dict[str, Any] | None = None
        # What the last restore has not loaded yet.
        self.waiting = Waiting(self)
        self.log = Log()
        # The live state, while `state` is that of a plan.
        self.aside: NamespaceState | None = None
        # The replay that goes on, from `begin-replay` to `end-replay`.
        self.replaying: dict[str, Any] | None = None
        # What is there of a baseline that could not be finished.
        self.baseline = baseline.Begun()
        self.interrupts = Interrupts()
        self.budget = Budget()
        # Set by `comm.open_target`: the queue of requests.
        self.requests: Any = None
        self.base_hooks = record.shell_hooks(shell)
        self.base_modules_of_user = set(user_modules())
        self.base_threads = {thread.ident or 0 for thread in threading.enumerate()}
        self.listeners: list[Callable[[dict[str, Any]], None]] = []
        # Runs whose tasks had not ended with the cell: (record, task report).
        self.unsettled: list[tuple[dict[str, Any], Any]] = []
        # The mode that a kernelspec asks for; it begins with the first cell, so that a driver can choose the store.
        self.default_mode: str | None = None
        self._depth = 0
        self._complained: set[str] = set()
        # False when cells ran, or names were made, before the session could see them.
        self.began_fresh = shell.execution_count <= 1 and not self.state.live_names()
        self._note: LogRun | None = None
        # What was said of the syntax of the cell that was sent, and is shown if it executes.
        self._said = ""
        self.quiet = Quiet(self)
        self.settings = settings.Watch()
        self.looking = looking.Watch(self.namespace)
        self.ambient.begin(is_fresh=self.began_fresh)
        if not self.began_fresh:
            # What ran before, as far as the shell kept it.
            self.unexplained += [text for text in shell.user_ns.get("In", [])[1:] if text.strip()]
        self._install()
        atexit.register(self._end)

    def _end(self) -> None:
        """What open files that replayed cells left have still to write is written when the process ends."""
        waiting = {
            name for name in self.state.pending() if UNWRITTEN in self.state.facts(name).marks
        }
        if self.mode == "repeat" and waiting and not journal.is_over:
            with self.guarded("writing what open files have to write"):
                repeat.load_names(self, waiting)

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
            # Cells of other threads (subshells) and cells within cells are not looked at: they are part of what runs.
            if self._depth > 0 or threading.current_thread() is not threading.main_thread():
                self.quiet.note(raw_cell)
                self.quiet.disturb()
                if self._depth == 0:
                    self.shown.unknown()
                return await original(raw_cell, store_history, silent, *args, **kwargs)
            if self.default_mode is not None and store_history and not silent:
                mode, self.default_mode = self.default_mode, None
                with self.guarded("opening the store"):
                    self.configure(mode)
            note = None
            if store_history and not silent and raw_cell.strip():
                note = LogRun(kwargs.get("cell_id") or "", raw_cell, shell.execution_count)
                self.log.runs.append(note)
            self._note = note
            self.quiet.note(raw_cell)
            token = self.requests.cell_begins() if self.requests is not None else None
            self._depth += 1
            started = time.perf_counter()
            result = None
            is_ours = False
            before = None
            try:
                if note is not None:
                    before = self._before_unrecorded(raw_cell, kwargs)
                if self._passes_through(raw_cell, store_history, silent):
                    self.quiet.disturb()
                    if not _is_own_magic(raw_cell):
                        self.shown.unknown()
                    if note is not None and not _is_own_magic(raw_cell):
                        result = self._make_complete(raw_cell, note)
                elif before is not None and note is not None:
                    self.quiet.disturb()
                    self.shown.unknown()
                    result = self._make_complete(raw_cell, note)
                else:
                    result = self._begin(raw_cell, kwargs.get("cell_id"), kwargs.get("cell_meta"))
                    is_ours = result is not None or self.current is not None
                if result is None:
                    if self._said:
                        sys.stderr.write(self._said)
                    self._transform_again(raw_cell, kwargs)
                    result = await original(raw_cell, store_history, silent, *args, **kwargs)
                return result
            finally:
                self._depth -= 1
                self._said = ""
                if note is not None:
                    note.seconds = time.perf_counter() - started
                    note.status = _status(result)
                    if before is not None:
                        self._end_unrecorded(note, before)
                    elif not is_ours:
                        self._note_unrecorded(note)
                if self.requests is not None:
                    self.requests.cell_ends(token)

        shell.run_cell_async = run_cell_async
        shell.should_run_async = self._asking(shell.should_run_async)
        shell.events.register("post_run_cell", self._finish)
        shell.events.register("post_execute", self._shell_is_done)

    def _asking(self, original: Callable[..., bool]) -> Callable[..., bool]:
        """The kernel's question whether a cell awaits. Python warns of doubtful syntax then, and records have that."""

        @functools.wraps(original)
        def should_run_async(*args: Any, **kwargs: Any) -> bool:
            on_main = threading.current_thread() is threading.main_thread()
            if self.mode != "repeat" or self._depth > 0 or not on_main:
                return original(*args, **kwargs)
            with redirect_stderr(io.StringIO()) as said:
                found = original(*args, **kwargs)
            self._said += said.getvalue()
            return found

        return should_run_async

    def _transform_again(self, source: str, sent: dict[str, Any]) -> None:
        """The kernel made Python of the cell before names were loaded: `run()` is a magic where `run` is not there."""
        if not isinstance(sent.get("transformed_cell"), str):
            return
        try:
            sent["transformed_cell"] = self.shell.transform_cell(source)
        except Exception:  # noqa: BLE001 - transformers of others may raise anything
            return

    def _shell_is_done(self) -> None:
        on_main = threading.current_thread() is threading.main_thread()
        if on_main and self._depth == 0 and self.requests is not None:
            self.requests.shell_is_done()

    def _before_unrecorded(self, source: str, sent: dict[str, Any]) -> unrecorded.Before | None:
        """What is there before a cell that is never recorded; None for all others."""
        tags = self._tags(sent.get("cell_id"), sent.get("cell_meta"))
        if not repeat.is_never_recorded(analyze(source), tags):
            return None
        if self.mode != "off":
            with self.guarded("looking at what is there"):
                self.observe(source, sent.get("cell_id"))
            # Nor are its tasks recorded.
            from nbrewind import tasks

            tasks.uninstall()
        return unrecorded.Before(self)

    def _end_unrecorded(self, note: LogRun, before: unrecorded.Before) -> None:
        """A cell ran that is never recorded."""
        note.is_private = True
        with self.guarded("looking at what a cell made that is never recorded"):
            before.end(self, note.source, analyze(note.source))
            if self.tasks is not None:
                from nbrewind import tasks

                tasks.install(self.tasks)
        self._tell_unrecorded(note, "it is tagged never to be recorded")

    def _note_unrecorded(self, note: LogRun) -> None:
        """A cell ran while nothing was recorded: the log has it, and whoever listens is told."""
        if not _is_own_magic(note.source):
            self.unexplained.append(note.source)
        self._tell_unrecorded(note, "nothing is recorded now")

    def _tell_unrecorded(self, note: LogRun, why: str) -> None:
        self.tell(
            {
                "event": "run",
                "cell_id": note.cell or None,
                "run_id": None,
                "number": note.number,
                "source": note.source,
                "status": "executed" if note.status == "ok" else "failed",
                "seconds": note.seconds,
                "why": [why],
                "tasks": {"hit": 0, "run": 0, "pruned": 0, "why": {}},
            }
        )

    def _make_complete(self, source: str, note: LogRun) -> ExecutionResult | None:
        """This is not recorded, but names of a replay may still be in the store: load what is read."""
        if not self.state.pending() and not self.process_pending:
            if self.ambient_pending:
                # No need to look at what is there.
                with self.guarded("restoring settings"):
                    repeat.make_process_ready(self)
                    self.figures.make_real(self.figures.expected())
            return None
        try:
            with self.guarded("loading what was replayed"):
                repeat.prepare(self, self.observe(source, note.cell))
                results.settle(self)
                self.state.remember_objects()
        except CannotReplay as error:
            return self._refused(error, source, note.cell or None, time.perf_counter())
        return None

    def _passes_through(self, raw_cell: str, store_history: bool, silent: bool) -> bool:
        return (
            self.mode == "off"
            or silent
            or not store_history
            or not raw_cell.strip()
            or _is_own_magic(raw_cell)
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
                    missing = self.shown.needed(run.history) if run.history else []
                    if missing and run.results is None:
                        raise CannotReplay(
                            "this cell reads `_`, `Out` or `In`, which replayed cells do not fill; they must execute",
                            *missing,
                        )
                    run.why = why
                    repeat.prepare(self, run)
                    results.settle(self)
                    if missing:
                        self.shown.fill(self.shell, run.results or ())
                    run.results = shown.checked(self.shell, run.results)
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
            with hushed():
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
        note = self._note
        self.say(
            {
                "cell_id": note.cell or None if note is not None else None,
                "status": "not recorded",
                "why": [text],
            }
        )

    def _tags(self, cell_id: str | None, cell_meta: Any) -> list[str]:
        # JupyterLab sends the cell's metadata along; our own clients send the tags under our name.
        sent = cell_meta if isinstance(cell_meta, dict) else {}
        known = self.tags.get(cell_id or "", [])
        return list(sent.get("nbrewind", {}).get("tags") or sent.get("tags") or known)

    # --- A run ----------------------------------------------------------------------------------------------------

    def observe(self, source: str, cell_id: str | None) -> Run:
        """The state that the cell would start from, and what it could read of it."""
        self.settle()
        self.explain()
        self.settings.heed_text(source)
        effects = analyze(source)
        if self.aside is not None or not self.quiet.holds():
            changed, _ = self.state.sweep(suspects=set())
            for version in changed:
                version.recipe = None
        self.state.remember_objects()
        if self.aside is None:
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
        if speaking.runs_bodies(source, effects):
            wanted.update(effects["loads"])
        # Any code may reach what is open in pyplot.
        wanted.update(self.figures.names())
        text = self.shell.transform_cell(source)
        unseen = effects["unknown"]
        n_questions = sum(map(asking.is_asked, unseen))
        if n_questions:
            names = asking.names_asked_for(text, n_questions)
            if names is not None:
                unseen = [entry for entry in unseen if not asking.is_asked(entry)]
                wanted.update(names)
        reaching = asking.Reaching(text)
        # What was hung into libraries may run at any time.
        wanted.update(self.hidden_reads)
        wanted.update(self._ended_by(effects))
        present, absent = self.state.closure(wanted)
        unknown = [f"{entry['construct']} (line {entry['line']})" for entry in unseen]
        unknown += reaching.found
        if reaching.is_evaluated:
            # What is evaluated may come from a text that it reads.
            words = {word for name in present for word in self.state.facts(name).words()}
            if not all(map(str.isidentifier, words)):
                unknown.append("a long text that it evaluates")
            present, absent = self.state.closure({*wanted, *filter(str.isidentifier, words)})
        history = [entry["construct"] for entry in effects["marks"].get("history", [])]
        history += [name for name in effects["reads"] if is_history(name)]
        if history and self.held:
            present |= results.names_held(self) & self.state.bound.keys()
        for name in sorted(present):
            facts = self.state.facts(name)
            unknown += [mark for mark in facts.marks if mark.startswith("unknown:")]
            history += [ref for ref in facts.refs if is_history(ref)]
        return Run(
            run_id=uuid.uuid4().hex,
            source=source,
            cell_id=cell_id,
            effects=effects,
            present=present,
            absent=absent,
            before=FactsThen(self.state.bound),
            before_versions=dict(self.state.bound),
            before_ambient=dict(self.symbolic_ambient),
            unknown=unknown,
            history=list(dict.fromkeys(history)),
            results=self.shown.facts(history),
            reads_text=bool(effects["marks"].get("reads_source")) or reaching.reads_text,
            imports_by_name="import_module" in source
            or any("imports by name" in self.state.facts(name).marks for name in present),
            threads={thread.ident or 0 for thread in threading.enumerate()},
            modules=set(sys.modules),
            shell_hooks=record.shell_hooks(self.shell),
            lazy_files=record.lazy_files(self, present),
        )

    def _ended_by(self, effects: dict[str, Any]) -> set[str]:
        """Names that the cell binds anew, whose values run code when they end."""
        bound = {name for name in effects["writes"] if name in self.state.bound}
        if self.quiet.runs_later:
            return bound
        return {name for name in bound if FINALIZES in self.state.facts(name).marks}

    def settle(self) -> None:
        """Runs whose tasks went on after the cell become replayable when the tasks have ended."""
        if self.history is None or self.tasks is None:
            return
        for run, report in list(self.unsettled):
            files = self.tasks.settle(report)
            if files is not None:
                self.unsettled.remove((run, report))
                record.settle(self, run, files)

    def read_ambient(self, now: dict[str, str | None] | None = None) -> None:
        """Bring the ambient state up to date, apart from what replayed cells changed and nobody has restored."""
        if self.aside is None:
            for name, fp in (now or self.ambient.fingerprints()).items():
                if name not in self.ambient_pending:
                    self.symbolic_ambient[name] = fp
        self.add_symbolic(self.symbolic_ambient)

    def add_symbolic(self, ambient: dict[str, str | None]) -> None:
        """State that is known by what was executed, not by looking."""
        ambient.update(settings.fingerprints(self.process))
        ambient["libraries"] = "+".join(self.hidden) or None

    def hide(self, what: str, why: list[str], names: set[str] | None = None) -> None:
        """Something changed the process where nothing looks: later runs start from that, and may run code of it.

        `names` are what that code may read.
        """
        self.hidden_reads |= names or set()
        self.hidden.append(hashlib.blake2b(what.encode(), digest_size=16).hexdigest())
        self.hidden_why += [text for text in why if text not in self.hidden_why]

    def explain(self) -> None:
        """Work out what cells did to this process that ran without being recorded."""
        if self.aside is not None:
            return
        texts, self.unexplained = self.unexplained, []
        for text in texts:
            effects = analyze(text)
            self.process.extend(record.process_statements(self, text, effects, ""))
            why = record.hidden_calls(self, text, effects)
            if why:
                names = {*effects["loads"], *effects["writes"]}
                self.hide(json.dumps([effects["fingerprint"], "not recorded"]), why, names)
            self.unseen += speaking.opaque_constructs(effects)
            self.may_be_seeded = (
                self.may_be_seeded
                or speaking.speaks_of_seeding(text)
                or bool(effects["unknown"])
                or bool(user_modules())
            )

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
        run.contextual = self.ambient.snapshot_contextual()
        run.handlers = handlers_of(self.ambient.snapshot("logging"))
        run.was_patched = witnessed.has_begun_patches()
        run.containers = hidden.containers_of(run.source, self.namespace, self.shell.transform_cell)
        run.started = time.time()
        run.clock = time.perf_counter()
        run.cpu = time.process_time()
        run.watch = outside.Watch((os.path.realpath(self.history.path) + os.sep,), self.namespace)
        self.settings.begin()
        self.looking.begin()
        run.watch.start()
        self.current = run
        self.quiet.disturb()

    def _finish(self, result: Any) -> None:
        if self._depth > 0:
            # A cell within the cell ended (`%%capture` runs its body as one).
            return
        run, self.current = self.current, None
        if run is None or run.watch is None:
            return
        seconds = time.perf_counter() - run.clock
        findings = run.watch.stop()
        self.settings.heed_modules(set(user_modules()) - self.base_modules_of_user)
        run.looked_at = self.settings.end(
            # The administrator's of the machine are loaded before anything of the user's.
            has_modules=bool(set(user_modules()) - {"sitecustomize", "usercustomize"})
        )
        run.looks = self.looking.end(run.looked_at)
        sys.stdout.flush()
        sys.stderr.flush()
        outputs = self.tap.stop() if self.tap is not None else []
        status = _status(result)
        is_shown, run.result = shown.result_of(self.shell, outputs)
        run.kept_result = shown.keep(run.result) if is_shown else shown.ODD
        self.shown.executed(run.effects, shown.n_results(self.shell, outputs), run.kept_result)
        note = self._note
        self.ambient.put_back_contextual(run.contextual)
        self.unseen += speaking.opaque_constructs(run.effects)
        is_recorded = False
        report: dict[str, Any] = {
            "cell_id": run.cell_id,
            "run_id": run.run_id,
            "number": note.number if note is not None else None,
            "source": run.source,
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
                run.task_groups = found.groups
                findings.problems += found.unseen
                run.unfinished = found if found.unfinished else None
            if note is not None:
                # Asynchronous cells end here; others said so before.
                note.status, note.seconds = "running", seconds
            try:
                made = record.record_run(
                    self, run, findings, outputs, status, seconds, report["tasks"]
                )
            finally:
                if note is not None:
                    note.status = status
            is_recorded = True
            if note is not None:
                note.run_id, note.is_recorded = run.run_id, True
                note.checkpoint = run.run_id if status == "ok" else None
                note.result = made["result"]
            if run.unfinished is not None:
                self.unsettled.append((made, run.unfinished))
            report["replayable"] = made["replayable"]
            report["why_not"] = made["why_not"]
            report["record_seconds"] = time.perf_counter() - run.clock - seconds
            if self.shadow:
                report["shadow"] = repeat.compare_shadow(self, run, made)
        if not is_recorded:
            report["run_id"] = None
            self.unexplained.append(run.source)
        self.say(report)
        self.keep_budget()

    def _replayed(self, found: dict[str, Any], run: Run, started: float) -> ExecutionResult:
        try:
            repeat.replay(self, found, run)
        except Exception as error:
            raise CannotReplay(
                f"its record cannot be replayed: {type(error).__name__}: {error}", found["run_id"]
            ) from error
        lineage = self.log.lineage(of_replay=True)
        left = repeat.left_by_replay(self, found)
        count = self.shell.execution_count
        cell = (run.cell_id, run.source)
        replay_id, checkpoint = repeat.note_replay(self, found, cell, left, lineage, count)
        self.shown.replayed(found)
        if self.tap is not None:
            self.tap.publish(found["outputs"], count)
        result = self._result(run.source, run.cell_id)
        note = self._note
        if note is not None:
            note.how, note.run_id = "replayed", found["run_id"]
            note.replay_id, note.checkpoint = replay_id, checkpoint
            note.result = found.get("result")
        self.say(
            {
                "cell_id": run.cell_id,
                "run_id": found["run_id"],
                "number": count,
                "source": run.source,
                "status": "replayed",
                "checkpoint": checkpoint,
                "seconds": time.perf_counter() - started,
                "recorded_seconds": found["seconds"],
                "why": repeat.told_of(found),
                "marks": found.get("marks", []),
                "tasks": {"hit": 0, "run": 0, "pruned": 0, "why": {}},
            }
        )
        return result

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
                "run_id": None,
                "number": result.execution_count,
                "source": source,
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
        mode: str | None = None,
        store: str | None = None,
        notebook: str | None = None,
        shadow: bool = False,
        distrusted: list[str] | None = None,
        tags: dict[str, list[str]] | None = None,
    ) -> dict[str, Any] | None:
        """Set the mode and, once, the store; returns the baseline that was taken, if one was needed.

        Without a mode, the mode stays. During a replay the mode is the one that comes after it. Raises `StoreError`
        when the store cannot be used.
        """
        if mode is not None and mode not in MODES:
            raise ValueError(f"mode is one of {', '.join(MODES)}, not {mode!r}")
        if notebook is not None:
            self.notebook = notebook
        if store is not None and self.history is None:
            self.store = store
        self.tags.update(tags or {})
        if mode is None:
            return None
        if self.replaying is not None:
            self.replaying["mode"] = mode
            return None
        before = (self.mode, self.shadow, self.default_mode, set(self.distrusted))
        try:
            return self._set_mode(mode, shadow, distrusted or [])
        except BaseException:
            # Also when interrupted: whoever turns it on again gets the baseline that is missing.
            self.mode, self.shadow, self.default_mode, self.distrusted = before
            self._set_up_tasks()
            raise

    def _set_mode(self, mode: str, shadow: bool, distrusted: list[str]) -> dict[str, Any] | None:
        if mode != "off":
            self.open_history()
        begins = self.mode == "off" and mode != "off"
        self.default_mode = None
        self.shadow = shadow
        self.distrusted.update(distrusted)
        self.mode = mode
        self._set_up_tasks()
        if mode == "off":
            return None
        if not begins:
            self.state.sweep(suspects=set())
            self.read_ambient()
            return None
        if self.began_fresh and not self.has_run():
            # Starting the kernel went on until now.
            self.ambient.begin(is_fresh=True)
        self.baseline.has_run = self.baseline.has_run or bool(self.unexplained)
        self.explain()
        if not self.may_be_seeded:
            self.ambient.settle(self.symbolic_ambient)
        self.read_ambient()
        taken = baseline.take(self)
        self.baseline = baseline.Begun()
        return taken

    @property
    def is_in_cell(self) -> bool:
        """True while a cell is being executed, or decided about."""
        return self._depth > 0

    def has_run(self) -> bool:
        """True when something of the user's was executed, replayed or made."""
        ran = any(not _is_own_magic(run.source) for run in self.log.runs)
        return ran or bool(self.state.live_names() or self.state.bound)

    def open_history(self) -> History:
        """The history, opened at the chosen place. Raises `StoreError` when the store cannot be used."""
        if self.history is None:
            with self.guarded("looking at the size of the store"):
                self.budget.begin(self.store_path())
            self.history = History(self.store_path())
        return self.history

    def keep_budget(self) -> None:
        """Have the store cleaned up when it is above its budget."""
        if self.history is not None and self.history.is_writable:
            with self.guarded("looking at the size of the store"):
                self.budget.look(self.history.path)

    def store_path(self) -> str:
        """Where the history is or will be."""
        chosen = self.store or os.environ.get("NBREWIND_STORE")
        return chosen or os.path.join(self.folder(), ".nbrewind")

    def folder(self) -> str:
        """Where the notebook is, as far as the kernel can tell."""
        hint = os.path.dirname(os.environ.get("JPY_SESSION_NAME", ""))
        if os.path.isabs(hint) and os.path.isdir(hint):
            return hint
        return self.ambient.places.root

    def symbolic_beginning(self) -> dict[str, str | None]:
        """Ambient state of a kernel in which nothing has run."""
        return dict(self.ambient.at_beginning)

    def _set_up_tasks(self) -> None:
        with self.guarded("setting up the task cache"):
            from nbrewind import tasks

            if self.mode == "off" or self.history is None:
                tasks.uninstall()
                self.tasks = None
                return
            if self.tasks is not None and self.tasks.path == os.path.realpath(self.history.path):
                # The cache knows what the futures of this session hold.
                self.tasks.replay = self.mode == "repeat" and not self.shadow
                return
            self.tasks = tasks.TaskCache(
                self.history.path,
                replay=self.mode == "repeat" and not self.shadow,
                salt=packages.python_version(),
                is_fresh=self.began_fresh,
            )
            tasks.install(self.tasks)

    def say(self, report: dict[str, Any]) -> None:
        """Keep a report for whoever asks; the comm sends it on."""
        self.reports.append(report)
        if self.replaying is not None:
            self.replaying["reports"].append(report)
        self.tell({"event": "run", **report})

    def tell(self, event: dict[str, Any], but: Any = None) -> None:
        """Send an event to everybody who listens, except one."""
        for listener in list(self.listeners):
            if listener is not but:
                listener(event)

    def progress(self, done: int, total: int, what: str) -> None:
        """One step of the request that is being carried out; an interrupt stops here."""
        self.interrupts.check()
        if self.requests is not None and self.requests.current() is not None:
            self.tell(
                {
                    "event": "progress",
                    "of": self.requests.current(),
                    "done": done,
                    "total": total,
                    "what": what,
                }
            )


@functools.lru_cache(maxsize=512)
def _analyze(source: str) -> str:
    return _native.analyze_cell(source)


def analyze(source: str) -> dict[str, Any]:
    """The effects of a cell."""
    found: dict[str, Any] = json.loads(_analyze(source))
    return found


def _status(result: ExecutionResult | None) -> str:
    """How a cell ended."""
    if result is None:
        return "interrupted"
    error = result.error_before_exec or result.error_in_exec
    if error is None:
        return "ok"
    is_interrupt = isinstance(error, KeyboardInterrupt | asyncio.CancelledError)
    return "interrupted" if is_interrupt else "failed"


def _is_own_magic(source: str) -> bool:
    return source.strip().startswith(
        ("%nbrewind", "%load_ext nbrewind", "%reload_ext nbrewind", "%unload_ext nbrewind")
    )


def user_modules() -> list[str]:
    """Modules of the user's own that are loaded."""
    return [
        name
        for name in loaded_modules()
        if name not in {"__main__", "__mp_main__"}
        and getattr(sys.modules.get(name), "__file__", None)
        and not is_library_module(name)
    ]
