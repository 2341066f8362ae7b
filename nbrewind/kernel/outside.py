"""What a run reads and changes outside the process: files, listings, environment, subprocesses, network.

Python's audit events tell which files are opened; they cannot be unregistered, so one hook lives for ever and does
nothing while no watch is active. `os.stat` and the environment have no events and are wrapped. Native code that
opens files is seen by the native watch (`nbrewind._native`), where the platform allows it.

Only what belongs to the user counts: files of Python, of installed packages and of the system are stood for by
versions. A question that a library asks for its own sake (is there a cache folder?) is not an input of the cell; a
question that the user's code asks is.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import logging
import os
import sys
import threading
import types
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

from nbrewind import _native
from nbrewind.fingerprint import file_digest, is_library_file
from nbrewind.kernel import looking, variables
from nbrewind.kernel.takeback import journal

_HOME = os.path.expanduser("~")
_SYSTEM = (
    "/proc/",
    "/sys/",
    "/dev/",
    "/usr/",
    "/etc/",
    "/lib",
    "/run/",
    "/var/lib/",
    "/var/cache/",
    "/bin/",
    "/sbin/",
)
_CACHES = tuple(
    os.path.join(_HOME, name) + os.sep
    for name in (
        ".cache",
        ".config",
        ".ipython",
        ".jupyter",
        ".local/share/jupyter",
        ".matplotlib",
        ".dask",
    )
) + (
    # IPython's profiles, where its folder was put elsewhere. Nothing wider: a folder that the environment names may
    # hold the user's data as well, and what is left out here can change without anyone seeing it.
    (os.path.join(os.path.realpath(os.environ["IPYTHONDIR"]), "profile_"),)
    if os.environ.get("IPYTHONDIR")
    else ()
)
# Modules whose own files, sockets and processes are not the user's doing.
_SERVICES = frozenset(
    {"ipykernel", "zmq", "tornado", "jupyter_client", "debugpy", "comm", "nbrewind"}
)
# Stands between whoever asks and what he asks.
_OWN = frozenset({__name__, looking.__name__, variables.__name__})
# Shows up between the user's code and what it asks for (`open` is IPython's own in a kernel).
_TRANSPARENT = frozenset({"IPython"})
# But what its extensions look at is for themselves: autoreload asks for every module.
_EXTENSIONS = "IPython.extensions."
_ENGINES = frozenset({"distributed", "loky"})
# What these let processes do, they tell (see `nbrewind.tasks.engines`).
_STARTERS = _ENGINES | frozenset({"concurrent", "dask", "joblib", "ndcctools", "parsl"})
# Where Parsl makes a folder for each run, with its log in it.
_RUNS = frozenset({"parsl.dataflow.rundirs", "parsl.log_utils", "parsl.logconfigs.file"})
# Where engines keep what they spill, and their own logs.
_ENGINE_FOLDERS = ("/dask-scratch-space", "/dask-worker-space", "/vine-run-info")
_SERVICE_THREADS = (
    "IPythonHistory",
    "IOPub",
    "Heartbeat",
    "Control",
    "Shell channel",
    "Profile",
    "nbrewind",
    "subshell-",
)
_STDLIB = os.path.realpath(os.path.dirname(os.__file__)) + os.sep
_MAKERS = frozenset({"makedirs", "mkdir", "copytree", "_ensure_file_exists"})
# What makes a folder under a name that nobody had before.
_NEW_NAMES = frozenset({"mkdtemp"})
_IMPORTERS = frozenset(
    {"importlib._bootstrap", "importlib._bootstrap_external", "linecache", "inspect", "tokenize"}
)
_IMPORT_PACKAGES = frozenset(
    {"importlib", "importlib_metadata", "importlib_resources", "pkg_resources", "zipp"}
)
# Of these, what user code calls directly to read a file is the user's.
_READERS = frozenset({"linecache", "tokenize"})
# Questions about a file that its content does not answer.
_TIMES = frozenset(
    """st_mtime st_mtime_ns st_ctime st_ctime_ns st_atime st_atime_ns st_birthtime st_ino st_nlink
    st_mode st_uid st_gid getmtime getctime getatime""".split()
)
_WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def _frames(start: FrameType | None) -> Iterator[FrameType]:
    while start is not None:
        yield start
        start = start.f_back


@functools.lru_cache(maxsize=4096)
def _is_stdlib_file(filename: str) -> bool:
    if filename.startswith("<frozen"):
        return True
    real = os.path.realpath(filename)
    return real.startswith(_STDLIB) and "site-packages" not in real and "dist-packages" not in real


def _is_user_frame(frame: FrameType) -> bool:
    """True for code of the notebook and of the user's modules."""
    filename = frame.f_code.co_filename
    return (
        frame.f_globals.get("__name__", "").partition(".")[0] != "nbrewind"
        and not _is_stdlib_file(filename)
        and not is_library_file(filename)
    )


