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
import importlib.util
import json
import logging
import os
import pickle
import sys
import sysconfig
import threading
import time
import types
import weakref
from typing import Any

import cloudpickle

from nbrewind import _native

logger = logging.getLogger("nbrewind.tasks")

KIND = "task"
# Results whose storing is a choice are stored when computing took longer than writing this many
# bytes a second would.
BYTES_PER_SECOND = 200e6
_COMMIT_EVERY = 0.1


class LoadError(Exception):
    """A stored result could not be read; the task has to run."""


class Call:
    """One task with what is needed to record it. Hides the task from the scheduler's graph walk."""

    __slots__ = (
        "absent",
        "by_name",
        "components",
        "cwd",
        "draws",
        "files",
        "fp",
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
        "shared",
        "shows",
        "spec",
        "stem",
        "store",
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
    ) -> None:
        self.store = store
        self.fp = fp
        self.name = name
        self.spec = spec
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
        # Does its code speak of drawing?
        self.is_suspect = is_suspect
        # The process that planned it; in others, code that is sent by its name may be another one:
        # (module, name, fingerprint), and names that had no meaning.
        self.pid = os.getpid()
        self.by_name = by_name
        self.absent = absent


class Stored:
    """Where a stored value is."""

    __slots__ = ("fp", "name", "store", "value")

    def __init__(self, store: str, fp: str, name: str, value: dict[str, Any]) -> None:
        self.store = store
        self.fp = fp
        self.name = name
        self.value = value


# --- Stores of this process ----------------------------------------------------------------------

_lock = threading.Lock()
_stores: dict[tuple[int, str], Any] = {}
_dirty: dict[tuple[int, str], Any] = {}
_wake = threading.Event()
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
    global _lock, _native_lock, _wake
    _lock, _native_lock, _wake = threading.Lock(), threading.Lock(), threading.Event()
    _recorders.clear()
    _dirty.clear()
    vars(_local).clear()
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
    }
    try:
        if inode is not None and os.stat(path).st_ino != inode:
            found["error"] = f"{path} is another folder there"
        else:
            open_store(path)
    except (OSError, _native.StoreError) as error:
        found["error"] = str(error)
    return found


def is_here(process: Any) -> bool:
    """Did this process itself answer to `probe`?"""
    return bool(process == [os.uname().nodename, os.getpid()])


# --- What a task touches -------------------------------------------------------------------------

_WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_PROCESS_EVENTS = frozenset(
    {
        "subprocess.Popen",
        "os.system",
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.spawn",
        "os.startfile",
        "pty.spawn",
    }
)
_CHANGE_EVENTS = frozenset(
    """
    os.remove os.rename os.rmdir os.mkdir os.link os.symlink os.truncate os.chmod os.chown os.utime
    os.setxattr os.removexattr
    """.split()
)
_LISTING_EVENTS = frozenset({"os.listdir", "os.scandir"})
_OTHER_EVENTS = frozenset(
    """
    open socket.connect socket.sendto sqlite3.connect os.putenv os.unsetenv
    """.split()
)
_EVENTS = _PROCESS_EVENTS | _CHANGE_EVENTS | _LISTING_EVENTS | _OTHER_EVENTS
_LIBRARY_ROOTS = tuple(
    sorted(
        {
            os.path.realpath(path) + os.sep
            for path in (*sysconfig.get_paths().values(), sys.prefix, sys.base_prefix)
            if path
        }
    )
)
_CONNECTS = "opens a connection"
_SYSTEM_ROOTS = ("/proc/", "/sys/", "/dev/", "/etc/", "/usr/", "/lib/", "/run/")
# Threads that belong to the engine, not to a task.
_ENGINE_THREADS = (
    "MainThread",
    "Dask-",
    "IO loop",
    "Profile",
    "AsyncProcess",
    "TCP-Executor",
    "Offload",
    "nbrewind",
    "IPython",
)

