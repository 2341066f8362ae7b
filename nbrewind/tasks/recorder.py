"""What a task touches: files that it reads, and what it changes outside.

A `Recorder` listens to Python's audit events and to what native code opens while one task runs. It belongs to the
task's thread; what other threads do that the task may have started is noted for every task that it may be for.

Imports only the standard library and `nbrewind._native`: see `worker`.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib.util
import os
import stat
import sys
import sysconfig
import threading
import types
from collections.abc import Iterator, Sequence
from typing import Any

from nbrewind import _native

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
# Of what the native watch tells.
_OF_FILES = frozenset({"read", "write", "update", "list"})
_LISTING_EVENTS = frozenset({"os.listdir", "os.scandir"})
_OTHER_EVENTS = frozenset(
    """
    open socket.connect socket.sendto socket.bind sqlite3.connect os.putenv os.unsetenv
    os.kill os.killpg resource.setrlimit resource.prlimit syslog.syslog
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
CONNECTS = "opens a connection"
# Python's own reading, for a line to show.
_READS = ("linecache.py", "warnings.py")
# And its listing of folders, for what packages there are, wherever modules are looked for: in the working folder,
# and in a folder that a worker of Dask has for as long as it lives. What a package says of itself is a file like
# others.
_LISTS = (
    *_READS,
    os.path.join("importlib", "metadata", "__init__.py"),
    os.path.join("importlib_metadata", "__init__.py"),
)
# Where it looks for modules, and keeps their bytecode: whoever imports them first does that, in whatever process.
_IMPORTS = frozenset("_fill_cache _path_stat find_spec set_data _write_atomic".split())
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

# Of this thread: the recorder of its task, and whether this package itself is at work.
local = threading.local()
_recorders: set[Recorder] = set()
_native_lock = threading.Lock()
_hooked = False


