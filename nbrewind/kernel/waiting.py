"""What a restore leaves in the store at first: large values, loaded before a cell that may read them or in between.

A name that waits is in no dict of the user's. Everything that a cell may read is loaded before it executes, as after a
replay (rule 11 of the repeat rule); what nobody asks for is loaded while the kernel has nothing else to do.
"""

from __future__ import annotations

import builtins
import os
import sys
import threading
import types
from typing import TYPE_CHECKING, Any

from nbrewind._native import MissingError
from nbrewind.kernel import figures
from nbrewind.kernel.namespace import CoVariable

if TYPE_CHECKING:
    from nbrewind.kernel.history import History
    from nbrewind.kernel.session import Session

# How much a restore loads before it answers, smallest values first.
MAX_AT_ONCE = 64 << 20


class Stub:
    """What a restore could not bring back. Any use raises and names it."""

    def __init__(self, name: str, reason: str) -> None:
        object.__setattr__(self, "_Stub__name", name)
        object.__setattr__(self, "_Stub__reason", reason)

    def __refuse(self, *args: Any, **kwargs: Any) -> Any:
        name = object.__getattribute__(self, "_Stub__name")
        reason = object.__getattribute__(self, "_Stub__reason")
        raise RuntimeError(f"`{name}` was not restored: {reason}. Run the cell that makes it.")

    def __getattribute__(self, attribute: str) -> Any:
        # Types and identity may be asked for; anything else would be a use.
        if attribute in {"__class__", "_Stub__refuse"}:
            return object.__getattribute__(self, attribute)
        return object.__getattribute__(self, "_Stub__refuse")()

    def __repr__(self) -> str:
        name = object.__getattribute__(self, "_Stub__name")
        return f"<`{name}` was not restored: {object.__getattribute__(self, '_Stub__reason')}>"


# Python looks for these in the class alone. numpy asks for some of them: else a stub would be one object among others.
_USES = """
    call len length_hint iter next reversed contains getitem setitem delitem setattr delattr dir
    bool int float complex index bytes str format fspath hash round trunc floor ceil
    eq ne lt le gt ge neg pos abs invert divmod rdivmod pow rpow matmul rmatmul
    add radd sub rsub mul rmul truediv rtruediv floordiv rfloordiv mod rmod
    and rand or ror xor rxor lshift rlshift rshift rrshift
    enter exit aenter aexit await aiter anext array array_ufunc array_function
    reduce reduce_ex copy deepcopy
"""
for _use in _USES.split():
    setattr(Stub, f"__{_use}__", Stub._Stub__refuse)  # type: ignore[attr-defined]


def choose(
    session: Session, run: dict[str, Any], versions: dict[str, CoVariable], live: set[str]
) -> set[str]:
    """Manifests of the versions that may wait. `live`: of those that need not be loaded at all."""
    if session.is_in_cell:
        # What follows in the cell may read anything.
        return set()
    history = session.open_history()
    needed = _needed_by_recipes(history, versions)
    shown = _names_of_figures(session, run)
    room = MAX_AT_ONCE
    found = set()
    for manifest_id, version in sorted(versions.items(), key=lambda item: item[1].n_bytes):
        if manifest_id in live:
            continue
        room -= version.n_bytes
        if (
            room < 0
            and version.joint is not None
            and version.data is not None
            and not version.is_handle
            and manifest_id not in needed
            and shown.isdisjoint(version.names)
            # Any code may read these.
            and not any(hasattr(builtins, name) for name in version.names)
            # Modules of the user's are imported with them, which is better done now.
            and not any(
                mark.startswith("module: ")
                for facts in version.facts.values()
                for mark in facts.marks
            )
            # What is lost is told at once.
            and all(history.store.has(chunk) for chunk in version.chunks())
        ):
            found.add(manifest_id)
    return found


def _needed_by_recipes(history: History, versions: dict[str, CoVariable]) -> set[str]:
    """What is rebuilt must share its inputs with the names that hold them."""
    found: set[str] = set()
    todo = list(versions.values())
    while todo:
        for step in todo.pop().recipe or []:
            for manifest_id in step["needs"].values():
                if manifest_id not in found:
                    found.add(manifest_id)
                    try:
                        todo.append(history.manifest(manifest_id))
                    except MissingError:
                        # The recipe will say so.
                        continue
    return found


