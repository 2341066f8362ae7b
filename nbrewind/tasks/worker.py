"""What runs where a task runs: execute and store, or load.

Imports only the standard library, `nbrewind._native` and cloudpickle: a worker must not pay for
more.

`run` executes one task while recording what it touches, then stores the value. Whatever goes wrong
with storing never reaches the task: it is noted in the store as a record with status `not
captured` where that is possible. `load` gives a stored value back. Records become durable in the
background, or when `flush` is called.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import json
import logging
import os
import pickle
import sys
import threading
import time
import weakref
from typing import Any

import cloudpickle

from nbrewind import _native
from nbrewind.hush import hushed
from nbrewind.tasks import given, left
from nbrewind.tasks.recorder import (
    CONNECTS,
    Recorder,
    content,
    left_at,
    listing,
    names_of,
    off_the_record,
    signature,
)

__all__ = ["Recorder", "content", "left_at", "listing", "off_the_record", "signature"]

logger = logging.getLogger("nbrewind.tasks")

KIND = "task"
OF_SETTINGS = "changes settings of its process"
OF_MODULES = "changes what modules of the user's hold in that process"
# What a task changes that seeds a generator of random numbers, or draws what a seed decides.
OF_GENERATORS = "draws from a generator that belongs to the whole process, or seeds it"
# Results whose storing is a choice are stored when computing took longer than writing this many
# bytes a second would.
BYTES_PER_SECOND = 200e6
_COMMIT_EVERY = 0.1


class LoadError(Exception):
    """A stored result could not be read; the task has to run."""


class OtherCodeError(LoadError):
    """A stored result is not what would come out in this process, where code has the same name and is another one."""


class Call:
    """One task with what is needed to record it. Hides the task from the scheduler's graph walk."""

    __slots__ = (
        "absent",
        "as_made",
        "by_name",
        "components",
        "cwd",
        "distrust",
        "draws",
        "files",
        "folders",
        "found",
        "fp",
        "givers",
        "is_repair",
        "is_suspect",
        "is_trusted",
        "keep",
        "marks",
        "may_equal",
        "name",
        "names",
        "notes",
        "pid",
        "reads_natively",
        "remotes",
        "scopes",
        "shared",
        "shows",
        "shows_away",
        "spec",
        "stem",
        "store",
        "writes",
    )

    def __init__(
        self,
        store: str,
        fp: str,
        name: str,
        spec: Any,
        names: list[Any],
        *,
        keep: str,
        files: dict[str, Any],
        components: dict[str, str],
        marks: list[str],
        draws: list[str],
        cwd: str,
        reads_natively: str | None,
        is_trusted: bool,
        shared: dict[str, str] | None = None,
        notes: dict[str, dict[str, str]] | None = None,
        stem: str | None = None,
        may_equal: bool = False,
        is_repair: bool = False,
        remotes: list[tuple[Any, str, str]] | None = None,
        is_suspect: bool = False,
        by_name: list[tuple[str, str, str]] | None = None,
        absent: list[str] | None = None,
        shows: bool = False,
        writes: str | None = None,
        folders: list[str] | None = None,
        givers: list[given.Giver] | None = None,
        scopes: list[str] | None = None,
        shows_away: bool = False,
        distrust: str | None = None,
        as_made: list[str | None] | None = None,
    ) -> None:
        self.store = store
        self.fp = fp
        self.name = name
        self.spec = spec
        # Fingerprints of values that `run` gets, where names in this process may have the very objects.
        self.as_made = as_made
        # Why nothing is kept that other processes than this one give; None: no reason.
        self.distrust = distrust
        # The keys that `spec` refers to, in the order of the values that `run` gets.
        self.names = names
        # "always", or "cheap": only when it is cheaper to load than to run.
        self.keep = keep
        # Signatures of the files that literals name, as they were when they were hashed.
        self.files = files
        self.components = components
        self.marks = marks
        # Suspect tasks whose draws the result stands on.
        self.draws = draws
        # Where the client is: relative paths mean the same only there.
        self.cwd = cwd
        # A name that opens files without Python: the result counts only if that could be watched.
        self.reads_natively = reads_natively
        # The engine's own bookkeeping: what it writes concerns nobody.
        self.is_trusted = is_trusted
        # Components and constants that many tasks have in common.
        self.shared = shared
        self.notes = notes
        # What the task does, whatever it is given: an earlier run that was given the same will do
        # (`may_equal`: there was an earlier run).
        self.stem = stem
        self.may_equal = may_equal
        # What was stored of it is damaged: this process has to see that before it stores it again.
        self.is_repair = is_repair
        # Remote files: (file system, path, version as it was when the task was planned).
        self.remotes = remotes
        # Would the notebook show what it prints, when it runs in the notebook's process?
        self.shows = shows
        # And when it runs in another one, whose output goes to the notebook?
        self.shows_away = shows_away
        # Does its code speak of drawing?
        self.is_suspect = is_suspect
        # A name that writes files without Python: the result counts only if that could be watched.
        self.writes = writes
        # The process that planned it; in others, code that is sent by its name may be another one:
        # (module, name, fingerprint), and names that had no meaning.
        self.pid = os.getpid()
        self.by_name = by_name
        self.absent = absent
        # Folders that the user's code names: what it reads in them shows only if native code is watched, too.
        self.folders = folders or []
        # Where the values that `run` gets come from; None: it does not change them.
        self.givers = givers
        # The session, and the graph.
        self.scopes = scopes
        # What turned out about what it was given.
        self.found: dict[str, Any] = {}

    def is_shown(self) -> bool:
        """Does the notebook show what it prints here?"""
        return self.shows if self.pid == os.getpid() else self.shows_away