class Recorder:
    """Files that a task read, and whether it changed something outside."""

    def __init__(self, store: str, folders: Sequence[str] = ()) -> None:
        self.store = os.path.realpath(store) + os.sep
        # Folders of which all counts where native opens are not seen, and how they were then.
        self.folders = folders
        self.before: dict[str, Any] = {}
        # (absolute path, as it was given) -> signature when it was opened, or digest of the names
        # in the folder.
        self.read: dict[tuple[str, str], Any] = {}
        self.read_paths: set[str] = set()
        self.listed: dict[tuple[str, str], str | None] = {}
        # Path -> did it exist before.
        self.written: dict[str, bool] = {}
        # The same paths as they were given, and those of which what was there before counts.
        self.given: dict[str, str] = {}
        self.updated: set[str] = set()
        self.changes: list[str] = []
        # Were native opens seen all the time?
        self.is_watched = False
        # Did no other task run meanwhile?
        self.is_alone = True
        # Threads that were there before.
        self.threads: frozenset[threading.Thread] = frozenset()
        # When it began, on the cell's watch; its own thread, and those of tasks that ran meanwhile, as the system
        # numbers them.
        self.mark: tuple[int, int] | None = None
        self.thread = threading.get_native_id()
        self.others: set[int] = set()
        self.process: tuple[Any, ...] = ()

    def __enter__(self) -> Recorder:
        _install_hook()
        self.outer = getattr(local, "recorder", None)
        local.recorder = self
        self.threads = frozenset(threading.enumerate())
        with _native_lock:
            _recorders.add(self)
            if len(_recorders) > 1:
                threads = {recorder.thread for recorder in _recorders}
                for recorder in _recorders:
                    recorder.is_alone = False
                    recorder.others |= threads - {recorder.thread}
            is_first = len(_recorders) == 1 and not _is_watched_by_kernel()
            if is_first:
                _native.watch_start()
            self.mark = _mark()
            # Where marks are not known, the watch stops when the first of several tasks ends.
            self.is_watched = is_first
        if not self.is_watched and self.mark is None:
            self.before = {path: signature(path) for path in self.folders}
        self.process = _of_process()
        return self

    def __exit__(self, *error: object) -> None:
        # Later tasks of this process find it so.
        for what, then, now in zip(_OF_PROCESS, self.process, _of_process(), strict=True):
            if now != then:
                self.changes.append(f"changes the {what} of its process")
        local.recorder = self.outer
        with _native_lock:
            found = _since(self.mark) if self.mark is not None else None
            is_ours = not _is_watched_by_kernel()
            # Known marks, and another watch than then: something may have been missed.
            self.is_watched = self.is_watched and self.mark is None
            if found is not None:
                _recorders.discard(self)
                self.is_watched = True
                # What other threads open that run no task may be for any of the tasks that run.
                self.native([event for *event, thread in found if thread not in self.others])
                if is_ours and not _recorders:
                    _native.watch_stop()
            elif is_ours:
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
            if kind not in _OF_FILES:
                continue
            path = os.path.abspath(name)
            if self.is_noise(path):
                continue
            if kind == "list":
                self.listed.setdefault((path, name), listing(path))
            elif kind == "read":
                seen = None if found is None else [found[2], found[3], found[1]]
                if path in self.written:
                    # Before it was written, or after: the two lists of events do not tell.
                    self.updated.add(path)
                elif not os.path.isdir(path):
                    self.read.setdefault((path, name), seen)
                    self.read_paths.add(path)
            else:
                if kind == "update" and path not in self.written:
                    self.updated.add(path)
                self.will_write(path, name, existed=False)

    def will_write(self, path: str, given: str, *, existed: bool | None = None) -> None:
        """A path gets other content; what it was counts if the task has read it."""
        if path not in self.written and path in self.read_paths:
            self.updated.add(path)
        self.written.setdefault(path, os.path.lexists(path) if existed is None else existed)
        self.given.setdefault(path, given)

    def opened(self, path: str, flags: int) -> None:
        given, path = path, os.path.abspath(path)
        if flags & _WRITE_FLAGS:
            if not self.is_noise(path):
                if path not in self.written and (flags & os.O_EXCL or not flags & os.O_TRUNC):
                    self.updated.add(path)
                self.will_write(path, given)
        else:
            if path.endswith(".pyc"):
                with contextlib.suppress(ValueError, NotImplementedError):
                    given = path = importlib.util.source_from_cache(path)
            if path not in self.written and not self.is_noise(path):
                self.read.setdefault((path, given), signature(path))
                self.read_paths.add(path)

    def may_ask(self, event: str, args: tuple[Any, ...]) -> bool:
        """Is something read in a folder that the task names? A thread that was there before may do so for the task."""
        if not self.folders or not args:
            return False
        is_read = event == "open" and not (isinstance(args[2], int) and args[2] & _WRITE_FLAGS)
        if not (is_read or event in _LISTING_EVENTS):
            return False
        if not isinstance(args[0], str | bytes | os.PathLike):
            return False
        path = os.path.abspath(os.fsdecode(args[0])) + os.sep
        return any(path.startswith(os.path.abspath(one) + os.sep) for one in self.folders)

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
        given = [os.fsdecode(arg) for arg in args[:2] if isinstance(arg, str | bytes | os.PathLike)]
        paths = [os.path.abspath(name) for name in given]
        if event == "os.rename" and len(paths) == 2 and self.written.get(paths[0]) is False:
            # Written aside, then put in place.
            self.will_write(paths[1], given[1])
        elif event in {"os.utime", "os.setxattr"} and paths and self.written.get(paths[0]) is False:
            # Of times and the like nobody looks whether they still are as they were set.
            self.updated.add(paths[0])
        elif event == "os.mkdir" and paths:
            if paths[0] not in self.written and not _may_exist():
                self.updated.add(paths[0])
            self.will_write(paths[0], given[0])
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

    def left_behind(self, home: str) -> list[list[Any]] | None:
        """What is where it wrote: [absolute path or None, relative path or None, what is there]; None: not certain.

        Certain is what does not depend on what was there before, so that it would be written again. `home` is the
        working folder that relative paths are meant for.
        """
        if self.changes:
            return None
        found: list[list[Any]] = []
        for path in self.written:
            left = left_at(path)
            if left is not None and (path in self.updated or left[0] is None):
                return None
            name, relative = names_of(path, self.given[path], os.getcwd())
            if name is None and (os.getcwd() != home or os.path.abspath(self.given[path]) != path):
                return None
            found.append([name, relative, left])
        return found


def _is_watched_by_kernel() -> bool:
    """True while a cell runs in this process: the kernel watches native opens for the cell."""
    module = sys.modules.get("nbrewind.kernel.outside")
    return module is not None and module._active is not None


def _mark() -> tuple[int, int] | None:
    """This moment of the cell's watch; None: it cannot be asked before the cell ends."""
    ask = getattr(_native, "watch_mark", None)
    return ask() if ask is not None else None


def _since(mark: tuple[int, int]) -> list[Any] | None:
    """What native code opened since then, with the threads that did; None: nobody looked all the time."""
    return _native.watch_since(mark)


