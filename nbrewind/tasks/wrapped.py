"""A call as an engine gets it: the user's function with what is needed to record it where it runs.

Worker processes import this module, so it needs no more than they have: no engine, no Dask.

A result counts only if the call that ran is the call that was planned. So the worker fingerprints the call
again before it runs: a worker that was started before a function was edited, a global that has another value
there, an argument that was changed after it was handed over, all show as another content, and the result is
not stored. In the process that planned it, where a function can change what others see, the call is
fingerprinted once more afterwards.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
import pickle
import random
import sys
import threading
import time
import types
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cloudpickle

from nbrewind.fingerprint import Context, Fact, register
from nbrewind.hush import hushed
from nbrewind.tasks import worker
from nbrewind.tasks.content import DRAWS, READS_OUTSIDE, Literal, TaskContext, digest
from nbrewind.tasks.fingerprint import Fingerprinter, TaskFacts, environment_salt
from nbrewind.tasks.graph import Graph, Key, Node, TaskName
from nbrewind.tasks.surroundings import (
    are_seeded,
    are_settings_as_met,
    generator_states,
    meet_generators_on_workers,
    settings,
)

# This process; a forked child has the same token and another id, any other process another token.
_TOKEN = uuid.uuid4().hex
# What is printed in one call and more than this is not kept.
_MAX_PRINTED = 1 << 20
_MAX_PIECES = 20_000
_DRAWING_MODULES = frozenset("random secrets uuid time numpy.random torch.random".split())
_IMMUTABLE = (str, bytes, int, float, complex, bool, type(None))

Place = tuple[int, str]


def here() -> Place:
    """Names this process."""
    return (os.getpid(), _TOKEN)


# --- A call as a graph ---------------------------------------------------------------------------


class Ref:
    """Stands for the result of another call among the arguments."""

    __slots__ = ("key",)

    def __init__(self, key: Key) -> None:
        self.key = key


class CallSpec:
    """What the fingerprinter reads of a call, named as Dask names it."""

    __slots__ = ("args", "func", "kwargs")
    is_coro = False

    def __init__(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self.func = func
        self.args = args
        self.kwargs = kwargs


class _NoNode:
    """Nothing is one: calls have no nodes within nodes."""


class _Spec:
    """The kinds of nodes that calls have, in the place of `dask._task_spec`."""

    TaskRef = Ref
    GraphNode = _NoNode
    Alias = _NoNode
    DataNode = _NoNode


SPEC = _Spec


def name_of(func: Any) -> str:
    """The name of a function for people."""
    while isinstance(func, functools.partial):
        func = func.func
    name = getattr(func, "__name__", None) or type(func).__name__
    return "lambda" if name == "<lambda>" else str(name)


def graph_of(spec: CallSpec, key: TaskName) -> Graph:
    """One call as a graph; the calls that it refers to are outside."""
    node = Node(-1, key, "task", spec)
    nodes: list[Node] = []
    for value in (*spec.args, *spec.kwargs.values()):
        if isinstance(value, Ref) and value.key not in node.refs:
            source = Node(len(nodes), value.key, "external", None, dependents=[node])
            node.refs[value.key] = source
            nodes.append(source)
    node.idx = len(nodes)
    return Graph([*nodes, node], {key: node}, frozenset())


class _CallContext(TaskContext):
    """Also says whether arrays were seen that look otherwise when they have been sent."""

    has_views = False

    def facts(self, obj: Any) -> Fact:
        numpy = sys.modules.get("numpy")
        if numpy is not None and type(obj) is numpy.ndarray and obj.base is not None:
            self.has_views = True
        return super().facts(obj)


class CallFingerprinter(Fingerprinter):
    """Calls of library functions are watched and checked like those of the user's own."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.context: _CallContext = _CallContext()

    def _close(
        self,
        facts: TaskFacts,
        code: tuple[Any, ...],
        literals: list[Any],
        func: Literal | None,
        spec: Any = None,
        given: tuple[Literal, ...] = (),
    ) -> None:
        facts.is_user = True
        is_library = func is not None and not func.is_user
        if func is not None and is_library:
            called = func.obj
            while isinstance(called, functools.partial):
                called = called.func
            name = getattr(called, "__name__", "")
            module = getattr(called, "__module__", None)
            if module is None:
                module = type(getattr(called, "__self__", None)).__module__
            if name in READS_OUTSIDE or name in {"input", "getpass", "breakpoint"}:
                facts.opaque.append(f"reads what is outside its arguments: {name}")
            facts.is_suspect = name in DRAWS or module in _DRAWING_MODULES
        super()._close(facts, code, literals, func, spec, given)
        if is_library and not facts.n_refs:
            # What it opens is named by its arguments, and their content is in the fingerprint.
            facts.reads_natively = None
        facts.is_suspect = facts.is_suspect or any(map(_is_unseeded, _values_of(literals)))


