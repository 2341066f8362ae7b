"""Single calls through the task cache: the front end that all engines share which are handed functions, not graphs.

`plan` says what becomes of one call: its stored result, or something to run in its place that records it
where it runs. It has the fingerprint of a Dask task with the same function and arguments, so what one engine
has computed is replayed under another.

Terms:
* a call runs *here*, in the process of the session, where it can change what the session sees, or *away*, in
  a worker process, where nobody but its recorder sees what it touches;
* its *ticket* stands for it in the report of the cell until it has come back.
"""

from __future__ import annotations

import itertools
import os
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nbrewind.fingerprint import is_library_module
from nbrewind.tasks import current_cache, recorder, worker, wrapped
from nbrewind.tasks.cache import Submission, TaskCache, TaskReport
from nbrewind.tasks.components import components
from nbrewind.tasks.content import file_signatures
from nbrewind.tasks.fingerprint import TaskFacts
from nbrewind.tasks.graph import TaskName
from nbrewind.tasks.wrapped import SPEC, CallFingerprinter, CallSpec, Ref, Wrapped

__all__ = ["Planned", "Ref", "Ticket", "hands_on", "is_nested", "is_users", "out_of_sight", "plan"]

# How long the end of a cell waits for records that workers have stored and not yet made durable, which takes a tenth
# of a second where they are not kept from running.
_PATIENCE = 20.0

_numbers = itertools.count(1)


class Ticket:
    """One call that was handed out: pending, ok, failed, or cancelled."""

    def __init__(self, name: str, *, is_here: bool) -> None:
        self.name = name
        self.is_here = is_here
        self.state = "pending"
        # What the worker said about it.
        self.word: dict[str, Any] = {}
        # Did its cell end before it did?
        self.is_late = False
        # The engine's future, if it has one.
        self.future: Callable[[], Any] = lambda: None

    def arrived(self, word: dict[str, Any]) -> None:
        """It has come back."""
        self.word = word
        self.state = "ok"

    def expected(self) -> None:
        """It is handed out, also if its result is stored."""
        self.state = "pending"

    def failed(self) -> None:
        """It has raised."""
        self.state = "failed"

    def look(self) -> None:
        """What the engine says about a call of which nothing was heard."""
        future = self.future()
        if self.state == "pending" and future is not None and future.done():
            if future.cancelled():
                self.state = "cancelled"
            else:
                self.state = "failed" if future.exception() is not None else "unknown"

    def outcome(self) -> bool | None:
        """For `Submission.outcome`."""
        self.look()
        return None if self.state == "pending" else self.state == "ok"

    def account(self, report: TaskReport) -> None:
        """For `Submission.account`: a replay of the cell must know all that its calls read and changed."""
        self.look()
        if self.state == "pending":
            self.is_late = True
            if self.name not in report.unfinished:
                report.unfinished.append(self.name)
            return
        problem = None
        if self.state == "unknown" or (self.state == "failed" and not self.is_here):
            problem = f"{self.name} failed in another process: what it read there is not known"
        elif self.state == "failed" and self.is_late:
            problem = f"{self.name} failed after its cell"
        elif self.state == "ok" and not self.is_here:
            report.files.update(self.word["files"])
            if self.word["writes"]:
                problem = f"{self.name} in another process: {self.word['writes']}"
            elif self.word["printed"]:
                problem = f"{self.name} prints in another process"
        elif self.state == "ok" and self.is_late:
            report.files.update(self.word["files"])
            if self.word["writes"] or self.word["problem"]:
                problem = (
                    f"{self.name} after its cell: {self.word['writes'] or self.word['problem']}"
                )
        if problem is None:
            return
        if problem not in report.unseen:
            report.unseen.append(problem)
        if self.is_late:
            # Too late to say so: the run never settles.
            report.unfinished.append(self.name)