_local = threading.local()
_recorders: set[Recorder] = set()
_native_lock = threading.Lock()
_hooked = False


class Recorder:
    """Files that a task read, and whether it changed something outside."""

    def __init__(self, store: str) -> None:
        self.store = os.path.realpath(store) + os.sep
        # (absolute path, as it was given) -> signature when it was opened, or digest of the names
        # in the folder.
        self.read: dict[tuple[str, str], Any] = {}
        self.listed: dict[tuple[str, str], str | None] = {}
        # Path -> did it exist before.
        self.written: dict[str, bool] = {}
        self.changes: list[str] = []
        # Were native opens seen all the time?
        self.is_watched = False
        # Did no other task run meanwhile?
        self.is_alone = True
        # Threads that were there before.
        self.threads: frozenset[threading.Thread] = frozenset()

    def __enter__(self) -> Recorder:
        _install_hook()
        self.outer = getattr(_local, "recorder", None)
        _local.recorder = self
        self.threads = frozenset(threading.enumerate())
        with _native_lock:
            _recorders.add(self)
            if len(_recorders) > 1:
                for recorder in _recorders:
                    recorder.is_alone = False
            if len(_recorders) == 1 and not _is_watched_by_kernel():
                _native.watch_start()
                self.is_watched = True
            else:
                # The watch is for the whole process: it stops when the first of several tasks ends.
                self.is_watched = False
        return self

    def __exit__(self, *error: object) -> None:
        _local.recorder = self.outer
        with _native_lock:
            if not _is_watched_by_kernel():
                events = _native.watch_stop()
                for recorder in _recorders:
                    recorder.native(events)
                _recorders.discard(self)
                for recorder in _recorders:
                    recorder.is_watched = False
                if _recorders:
                    _native.watch_start()
            else:
                self.is_watched = False
                _recorders.discard(self)

    def native(self, events: list[Any]) -> None:
        """Take over what native code opened; there is no telling which of several tasks it was for."""
        for kind, name, found in events:
            path = os.path.abspath(name)
            if self.is_noise(path):
                continue
            if kind == "list":
                self.listed.setdefault((path, name), listing(path))
            elif kind == "read":
                seen = None if found is None else [found[2], found[3], found[1]]
                if path not in self.written and not os.path.isdir(path):
                    self.read.setdefault((path, name), seen)
            else:
                self.written.setdefault(path, False)

    def opened(self, path: str, is_write: bool) -> None:
        given, path = path, os.path.abspath(path)
        if is_write:
            if not self.is_noise(path):
                self.written.setdefault(path, os.path.lexists(path))
        elif path not in self.written and not self.is_noise(path):
            if os.sep + "__pycache__" + os.sep in path:
                with contextlib.suppress(ValueError, NotImplementedError):
                    given = path = importlib.util.source_from_cache(path)
            self.read.setdefault((path, given), signature(path))

    def is_noise(self, path: str) -> bool:
        real = os.path.realpath(path)
        return (
            real.startswith(_LIBRARY_ROOTS)
            or real.startswith(_SYSTEM_ROOTS)
            or real.startswith(self.store)
            or "site-packages" in real
            or f"{os.sep}.cache{os.sep}" in real
        )

    def changed(self, event: str, args: tuple[Any, ...]) -> None:
        paths = [
            os.path.abspath(os.fsdecode(arg))
            for arg in args[:2]
            if isinstance(arg, str | bytes | os.PathLike)
        ]
        if event == "os.rename" and len(paths) == 2 and self.written.get(paths[0]) is False:
            # Written aside, then put in place.
            self.written.setdefault(paths[1], os.path.lexists(paths[1]))
        elif event == "os.mkdir" and paths:
            self.written.setdefault(paths[0], os.path.lexists(paths[0]))
        elif not (paths and all(self.written.get(path) is False for path in paths)):
            self.changes.append(f"{event} {paths[0] if paths else ''}".strip())

    def why_writer(self) -> str | None:
        """What it changed outside, or None. Files that it made and removed again are its own affair."""
        if self.changes:
            return self.changes[0]
        for path, existed in self.written.items():
            if existed or os.path.lexists(path):
                return f"writes {path}"
        return None