class Look:
    """One task that is not recorded: only what it does to what it is given is looked at."""

    __slots__ = ("givers", "name", "names", "spec", "store")

    def __init__(
        self, store: str, name: str, spec: Any, names: list[Any], givers: list[given.Giver]
    ) -> None:
        self.store = store
        self.name = name
        self.spec = spec
        self.names = names
        self.givers = givers


class Stored:
    """Where a stored value is."""

    __slots__ = ("absent", "by_name", "fp", "name", "pid", "store", "value")

    def __init__(
        self,
        store: str,
        fp: str,
        name: str,
        value: dict[str, Any],
        *,
        by_name: list[tuple[str, str, str]] | None = None,
        absent: list[str] | None = None,
    ) -> None:
        self.store = store
        self.fp = fp
        self.name = name
        self.value = value
        # As of a `Call`: the task would have run where the value is loaded.
        self.pid = os.getpid()
        self.by_name = by_name
        self.absent = absent


# --- Stores of this process ----------------------------------------------------------------------

_lock = threading.Lock()
_stores: dict[tuple[int, str], Any] = {}
_dirty: dict[tuple[int, str], Any] = {}
_wake = threading.Event()
# Held while something is made durable: whoever flushes waits for what others have begun.
_committing = threading.Lock()
_committers: set[int] = set()


def open_store(path: str) -> Any:
    """This process's writer to the store in `path`."""
    key = (os.getpid(), path)
    with _lock:
        store = _stores.get(key)
        if store is None:
            store = _stores[key] = _native.Store(path)
        return store


def _after_fork() -> None:
    """A child of a process that was in the middle of something begins with nothing."""
    global _lock, _wake, _committing
    _lock, _wake, _committing = threading.Lock(), threading.Event(), threading.Lock()
    _dirty.clear()
    kernel: Any = sys.modules.get("nbrewind.kernel.outside")
    if kernel is not None:
        # The cell's watch is the parent's.
        kernel._active = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _mark_dirty(path: str, store: Any) -> None:
    pid = os.getpid()
    with _lock:
        _dirty[(pid, path)] = store
        is_new = pid not in _committers
        _committers.add(pid)
    if is_new:
        threading.Thread(target=_commit_forever, name="nbrewind-commit", daemon=True).start()
        if (
            "multiprocessing.process" in sys.modules
            and sys.modules["multiprocessing.process"].parent_process() is not None
        ):
            # Pool processes leave without running atexit.
            from multiprocessing import util

            util.Finalize(None, flush, exitpriority=100)
        atexit.register(flush)
    _wake.set()