def _caller() -> FrameType | None:
    """Whoever did what is being judged: the nearest frame that is not ours."""
    for frame in _frames(sys._getframe(1)):
        if frame.f_globals.get("__name__") not in _OWN:
            return frame
    return None


@functools.lru_cache(maxsize=4096)
def _is_foreign(path: str) -> bool:
    """True for files that versions stand for, or that are caches and system state."""
    return (
        path.startswith(_SYSTEM)
        or path.startswith(_CACHES)
        or is_library_file(path)
        or path.endswith((".pyc", ".pyo"))
    )


def listing_digest(path: str, without: frozenset[str] | set[str] = frozenset()) -> str | None:
    """Digest of the names in a folder; None when there is no such folder."""
    try:
        names = sorted(set(os.listdir(path)) - without)
    except OSError:
        return None
    return hashlib.blake2b(
        "\0".join(names).encode("utf-8", "surrogateescape"), digest_size=32
    ).hexdigest()


def _signature(path: str) -> tuple[int, ...] | None:
    try:
        found = _real_stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@dataclass
class Findings:
    """What one run did outside: inputs by key, effects by path, and reasons why it cannot be replayed."""

    reads: dict[str, str | None] = field(default_factory=dict)
    written: set[str] = field(default_factory=set)
    # Those of `written` that it made as folders.
    folders: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    env: dict[str, tuple[str | None, set[int]]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    missing_modules: set[str] = field(default_factory=set)
    # Classes and functions that were looked up by name to load pickles: (module, name).
    unpickled: set[tuple[str, str]] = field(default_factory=set)
    # Code that `exec` and its kin executed, none of it a library's.
    executed: list[types.CodeType] = field(default_factory=list)
    # That of them which the user's own code executed.
    evaluated: list[types.CodeType] = field(default_factory=list)


class _LastFinder:
    """Asked when nobody else found a module: a failed import is an input of the run that tried it."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        watch = _watching()
        if watch is not None:
            _guard.busy = True
            try:
                watch.module_missing(name)
            finally:
                _guard.busy = False


def _keeps_run(frame: FrameType, name: str) -> bool:
    """True when Parsl itself, as it is loaded, makes the folder of its run or the log in it."""
    caller: FrameType | None = frame
    while caller is not None and caller.f_globals.get("__name__") in _RUNS:
        caller = caller.f_back
    return (
        name in _RUNS
        and caller is not None
        and caller.f_globals.get("__name__") == "parsl.dataflow.dflow"
    )


class Watch:
    """Collects what happens outside from `start` to `stop`. Paths are absolute while it runs."""

    def __init__(self, ignore: tuple[str, ...], namespace: dict[str, Any]) -> None:
        self.ignore = ignore
        self.namespace = namespace
        self._lock = threading.RLock()
        self._reads: dict[str, tuple[int, ...] | str | None] = {}
        self._listings: dict[str, tuple[str | None, list[str]]] = {}
        self._written: set[str] = set()
        # Files whose old content counts only because they were opened to be appended to.
        self._appended: set[str] = set()
        self._folders: set[str] = set()
        self._deleted: set[str] = set()
        self._env: dict[str, tuple[str | None, set[int]]] = {}
        self._problems: list[str] = []
        self._missing: set[str] = set()
        self._links: dict[str, str | None] = {}
        self.unpickled: set[tuple[str, str]] = set()
        self._executed: list[types.CodeType] = []
        self._evaluated: list[types.CodeType] = []

    # --- events ---------------------------------------------------------------------------------------------------

    def _asker(self) -> tuple[str, FrameType | None]:
        """Who is behind an event: "user", "library" or "service", and the user's nearest frame."""
        if threading.current_thread().name.startswith(_SERVICE_THREADS):
            return "service", None
        who = None
        is_shell = False
        for frame in _frames(sys._getframe(2)):
            if frame.f_globals is self.namespace:
                return who or "user", frame
            name = frame.f_globals.get("__name__", "")
            if who is not None or name in _OWN:
                continue
            if name in _IMPORTERS or name.partition(".")[0] in _IMPORT_PACKAGES:
                if self._is_read_by_user(frame, name):
                    continue
                return "service", None
            if _is_stdlib_file(frame.f_code.co_filename):
                continue
            top = name.partition(".")[0]
            if top in _SERVICES or name.startswith(_EXTENSIONS) or _keeps_run(frame, name):
                return "service", None
            if top in _TRANSPARENT:
                is_shell = True
                continue
            who = "library" if is_library_file(frame.f_code.co_filename) else "user"
        return who or ("service" if is_shell else "library"), None

    def _is_read_by_user(self, frame: FrameType, name: str) -> bool:
        """True when the import system, or what shows code, only reads a file for the user (`pkgutil.get_data`)."""
        if name not in _READERS and frame.f_code.co_name not in {
            "get_data",
            "read_text",
            "read_bytes",
        }:
            return False
        caller = frame.f_back
        while caller is not None and caller.f_globals.get("__name__") == name:
            if name not in _READERS:
                return False
            caller = caller.f_back
        if caller is None:
            return False
        if caller.f_globals.get("__name__") == "pkgutil":
            return True
        return caller.f_globals is self.namespace or _is_user_frame(caller)

    def _is_engine(self, engines: frozenset[str] = _ENGINES) -> bool:
        return any(
            frame.f_globals.get("__name__", "").partition(".")[0] in engines
            for frame in _frames(sys._getframe(2))
        )

    def starts_process(self) -> None:
        """A process is about to be started or forked, and nobody sees what it does."""
        if self._asker()[0] != "service" and not self._is_engine(_STARTERS):
            self.problem("it started another process")

    def _is_ignored(self, path: str) -> bool:
        return path.startswith(self.ignore) or any(part in path for part in _ENGINE_FOLDERS)

    def _counts(self, path: str, who: str) -> bool:
        if who == "service" or self._is_ignored(path):
            return False
        return not _is_foreign(path) or (who == "user" and not is_library_file(path))

    def read(self, path: str, who: str) -> None:
        """A file is about to be read, or is missing."""
        path = os.path.abspath(path)
        if not self._counts(path, who):
            return
        with self._lock:
            self._appended.discard(path)
            if path not in self._reads and path not in self._written:
                # Of a folder only that it is one: what is in it counts where it is listed.
                self._reads[path] = "folder" if os.path.isdir(path) else _signature(path)

    def write(
        self, path: str, who: str, keeps_content: bool, *, is_write_only: bool = False
    ) -> None:
        """A file is about to be written."""
        path = os.path.abspath(path)
        if (
            who == "service"
            or self._is_ignored(path)
            or path.startswith((*_CACHES, "/proc/", "/dev/", "/sys/"))
        ):
            return
        journal.note(path)
        with self._lock:
            if keeps_content:
                is_new = path not in self._reads and path not in self._written
                self.read(path, "user")
                if is_new and is_write_only and path in self._reads:
                    self._appended.add(path)
            if path in self._reads and not isinstance(self._reads[path], str):
                self._reads[path] = self._digest(path, self._reads[path])
            self._written.add(path)
            self._deleted.discard(path)

    def empty(self, path: str, who: str) -> None:
        """A file is about to be cut to nothing."""
        path = os.path.abspath(path)
        with self._lock:
            if path not in self._appended:
                self.write(path, who, keeps_content=True)
                return
            # `touch` by way of appending: it is there and empty now, whatever was there before.
            self._appended.discard(path)
            del self._reads[path]

    def delete(self, path: str, who: str) -> None:
        """A file or folder is about to go."""
        path = os.path.abspath(path)
        if who == "service" or self._is_ignored(path):
            return
        journal.note(path, goes=True)
        with self._lock:
            if path in self._written:
                self._written.discard(path)
            else:
                self.read(path, who)
                if path in self._reads and not isinstance(self._reads[path], str):
                    self._reads[path] = self._digest(path, self._reads[path])
            self._deleted.add(path)

    def make_folder(self, path: str, who: str, may_be_there: bool) -> None:
        """A folder is about to be made; that it is not there yet counts, unless the code says that it may be."""
        path = os.path.abspath(path)
        if (
            who == "service"
            or self._is_ignored(path + os.sep)
            or path.startswith((*_CACHES, "/proc/", "/dev/", "/sys/"))
        ):
            return
        journal.note(path)
        with self._lock:
            if not may_be_there:
                self.read(path, "user")
            self._written.add(path)
            self._folders.add(path)
            self._deleted.discard(path)

    def listing(self, path: str, who: str) -> None:
        """A folder is about to be listed."""
        path = os.path.abspath(path)
        if not self._counts(path + os.sep, who):
            return
        with self._lock:
            if path not in self._listings:
                own = sorted(
                    os.path.basename(name)
                    for name in self._written
                    if os.path.dirname(name) == path
                )
                self._listings[path] = (listing_digest(path, frozenset(own)), own)

    def asked_about(self, path: str) -> None:
        """`os.stat` and its kin: an input when the user's code asks, apart from making folders."""
        who, _ = self._asker()
        if who != "user":
            return
        callers = {
            frame.f_code.co_name
            for frame in _frames(sys._getframe(2))
            if frame.f_globals is not self.namespace
        }
        if not callers.isdisjoint(_MAKERS):
            return
        if not callers.isdisjoint(_TIMES) or self._asks_for_times():
            self.problem(f"it asked when {os.path.basename(path)} was changed")
        self.read(path, who)

    def _asks_for_times(self) -> bool:
        """True when the user's code takes from `stat` what the content of the file does not tell."""
        for frame in _frames(sys._getframe(2)):
            if frame.f_globals is self.namespace or _is_user_frame(frame):
                names = set(frame.f_code.co_names)
                if not names.isdisjoint(_TIMES):
                    return True
                return not names.isdisjoint({"stat", "lstat"}) and "st_size" not in names
        return False

    def link(self, path: str, *, is_asked: bool) -> None:
        """Where a link leads was asked for, or (`is_asked`) whether it is one."""
        path = os.path.abspath(path)
        who, _ = self._asker()
        if who != "user" or not self._counts(path, who):
            return
        target = _target_of(path)
        if target is None and not is_asked:
            return
        with self._lock:
            if path not in self._written:
                self._links.setdefault(path, target)

    def module_missing(self, name: str) -> None:
        """An import failed; it counts when the user's code asked for it."""
        for frame in _frames(sys._getframe(2)):
            module = frame.f_globals.get("__name__", "")
            if (
                module in _IMPORTERS
                or module.partition(".")[0] in _IMPORT_PACKAGES
                or module == __name__
            ):
                continue
            if frame.f_globals is self.namespace or not is_library_file(frame.f_code.co_filename):
                with self._lock:
                    self._missing.add(name)
            return

    def executes(self, code: Any) -> None:
        """Code is about to be executed that came as text: a script, a cell within the cell, what `exec` is given."""
        if isinstance(code, types.CodeType) and not code.co_filename.startswith("<frozen"):
            self._executed.append(code)
            caller = _caller()
            if caller is not None and _is_user_frame(caller):
                self._evaluated.append(code)

    def problem(self, text: str) -> None:
        """Something that cannot be replayed happened."""
        with self._lock:
            if text not in self._problems:
                self._problems.append(text)

    def _digest(self, path: str, then: tuple[int, ...] | str | None) -> str | None:
        if then is None or isinstance(then, str):
            return then
        if _signature(path) != then:
            self.problem(f"{os.path.basename(path)} changed while it was read")
            return "changed"
        if os.path.isdir(path):
            return "folder"
        try:
            return file_digest(path)
        except OSError:
            self.problem(f"{os.path.basename(path)} could not be read again")
            return "unreadable"

    # --- life -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to collect."""
        global _active
        _install()
        _native.watch_start()
        _active = self

    def _native_events(self, events: Sequence[tuple[str, str, tuple[int, ...] | None]]) -> None:
        """What native code opened; there is no telling which thread or function it was for."""
        for kind, name, signature in events:
            if kind in {"variable", "loaded", "environment"}:
                looking.note_native(kind, name)
                continue
            path = os.path.abspath(name)
            if kind == "list":
                self.listing(path, "library")
                continue
            if not self._counts(path, "library"):
                continue
            if kind in {"read", "update"} and path not in self._reads and path not in self._written:
                self._reads[path] = signature
            if kind in {"write", "update"}:
                # Python's questions and native opens come in separate lists; what the file was before this open tells
                # whether a question was asked before it or was about the run's own file.
                if path in self._reads and self._reads[path] != signature:
                    del self._reads[path]
                self._written.add(path)

    def stop(self) -> Findings:
        """End, hash what was read, and tell."""
        global _active
        _active = None
        self._native_events(_native.watch_stop())
        found = Findings(problems=self._problems, env=self._env, missing_modules=self._missing)
        for path, then in sorted(self._reads.items(), key=lambda item: item[0]):
            found.reads[path] = self._digest(path, then)
        for path, target in sorted(self._links.items()):
            found.reads[json.dumps(["link", path, None])] = target
        found.unpickled = self.unpickled
        found.executed = [one for one in self._executed if not is_library_file(one.co_filename)]
        found.evaluated = self._evaluated
        for path, (digest, own) in sorted(self._listings.items()):
            found.reads[json.dumps(["listing", path, own])] = digest
        found.written = {path for path in self._written if os.path.lexists(path)}
        found.folders = {path for path in self._folders if os.path.isdir(path)}
        found.deleted = {path for path in self._deleted if not os.path.lexists(path)}
        return found


def _target_of(path: str) -> str | None:
    """Where a link leads; None when it is none."""
    try:
        return _real_readlink(path)
    except OSError:
        return None


class _Guard(threading.local):
    """Set while a question is being judged: judging asks the file system, too."""

    busy = False


_guard = _Guard()


def _watching() -> Watch | None:
    return None if _guard.busy else _active


def _texts_for_program(args: tuple[Any, ...]) -> list[str]:
    """All that tells a program what to do: its arguments, the cell, and what the shell made of a line of it."""
    found = [journal.text]
    for arg in args:
        parts = arg if isinstance(arg, list | tuple) else [arg]
        found += [
            os.fsdecode(part) for part in parts if isinstance(part, str | bytes | os.PathLike)
        ]
    for frame in _frames(sys._getframe(2)):
        if frame.f_globals.get("__name__") == "IPython.core.interactiveshell":
            line = frame.f_locals.get("cmd")
            found += [line] if isinstance(line, str) else []
    return found


_active: Watch | None = None
_installed = False
_real_stat = os.stat
_real_readlink = os.readlink

_PROCESS_EVENTS = frozenset(
    {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.startfile"}
)
# A terminal for `!command`, and processes of `multiprocessing`.
_FORK_EVENTS = frozenset({"os.fork", "os.forkpty"})
_NETWORK_EVENTS = frozenset(
    {"socket.connect", "socket.sendto", "urllib.Request", "http.client.connect"}
)

_EVENTS = (
    frozenset(
        "open os.listdir os.scandir os.remove os.rmdir os.mkdir os.rename os.link os.symlink os.truncate "
        "sqlite3.connect pickle.find_class ctypes.dlsym os.chmod os.chown os.utime os.setxattr exec".split()
    )
    | _PROCESS_EVENTS
    | _FORK_EVENTS
    | _NETWORK_EVENTS
)


def _path_of(value: Any) -> str | None:
    if isinstance(value, int) or value is None:
        return None
    try:
        return os.fsdecode(os.fspath(value))
    except (TypeError, ValueError):
        return None


def _place_of(args: tuple[Any, ...], at: int, folder_at: int) -> str | None:
    """A path of an audit event, which may be relative to an open folder (`shutil.rmtree` goes that way)."""
    path = _path_of(args[at])
    folder = args[folder_at] if len(args) > folder_at else -1
    if path is None or os.path.isabs(path) or not isinstance(folder, int) or folder < 0:
        return path
    try:
        return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), path)
    except OSError:
        return path