def _is_watched_by_kernel() -> bool:
    """True while a cell runs in this process: the kernel watches native opens for the cell."""
    module = sys.modules.get("nbrewind.kernel.outside")
    return module is not None and module._active is not None


def _install_hook() -> None:
    global _hooked
    if not _hooked:
        _hooked = True
        sys.addaudithook(_hook)


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event not in _EVENTS or not _recorders:
        return
    recorder = getattr(_local, "recorder", None)
    if recorder is not None:
        recorders = [recorder]
    else:
        # A thread that some task may have started: nobody knows for which one it works.
        thread = threading.current_thread()
        if thread.name.startswith(_ENGINE_THREADS):
            return
        recorders = [one for one in list(_recorders) if thread not in one.threads]
    if getattr(_local, "busy", False):
        return
    _local.busy = True
    try:
        for one in recorders:
            _note(one, event, args)
    except Exception:  # noqa: BLE001 - a hook that raises would break the user's call
        for one in recorders:
            one.changes.append(f"{event} that could not be followed")
    finally:
        _local.busy = False


def _note(recorder: Recorder, event: str, args: tuple[Any, ...]) -> None:
    if event == "open":
        path, _, flags = args
        if isinstance(path, str | bytes | os.PathLike) and not _is_bookkeeping(4):
            recorder.opened(
                os.fsdecode(path), bool(isinstance(flags, int) and flags & _WRITE_FLAGS)
            )
    elif event in _LISTING_EVENTS:
        path = args[0] if args and args[0] is not None else "."
        if isinstance(path, int):
            recorder.changes.append(f"{event} of a descriptor")
        elif not _is_bookkeeping(4):
            given = os.fsdecode(path)
            full = os.path.abspath(given)
            if not recorder.is_noise(full):
                recorder.listed.setdefault((full, given), listing(full))
    elif event in _PROCESS_EVENTS:
        recorder.changes.append("starts a process")
    elif event in _CHANGE_EVENTS:
        recorder.changed(event, args)
    elif event == "sqlite3.connect":
        if args and args[0] != ":memory:":
            recorder.changes.append("opens a database")
    elif event.startswith("socket."):
        recorder.changes.append(_CONNECTS)
    else:
        recorder.changes.append(event)


def _is_bookkeeping(depth: int) -> bool:
    """True when Python itself looks: for a module to import, or for a source line to show in a warning."""
    frame: types.FrameType | None = sys._getframe(depth - 1)
    for _ in range(4):
        if frame is None:
            return False
        name = frame.f_code.co_filename
        if name.startswith("<frozen importlib") and frame.f_code.co_name in {
            "_fill_cache",
            "_path_stat",
            "find_spec",
        }:
            return True
        if name.endswith(("linecache.py", "warnings.py")):
            return True
        frame = frame.f_back
    return False