@dataclass(slots=True)
class Planned:
    """What becomes of a call: `stored` is its result, or else `wrapped` runs in its place."""

    cache: TaskCache
    wrapped: Wrapped
    ticket: Ticket
    stored: worker.Stored | None = None
    # Would the notebook show what it prints?
    is_shown: bool = True
    # Task fingerprint of its result, and the key under which other calls may refer to it.
    fp: str | None = None
    key: TaskName | None = None

    def value(self) -> Any:
        """The stored result; shows what the call printed. Raises `LoadError`: then plan it again."""
        assert self.stored is not None
        try:
            found = worker.load(self.stored)
        except worker.LoadError as error:
            self.cache.mark_damaged(self.stored.fp)
            self.cache.note(str(error))
            raise
        self.show()
        return found

    def show(self) -> None:
        """Print what the call printed, where that would have been seen."""
        if self.stored is not None and self.is_shown:
            wrapped.show(self.stored.value)

    def execute(self) -> Wrapped:
        """What is to be run, from now on to be heard of."""
        self.ticket.expected()
        wrapped._tickets[self.wrapped.number] = self.ticket
        return self.wrapped

    def drop(self) -> None:
        """It does not run: another call gives its result."""
        self.ticket.state = "cancelled"

    def follow(self, future: Any) -> None:
        """The engine's future of what `execute` gave."""
        self.ticket.future = weakref.ref(future)


def is_nested() -> bool:
    """Is this thread inside a task? What it calls is part of that task, and runs as it is."""
    return getattr(recorder.local, "recorder", None) is not None


def hands_on() -> bool:
    """Is this thread inside a task? What it hands to others is out of sight, so it always runs."""
    if not is_nested():
        return False
    recorder.local.recorder.changes.append("hands work to an executor")
    return True


def is_users(func: Any) -> bool:
    """Is this function of the user's own making?"""
    for _ in range(20):
        inner = getattr(func, "func", None) if not hasattr(func, "__code__") else None
        inner = inner or getattr(func, "__func__", None) or getattr(func, "__wrapped__", None)
        if inner is None or inner is func:
            break
        func = inner
    module = getattr(func, "__module__", None) or type(func).__module__
    if module == "builtins" and not isinstance(func, type):
        owner = getattr(func, "__self__", None)
        module = type(owner).__module__ if owner is not None else module
    return module != "builtins" and not is_library_module(module)


def plan(
    cache: TaskCache,
    func: Callable[..., Any],
    args: tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
    *,
    is_here: bool,
    salt: str = "",
    may_replay: bool = True,
    is_forked: bool = False,
) -> Planned | None:
    """Plan one call. None: run it as it is (the report says why).

    `salt` is whatever else the result depends on; without `may_replay` the call is watched and never loaded or
    stored. `is_forked`: it runs in a child of this process.
    """
    kwargs = kwargs or {}
    name = wrapped.name_of(func)
    spec = CallSpec(func, args, kwargs)
    key = TaskName(name)
    graph = wrapped.graph_of(spec, key)
    submission = cache.submit_call(
        graph, CallFingerprinter, spec=SPEC, salt=salt, is_here=is_here, may_load=_may_load
    )
    ticket = Ticket(name, is_here=is_here)
    number = next(_numbers)
    if submission is None:
        return None
    plan, fingerprinter = submission.plan, submission.fingerprinter
    fact, decision = plan.facts[-1], plan.decisions[-1]
    node = plan.graph.nodes[-1]
    call = None
    files = file_signatures(fact.files) if decision.keep or decision.action == "load" else None
    if fact.fp is not None and files is not None and may_replay:
        call = worker.Call(
            cache.path,
            fact.fp,
            name,
            None,
            [],
            keep="always",
            files=files,
            components={
                label: found[:16] for label, found in components(fact, node, plan.facts).items()
            },
            marks=fact.marks,
            draws=sorted(fact.draws - {fact.fp}),
            cwd=os.getcwd(),
            reads_natively=fact.reads_natively,
            is_trusted=False,
            remotes=[one for literal in fact.literals for one in literal.remotes],
            writes=fact.writer,
            folders=fact.folders,
        )
    elif decision.action != "load":
        decision.keep = None
    content = wrapped.content_of(fact)
    if not is_here and call is not None and fingerprinter.context.has_views:
        content = wrapped.content_when_sent(func, args, kwargs)
    planned = Planned(
        cache,
        Wrapped(
            func,
            args,
            kwargs,
            call=call,
            content=content,
            store=cache.path,
            number=number,
        ),
        ticket,
        is_shown=is_here or is_forked,
        fp=fact.fp if may_replay else None,
        key=key,
    )
    if decision.action == "load" and fact.fp is not None and decision.value is not None:
        planned.stored = worker.Stored(cache.path, fact.fp, name, decision.value)
        ticket.state = "hit"
    submission.outcome = ticket.outcome
    submission.account = ticket.account
    submission.is_heard = True
    if not is_here:
        submission.flush = _Patience.of(cache).wait
        _Patience.of(cache).tickets.append((ticket, submission, time.time_ns()))
    _let_go(submission)
    return planned