def _may_be_there() -> bool:
    """True when the code that makes a folder says that it may be there already, or chose a name that nobody has."""
    for frame in _frames(sys._getframe(2)):
        if not _is_stdlib_file(frame.f_code.co_filename):
            if frame.f_globals.get("__name__") != __name__:
                return False
            continue
        if frame.f_code.co_name in _NEW_NAMES or frame.f_locals.get("exist_ok") is True:
            return True
    return False


def _on_event(event: str, args: tuple[Any, ...]) -> None:
    watch = _watching()
    if watch is None or event not in _EVENTS:
        return
    _guard.busy = True
    try:
        _judge(watch, event, args)
    finally:
        _guard.busy = False


def _judge(watch: Watch, event: str, args: tuple[Any, ...]) -> None:
    if event == "open":
        path = _path_of(args[0])
        if path is None or path.endswith(".pyc"):
            return
        mode, flags = args[1], args[2] if isinstance(args[2], int) else 0
        who, _ = watch._asker()
        if flags & _WRITE_FLAGS or (isinstance(mode, str) and not set(mode).isdisjoint("wax+")):
            truncates = bool(flags & os.O_TRUNC) or (isinstance(mode, str) and "w" in mode)
            is_write_only = not flags & os.O_RDWR and not (isinstance(mode, str) and "+" in mode)
            watch.write(path, who, keeps_content=not truncates, is_write_only=is_write_only)
        else:
            watch.read(path, who)
    elif event in {"os.listdir", "os.scandir"}:
        path = _path_of(args[0]) if args and args[0] is not None else "."
        if path is not None:
            who = watch._asker()[0]
            watch.listing(path, who)
            if event == "os.scandir" and who == "user" and _is_direct():
                # Its entries can be asked for what they are without another event.
                with contextlib.suppress(OSError):
                    for name in sorted(os.listdir(path)):
                        watch.read(os.path.join(path, name), who)
    elif event == "exec":
        watch.executes(args[0])
    elif event == "ctypes.dlsym":
        if args[1] in variables.WAYS_PAST:
            looking.note_native("environment", "")
    elif event == "pickle.find_class":
        watch.unpickled.add((str(args[0]), str(args[1])))
    elif event in {"os.chmod", "os.chown", "os.utime", "os.setxattr"}:
        if watch._asker()[0] == "user" and _is_direct():
            watch.problem(f"it set attributes of {os.path.basename(str(args[0]))}")
    elif event in {"os.remove", "os.rmdir"}:
        path = _place_of(args, 0, 1)
        if path is not None:
            watch.delete(path, watch._asker()[0])
    elif event == "os.mkdir":
        path = _place_of(args, 0, 2)
        if path is not None:
            watch.make_folder(path, watch._asker()[0], _may_be_there())
    elif event == "os.rename":
        source, target = _place_of(args, 0, 2), _place_of(args, 1, 3)
        who = watch._asker()[0]
        if source is not None:
            watch.delete(source, who)
        if target is not None:
            watch.write(target, who, keeps_content=False)
    elif event in {"os.link", "os.symlink"}:
        target = _path_of(args[1])
        if target is not None and watch._asker()[0] != "service":
            journal.note(target)
            watch.problem("it made a link")
    elif event in {"os.truncate"}:
        path = _path_of(args[0])
        if path is not None and args[1] == 0:
            watch.empty(path, watch._asker()[0])
        elif path is not None:
            watch.write(path, watch._asker()[0], keeps_content=True)
    elif event in _PROCESS_EVENTS:
        looking.starts_program()
        if watch._asker()[0] != "service" and not watch._is_engine():
            journal.note_program(_texts_for_program(args))
            watch.problem("it started another program")
    elif event in _FORK_EVENTS:
        if event == "os.forkpty":
            journal.note_program(_texts_for_program(()))
        else:
            looking.starts_process()
        watch.starts_process()
    elif event in _NETWORK_EVENTS:
        if (
            watch._asker()[0] != "service"
            and not watch._is_engine()
            and not _is_local_socket(event, args)
        ):
            watch.problem("it used the network")
    elif event == "sqlite3.connect":
        if watch._asker()[0] != "service":
            _note_database(_path_of(args[0]))
            watch.problem("it opened a database")