def signature(path: str) -> Any:
    """What tells that a file or folder was not touched; None when it is not there."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    if not os.path.isdir(path):
        return [found.st_size, found.st_mtime_ns, found.st_ino]
    entries = []
    for root, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            full = os.path.join(root, name)
            with contextlib.suppress(OSError):
                one = os.stat(full)
                entries.append(
                    [os.path.relpath(full, path), one.st_size, one.st_mtime_ns, one.st_ino]
                )
    return entries


def listing(path: str) -> str | None:
    """Digest of the names in a folder; None when it is not there."""
    try:
        names = sorted(os.listdir(path))
    except OSError:
        return None
    found: str = _native.walk(tuple(names), lambda obj: None, None)["fp"]
    return found


def content(path: str) -> str | None:
    """Digest of a file; None when it is not there."""
    try:
        return _native.file_digest(path) if os.path.isfile(path) else None
    except OSError:
        return None


# --- Run and load --------------------------------------------------------------------------------


def run(call: Call, *values: Any) -> Any:
    """Execute the task and store its result."""
    inputs = _inputs(values) if call.stem is not None else None
    if inputs is not None and call.may_equal:
        found = _equal_run(call, inputs)
        if found is not None:
            if call.shows and call.pid == os.getpid():
                _show(found.named)
            return found.value
    arguments = dict(zip(call.names, values, strict=True))
    is_home = call.pid == os.getpid()
    refused = None if is_home else _why_other_code(call)
    before = _generators()
    with Recorder(call.store) as recorder, _listening(call, is_home) as printed:
        started = time.perf_counter()
        value = call.spec(arguments)
        seconds = time.perf_counter() - started
    # Exceptions of the task pass through: errors are not stored.
    del arguments, values
    has_drawn = before != _generators()
    writes = None
    if has_drawn and is_home and not call.is_trusted:
        writes, why_not = _drawn_here(call, recorder)
        refused = refused or why_not
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


def _listening(
    call: Call, is_home: bool
) -> contextlib.AbstractContextManager[list[list[str]] | None]:
    """What the task prints where the notebook shows it; None elsewhere."""
    if not (is_home and call.shows):
        return contextlib.nullcontext(None)
    from nbrewind.tasks.wrapped import listening

    return listening()


def _why_too_much(printed: list[list[str]]) -> str | None:
    from nbrewind.tasks.wrapped import why_too_much

    return why_too_much(printed)


def _show(named: dict[str, Any]) -> None:
    from nbrewind.tasks.wrapped import show

    show(named)


def _generators() -> tuple[Any, ...]:
    from nbrewind.tasks.surroundings import generator_states

    return generator_states(True)


def _drawn_here(call: Call, recorder: Recorder) -> tuple[str | None, str | None]:
    """What it means that a generator moved which belongs to the session: (what it changed, why it is not stored)."""
    from nbrewind.tasks.surroundings import are_seeded

    if not call.is_suspect and not recorder.is_alone:
        return None, "something drew from a generator of the whole process while it ran"
    if call.is_suspect and not are_seeded():
        return None, None
    return "draws from a generator that belongs to the whole process", None


def _why_other_code(call: Call) -> str | None:
    """Why the code that runs here is not the one that was planned; None: it is."""
    if not call.by_name and not call.absent:
        return None
    from nbrewind.tasks.surroundings import why_not_the_same

    was_busy = getattr(_local, "busy", False)
    _local.busy = True
    try:
        return why_not_the_same(call.by_name or [], call.absent or [])
    except Exception as error:  # noqa: BLE001 - the user's modules may raise anything
        return f"{type(error).__name__}: {error}"[:300]
    finally:
        _local.busy = was_busy


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
    was_busy = getattr(_local, "busy", False)
    _local.busy = True
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
    finally:
        _local.busy = was_busy


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
    record = _head(call, seconds)
    store = open_store(call.store)
    if call.remotes:
        recorder.changes = [what for what in recorder.changes if what != _CONNECTS]
    writes = writes or (None if call.is_trusted else recorder.why_writer())
    if writes is not None:
        _append(call, store, {**record, "status": "writer", "reason": writes}, [])
        return writes
    for path, before in call.files.items():
        if signature(path) != before:
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
    head = cloudpickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    views = [buffer.raw() for buffer in buffers]
    n_bytes = len(head) + sum(view.nbytes for view in views)
    if call.keep == "cheap" and n_bytes / BYTES_PER_SECOND > seconds:
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
    done = {
        "status": "ok",
        "value": named,
        "bytes": n_bytes,
        "files": files,
        "marks": call.marks,
        "draws": call.draws,
    }
    if has_drawn:
        done["has_drawn"] = True
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


def _digest(value: Any) -> str | None:
    from nbrewind.tasks.fingerprint import value_fingerprint

    return value_fingerprint(value)


def forget_digests() -> None:
    """From now on others than tasks have the results of this process, and may change them."""
    _digests.clear()


def _remember(value: Any, digest: str) -> None:
    key = id(value)
    if getattr(value, "base", None) is not None:
        # Whoever has the memory that this is a view of can change it.
        _digests.pop(key, None)
        return
    with contextlib.suppress(TypeError):
        _digests[key] = (weakref.ref(value, lambda _: _digests.pop(key, None)), digest)


def _inputs(values: tuple[Any, ...]) -> str | None:
    """Digest of what a task is given, or None when that is not known cheaply."""
    was_busy = getattr(_local, "busy", False)
    _local.busy = True
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
    finally:
        _local.busy = was_busy


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
    was_busy = getattr(_local, "busy", False)
    _local.busy = True
    try:
        if any(signature(path) != before for path, before in call.files.items()):
            return None
        store = open_store(call.store)
        records = [json.loads(text) for _, text in _native.record_texts(store, KIND, call.stem)]
        if any(record["status"] != "by inputs" for record in records):
            return None
        equal = [record for record in records if record["inputs"] == inputs]
        if not equal:
            return None
        before = equal[-1]
        if call.keep == "cheap" and before["bytes"] / BYTES_PER_SECOND > before["seconds"]:
            return None
        named = before["value"]
        if call.shows and call.pid == os.getpid() and "printed" not in named:
            return None
        value = load(Stored(call.store, call.fp, call.name, named))
        record = _head(call, before["seconds"]) | {
            "status": "ok",
            "value": named,
            "bytes": before["bytes"],
            "files": [],
            "marks": call.marks,
            "draws": call.draws,
            "equals": True,
        }
        needs = [*named["head"], *(chunk for chunks, _ in named["buffers"] for chunk in chunks)]
        _append(call, store, record, needs)
        return _Found(value, named)
    except Exception as error:  # noqa: BLE001 - whatever it is, the task can run
        logger.info("an earlier result of %s was not taken: %s", call.name, error)
        return None
    finally:
        _local.busy = was_busy


def _discovered(call: Call, recorder: Recorder) -> list[list[Any]]:
    """Inputs that only running showed: [kind, absolute path or None, relative path or None, digest].

    A file below the working folder must be the same under both names: nobody can tell which of
    them the code would ask for in another place. One that was asked for by a relative name has
    only that.
    """
    found: list[list[Any]] = []
    cwd = os.getcwd()
    known = {os.path.abspath(path) for path in call.files}
    known_folders = tuple(path + os.sep for path in known)

    def add(kind: str, path: str, given: str, fact: str | None) -> None:
        relative = (
            os.path.relpath(path, cwd) if path.startswith(cwd.rstrip(os.sep) + os.sep) else None
        )
        if not os.path.isabs(given):
            if cwd != call.cwd:
                raise RuntimeError(
                    f"{given} is a relative path, and the task ran in another folder"
                )
            found.append([kind, None, given, fact])
        else:
            found.append([kind, path, relative, fact])

    for (path, given), before in recorder.read.items():
        if (
            path in known
            or path.startswith(known_folders)
            or path in recorder.written
            or os.path.isdir(path)
        ):
            continue
        if signature(path) != before:
            raise RuntimeError(f"{path} changed while the task read it")
        add("file", path, given, content(path))
    for (path, given), names in recorder.listed.items():
        if path not in known and not path.startswith(known_folders):
            add("listing", path, given, names)
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
            _remember(value, digest)
        return value
    except Exception as error:
        raise LoadError(
            f"the stored result of {stored.name} ({stored.fp[:12]}) cannot be read: {error}"
        ) from error


def _get(store: Any, chunks: list[str]) -> Any:
    try:
        return store.get(chunks)
    except _native.MissingError:
        store.refresh()
        return store.get(chunks)