def out_of_sight(cache: TaskCache, func: Callable[..., Any]) -> None:
    """A call goes away unwatched: its cell cannot be replayed."""
    cache.unseen(f"what {wrapped.name_of(func)} reads in another process is not known")


def _may_load(fact: TaskFacts, value: dict[str, Any]) -> str | None:
    shows = next((one.shows for one in fact.literals if one.shows), None)
    if shows is not None and "printed" not in value:
        return f"what it shows ({shows}) was not recorded"
    return None


def _let_go(submission: Submission) -> None:
    """The report needs no arguments; they must not outlive the call."""
    submission.fingerprinter = None
    for fact in submission.plan.facts:
        for literal in fact.literals:
            literal.obj = None
    for node in submission.plan.graph.nodes:
        node.spec = None


class _Patience:
    """Waits for the records of calls that came back from workers of this machine."""

    _by_cache: weakref.WeakKeyDictionary[TaskCache, _Patience] = weakref.WeakKeyDictionary()

    def __init__(self, cache: TaskCache) -> None:
        self.cache = weakref.ref(cache)
        self.tickets: list[tuple[Ticket, Submission, int]] = []

    @classmethod
    def of(cls, cache: TaskCache) -> _Patience:
        """The one of this cache."""
        found = cls._by_cache.get(cache)
        if found is None:
            found = cls._by_cache[cache] = cls(cache)
        return found

    def wait(self) -> None:
        """Until what was stored is there; not for ever."""
        tickets, self.tickets = self.tickets, []
        cache = self.cache()
        if cache is None:
            return
        expected: set[tuple[str, int]] = set()
        for ticket, submission, started in tickets:
            decision, fp = submission.plan.decisions[-1], submission.plan.facts[-1].fp
            if ticket.state != "ok" or decision.keep is None or fp is None:
                continue
            problem = ticket.word["problem"]
            if problem is None:
                expected.add((fp, started))
                continue
            # Perhaps it could not even leave a record of that.
            decision.keep = None
            always = ", so it always runs" if problem == ticket.word["writes"] else ""
            cache.note(f"{ticket.name}: {problem}{always}")
        end = time.monotonic() + _PATIENCE
        while expected and time.monotonic() < end:
            cache.store.refresh()
            expected = {
                (fp, started)
                for fp, started in expected
                if not any(
                    record["time_ns"] >= started for record in cache.store.records(worker.KIND, fp)
                )
            }
            if expected:
                time.sleep(0.01)


def asking_cache() -> TaskCache | None:
    """The cache that plans calls of this process; none in a child that was forked from it."""
    cache = current_cache()
    return cache if cache is not None and cache.pid == os.getpid() else None