def _values_of(literals: list[Any]) -> Iterator[Any]:
    for value in literals:
        yield value
        if isinstance(value, list | tuple):
            yield from value


def _is_unseeded(value: Any) -> bool:
    """True for estimators that draw their own seeds when they are fitted."""
    if isinstance(value, type) or not hasattr(value, "get_params"):
        return False
    try:
        params = value.get_params(deep=True)
    except Exception:  # noqa: BLE001 - anything may have a method of that name
        return True
    return any(
        name.endswith("random_state") and seed is None for name, seed in dict(params).items()
    )


@register("sklearn.utils.parallel:_FuncWrapper")
def _func_wrapper_fact(obj: Any, ctx: Context) -> Fact:
    """scikit-learn sends its settings and the filters of warnings along.

    Threads of its own leave now these filters and now those behind. Only one that raises decides on results.
    """
    filters = [tuple(map(repr, one)) for one in getattr(obj, "warning_filters", ())]
    if not any(one[0] == repr("error") for one in filters):
        filters = []
    return Fact("sklearn call", (obj.function, getattr(obj, "config", None), tuple(filters)))


def content_of(facts: TaskFacts) -> str | None:
    """Fingerprint of what a call is, wherever it is looked at; None when it has none."""
    if facts.opaque:
        return None
    return digest((environment_salt(), facts.scalars, *(one.fp for one in facts.literals)))