def _commit_forever() -> None:
    while True:
        _wake.wait()
        time.sleep(_COMMIT_EVERY)
        _wake.clear()
        flush()


def flush() -> str | None:
    """Make everything that this process has stored durable. Returns what went wrong, if anything."""
    with _committing:
        with _lock:
            pending = {key: store for key, store in _dirty.items() if key[0] == os.getpid()}
            for key in list(_dirty):
                del _dirty[key]
        for store in pending.values():
            try:
                store.commit()
            except _native.StoreError as error:
                logger.warning("task results could not be stored: %s", error)
                return str(error)
    return None


def probe(path: str, inode: int | None) -> dict[str, Any]:
    """Can this process use the store in `path`, and is it the same folder as the caller's?"""
    found: dict[str, Any] = {
        "python": list(sys.version_info[:2]),
        "error": None,
        "process": [os.uname().nodename, os.getpid()],
        "streams": streams(),
        "folder": folder(),
    }
    _generators(False)
    try:
        if inode is not None and os.stat(path).st_ino != inode:
            found["error"] = f"{path} is another folder there"
        else:
            open_store(path)
    except (OSError, _native.StoreError) as error:
        found["error"] = str(error)
    return found


def folder() -> int | None:
    """The working directory, as every machine that has it mounted knows it."""
    try:
        return os.stat(".").st_ino
    except OSError:
        return None


def streams() -> Any:
    """Where this process writes what it prints, as every process of the machine knows it; None: nobody can say."""
    try:
        found = [os.fstat(descriptor) for descriptor in (1, 2)]
    except OSError:
        return None
    return [os.uname().nodename, *([one.st_dev, one.st_ino] for one in found)]


def is_here(process: Any) -> bool:
    """Did this process itself answer to `probe`?"""
    return bool(process == [os.uname().nodename, os.getpid()])


# --- Run and load --------------------------------------------------------------------------------


def run(call: Call, *values: Any) -> Any:
    """Execute the task and store its result."""
    is_home = call.pid == os.getpid()
    refused = None if is_home else call.distrust or _why_other_code(call)
    refused = refused or _why_changed(call, values)
    inputs = _inputs(values) if call.stem is not None and refused is None else None
    if inputs is not None and call.may_equal:
        found = _equal_run(call, inputs)
        if found is not None:
            if call.is_shown():
                _show(found.named)
            return found.value
    arguments = dict(zip(call.names, values, strict=True))
    was_given = given.Given(call.givers, values) if call.givers else None
    before = _generators(is_home)
    settings = _settings()
    if not is_home and refused is None:
        refused = _why_other_settings()
    # Before the recorder: what we import is no file of the task's.
    listening = _listening(call)
    try:
        with Recorder(call.store, call.folders) as recorder, listening as printed:
            started = time.perf_counter()
            value = call.spec(arguments)
            seconds = time.perf_counter() - started
    finally:
        # Exceptions of the task pass through: errors are not stored. What it has changed stays changed.
        if was_given is not None:
            has_changed = _note_changed(call.store, call.fp, call.name, was_given)
    if was_given is not None:
        was_given.note_parts(call.fp, call.scopes or [], value)
        call.found = was_given.found
        if has_changed or "parts" in call.found:
            # Who is given the same has to change it, too, or to give a part of it.
            inputs = None
    refused = refused or _why_changed(call, values)
    if call.as_made is not None:
        call.found["is_apart"] = _is_apart(call, value, values)
    del arguments, values, was_given
    has_drawn = _have_moved(before)
    writes = None
    if _settings() != settings:
        writes = OF_SETTINGS
    if not is_home and refused is None and _why_other_code(call) is not None:
        # What it was given are copies; the user's modules stay in that process.
        writes = OF_MODULES
    if has_drawn and not call.is_trusted:
        drawn, why_not = _drawn(call, recorder, before)
        writes, refused = writes or drawn, refused or why_not
    if printed is not None:
        refused = refused or _why_too_much(printed)
    keep(
        call,
        value,
        seconds,
        recorder,
        writes=writes,
        refused=refused,
        printed=printed,
        inputs=inputs,
        has_drawn=has_drawn,
    )
    return value


