"""Recipes: rebuild what cannot be stored by executing the statements that made it.

A recipe gives what it gave then only if it asks nothing of the outside that may have changed: the files that its runs
read must be as they were, and its statements may not draw random numbers or ask the time. And it may do nothing
there: a restore never writes files, starts programs or sends messages. Compute engines are exempt, because they are
not content. Whatever breaks these rules becomes a stub that says which.
"""

from __future__ import annotations

import builtins
import gc
import os
import re
import sys
import threading
import types
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from IPython.utils.capture import capture_output

from nbrewind.fingerprint import is_library_file, path_digest
from nbrewind.hush import hushed
from nbrewind.kernel import record
from nbrewind.kernel.ambient import state_fp
from nbrewind.kernel.namespace import CoVariable, is_tracked

if TYPE_CHECKING:
    from nbrewind.kernel.session import Session


class NoRecipe(Exception):
    """Nothing is known that would rebuild the value."""


class RefusedError(PermissionError):
    """What a recipe may not do; raised inside it."""


_WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Audit events of what reaches outside, and how to name it.
_OUTSIDE_EVENTS = {
    "os.remove": "deletes a file",
    "os.rename": "renames a file",
    "os.rmdir": "deletes a folder",
    "os.mkdir": "makes a folder",
    "os.link": "makes a link",
    "os.symlink": "makes a link",
    "os.truncate": "cuts a file",
    "os.chmod": "changes a file",
    "shutil.rmtree": "deletes a folder",
    "subprocess.Popen": "starts a program",
    "os.system": "starts a program",
    "os.posix_spawn": "starts a program",
    "os.exec": "starts a program",
    "os.fork": "starts a process",
    "socket.connect": "asks the network",
    "socket.bind": "listens on the network",
    "urllib.Request": "asks the network",
}
# A connection that does nothing but open can be opened again.
_ONLY_CONNECTS = re.compile(
    r"\s*((import|from)\s[^\n]*|\w+\s*=\s*(\w+\.)?connect\([^()]*\))\s*", re.DOTALL
)
_SYSTEM = ("/proc/", "/sys/", "/dev/", "/etc/", "/usr/")


@dataclass
class _Guard:
    """What a recipe does while it runs on one thread."""

    thread: int
    may_connect: bool
    opened: set[str] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)

    def look(self, event: str, args: tuple[Any, ...]) -> None:
        """Note what is read; refuse what would change something outside."""
        what = _OUTSIDE_EVENTS.get(event)
        if event == "open":
            path, _, flags = args
            if not isinstance(path, str | bytes) or "__pycache__" in os.fsdecode(path):
                return
            path = os.path.abspath(os.fsdecode(path))
            if not isinstance(flags, int) or not flags & _WRITE_FLAGS:
                self.opened.add(path)
                return
            if not path.startswith("/dev/"):
                what = f"writes {os.path.basename(path)}"
        elif event == "sqlite3.connect" and not self.may_connect:
            target = os.fsdecode(args[0]) if isinstance(args[0], str | bytes) else str(args[0])
            if target not in {"", ":memory:"}:
                what = f"opens the database {os.path.basename(target)}"
        if what is not None:
            self.refused.append(what)
            raise RefusedError(f"a restore may not do this: it {what}")


_guard: _Guard | None = None
_has_hook = False


def _hook(event: str, args: tuple[Any, ...]) -> None:
    guard = _guard
    if guard is not None and guard.thread == threading.get_ident():
        guard.look(event, args)


@contextmanager
def _guarded(texts: list[str]) -> Iterator[_Guard]:
    global _guard, _has_hook
    if not _has_hook:
        # A hook cannot be taken away; it does nothing while no recipe runs.
        sys.addaudithook(_hook)
        _has_hook = True
    before = _guard
    may_connect = all(_ONLY_CONNECTS.fullmatch(text) for text in texts)
    _guard = found = _Guard(threading.get_ident(), may_connect)
    try:
        yield found
    finally:
        _guard = before


_n_running = 0


def is_running() -> bool:
    """Does the live namespace hold what a recipe sees, for the moment?"""
    return _n_running > 0