def _note_database(path: str | None) -> None:
    """A repeat that begins again must not find what the database was given the first time."""
    if path is None or path in {"", ":memory:"}:
        return
    if path.startswith("file:"):
        path = urllib.parse.unquote(path.removeprefix("file:").partition("?")[0])
    for suffix in ("", "-journal", "-wal", "-shm"):
        journal.note(path + suffix)


def _is_direct() -> bool:
    """True when the user's own code did it, not what it called in Python's library."""
    caller = _caller()
    if caller is None:
        return False
    return _is_user_frame(caller) or caller.f_code.co_name in {"chmod", "lchmod", "chown"}


def _is_local_socket(event: str, args: tuple[Any, ...]) -> bool:
    # A Unix socket's address is text: the kernel's own plumbing.
    return (
        event in {"socket.connect", "socket.sendto"}
        and len(args) > 1
        and isinstance(args[1], str | bytes)
    )


def _watched_stat(original: Any) -> Any:
    is_link = original.__name__ in {"lstat", "readlink"}
    is_access = original.__name__ == "access"

    @functools.wraps(original)
    def ask(path: Any, *args: Any, **kwargs: Any) -> Any:
        watch = _watching()
        name = _path_of(path) if watch is not None else None
        if watch is not None and name is not None:
            _guard.busy = True
            try:
                if is_link:
                    caller = _caller()
                    asks = caller is not None and caller.f_code.co_name in {"islink", "is_symlink"}
                    watch.link(name, is_asked=asks)
                if is_access and args[:1] != (os.F_OK,) and watch._asker()[0] == "user":
                    watch.problem(f"it asked what may be done with {os.path.basename(name)}")
                watch.asked_about(name)
            finally:
                _guard.busy = False
        return original(path, *args, **kwargs)

    return ask