def _why_changed(call: Call, values: tuple[Any, ...]) -> str | None:
    """Why the result says nothing: what the task is given is not, or no more, what was made under its fingerprint."""
    for value, fp in zip(values, call.as_made or (), strict=False):
        if fp is not None and not is_as_made(value, fp):
            return "what it was given may have been changed meanwhile"
    return None


def _is_apart(call: Call, result: Any, values: tuple[Any, ...]) -> bool:
    """Is the result an object of its own, so that nobody can change it by changing what the task was given?"""
    with off_the_record():
        own = (
            *getattr(call.spec, "args", (call.spec,)),
            *getattr(call.spec, "kwargs", {}).values(),
        )
        return not any(given.may_share(result, one) for one in (*values, *own))


def look(task: Look, *values: Any) -> Any:
    """Execute a task of which nothing is stored."""
    was_given = given.Given(task.givers, values)
    try:
        return task.spec(dict(zip(task.names, values, strict=True)))
    finally:
        _note_changed(task.store, "", task.name, was_given)


def _note_changed(path: str, fp: str, name: str, was_given: given.Given) -> bool:
    """Note what a task has changed, before anything is known that comes after it. Has it changed anything?"""
    changed, guessed = was_given.changed(), was_given.guessed
    if not changed and not guessed:
        return False
    with off_the_record():
        try:
            given.note(open_store(path), fp, name, changed, guessed)
        except (_native.StoreError, OSError) as error:
            logger.warning("what %s changed could not be noted: %s", name, error)
    return True


def _listening(call: Call) -> contextlib.AbstractContextManager[list[list[str]] | None]:
    """What the task prints where the notebook shows it; None elsewhere."""
    if not call.is_shown():
        return contextlib.nullcontext(None)
    from nbrewind.tasks.wrapped import listening

    return listening(is_elsewhere=call.pid != os.getpid())


def _why_too_much(printed: list[list[str]]) -> str | None:
    from nbrewind.tasks.wrapped import why_too_much

    return why_too_much(printed)


def _show(named: dict[str, Any]) -> None:
    from nbrewind.tasks.wrapped import show

    show(named)


def _generators(is_home: bool) -> tuple[Any, ...]:
    from nbrewind.tasks import surroundings

    if not is_home:
        surroundings.meet_generators_on_workers()
    return surroundings.generator_states(True)


def _have_moved(before: tuple[Any, ...]) -> bool:
    from nbrewind.tasks.surroundings import have_moved

    return have_moved(before)


def _why_other_settings() -> str | None:
    from nbrewind.tasks.surroundings import are_settings_as_met

    return None if are_settings_as_met() else "something has changed settings of its process before"


def _settings() -> str:
    from nbrewind.tasks.surroundings import settings

    return settings()


def _drawn(
    call: Call, recorder: Recorder, before: tuple[Any, ...]
) -> tuple[str | None, str | None]:
    """What it means that a generator of the process moved: (what it changed, why it is not stored)."""
    from nbrewind.tasks.surroundings import are_seeded

    is_home, is_seeded = call.pid == os.getpid(), are_seeded(before)
    if (is_home or is_seeded) and not call.is_suspect and not recorder.is_alone:
        return None, "something drew from a generator of the whole process while it ran"
    if is_seeded or (is_home and not call.is_suspect):
        return OF_GENERATORS, None
    return None, None