def _names_of_figures(session: Session, run: dict[str, Any]) -> set[str]:
    """Names of the figures that were open: they are opened with the restore."""
    from nbrewind.kernel.repeat import load_ambient

    item = run["ambient_state"].get(figures.PROVIDER)
    if item is None or not item["chunks"]:
        return set()
    return {name for _, name in load_ambient(session, item)[0] if name is not None}


def _is_for_terminal() -> bool:
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] in _TERMINALS:
            return True
        frame = frame.f_back
    return False


_TERMINALS = frozenset({"pexpect", "ptyprocess", "pty"})


class Waiting:
    """The versions that the last restore left in the store, as far as they are still bound and not loaded."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._versions: list[CoVariable] = []
        self._process = os.getpid()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self.before_fork)

    def before_fork(self) -> None:
        """A child has the names that are there now, and what it is asked later may read any of them.

        What a program does that replaces the child at once, as terminals for `!` do, is no such thing.
        """
        from nbrewind.kernel import recipes, repeat

        session = self._session
        state = session.state
        if (
            not session.is_in_cell
            # What would be put there now is gone when the recipe ends.
            or recipes.is_running()
            or os.getpid() != self._process
            or threading.current_thread() is not threading.main_thread()
            or _is_for_terminal()
        ):
            return
        for version in {id(one): one for one in map(state.bound.get, state.pending())}.values():
            # What the cell has bound anew meanwhile stays.
            if version is None or version.data is None:
                continue
            if not state.namespace.keys().isdisjoint(version.names):
                continue
            with session.guarded("loading what a child process has"):
                for name, value in repeat.load_version(session, version, {}).items():
                    if state.bound.get(name) is version:
                        state.bring(name, value)

    def versions(self) -> list[CoVariable]:
        """Smallest first."""
        state = self._session.state
        self._versions = [
            version
            for version in self._versions
            if any(
                state.bound.get(name) is version and name not in state.loaded
                for name in version.names
            )
        ]
        return list(self._versions)

    def begin(self, versions: list[CoVariable]) -> None:
        """These wait from now on; the kernel loads them while nobody asks for anything. Within a cell: now."""
        self._versions = sorted(versions, key=lambda version: version.n_bytes)
        if self._session.is_in_cell:
            while self._fill():
                pass
        elif versions and self._session.requests is not None:
            self._session.requests.when_free(self._fill)

    def _fill(self) -> bool:
        """Load one of them. True while there are more; an interrupt leaves the rest to those who use it."""
        from nbrewind.kernel import repeat, results
        from nbrewind.kernel.session import CannotReplay

        session = self._session
        state = session.state
        if any(name in state.namespace for one in self.versions() for name in one.names):
            # A cell that was not recorded has bound some of them anew.
            state.sweep(suspects=set())
            state.remember_objects()
        versions = self.versions()
        if not versions or session.replaying is not None:
            return False
        names = {name for name in versions[0].names if state.bound.get(name) is versions[0]}
        is_loaded = False
        try:
            with session.interrupts.allowed(), session.guarded("loading what was restored"):
                repeat.load_names(session, names)
                results.settle(session)
                is_loaded = True
        except (CannotReplay, KeyboardInterrupt):
            return False
        return is_loaded and len(versions) > 1

    def give_up(self, version: CoVariable, error: Exception) -> bool:
        """Put stubs in the place of what cannot be loaded, and tell. False when a replay needs to know instead."""
        session = self._session
        if session.mode == "repeat" or version not in self.versions():
            return False
        if isinstance(error, MemoryError):
            # It is still there.
            return False
        reason = str(error) or type(error).__name__
        state = session.state
        lost = [name for name in version.names if state.bound.get(name) is version]
        for name in lost:
            state.namespace[name] = Stub(name, reason)
            state.loaded.add(name)
        state.remember_objects()
        session.tell({"event": "lost", "names": lost, "why": reason})
        return True