def _watched_environment() -> None:
    kind = type(os.environ)
    original_get = kind.__getitem__
    original_iter = kind.__iter__

    def getitem(self: Any, key: Any) -> Any:
        watch = _watching()
        if watch is None:
            return original_get(self, key)
        looking.note_variable(key, sys._getframe(1))
        _guard.busy = True
        try:
            who, frame = watch._asker()
        finally:
            _guard.busy = False
        try:
            value = original_get(self, key)
        except KeyError:
            value = None
            raise
        finally:
            if who == "user" and isinstance(key, str):
                digest = (
                    None
                    if value is None
                    else hashlib.blake2b(str(value).encode(), digest_size=16).hexdigest()
                )
                known = watch._env.setdefault(key, (digest, set()))
                known[1].add(
                    frame.f_lineno
                    if frame is not None and frame.f_code.co_name == "<module>"
                    else 0
                )
        return value

    def iterate(self: Any) -> Any:
        watch = _watching()
        if watch is not None:
            looking.note_environment(sys._getframe(1))
            if watch._asker()[0] == "user":
                watch.problem("it read the whole environment")
        return original_iter(self)

    def tell_one(key: Any) -> None:
        if _watching() is not None:
            looking.note_variable(key, sys._getframe(2))

    def tell_all() -> None:
        if _watching() is not None:
            looking.note_environment(sys._getframe(2))

    variables.watch(tell_one, tell_all)
    kind.__getitem__ = getitem  # type: ignore[method-assign]
    kind.__iter__ = iterate  # type: ignore[method-assign]