def _why_other_code(call: Call | Stored) -> str | None:
    """Why the code that runs here is not the one that was planned; None: it is."""
    if not call.by_name and not call.absent:
        return None
    from nbrewind.tasks.surroundings import why_not_the_same

    try:
        with off_the_record():
            return why_not_the_same(call.by_name or [], call.absent or [])
    except Exception as error:  # noqa: BLE001 - the user's modules may raise anything
        return f"{type(error).__name__}: {error}"[:300]


def keep(
    call: Call,
    value: Any,
    seconds: float,
    recorder: Recorder,
    *,
    writes: str | None = None,
    refused: str | None = None,
    printed: list[list[str]] | None = None,
    inputs: str | None = None,
    has_drawn: bool = False,
) -> str | None:
    """Store what a task gave. Returns why it was not captured, if it was not.

    `writes`: what it changed besides what the recorder saw; `refused`: why it must not be stored;
    `printed`: what it printed, when that is known; `inputs`: digest of what it was given; `has_drawn`: a generator of
    the whole process moved meanwhile.
    """
    with off_the_record():
        try:
            if refused is None:
                return _keep(call, value, seconds, recorder, writes, printed, inputs, has_drawn)
            _note_failure(call, seconds, refused)
            return refused
        except Exception as error:  # noqa: BLE001 - foreign __reduce__ may raise anything
            logger.warning(
                "the result of %s was not stored: %s: %s", call.name, type(error).__name__, error
            )
            reason = f"{type(error).__name__}: {error}"[:300]
            _note_failure(call, seconds, reason)
            return reason


def _keep(
    call: Call,
    value: Any,
    seconds: float,
    recorder: Recorder,
    writes: str | None,
    printed: list[list[str]] | None,
    inputs: str | None,
    has_drawn: bool,
) -> str | None:
    store = open_store(call.store)
    if call.remotes:
        recorder.changes = [what for what in recorder.changes if what != CONNECTS]
    is_writer = writes is not None
    writes = writes or (None if call.is_trusted else recorder.why_writer()) or call.writes
    if writes is None:
        return _keep_result(call, store, value, seconds, recorder, None, printed, inputs, has_drawn)
    files = None if is_writer else _left_behind(call, recorder)
    if files is not None:
        try:
            kept = (writes, files)
            _keep_result(call, store, value, seconds, recorder, kept, printed, None, has_drawn)
            return None
        except Exception as error:  # noqa: BLE001 - foreign __reduce__ may raise anything
            logger.info("the result of %s was not stored: %s", call.name, error)
    if call.writes is not None and not recorder.is_watched:
        _note_failure(call, seconds, f"what it writes ({call.writes}) could not be watched here")
    else:
        _append(call, store, {**_head(call, seconds), "status": "writer", "reason": writes}, [])
    return writes


def _left_behind(call: Call, recorder: Recorder) -> list[list[Any]] | None:
    """What a task that writes left where it wrote; None when that is not certain."""
    if call.writes is not None and not recorder.is_watched:
        return None
    return recorder.left_behind(call.cwd) or None