def _install_hook() -> None:
    global _hooked
    if not _hooked:
        _hooked = True
        sys.addaudithook(_hook)


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event not in _EVENTS or not _recorders:
        return
    if getattr(local, "busy", False):
        return
    recorder = getattr(local, "recorder", None)
    # A thread that some task may have started: nobody knows for which one it works.
    thread = threading.current_thread()
    if recorder is None and thread.name.startswith(_ENGINE_THREADS):
        return
    running = [recorder] if recorder is not None else list(_recorders)
    local.busy = True
    try:
        for one in running:
            if one is recorder or thread not in one.threads or one.may_ask(event, args):
                _note(one, event, args)
    except Exception:  # noqa: BLE001 - a hook that raises would break the user's call
        for one in running:
            one.changes.append(f"{event} that could not be followed")
    finally:
        local.busy = False


def _note(recorder: Recorder, event: str, args: tuple[Any, ...]) -> None:
    if event == "open":
        path, _, flags = args
        if isinstance(path, str | bytes | os.PathLike) and not _is_bookkeeping(4):
            recorder.opened(os.fsdecode(path), flags if isinstance(flags, int) else 0)
    elif event in _LISTING_EVENTS:
        path = args[0] if args and args[0] is not None else "."
        if isinstance(path, int):
            recorder.changes.append(f"{event} of a descriptor")
        elif not _is_bookkeeping(4, _LISTS):
            given = os.fsdecode(path)
            full = os.path.abspath(given)
            if not recorder.is_noise(full):
                recorder.listed.setdefault((full, given), listing(full))
    elif event in _PROCESS_EVENTS:
        recorder.changes.append("starts a process")
    elif event in _CHANGE_EVENTS:
        if not _is_bookkeeping(4, ()):
            recorder.changed(event, args)
    elif event == "sqlite3.connect":
        if args and args[0] != ":memory:":
            recorder.changes.append("opens a database")
    elif event.startswith("socket."):
        recorder.changes.append(CONNECTS)
    else:
        recorder.changes.append(event)


_OF_PROCESS = ("working directory", "builtins", "module path", "limit of recursion")
# Shells have these there while a cell runs, which may end before the task does.
_OF_SHELL = frozenset({"_", "__IPYTHON__", "display", "exit", "get_ipython", "input", "quit"})


def _of_process() -> tuple[Any, ...]:
    """State of the whole process that code sets without asking the system for anything that is told."""
    try:
        folder = os.getcwd()
    except OSError:
        folder = None
    known = {name: id(value) for name, value in vars(builtins).items() if name not in _OF_SHELL}
    return (folder, known, list(sys.path), sys.getrecursionlimit())


def _may_exist() -> bool:
    """Does the code that makes a folder say that it may be there already?"""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        module = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if module in {"os", "pathlib"} and "exist_ok" in frame.f_locals:
            return frame.f_locals.get("exist_ok") is True
        if frame.f_code.co_filename != __file__:
            return False
        frame = frame.f_back
    return False


def _is_bookkeeping(depth: int, files: tuple[str, ...] = _READS) -> bool:
    """True when Python itself does that, from one of these files of it or for a module to import."""
    frame: types.FrameType | None = sys._getframe(depth - 1)
    for _ in range(4):
        if frame is None:
            return False
        name = frame.f_code.co_filename
        if name.startswith("<frozen importlib") and frame.f_code.co_name in _IMPORTS:
            return True
        if name.endswith(files):
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
    """Digest of the names in a folder, and of which are folders themselves; None when it is not there."""
    try:
        with os.scandir(path) as found_there:
            names = sorted(one.name + os.sep * one.is_dir() for one in found_there)
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


FOLDER = "folder"


def left_at(path: str) -> list[Any] | None:
    """Content, inode and mode of a file, `FOLDER` of a folder, no content of anything else; None: nothing is there."""
    try:
        found = os.lstat(path)
    except (OSError, ValueError):
        return None
    if stat.S_ISDIR(found.st_mode):
        return [FOLDER, None]
    is_plain = stat.S_ISREG(found.st_mode)
    return [content(path) if is_plain else None, found.st_ino, stat.S_IMODE(found.st_mode)]


def names_of(path: str, given: str, cwd: str) -> tuple[str | None, str | None]:
    """The names under which a path means the same in another place: (absolute, relative to the working folder).

    One below the working folder must be the same under both: nobody can tell which of them the code would ask for
    elsewhere. One that was asked for by a relative name has only that.
    """
    if not os.path.isabs(given):
        return None, given
    is_below = path.startswith(cwd.rstrip(os.sep) + os.sep)
    return path, os.path.relpath(path, cwd) if is_below else None


@contextlib.contextmanager
def off_the_record() -> Iterator[None]:
    """What this thread does meanwhile is the work of this package, and no task's."""
    before = getattr(local, "busy", False)
    local.busy = True
    try:
        yield
    finally:
        local.busy = before


def _after_fork() -> None:
    """A child of a process that was in the middle of something begins with nothing."""
    global _native_lock
    _native_lock = threading.Lock()
    _recorders.clear()
    vars(local).clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