def _watched_processes() -> None:
    """Those of `multiprocessing` that are not forked have no audit event."""
    original = BaseProcess.start

    @functools.wraps(original)
    def start(self: BaseProcess) -> None:
        watch = _watching()
        if watch is not None:
            looking.starts_process()
            _guard.busy = True
            try:
                watch.starts_process()
            finally:
                _guard.busy = False
        original(self)

    BaseProcess.start = start  # type: ignore[method-assign]


def _watched_logs() -> None:
    """A file that a handler of logging opened in an earlier cell is written without an event.

    What Parsl writes into its own log is no more the user's doing than what other engines keep in their folders.
    """
    original = logging.StreamHandler.emit

    @functools.wraps(original)
    def emit(self: logging.StreamHandler[Any], record: logging.LogRecord) -> None:
        watch, stream = _watching(), self.stream
        if watch is not None and isinstance(stream, io.TextIOWrapper):
            _guard.busy = True
            try:
                name = str(getattr(stream, "name", ""))
                is_engines = record.name.partition(".")[0] == os.path.basename(name)[:-4] == "parsl"
                if not (is_engines or name.startswith("<") or watch._asker()[0] == "service"):
                    watch.problem(f"it wrote to the log {os.path.basename(name)}")
            finally:
                _guard.busy = False
        original(self, record)

    logging.StreamHandler.emit = emit  # type: ignore[method-assign,assignment]


def env_digest(name: str) -> str | None:
    """Digest of an environment variable now; None when unset."""
    return digest_of_variable(os.environ.get(name))


def digest_of_variable(value: str | None) -> str | None:
    """Digest of what a variable is set to; None when it is not."""
    return None if value is None else hashlib.blake2b(value.encode(), digest_size=16).hexdigest()


def _install() -> None:
    global _installed
    if _installed:
        return
    _installed = True
    sys.addaudithook(_on_event)
    sys.meta_path.append(_LastFinder())
    for name in ("stat", "lstat", "access", "readlink"):
        original = getattr(os, name)
        wrapped = _watched_stat(original)
        setattr(os, name, wrapped)
        for capability in (
            os.supports_dir_fd,
            os.supports_follow_symlinks,
            os.supports_fd,
            os.supports_effective_ids,
        ):
            if original in capability:
                capability.add(wrapped)
    _watched_environment()
    _watched_logs()
    _watched_processes()