def _keep_result(
    call: Call,
    store: Any,
    value: Any,
    seconds: float,
    recorder: Recorder,
    kept: tuple[str, list[list[Any]]] | None,
    printed: list[list[str]] | None,
    inputs: str | None,
    has_drawn: bool,
) -> str | None:
    """Store a result. `kept`: what the task changed outside, and what it left there.

    Records of such tasks have the status of a writer, so that whoever does not look at what it left runs them.
    """
    record = _head(call, seconds)
    for path, before in call.files.items():
        # What it has overwritten without a look at it is no input.
        if os.path.abspath(path) not in recorder.written and signature(path) != before:
            raise RuntimeError(f"{path} changed after the task was planned")
    if call.remotes:
        from nbrewind.tasks import remote

        for filesystem, path, version in call.remotes:
            if remote.version_of(filesystem, path) != version:
                raise RuntimeError(f"{path} changed after the task was planned")
    if call.reads_natively is not None and not recorder.is_watched:
        raise RuntimeError(
            f"it reads files natively ({call.reads_natively}), which could not be watched here"
        )
    files = [] if call.is_trusted else _discovered(call, recorder)
    buffers: list[pickle.PickleBuffer] = []
    with hushed():
        head = cloudpickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    views = [buffer.raw() for buffer in buffers]
    n_bytes = len(head) + sum(view.nbytes for view in views)
    if call.keep == "cheap" and kept is None and n_bytes / BYTES_PER_SECOND > seconds:
        return None
    named: dict[str, Any] = {
        "head": _put(call, store, head),
        "buffers": [[_put(call, store, view), view.readonly] for view in views],
    }
    needs = [*named["head"], *(chunk for chunks, _ in named["buffers"] for chunk in chunks)]
    if printed is not None:
        named["printed"] = printed
    if call.stem is not None or call.keep == "always":
        digest = _content(value, n_bytes, seconds)
        if digest is not None:
            named["digest"] = digest
            _note_made(call.fp, digest)
    done: dict[str, Any] = {
        "status": "ok",
        "value": named,
        "bytes": n_bytes,
        "files": files,
        "marks": call.marks,
        "draws": call.draws,
        "scopes": call.scopes,
        **{
            name: call.found[name] for name in ("leaves", "parts", "is_apart") if name in call.found
        },
    }
    if has_drawn:
        done["has_drawn"] = True
    if kept is not None:
        done |= {"status": "writer", "reason": kept[0], "left": kept[1]}
        copied = left.copies(store, kept[1], lambda size: size / BYTES_PER_SECOND <= seconds)
        if copied is not None:
            done["copies"] = copied
            needs += left.chunks_of(copied)
    _append(call, store, record | done, needs)
    if call.stem is not None and inputs is not None and not files and not has_drawn:
        again = {
            "fingerprint": call.stem,
            "name": call.name,
            "seconds": seconds,
            "status": "by inputs",
            "inputs": inputs,
            "value": named,
            "bytes": n_bytes,
            "leaves": call.found.get("leaves_at", []),
            "is_apart": call.found.get("is_apart", False),
        }
        store.append(KIND, call.stem, json.dumps(again), needs)
    return None


def _put(call: Call, store: Any, data: Any) -> list[str]:
    chunks: list[str] = store.put(data)
    if call.is_repair:
        try:
            store.get(chunks)
        except _native.StoreError:
            chunks = store.put(data)
    return chunks


def _head(call: Call, seconds: float) -> dict[str, Any]:
    """What every record of a task says."""
    record = {
        "fingerprint": call.fp,
        "name": call.name,
        "seconds": seconds,
        "components": {**call.shared, **call.components} if call.shared else call.components,
    }
    if call.notes:
        record["notes"] = call.notes
    return record


# --- Early cut-off: the same task, given the same ---------------------------------------------------
#
# A second index names results by what the task does and by the content of what it was given. A task
# whose inputs had to be computed again, and came out as before, need not run.

# Larger results have a digest only if that costs little beside computing them.
_DIGEST_BYTES = 64 << 20
_DIGEST_RATE = 1e9
# Values of which nothing is known are read if they are no larger than this.
_SMALL_BYTES = 4 << 20
_SMALL_ITEMS = 10_000

# Id of a value -> the value (weakly) and its digest, until the first task gets it: that one may
# change it in place.
_digests: dict[int, tuple[weakref.ref[Any], str]] = {}


@dataclasses.dataclass(slots=True)
class _Found:
    value: Any
    named: dict[str, Any]


def _content(value: Any, n_bytes: int, seconds: float) -> str | None:
    """Digest of a result, remembered for the tasks that get it; None when it has none or costs too much."""
    if n_bytes > _DIGEST_BYTES and n_bytes / _DIGEST_RATE > 0.1 * seconds:
        return None
    digest = _digest(value)
    if digest is not None:
        _remember(value, digest)
    return digest


# Fingerprints of tasks -> digests of what they gave in this process.
_made: dict[str, set[str]] = {}
_MAX_MADE = 100_000


