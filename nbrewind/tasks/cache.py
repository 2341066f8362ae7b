"""The task cache: plans graphs against the store, and reports what was loaded, executed and left out.

One `TaskCache` belongs to one session and store. Engines (see `nbrewind.tasks.engines`) hand it
every graph before it runs. It never raises into user code: a graph that cannot be planned runs
unchanged, and the report says why.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from nbrewind import _native, collector
from nbrewind.fingerprint import path_digest
from nbrewind.tasks import beside, left, recorder, surroundings, worker
from nbrewind.tasks.changes import Changes, is_in, nothing
from nbrewind.tasks.components import components, explain, notes
from nbrewind.tasks.content import digest, value_fingerprint
from nbrewind.tasks.elsewhere import Elsewhere
from nbrewind.tasks.fingerprint import Fingerprinter, TaskFacts
from nbrewind.tasks.forecast import add_groups
from nbrewind.tasks.graph import Graph, Key, Node, UnknownGraphError, build
from nbrewind.tasks.named import TooMuch, inside, named_files
from nbrewind.tasks.plan import DAMAGED, Plan, decide, emit
from nbrewind.tasks.records import Records, Writers, is_result
from nbrewind.tasks.wrapped import show

logger = logging.getLogger("nbrewind.tasks")

_NO_DRAWS: frozenset[str] = frozenset()
_IMMUTABLE = (str, bytes, int, float, complex, bool, type(None))
# Tasks of one plan whose records are compared with others to say why they run.
_MAX_EXPLAINED = 200
_FOREVER = 1 << 63


@dataclass(slots=True)
class TaskReport:
    """What happened to the tasks of one cell run."""

    n_hit: int = 0
    n_run: int = 0
    n_pruned: int = 0
    # Reason -> number of tasks that were executed for it.
    why: dict[str, int] = field(default_factory=dict)
    # One entry per executed task: task, fingerprint, seconds (None: not measured), why.
    executed: list[dict[str, Any]] = field(default_factory=list)
    # What could not be stored, or could not be planned at all, with the reason.
    not_captured: list[str] = field(default_factory=list)
    # Fingerprints of what was requested and of what was loaded.
    fingerprints: set[str] = field(default_factory=set)
    # Files and folders that tasks were seen to read besides those that fingerprints cover, with
    # digests (of the names in a folder): inputs of the cell run like the files that it read itself.
    files: dict[str, str | None] = field(default_factory=dict)
    # Tasks that had not finished when the cell ended: what they read is not known yet.
    unfinished: list[str] = field(default_factory=list)
    # Why a replay of the whole cell could not give what its tasks did, which nobody here could see.
    unseen: list[str] = field(default_factory=list)
    # Names of replayed tasks whose functions are nondeterministic.
    replayed_nondeterministic: list[str] = field(default_factory=list)
    # All tasks that were asked for, by name (see `nbrewind.tasks.forecast`).
    groups: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Submission:
    """One planned graph: what the engine must run, and what to check afterwards."""

    plan: Plan
    dsk: dict[Key, Any]
    # Has everything that was requested finished, and well? None: not yet.
    outcome: Callable[[], bool | None] = lambda: True
    flush: Callable[[], None] = lambda: None
    fingerprinter: Any = None
    # What the engine knows beyond the records: reads, effects, what has not ended.
    account: Callable[[TaskReport], None] = lambda report: None
    # Does it run in this process, where the cell's own watch sees what is written?
    is_here: bool = False
    # Do its workers send word of what they read and wrote?
    is_heard: bool = False


# Kind of what a task read -> what it is now.
_LOOKS: dict[str, Callable[[str], str | None]] = {
    "file": worker.content,
    "listing": worker.listing,
    "folder": path_digest,
}


def _take_one(counts: dict[str, int], name: str) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]


def _has_relative_paths(record: dict[str, Any]) -> bool:
    """Did the task read or write files by paths that mean others in another working directory?"""
    return any(path is None for _, path, *_ in record["files"]) or any(
        path is None for path, *_ in record.get("left", ())
    )


class TaskCache:
    """See the module. `replay=False` executes everything; `replay=True` loads what is known.

    `is_fresh`: nobody can have seeded a generator of random numbers in this process before.
    """

    def __init__(
        self,
        store_path: str,
        *,
        replay: bool,
        salt: str = "",
        log: Callable[[dict[str, Any]], None] | None = None,
        is_fresh: bool = True,
    ) -> None:
        self.path = os.path.realpath(store_path)
        self.replay = replay
        self.salt = salt
        self.log = log
        self.store = worker.open_store(self.path)
        self.inode = os.stat(self.path).st_ino
        # The process that it belongs to: a forked child has a copy that must not be used.
        self.pid = os.getpid()
        self._records = Records(self.store)
        surroundings.begin_session(is_fresh=is_fresh)
        # Keys of futures -> (task fingerprint, draws it stands on).
        self._known: dict[Key, tuple[str | None, frozenset[str]]] = {}
        # Reports with unfinished tasks, by identity (kept alive here), and what they came from.
        self._unsettled: dict[int, tuple[TaskReport, list[Submission]]] = {}
        # Those of them that nobody has waited for.
        self._loading: list[tuple[str, Any]] = []
        # Futures that `load_future` made: they are what they were asked for.
        self._loaded: dict[Key, str] = {}
        # Keys of futures -> the record that they were loaded from.
        self._made: dict[Key, dict[str, Any]] = {}
        # Fingerprints that say all of a result, as far as that is known when tasks are planned: no draws, no files
        # besides those that are named.
        self._determined: set[str] = set()
        # Keys of scattered values.
        self._values: set[Key] = set()
        self._occurrences: dict[str, dict[Any, int]] = {}
        self._chosen: dict[str, dict[str, Any] | None] = {}
        # What cannot be loaded, and why.
        self._damaged: dict[str, str] = {}
        self._changes = Changes(self.store)
        # Does what is being planned run in this process, and has somebody seeded its generators (None: not asked)?
        self._is_here_now = False
        # Where it runs, relative paths mean other files.
        self._is_elsewhere_now = False
        self._are_seeded: bool | None = None
        # What the processes that run its tasks may hold.
        self.elsewhere = Elsewhere(lambda: self._chosen.clear())
        self._lock = threading.RLock()
        self._pending: list[tuple[Submission, float]] = []
        self._report = TaskReport()
        # How many cell runs have begun: two calls with the same number belong to the same one.
        self.n_begun = 0
        self._is_refreshed = False

    # -- one cell run

    def begin_run(self) -> None:
        """A cell starts: read what other writers have added, start a new report."""
        from nbrewind.tasks import engines

        with self._lock:
            self._report = TaskReport()
            self.n_begun += 1
            self._occurrences = {}
            self._is_refreshed = False
        engines.begin_run()

    def catch_up(self, n_calls: int) -> None:
        """Without cells: see at the next look-up what was stored meanwhile; forget old reports."""
        with self._lock:
            self._is_refreshed = False
            if len(self._pending) > n_calls:
                self._pending.clear()
                self._report = TaskReport()

    def end_run(self) -> TaskReport:
        """The cell has ended: make records durable, and say what happened."""
        with self._lock:
            report = self._report
            pending, self._pending = self._pending, []
        error = worker.flush()
        if error is not None:
            report.not_captured.append(error)
        flushed = set()
        for submission, _ in pending:
            if submission.flush not in flushed:
                flushed.add(submission.flush)
                submission.flush()
        with self._lock:
            self._refresh()
            for submission, started in pending:
                self._account(submission, started, report)
                submission.account(report)
        if self.log is not None:
            for entry in report.executed:
                self.log(entry)
        if report.unfinished:
            self._unsettled[id(report)] = (report, [submission for submission, _ in pending])
        return report

    def settle(self, report: TaskReport) -> dict[str, str | None] | None:
        """What the tasks of an ended cell run read, once all of them have ended; None until then."""
        known = self._unsettled.get(id(report))
        if known is None:
            return None
        fresh = TaskReport()
        with self._lock:
            self._refresh()
            for submission in known[1]:
                self._account_inputs(submission, submission.outcome(), fresh)
                submission.account(fresh)
        if fresh.unfinished or fresh.unseen:
            return None
        del self._unsettled[id(report)]
        return fresh.files

    def _account(self, submission: Submission, started: float, report: TaskReport) -> None:
        plan = submission.plan
        outcome = submission.outcome()
        add_groups(report.groups, plan)
        self._account_inputs(submission, outcome, report)
        for node in plan.nodes("execute"):
            fact, decision = plan.facts[node.idx], plan.decisions[node.idx]
            records = [
                one
                for one in (self._records.of(fact.fp) if fact.fp else [])
                if one["time_ns"] >= started
            ]
            last = records[-1] if records else None
            if last is not None and last.get("equals"):
                # Its worker found that it was given what an earlier run was given.
                report.n_run -= 1
                report.n_hit += 1
                _take_one(report.why, decision.why)
                continue
            report.executed.append(
                {
                    "task": fact.name,
                    "fingerprint": fact.fp,
                    "seconds": last["seconds"] if last else None,
                    "why": decision.why,
                }
            )
            if not submission.is_here and last is not None:
                self.elsewhere.heard(last.get("reason"))
            if decision.keep is None:
                continue
            if last is not None and last["status"] == "not captured":
                report.not_captured.append(f"{fact.name}: {last['reason']}")
            elif last is not None and last["status"] == "writer" and "left" not in last:
                report.not_captured.append(f"{fact.name}: {last['reason']}, so it always runs")
            elif last is None and decision.keep == "always" and outcome:
                report.not_captured.append(f"{fact.name}: no record of its result arrived")

    def _account_changes(self, submission: Submission, report: TaskReport) -> None:
        """What tasks changed of what others gave, where futures hold it or what was made of it."""
        problems, keys = self._changes.account(submission.plan)
        for key in keys:
            self._known[key] = (None, self._known.get(key, (None, _NO_DRAWS))[1])
        for problem in problems:
            if (note := f"{problem}, so it always runs") not in report.not_captured:
                report.not_captured.append(note)
            if not submission.is_here and problem not in report.unseen:
                report.unseen.append(problem)

    def _account_inputs(
        self, submission: Submission, outcome: bool | None, report: TaskReport
    ) -> None:
        """What tasks read and wrote, also those that were left out; and which outputs stand on that."""
        plan = submission.plan
        self._account_changes(submission, report)
        self._records.look_at([fact.fp for fact in plan.facts if fact.is_user and fact.fp])
        for path, found in named_files(plan).items():
            report.files.setdefault(path, found)
        observed: list[frozenset[str]] = []
        for node in plan.graph.nodes:
            fact = plan.facts[node.idx]
            sources = [node.target] if node.target is not None else list(node.refs.values())
            stands_on = (
                frozenset().union(*(observed[source.idx] for source in sources))
                if sources
                else frozenset()
            )
            if node.kind == "task" and fact.is_user and fact.fp is not None:
                if (
                    outcome is None
                    and plan.decisions[node.idx].action == "execute"
                    and self._choose(fact.fp) is None
                ):
                    report.unfinished.append(fact.name)
                if self._is_observed(fact.fp):
                    stands_on |= {fact.fp}
                    record = self._choose(fact.fp)
                    for kind, path, relative, found in record["files"] if record else ():
                        report.files[path or os.path.abspath(relative)] = found
                        if kind == "folder":
                            report.files |= inside(path or relative)
            if not submission.is_here and fact.is_suspect and fact.fp is not None:
                last = next(filter(is_result, reversed(self._records.of(fact.fp))), None)
                if last is not None and last.get("has_drawn"):
                    # A replay of the cell would not hear of a seed.
                    problem = f"{fact.name} draws from a generator of another process"
                    report.unseen += [problem] if problem not in report.unseen else []
            if fact.folders and (fact.fp is None or self._choose(fact.fp) is None):
                # What it read there, no record says.
                for folder in fact.folders:
                    try:
                        report.files |= inside(folder)
                    except (TooMuch, OSError) as error:
                        self.unseen(f"what {fact.name} read is not known: {error}")
            reads_outside = any(literal.opaque for literal in fact.literals)
            if node.kind == "task" and (fact.is_user or fact.writer or reads_outside):
                self._account_writes(submission, node, outcome, report)
            observed.append(stands_on)
        for key, node in plan.graph.outputs.items():
            fp, draws = self._known_of(key)
            if fp is not None and observed[node.idx]:
                self._known[key] = (fp, draws | observed[node.idx])

    def _account_writes(
        self, submission: Submission, node: Node, outcome: bool | None, report: TaskReport
    ) -> None:
        """What a task left outside is an input of its cell: a replay of the cell would not write it."""
        has_run = submission.plan.decisions[node.idx].action == "execute"
        if has_run and submission.is_here:
            # The cell's own watch has seen it.
            return
        fact = submission.plan.facts[node.idx]
        is_observed, written = self._records.flags_of(fact.fp) if fact.fp else (False, None)
        written = fact.writer or written
        if written is None and not has_run:
            return
        record = None
        if fact.fp is not None and (written is not None or is_observed):
            record = self._choose(fact.fp)
        elif fact.fp is not None:
            record = next(filter(is_result, reversed(self._records.of(fact.fp))), None)
        if record is not None:
            for path, relative, there in record.get("left", ()):
                report.files[os.path.abspath(path or relative)] = there[0] if there else None
        is_pending = outcome is None and fact.fp is not None and fact.writer is None
        if not has_run or submission.is_heard or is_pending:
            return
        problem = None
        if written is not None and (record is None or "left" not in record):
            problem = f"{fact.name} in another process: {written}"
        elif record is None and (fact.is_user or fact.fp is None):
            decision = submission.plan.decisions[node.idx]
            if outcome and decision.keep is not None and not self._records.of(fact.fp or ""):
                # Its record is on the way.
                report.unfinished.append(fact.name)
            else:
                problem = f"what {fact.name} reads in another process is not known"
        if problem is not None and problem not in report.unseen:
            report.unseen.append(problem)

    def seconds_of(self, name: str) -> float | None:
        """How long tasks of this name took lately; None when nobody knows."""
        with self._lock:
            if not self._is_refreshed:
                self._refresh()
            found = [one["seconds"] for one in self._records.named(name) if one["status"] == "ok"]
        return sum(found) / len(found) if found else None

    # -- planning

    def submit(
        self,
        dsk: Any,
        keys: Iterable[Key],
        *,
        live: Callable[[Key], bool] | None = None,
        is_here: bool = False,
        is_sent: bool = False,
        is_elsewhere: bool = False,
        is_shown: bool = False,
    ) -> Submission | None:
        """Plan one graph. None: run it unchanged (the report says why).

        `is_here`: it runs in this process; `is_sent`: the caller goes on while it is sent and run; `is_elsewhere`: it
        runs in another working directory; `is_shown`: in processes that print where this one does.
        """
        keys = list(keys)

        def plan() -> Submission:
            return self._submit(dsk, keys, live, is_here, is_sent, is_shown and not is_here)

        return self._guarded(plan, keys, is_here, is_elsewhere)

    def submit_call(
        self,
        graph: Graph,
        fingerprinter: type[Fingerprinter],
        *,
        spec: Any,
        salt: str = "",
        is_here: bool = False,
        may_load: Callable[[TaskFacts, dict[str, Any]], str | None] = lambda fact, value: None,
    ) -> Submission | None:
        """Plan one call that is no graph of Dask's; the engine runs what `plan` says.

        `may_load` says why a stored value will not do. None: run it unchanged, as for `submit`.
        """

        def look_up(fact: TaskFacts) -> tuple[dict[str, Any] | None, str]:
            value, why = self._look_up(fact)
            problem = may_load(fact, value) if value is not None else None
            return (None, problem) if problem is not None else (value, why)

        def write(plan: Plan) -> None:
            """The engine does that."""

        def plan() -> Submission:
            salted = self.salt + salt
            return self._plan(graph, fingerprinter, look_up, write, spec=spec, salt=salted)

        return self._guarded(plan, list(graph.outputs), is_here)

    def _guarded(
        self,
        plan: Callable[[], Submission],
        keys: list[Key],
        is_here: bool,
        is_elsewhere: bool = False,
    ) -> Submission | None:
        with self._lock, collector.paused():
            try:
                if not self._is_refreshed:
                    self._refresh()
                if (is_here, is_elsewhere) != (self._is_here_now, self._is_elsewhere_now):
                    self._chosen.clear()
                self._is_here_now, self._are_seeded = is_here, None
                self._is_elsewhere_now = is_elsewhere
                return plan()
            except (UnknownGraphError, _native.StoreError, OSError) as error:
                self.note(f"a graph ran without the cache: {error}")
            except RecursionError:
                self.note("a graph ran without the cache: it is nested too deep")
            except Exception as error:
                logger.debug("planning failed", exc_info=True)
                self.note(f"a graph ran without the cache: {type(error).__name__}: {error}")
            if not is_here:
                left.expect(None)
            self.forget(keys)
            return None

    def forget(self, keys: Iterable[Key]) -> None:
        """These keys run unplanned: what was known under them need not be what they hold now."""
        with self._lock:
            for key in keys:
                self._known.pop(key, None)
                self._made.pop(key, None)
                self._loaded.pop(key, None)
                self._values.discard(key)

    def note(self, problem: str) -> None:
        """Report something once per run."""
        if problem not in self._report.not_captured:
            self._report.not_captured.append(problem)

    def unseen(self, problem: str) -> None:
        """Something happened where nobody looks: the cell that is running cannot be replayed."""
        self.note(problem)
        if problem not in self._report.unseen:
            self._report.unseen.append(problem)

    def _refresh(self) -> None:
        worker.flush()
        self._records.refresh()
        self._chosen.clear()
        self._changes.read()
        self._is_refreshed = True

    def _submit(
        self,
        dsk: Any,
        keys: list[Key],
        live: Callable[[Key], bool] | None,
        is_here: bool,
        is_sent: bool,
        is_shown: bool,
    ) -> Submission:
        def write(plan: Plan) -> None:
            emit(
                plan,
                self.path,
                is_sent=is_sent and not is_here,
                is_shown=is_shown,
                is_here=is_here,
                is_among_others=is_here and is_sent,
                distrust=self.elsewhere.distrust,
            )

        graph = build(dsk, keys)
        return self._plan(
            graph,
            Fingerprinter,
            self._look_up_here if is_shown or (is_here and not is_sent) else self._look_up,
            write,
            live=live,
            salt=self.salt,
            is_among_others=is_here and is_sent,
            is_elsewhere=self._is_elsewhere_now,
        )

    def _plan(
        self,
        graph: Graph,
        kind: type[Fingerprinter],
        look_up: Callable[[TaskFacts], tuple[dict[str, Any] | None, str]],
        write: Callable[[Plan], None],
        **options: Any,
    ) -> Submission:
        known = beside.AsMade(self._known_of).known
        fingerprinter = kind(
            graph,
            known=known,
            is_value=self._values.__contains__,
            occurrences=self._occurrences,
            observed=self._observed,
            is_changed=self._is_changed,
            **options,
        )
        if self.replay:
            self._changes.catch_up()
        facts = fingerprinter.run()
        for name in fingerprinter.collisions:
            self.note(f"{name}: Dask gives the result of another task that has the same key")
        writers = Writers(self)
        sharing, named = self._changes.sharing(graph, facts)
        for fp in named:
            self._chosen.pop(fp, None)
        choose = self._choose if self.replay else nothing
        effects = sharing.effects(self._changes.known, choose)
        if options.get("is_among_others"):
            effects.unsure = beside.unsure(sharing, choose) | effects.unsure
        while True:
            decisions = decide(graph, facts, look_up, writers, replay=self.replay, effects=effects)
            plan = Plan(
                graph,
                facts,
                decisions,
                stem_of=fingerprinter.stem_of,
                is_known_stem=self._is_known_stem,
                sharing=sharing,
                effects=effects,
            )
            if writers.bring_back(plan):
                break
        self._changes.expect(plan)
        if not self._is_here_now:
            self.elsewhere.expect([facts[node.idx] for node in plan.nodes("execute")])
            left.expect(plan)
        write(plan)
        self._count(plan)
        for key, node in graph.outputs.items():
            fact = facts[node.idx]
            if fact.fp is not None and fact.fp not in fact.draws:
                self._determined.add(fact.fp)
            may_hold = not any(
                decisions[one.idx].why.startswith(("writer", "follows a writer"))
                for one in (node.resolved(),)
            ) and not is_in(effects, node)
            self._known[key] = (fact.fp if may_hold else None, fact.draws)
            if not fact.is_live:
                self._made.pop(key, None)
        submission = Submission(
            plan, plan.dsk, fingerprinter=fingerprinter, is_here=self._is_here_now
        )
        self._pending.append((submission, time.time_ns()))
        return submission

    def _known_of(self, key: Key) -> tuple[str | None, frozenset[str]]:
        fp, draws = self._known.get(key, (None, _NO_DRAWS))
        return (None, draws) if self._is_changed(key) else (fp, draws)

    def _is_changed(self, key: Key) -> bool:
        fp, draws = self._known.get(key, (None, _NO_DRAWS))
        return self._changes.is_spoiled(fp, draws)

    def _count(self, plan: Plan) -> None:
        report = self._report
        n_explained = 0
        told: dict[str, str] = {}
        for node in plan.graph.nodes:
            if node.kind != "task":
                continue
            decision, fact = plan.decisions[node.idx], plan.facts[node.idx]
            if decision.action == "load":
                report.n_hit += 1
                report.fingerprints.add(fact.fp or "")
                if fact.marks:
                    report.replayed_nondeterministic.append(fact.name)
            elif decision.action == "execute":
                report.n_run += 1
                if decision.why == "no record":
                    if n_explained < _MAX_EXPLAINED:
                        told[fact.name] = self._why_no_record(plan, node)
                        n_explained += told[fact.name] != "no record"
                    decision.why = told.get(fact.name, "no record")
                report.why[decision.why] = report.why.get(decision.why, 0) + 1
            else:
                report.n_pruned += 1
        report.fingerprints.update(
            fp
            for node in plan.graph.outputs.values()
            if (fp := plan.facts[node.idx].fp) is not None
        )

    def _why_no_record(self, plan: Plan, node: Node) -> str:
        fact = plan.facts[node.idx]
        candidates = self._records.named(fact.name)
        if not candidates:
            return "no record"
        now = components(fact, node, plan.facts)

        def n_different(record: dict[str, Any]) -> int:
            before = record["components"]
            return sum(1 for label in {*now, *before} if now.get(label) != before.get(label))

        # Of the other partitions' records, the one that is most like this task.
        best = min(reversed(candidates), key=n_different)
        if n_different(best) == 0:
            return "no record"
        told = explain(now, best["components"], notes(fact), best.get("notes"))
        return f"differs from an earlier record of this task in: {told}"

    # -- records

    def _look_up_here(self, fact: TaskFacts) -> tuple[dict[str, Any] | None, str]:
        """The same where the notebook would show what the task prints."""
        value, why = self._look_up(fact)
        shows = next((one.shows for one in fact.literals if one.shows), None)
        if value is not None and shows is not None and "printed" not in value:
            return None, f"what it shows ({shows}) was not recorded"
        return value, why

    def show_replayed(self, plan: Plan) -> None:
        """Print what tasks of a graph printed that ran in this process when they ran."""
        for node in plan.graph.nodes:
            fact, decision = plan.facts[node.idx], plan.decisions[node.idx]
            if node.kind != "task" or not fact.is_user or fact.fp is None:
                continue
            if decision.action == "load" and decision.value is not None:
                show(decision.value)
            elif decision.action == "none" and any(one.shows for one in fact.literals):
                record = self._choose(fact.fp)
                if record is not None:
                    show(record["value"])

    def _look_up(self, fact: TaskFacts) -> tuple[dict[str, Any] | None, str]:
        assert fact.fp is not None
        chosen = self._choose(fact.fp)
        if chosen is None:
            return None, self._why_not_chosen(fact.fp)
        first, last = 0, _FOREVER
        for draw in fact.draws:
            if draw == fact.fp:
                continue
            span = self._drawn(draw)
            if span is None:
                return None, "what it stands on was not stored, or has changed"
            first, last = max(first, span[0]), min(last, span[1])
        if first <= chosen["time_ns"] < last:
            return chosen["value"], ""
        for record in reversed(self._records.of(fact.fp)):
            if is_result(record) and first <= record["time_ns"] < last and self._is_usable(record):
                return record["value"], ""
        return None, "what it stands on was drawn or read anew"

    def _why_not_chosen(self, fp: str) -> str:
        found = [one for one in self._records.of(fp) if is_result(one)]
        if fp in self._damaged:
            return self._damaged[fp]
        if not found:
            return "no record"
        if not any(map(self._changes.may_load, found)):
            return "what it was made from had been changed in place"
        changed = next((path for path in map(self._changed_input, found) if path), None)
        return (
            f"an input changed: {os.path.basename(changed)}"
            if changed
            else "its stored result is gone"
        )

    def _choose(self, fp: str) -> dict[str, Any] | None:
        """The newest record whose inputs are as they were and whose bytes are here."""
        if fp not in self._chosen:
            self._chosen[fp] = None
            for record in reversed(self._records.of(fp)):
                if is_result(record) and self._is_usable(record):
                    self._chosen[fp] = record
                    break
        return None if fp in self._damaged else self._chosen[fp]

    def _is_usable(self, record: dict[str, Any], *, with_outputs: bool = True) -> bool:
        if not self._is_here_now and (
            self.elsewhere.have_settings or (record.get("has_drawn") and self.elsewhere.are_seeded)
        ):
            return False
        if record.get("has_drawn") and self._is_here_now:
            if self._are_seeded is None:
                self._are_seeded = surroundings.are_seeded()
            if self._are_seeded:
                return False
        if self._is_elsewhere_now and _has_relative_paths(record):
            return False
        if not self._changes.may_load(record):
            return False
        return (
            self._changed_input(record) is None
            and (not with_outputs or self._changed_output(record) is None)
            and self._is_here(record)
        )

    def _is_known_stem(self, stem: str) -> bool:
        """Did a task that does the same ever run, whatever it was given?"""
        return self.replay and bool(_native.record_texts(self.store, worker.KIND, stem))

    def _is_observed(self, fp: str) -> bool:
        """Do records show inputs that the fingerprint does not cover, or a result that could not be kept?"""
        return self._records.flags_of(fp)[0]

    def _observed(self, fps: list[str]) -> set[str]:
        """Those of these fingerprints of which `_is_observed` holds."""
        self._records.look_at(fps)
        return {fp for fp in fps if self._is_observed(fp)}

    def _is_here(self, record: dict[str, Any]) -> bool:
        value = record["value"]
        chunks = [*value["head"], *(chunk for group, _ in value["buffers"] for chunk in group)]
        return all(self.store.has(chunk) for chunk in chunks)

    def _changed_input(self, record: dict[str, Any]) -> str | None:
        """A file or folder that the task read and that is not the same now."""
        for kind, path, relative, found in record["files"]:
            for name in (path, relative):
                if name is not None and _LOOKS[kind](name) != found:
                    return str(name)
        return None

    def _changed_output(self, record: dict[str, Any]) -> str | None:
        """A file or folder that the task wrote and that is not as it left it."""
        for path, relative, there in record.get("left", ()):
            for name in (path, relative):
                if name is not None and recorder.left_at(name) != there:
                    return str(name)
        return None

    def _left_again(self, record: dict[str, Any], there: list[list[Any]]) -> None:
        """The files of a task are back, as other files than it wrote."""
        payload = {name: value for name, value in record.items() if name != "time_ns"}
        value = record["value"]
        needs = [*value["head"], *(chunk for group, _ in value["buffers"] for chunk in group)]
        needs += left.chunks_of(record["copies"])
        fp = record["fingerprint"]
        self.store.append(worker.KIND, fp, json.dumps(payload | {"left": there}), needs)
        self.store.commit()
        self._records.forget(fp)

    def _drawn(self, fp: str) -> tuple[int, int] | None:
        """From when until when the value of this task was the one that would be loaded now.

        A result that stands on it counts only if it was made in that time: fingerprints cannot
        tell draws apart. Where a result could not be kept, there was another value as far as anybody knows.
        """
        chosen = self._choose(fp)
        if chosen is None:
            return None
        first: int = chosen["time_ns"]
        last = _FOREVER
        records = self._records.of(fp)
        at = records.index(chosen)
        for record in reversed(records[:at]):
            if not is_result(record) or record["value"] != chosen["value"]:
                break
            first = record["time_ns"]
        for record in records[at + 1 :]:
            if not is_result(record) or record["value"] != chosen["value"]:
                last = record["time_ns"]
                break
        return first, last

    def mark_damaged(self, fp: str, why: str = DAMAGED) -> bool:
        """Loading failed: this session does not try again. Is that news?"""
        is_new = fp not in self._damaged
        self._damaged.setdefault(fp, why)
        return is_new

    # -- futures

    def fingerprint_of_future(self, key: Key) -> str | None:
        """What a future or persisted key of this session holds, as 64 hex digits, or None.

        The task fingerprint, or, when that does not determine the value (draws, files read by
        computed paths), a fingerprint of the task and its result. `load_future` takes both.
        """
        if self._is_changed(key) or beside.may_change(key):
            return None
        if key in self._loaded:
            return self._loaded[key]
        fp, draws = self._known_of(key)
        if key in self._values:
            # No task made it, so it cannot be brought back by one.
            return None
        if fp is None or not draws:
            return fp
        with self._lock:
            if not self._undetermined(draws):
                return fp
            record = self._made.get(key) or self._last_record(fp)
            if record is None:
                return None
            named: str = digest(("result", fp, json.dumps(record["value"], sort_keys=True)))
            if not self.store.records(worker.KIND, named):
                payload = {name: value for name, value in record.items() if name != "time_ns"} | {
                    "fingerprint": named
                }
                needs = [
                    *record["value"]["head"],
                    *(chunk for group, _ in record["value"]["buffers"] for chunk in group),
                ]
                self.store.append(worker.KIND, named, json.dumps(payload), needs)
                self.store.commit()
            return named

    def _undetermined(self, draws: frozenset[str]) -> set[str]:
        """Of what a result stands on, that of which the fingerprint does not say all.

        A task that gets a future stands on it, whatever it is, because it may turn out what it read.
        """
        self._records.look_at(list(draws))
        return {fp for fp in draws if fp not in self._determined or self._is_observed(fp)}

    def remember(self, key: Key, value: Any) -> None:
        """A future that holds this very value, without a task."""
        with self._lock:
            self._known[key] = (value_fingerprint(value), _NO_DRAWS)
            self._values.add(key)

    def _last_record(self, fp: str) -> dict[str, Any] | None:
        self._refresh()
        return next((one for one in reversed(self._records.of(fp)) if one["status"] == "ok"), None)

    def load_future(self, fp: str, client: Any = None, key: Key | None = None) -> Any:
        """A stored result: a future of `client` (or the current one), or the value without one.

        Raises `LoadError` when it is not stored.
        """
        from nbrewind.tasks.engines import dask as engine

        with self._lock:
            record = self._choose(fp)
            if record is None:
                self._refresh()
                record = self._choose(fp)
        if record is None:
            raise worker.LoadError(f"no stored result of the task {fp[:12]}")
        stored = worker.Stored(self.path, fp, record["name"], record["value"])
        future = engine.load_on_cluster(self, stored, client, key)
        if future is None:
            return worker.load(stored)
        with self._lock:
            self._known[future.key] = (fp, frozenset({fp}))
            self._made[future.key] = record
            self._loaded[future.key] = fp
            self._determined.add(fp)
            self._loading.append((fp, future))
        return future

    def await_loading(self) -> None:
        """Until workers have loaded the futures that `load_future` made. Raises `LoadError` when one cannot be.

        Then none of them is left on the cluster: whoever makes them again does so under the same keys.
        """
        from nbrewind.tasks.engines import dask as engine

        with self._lock:
            loading, self._loading = self._loading, []
        lost = []
        for fp, future in loading:
            problem = engine.why_lost(future)
            if problem is not None:
                lost.append(f"the stored result of the task {fp[:12]} cannot be loaded: {problem}")
                self.mark_damaged(fp)
        if lost:
            futures = [future for _, future in loading]
            self.forget([future.key for future in futures])
            engine.let_go(futures)
            raise worker.LoadError(lost[0])

    def finished_here(self, submission: Submission, results: Iterable[tuple[Key, Any]]) -> None:
        """After a run in this process: tasks that changed, or gave away, what others have are writers.

        Never raises: tasks of which that cannot be told always run.
        """
        worker.forget_digests()
        with self._lock:
            try:
                self._look_again(submission, results)
            except Exception as error:
                logger.debug("looking at results failed", exc_info=True)
                reason = f"what it did could not be looked at ({type(error).__name__})"
                self.unseen(reason)
                with contextlib.suppress(_native.StoreError, OSError):
                    executed = [node.idx for node in submission.plan.nodes("execute")]
                    self._always_run(submission, executed, reason)

    def _look_again(self, submission: Submission, results: Iterable[tuple[Key, Any]]) -> None:
        plan = submission.plan
        self.show_replayed(plan)
        facts = plan.facts
        suspects = {
            node.idx
            for node in plan.nodes("execute")
            if facts[node.idx].is_user or facts[node.idx].may_change
        }
        if not suspects:
            return
        # Values that were given to tasks of libraries go on to others as they are.
        changed = submission.fingerprinter.changed_literals(
            node for node in plan.graph.nodes if plan.decisions[node.idx].action == "execute"
        )
        if changed:
            is_reached = [False] * len(plan.graph.nodes)
            for node in plan.graph.nodes:
                sources = node.refs.values() if node.target is None else [node.target]
                is_reached[node.idx] = any(is_reached[source.idx] for source in sources) or any(
                    id(literal) in changed for literal in facts[node.idx].literals
                )
            found = [idx for idx in sorted(suspects) if is_reached[idx]]
            self._always_run(submission, found, "changes an object that others have, too")
        outputs: list[tuple[int, Any]] = []
        for key, value in results:
            node = plan.graph.outputs[key].resolved()
            if (
                node.kind == "task"
                and plan.decisions[node.idx].action == "execute"
                and not isinstance(value, _IMMUTABLE)
            ):
                outputs.append((node.idx, value))
        if outputs:
            given = submission.fingerprinter.given_away([value for _, value in outputs])
            self._always_run(
                submission,
                [outputs[at][0] for at in given],
                "gives an object that others have, too",
            )

    def _always_run(self, submission: Submission, idxs: list[int], reason: str) -> None:
        """Note that these tasks do more than to give a result."""
        plan = submission.plan
        for idx in idxs:
            fact = plan.facts[idx]
            if fact.fp is None:
                continue
            payload = {
                "fingerprint": fact.fp,
                "name": fact.name,
                "status": "writer",
                "reason": reason,
                "seconds": 0.0,
            }
            # What it was given decides nothing, either.
            for key in (fact.fp, submission.fingerprinter.stem_of(fact)):
                if key is not None:
                    self.store.append(worker.KIND, key, json.dumps(payload), [])
            self.note(f"{fact.name}: {reason}, so it always runs")
        if idxs:
            self.store.commit()