def content(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """Fingerprint of what a call is; None when it has none."""
    spec = CallSpec(func, tuple(map(_unmapped, args)), {k: _unmapped(v) for k, v in kwargs.items()})
    graph = graph_of(spec, TaskName(""))
    return content_of(CallFingerprinter(graph, spec=SPEC).run()[-1])


def content_when_sent(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> str | None:
    """The same of a copy: views of arrays are arrays of their own when they have been pickled."""
    args, kwargs = tuple(map(_unmapped, args)), {k: _unmapped(v) for k, v in kwargs.items()}
    try:
        # An older protocol: the arrays that it makes are no views of what was read.
        with hushed():
            sent = pickle.loads(cloudpickle.dumps((func, args, kwargs), protocol=4))
    except Exception:  # noqa: BLE001 - foreign __reduce__ may raise anything
        return None
    return content(*sent)


def _unmapped(value: Any, depth: int = 3) -> Any:
    """joblib hands large arrays over as mapped files: the content is what was planned."""
    if depth:
        kind = type(value)
        if kind in {tuple, list} and any(map(_may_hold_mapped, value)):
            return kind([_unmapped(item, depth - 1) for item in value])
        if kind is dict and any(map(_may_hold_mapped, value.values())):
            return {name: _unmapped(item, depth - 1) for name, item in value.items()}
    numpy = sys.modules.get("numpy")
    if numpy is not None and type(value) is numpy.memmap:
        return numpy.array(value)
    return value


def _may_hold_mapped(value: Any) -> bool:
    return not isinstance(value, _IMMUTABLE)


# --- What a call prints --------------------------------------------------------------------------

_printing = threading.local()
_streams_lock = threading.Lock()
_n_listening = 0


# Before the name of a stream: what was written is not shown yet.
_WAITING = "waiting "


def _is_buffered(stream: Any) -> bool:
    return isinstance(stream, io.TextIOWrapper) and not (
        stream.line_buffering or stream.write_through
    )


class _Tee:
    """Passes everything on, and keeps what the thread of a call writes."""

    def __init__(self, stream: Any, name: str) -> None:
        self._nbrewind_stream = stream
        self._nbrewind_name = name

    def write(self, text: str) -> Any:
        taken = getattr(_printing, "taken", None)
        if taken is not None and len(taken) < _MAX_PIECES:
            waits = _printing.is_elsewhere and _is_buffered(self._nbrewind_stream)
            taken.append([(_WAITING if waits else "") + self._nbrewind_name, text])
        return self._nbrewind_stream.write(text)

    def flush(self) -> None:
        for piece in getattr(_printing, "taken", None) or ():
            if piece[0] == _WAITING + self._nbrewind_name:
                piece[0] = self._nbrewind_name
        self._nbrewind_stream.flush()

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._nbrewind_stream, name)

    def __iter__(self) -> Any:
        return iter(self._nbrewind_stream)


@contextlib.contextmanager
def listening(*, is_elsewhere: bool = False) -> Iterator[list[list[str]]]:
    """What this thread writes to `sys.stdout` and `sys.stderr` meanwhile.

    `is_elsewhere`: in another process than the notebook's. What waits in a buffer there is shown when somebody flushes
    it, or nobody knows when; it is left out.
    """
    global _n_listening
    with _streams_lock:
        _n_listening += 1
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is not None and type(stream) is not _Tee:
                setattr(sys, name, _Tee(stream, name))
    outer = getattr(_printing, "taken", None)
    was_elsewhere = getattr(_printing, "is_elsewhere", False)
    taken: list[list[str]] = []
    _printing.taken, _printing.is_elsewhere = taken, is_elsewhere
    try:
        yield taken
    finally:
        taken[:] = [piece for piece in taken if not piece[0].startswith(_WAITING)]
        _printing.taken, _printing.is_elsewhere = outer, was_elsewhere
        if outer is not None:
            outer.extend(taken)
        with _streams_lock:
            _n_listening -= 1
            if _n_listening == 0:
                for name in ("stdout", "stderr"):
                    stream = getattr(sys, name)
                    if type(stream) is _Tee:
                        setattr(sys, name, stream._nbrewind_stream)


def _after_fork() -> None:
    global _streams_lock, _n_listening
    _streams_lock = threading.Lock()
    _n_listening = 0
    _tickets.clear()
    vars(_printing).clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def why_too_much(printed: list[list[str]]) -> str | None:
    """Why what was printed cannot be kept."""
    if len(printed) == _MAX_PIECES or sum(len(text) for _, text in printed) > _MAX_PRINTED:
        return "it prints too much to be kept"
    return None


def show(value: dict[str, Any]) -> None:
    """Print again what a replayed call printed."""
    for name, text in value.get("printed", ()):
        stream = getattr(sys, name)
        if stream is not None:
            stream.write(text)


# --- Generators of random numbers of the process ---------------------------------------------------


# What engines themselves drew from Python's generator: its state before -> after, as digests.
_drawn_by_engines: dict[bytes, bytes] = {}
_MAX_DRAWN = 10_000


def _digest_of(state: Any) -> bytes:
    return hashlib.blake2b(repr(state).encode(), digest_size=16).digest()


def choose(options: Sequence[Any]) -> Any:
    """`random.choice` for an engine: calls that run meanwhile on other threads did not draw that.

    A draw of theirs in between shows, as then the generator is not where this choice alone leaves it.
    """
    before = random.getstate()
    chosen = random.choice(options)
    own = random.Random()
    own.setstate(before)
    own.choice(options)
    after = own.getstate()
    if after == random.getstate():
        while len(_drawn_by_engines) >= _MAX_DRAWN:
            _drawn_by_engines.pop(next(iter(_drawn_by_engines)), None)
        _drawn_by_engines[_digest_of(before)] = _digest_of(after)
    return chosen


def _moved(before: tuple[Any, ...], after: tuple[Any, ...]) -> bool:
    """Is a generator elsewhere? One that has been imported meanwhile was no input."""
    return before != after and len(before) == len(after)


def _has_drawn(before: tuple[Any, ...], after: tuple[Any, ...]) -> bool:
    """Did anything but the engines move a generator of this process?"""
    if not _moved(before, after):
        return False
    if before[:-1] == after[:-1]:
        state, end = _digest_of(before[-1]), _digest_of(after[-1])
        for _ in range(_MAX_DRAWN):
            if state == end:
                return False
            if state not in _drawn_by_engines:
                return True
            state = _drawn_by_engines[state]
    return True


# --- Running -------------------------------------------------------------------------------------

# Calls of this process that have not come back, by number.
_tickets: dict[int, Any] = {}


class Away:
    """A result on its way back: arrives as the value alone, and leaves word of how it was made."""

    __slots__ = ("number", "value", "word")

    def __init__(self, value: Any, number: int, word: dict[str, Any]) -> None:
        self.value = value
        self.number = number
        self.word = word

    def __reduce__(self) -> Any:
        return arrive, (self.value, self.number, self.word)


def arrive(value: Any, number: int, word: dict[str, Any]) -> Any:
    """Hear what `Away` has to say, in the process that asked; the value."""
    ticket = _tickets.pop(number, None) if word["home"] == _TOKEN else None
    if ticket is not None:
        ticket.arrived(word)
    return value


class Wrapped:
    """Runs a call in the place of the user's function. Without a `call` it is only watched."""

    __slots__ = ("args", "call", "content", "func", "home", "kwargs", "number", "store")

    def __init__(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        call: worker.Call | None,
        content: str | None,
        store: str,
        number: int,
    ) -> None:
        self.func = func
        self.args = args
        self.kwargs = kwargs
        self.call = call
        self.content = content
        self.store = store
        self.number = number
        self.home = here()

    def __call__(self) -> Any:
        is_home = self.home == here()
        ticket = _tickets.get(self.number) if is_home else None
        is_planned = self.call is not None and self._is_planned(is_home)
        function = None if is_home else self._function_content()
        is_near = is_home or self.home[1] == _TOKEN
        if not is_home:
            meet_generators_on_workers()
        before, settings_before = generator_states(True), settings()
        has_settings = is_home or are_settings_as_met()
        try:
            listener: contextlib.AbstractContextManager[list[list[str]]] = (
                listening() if self.call is not None else contextlib.nullcontext([])
            )
            folders = self.call.folders if self.call is not None else ()
            with worker.Recorder(self.store, folders) as recorder, listener as printed:
                started = time.perf_counter()
                value = self.func(*self.args, **self.kwargs)
                seconds = time.perf_counter() - started
        except BaseException:
            if ticket is not None:
                _tickets.pop(self.number, None)
                ticket.failed()
            raise
        writes = None
        after = generator_states(True)
        has_drawn = not is_home and before != after
        if is_home:
            is_state = _has_drawn(before, after)
        else:
            # A forked child has the state of this process, apart from Python's generator, which Python seeds anew.
            is_state = has_drawn and (
                (is_near and _moved(before[:-1], after[:-1])) or are_seeded(before)
            )
        if is_state:
            writes = worker.OF_GENERATORS
        if settings() != settings_before:
            writes = worker.OF_SETTINGS
        word = self._word(recorder, writes)
        # The notebook shows what forked children print, and no record of the cell has it.
        word["printed"] = not is_home and is_near and bool(printed)
        if self.call is not None:
            word["problem"] = self._keep(
                self.call,
                value,
                seconds,
                recorder,
                printed,
                writes,
                is_planned,
                function,
                has_drawn,
                has_settings,
            )
            if not is_home and _is_pool_worker():
                # Such workers may be ended as soon as they have answered.
                worker.flush()
        if ticket is not None:
            _tickets.pop(self.number, None)
            ticket.arrived(word)
        return value if is_home else Away(value, self.number, word)

    def _is_planned(self, is_home: bool) -> bool:
        """Is this the call that was planned, as far as can be told here?"""
        if self.content is None or self._content() == self.content:
            return self.content is not None
        with worker.off_the_record():
            sent = None if is_home else content_when_sent(self.func, self.args, self.kwargs)
        return sent == self.content

    def _content(self) -> str | None:
        with worker.off_the_record():
            try:
                return content(self.func, self.args, self.kwargs)
            except Exception:  # noqa: BLE001 - foreign __reduce__ may raise anything
                return None

    def _function_content(self) -> str | None:
        """The function without what it is bound to: that came with the call and goes with it."""
        func: Any = self.func
        while True:
            if isinstance(func, functools.partial):
                func = func.func
            elif isinstance(func, types.MethodType):
                func = func.__func__
            else:
                return TaskContext().literal(func).fp

    def _keep(
        self,
        call: worker.Call,
        value: Any,
        seconds: float,
        recorder: worker.Recorder,
        printed: list[list[str]],
        writes: str | None,
        is_planned: bool,
        function: str | None,
        has_drawn: bool,
        has_settings: bool,
    ) -> str | None:
        refused = None
        if not has_settings:
            refused = "something has changed settings of its process before"
        elif not is_planned:
            refused = "the call that ran is not the one that was planned"
        elif (too_much := why_too_much(printed)) is not None:
            refused = too_much
        elif function is None:
            writes = writes or self._changed_here(value)
        elif self._function_content() != function:
            # What it was given are copies; what it refers to stays in that process.
            writes = writes or "changes an object that its function refers to"
        return worker.keep(
            call,
            value,
            seconds,
            recorder,
            writes=writes,
            refused=refused,
            printed=printed,
            has_drawn=has_drawn,
        )

    def _changed_here(self, value: Any) -> str | None:
        """What this call did to objects that others in this process have, too."""
        if self._content() != self.content:
            return "changes an object that it was given or refers to"
        if not isinstance(value, _IMMUTABLE) and _shares(
            value, (self.func, self.args, self.kwargs)
        ):
            return "gives an object that others have, too"
        return None

    def _word(self, recorder: worker.Recorder, writes: str | None) -> dict[str, Any]:
        files: dict[str, str | None] = {}
        with contextlib.suppress(OSError, ValueError):
            for path, _ in recorder.read:
                if path not in recorder.written and not os.path.isdir(path):
                    files[path] = worker.content(path)
            files.update({path: names for (path, _), names in recorder.listed.items()})
        return {
            "home": self.home[1],
            "files": files,
            "writes": writes or recorder.why_writer(),
            "problem": None,
        }


def _is_pool_worker() -> bool:
    module = sys.modules.get("multiprocessing.process")
    return module is not None and bool(module.current_process().daemon)


def _shares(value: Any, others: tuple[Any, ...]) -> bool:
    """Has a result mutable parts that the call was given, or that its function refers to?"""
    try:
        _, groups, _ = TaskContext().walk_namespace([value, others])
    except Exception:  # noqa: BLE001 - foreign __reduce__ may raise anything
        return True
    return any(len(group) > 1 for group in groups)


class Chunk:
    """Several calls that an engine runs as one task: each is run, or loaded."""

    __slots__ = ("parts",)

    def __init__(self, parts: list[Wrapped | Loaded]) -> None:
        self.parts = parts

    def __call__(self) -> list[Any]:
        return [part() for part in self.parts]


class Loaded:
    """A call whose result is stored. `is_checked`: only for the code and the globals of the process where it runs."""

    __slots__ = ("is_checked", "stored", "wrapped")

    def __init__(
        self, stored: worker.Stored, wrapped: Wrapped, *, is_checked: bool = False
    ) -> None:
        self.stored = stored
        self.wrapped = wrapped
        self.is_checked = is_checked

    def __call__(self) -> Any:
        if self.is_checked and not self.wrapped._is_planned(False):
            return self.wrapped()
        try:
            value = worker.load(self.stored)
        except worker.LoadError:
            return self.wrapped()
        word: dict[str, Any] = {
            "home": self.wrapped.home[1],
            "files": {},
            "writes": None,
            "problem": None,
        }
        word["printed"] = False
        return Away(value, self.wrapped.number, word)


class Rest:
    """A wrapped call without what it calls, for engines that send functions and arguments their own way."""

    __slots__ = ("wrapped",)

    def __init__(self, wrapped: Wrapped) -> None:
        self.wrapped = wrapped

    def __reduce__(self) -> Any:
        one = self.wrapped
        return _rest, (one.call, one.content, one.store, one.number, one.home)

    def __call__(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.wrapped.func, self.wrapped.args, self.wrapped.kwargs = func, args, kwargs
        found = self.wrapped()
        # Nobody knows how long this process lives.
        worker.flush()
        return found


def _rest(
    call: worker.Call | None, content: str | None, store: str, number: int, home: Place
) -> Rest:
    made = Wrapped(None, (), {}, call=call, content=content, store=store, number=number)  # type: ignore[arg-type]
    made.home = home
    return Rest(made)


def probe(path: str, inode: int | None) -> dict[str, Any]:
    """Asked of workers that nothing is known of: can they record, and which process are they?"""
    return {**worker.probe(path, inode), "place": list(here())}


class Probe:
    """Asks `probe` of any process, also of one that does not have this package: unpickling it fails there."""

    def __init__(self, path: str, inode: int | None) -> None:
        self.path = path
        self.inode = inode

    def __reduce__(self) -> Any:
        return probe, (self.path, self.inode)