@contextmanager
def _as_namespace(session: Session, content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The live namespace, holding only `content` for the time of a recipe.

    What the statements make has the live namespace as its globals, and sees what is bound there later.
    """
    global _n_running
    live = session.namespace
    before = dict(live)
    _n_running += 1
    for name in before:
        if is_tracked(name):
            del live[name]
    live.update(content)
    try:
        yield live
    finally:
        live.clear()
        live.update(before)
        _n_running -= 1


def rebuild(session: Session, version: CoVariable, built: dict[str, Any]) -> dict[str, Any]:
    """Execute the recipe in a namespace of its own, with the inputs that the statements had then.

    `built` holds values by manifest, so that one restore builds nothing twice, and what is rebuilt shares its inputs
    with the names that hold them.
    """
    from nbrewind.kernel.repeat import load_version

    assert session.history is not None
    if version.manifest_id in built:
        found: dict[str, Any] = built[version.manifest_id]
        return found
    if not version.recipe:
        raise NoRecipe(version.why or "it could not be stored")
    texts = [text for step in version.recipe for text in step["statements"]]
    runs = _runs_of(session, version)
    if not version.is_handle:
        _check_texts(texts)
        _check_inputs(session, runs)
    content = {name: value for name, value in session.scratch.items() if is_tracked(name)}
    generators = _generators(session)
    with _as_namespace(session, content) as live:
        for step in version.recipe:
            for name, manifest_id in step["needs"].items():
                if name in live and name in version.names:
                    continue
                needed = session.history.manifest(manifest_id)
                if manifest_id not in built:
                    built[manifest_id] = load_version(session, needed, built)
                live[name] = built[manifest_id][name]
            codes = [
                compile(
                    session.shell.transform_cell(text),
                    "<nbrewind: recipe>",
                    "exec",
                    # Or annotations would be those of this file.
                    dont_inherit=True,
                )
                for text in step["statements"]
            ]
            # What the statements show was shown when their cell ran. What they make may keep `sys.stderr`.
            displayed = capture_output(stdout=False, stderr=False)
            trap = session.shell.builtin_trap
            with trap, _in_folder_of(session, runs, step["run_id"]), displayed, hushed():
                if version.is_handle:
                    for code in codes:
                        exec(code, live)
                else:
                    _execute(session, codes, texts, runs, live)
        missing = [name for name in version.names if name not in live]
        if missing:
            raise NoRecipe(f"its recipe does not give {', '.join(missing)}")
        values = {name: live[name] for name in version.names}
        made = {name: value for name, value in live.items() if is_tracked(name)}
    if not version.is_handle and _generators(session) != generators:
        raise NoRecipe("its recipe draws random numbers")
    built[version.manifest_id] = values
    built[surroundings_key(version)] = made
    return values


def surroundings_key(version: CoVariable) -> str:
    """Where `built` keeps all names as the recipe left them."""
    return f"around {version.manifest_id}"


_MAX_VISITED = 200_000


def reaches(values: Iterable[Any], targets: set[int], namespace: dict[str, Any]) -> set[int]:
    """Which of the objects with these ids the values hold. All of them when there is too much to look at."""
    found: set[int] = set()
    seen = {id(namespace)}
    stack = list(values)
    while stack:
        obj = stack.pop()
        if id(obj) in seen or isinstance(obj, type | types.ModuleType):
            continue
        if type(obj) is dict and ("__builtins__" in obj or obj is builtins.__dict__):
            # The globals of a frame or a function: what is there is named, not held.
            continue
        if len(seen) > _MAX_VISITED:
            return targets
        seen.add(id(obj))
        if id(obj) in targets:
            found.add(id(obj))
        stack.extend(gc.get_referents(obj))
    return found


@contextmanager
def _in_folder_of(session: Session, runs: list[dict[str, Any]], run_id: str) -> Iterator[None]:
    """The working directory in which a run began; as it is now, when the run itself changed it."""
    from nbrewind.kernel.repeat import load_ambient

    name = "working directory"
    before = os.getcwd()
    try:
        for run in runs:
            if run["run_id"] == run_id and name not in run["effects"]["ambient"]:
                item = run["ambient_state"].get(name)
                session.ambient.places.cwd_set(load_ambient(session, item) if item else ".")
        yield
    finally:
        os.chdir(before)


def _execute(
    session: Session,
    codes: list[Any],
    texts: list[str],
    runs: list[dict[str, Any]],
    live: dict[str, Any],
) -> None:
    with _guarded(texts) as guard:
        try:
            for code in codes:
                exec(code, live)
        except Exception as error:
            if not guard.refused:
                raise NoRecipe(f"its recipe fails: {type(error).__name__}: {error}") from error
    if guard.refused:
        raise NoRecipe(f"its recipe {guard.refused[0]}, which a restore does not do")
    _check_opened(session, runs, guard.opened)


def _runs_of(session: Session, version: CoVariable) -> list[dict[str, Any]]:
    assert session.history is not None
    ids = {step["run_id"] for step in version.recipe or []}
    return [run for run in session.history.all_runs() if run["run_id"] in ids]


def _check_texts(texts: list[str]) -> None:
    from nbrewind.kernel.session import analyze

    for text in texts:
        for entry in analyze(text)["marks"].get("nondeterministic", []):
            raise NoRecipe(f"its recipe uses {entry['construct']}, which gives something else now")


def _check_inputs(session: Session, runs: list[dict[str, Any]]) -> None:
    """The files that these runs read must be as they were."""
    for run in runs:
        for key, then in run["inputs"]["files"].items():
            if record.file_fact(session, key) != then:
                raise NoRecipe(f"its recipe reads {key}, which has changed since")


def _check_opened(session: Session, runs: list[dict[str, Any]], opened: set[str]) -> None:
    """What a run wrote and then read is no input of it; it must be as the run left it all the same."""
    written = {
        os.path.realpath(record.key_path(session, item["path"])): item["digest"]
        for run in runs
        for item in run["effects"]["files"]
    }
    read = {
        os.path.realpath(record.key_path(session, key))
        for run in runs
        for key in run["inputs"]["files"]
        if not key.startswith("[")
    }
    for path in opened:
        real = os.path.realpath(path)
        if real in written:
            if path_digest(real) != written[real]:
                raise NoRecipe(
                    f"its recipe reads {os.path.basename(path)}, which has changed since"
                )
        elif real not in read and os.path.isfile(real) and _is_of_the_user(real):
            raise NoRecipe(f"nobody knows what {os.path.basename(path)} held then")


def _is_of_the_user(path: str) -> bool:
    return not is_library_file(path) and not path.startswith(_SYSTEM)


def _generators(session: Session) -> list[str | None]:
    """The state of every generator of random numbers; None where its module is not loaded."""
    providers = session.ambient.providers.values()
    return [state_fp(provider.get()) for provider in providers if provider.is_generator]