def _note_made(fp: str, digest: str | None) -> None:
    if digest is not None:
        if len(_made) >= _MAX_MADE:
            _made.clear()
        _made.setdefault(fp, set()).add(digest)


def is_as_made(value: Any, fp: str) -> bool:
    """Is it known that this is, now, what a task with this fingerprint gave in this process?"""
    if given.is_fixed(value):
        return True
    known = _made.get(fp)
    if known is None:
        return False
    with off_the_record():
        try:
            return _digest(value) in known
        except Exception:  # noqa: BLE001 - foreign __reduce__ may raise anything
            return False


def _digest(value: Any) -> str | None:
    from nbrewind.tasks.content import value_fingerprint

    return value_fingerprint(value)


def forget_digests() -> None:
    """From now on others than tasks have the results of this process, and may change them."""
    _digests.clear()


def _remember(value: Any, digest: str, *, is_loaded: bool = False) -> None:
    key = id(value)
    if not is_loaded and getattr(value, "base", None) is not None:
        # Whoever has the memory that this is a view of can change it.
        _digests.pop(key, None)
        return
    with contextlib.suppress(TypeError):
        _digests[key] = (weakref.ref(value, lambda _: _digests.pop(key, None)), digest)


def _inputs(values: tuple[Any, ...]) -> str | None:
    """Digest of what a task is given, or None when that is not known cheaply."""
    with off_the_record():
        try:
            found = []
            for value in values:
                known = _digests.pop(id(value), None)
                if _is_small(value):
                    digest = _digest(value)
                else:
                    digest = known[1] if known is not None and known[0]() is value else None
                if digest is None:
                    return None
                found.append(digest)
            return _native.scalar_digest(tuple(found))
        except Exception:  # noqa: BLE001 - foreign __reduce__ may raise anything
            return None


def _is_small(value: Any, depth: int = 2) -> bool:
    if value is None or isinstance(value, bool | int | float | complex):
        return True
    if isinstance(value, str | bytes | bytearray):
        return len(value) <= _SMALL_BYTES
    if isinstance(value, list | tuple | set | frozenset | dict):
        if depth == 0 or len(value) > _SMALL_ITEMS:
            return False
        items = value.values() if isinstance(value, dict) else value
        return all(_is_small(item, depth - 1) for item in items)
    n_bytes = getattr(value, "nbytes", None)
    if isinstance(n_bytes, int):
        return n_bytes <= _SMALL_BYTES
    size = getattr(value, "size", None)
    return isinstance(size, int) and size * 16 <= _SMALL_BYTES


def _equal_run(call: Call, inputs: str) -> _Found | None:
    """The result of an earlier run of this task that was given the same; recorded as this one's, too."""
    assert call.stem is not None
    with off_the_record():
        try:
            if any(signature(path) != before for path, before in call.files.items()):
                return None
            store = open_store(call.store)
            records = [json.loads(text) for _, text in _native.record_texts(store, KIND, call.stem)]
            if any(record["status"] != "by inputs" for record in records):
                return None
            equal = [record for record in records if record["inputs"] == inputs]
            # It was seen to leave what others see as it is.
            seen = {at for at, one in enumerate(call.givers or ()) if given.seen_by_others(one)}
            equal = [record for record in equal if seen.issubset(record.get("leaves", ()))]
            if call.as_made is not None:
                equal = [record for record in equal if record.get("is_apart")]
            if not equal:
                return None
            before = equal[-1]
            if call.keep == "cheap" and before["bytes"] / BYTES_PER_SECOND > before["seconds"]:
                return None
            named = before["value"]
            if call.is_shown() and "printed" not in named:
                return None
            value = load(Stored(call.store, call.fp, call.name, named))
            record = _head(call, before["seconds"]) | {
                "status": "ok",
                "value": named,
                "bytes": before["bytes"],
                "files": [],
                "marks": call.marks,
                "draws": call.draws,
                "scopes": call.scopes,
                "is_apart": call.as_made is not None,
                "equals": True,
            }
            needs = [*named["head"], *(chunk for chunks, _ in named["buffers"] for chunk in chunks)]
            _append(call, store, record, needs)
            return _Found(value, named)
        except Exception as error:  # noqa: BLE001 - whatever it is, the task can run
            logger.info("an earlier result of %s was not taken: %s", call.name, error)
            return None


def _discovered(call: Call, recorder: Recorder) -> list[list[Any]]:
    """Inputs that only running showed: [kind, absolute path or None, relative path or None, digest]."""
    found: list[list[Any]] = []
    cwd = os.getcwd()
    known = {os.path.abspath(path) for path in call.files}
    known_folders = tuple(path + os.sep for path in known)

    def add(kind: str, path: str, given: str, fact: str | None) -> None:
        absolute, relative = names_of(path, given, cwd)
        if absolute is None and (cwd != call.cwd or os.path.abspath(given) != path):
            raise RuntimeError(f"{given} is a relative path, and the task ran in another folder")
        found.append([kind, absolute, relative, fact])

    for (path, name), before in recorder.read.items():
        if (
            path in known
            or path.startswith(known_folders)
            or path in recorder.written
            or os.path.isdir(path)
        ):
            continue
        if signature(path) != before:
            raise RuntimeError(f"{path} changed while the task read it")
        add("file", path, name, content(path))
    for (path, name), names in recorder.listed.items():
        if path not in known and not path.startswith(known_folders):
            add("listing", path, name, names)
    if not recorder.is_watched:
        from nbrewind.fingerprint import path_digest

        for path in call.folders:
            if path not in recorder.before or signature(path) != recorder.before[path]:
                raise RuntimeError(f"what it reads in {path} could not be watched here")
            digest = path_digest(path)
            if digest is None:
                raise RuntimeError(f"there is too much in {path}")
            add("folder", os.path.abspath(path), path, digest)
    return found


def _append(call: Call, store: Any, record: dict[str, Any], needs: list[str]) -> None:
    store.append(KIND, call.fp, json.dumps(record), needs)
    _mark_dirty(call.store, store)


def _note_failure(call: Call, seconds: float, reason: str) -> None:
    with contextlib.suppress(Exception):
        record = {
            "fingerprint": call.fp,
            "name": call.name,
            "seconds": seconds,
            "status": "not captured",
            "reason": reason,
        }
        _append(call, open_store(call.store), record, [])


def load(stored: Stored) -> Any:
    """The value of a stored result."""
    other = _why_other_code(stored) if stored.pid != os.getpid() else None
    if other is not None:
        _hush_engine()
        raise OtherCodeError(
            f"the stored result of {stored.name} ({stored.fp[:12]}) does not count: {other}"
        )
    try:
        store = open_store(stored.store)
        head = _get(store, stored.value["head"])
        buffers: list[Any] = []
        for chunks, is_readonly in stored.value["buffers"]:
            data = _get(store, chunks)
            buffers.append(memoryview(data).toreadonly() if is_readonly else data)
        value = pickle.loads(head, buffers=buffers)
        digest = stored.value.get("digest")
        if digest is not None:
            _remember(value, digest, is_loaded=True)
            _note_made(stored.fp, digest)
        return value
    except Exception as error:
        _hush_engine()
        raise LoadError(
            f"the stored result of {stored.name} ({stored.fp[:12]}) cannot be read: {error}"
        ) from error


def _is_news(record: logging.LogRecord) -> bool:
    return "the stored result of " not in record.getMessage()


def _hush_engine() -> None:
    """Dask's workers tell their terminal of every task that fails; the session mends these."""
    if "distributed.worker" in sys.modules:
        engine = logging.getLogger("distributed.worker")
        if _is_news not in engine.filters:
            engine.addFilter(_is_news)


def _get(store: Any, chunks: list[str]) -> Any:
    try:
        return store.get(chunks)
    except _native.MissingError:
        store.refresh()
        return store.get(chunks)
