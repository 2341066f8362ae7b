"""Restore: the state that a recorded run left, without executing what comes before it."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from nbrewind.kernel import looking, recipes, record, repeat, results, waiting
from nbrewind.kernel.ambient import INITIAL, CannotReset
from nbrewind.kernel.log import followers_of, lineage_of
from nbrewind.kernel.namespace import CoVariable, NamespaceState

if TYPE_CHECKING:
    from nbrewind.kernel.session import Session


class UnknownRun(Exception):
    """There is no such run in the store."""


@dataclass
class Restored:
    """What became of one name: loaded, rebuilt, a stub, or pending: loaded later, before it is used."""

    name: str
    how: str
    type: str
    n_bytes: int
    why: str | None = None


def find_run(
    session: Session, cell: str | None, run_id: str | None, number: int | None = None
) -> dict[str, Any]:
    """The run to go to: by id, or the newest good run or replay of a cell. Raises `UnknownRun`."""
    if session.history is None and not os.path.isdir(session.store_path()):
        raise UnknownRun(f"there is no store at {session.store_path()}. Audit the notebook first")
    history = session.open_history()
    history.refresh()
    runs = [run for run in history.checkpoints() if run["status"] == "ok"]
    if run_id is not None:
        runs = [run for run in runs if run["run_id"].startswith(run_id)]
        what = f"run {run_id}"
    else:
        own = [run for run in runs if run["cell_id"] == cell]
        # A store can serve several notebooks whose cells have the same ids.
        runs = [run for run in own if run["notebook"] == session.notebook] or own
        if number is not None:
            runs = [run for run in runs if run["run_number"] == number]
        what = f"a completed run of cell {cell}" + (
            f" with number {number}" if number is not None else ""
        )
    if not runs:
        raise UnknownRun(
            f"{what} is not in the store {history.path}. "
            + (history.damage() or "Audit the notebook first: nbrewind audit")
        )
    return runs[-1]


def restore(session: Session, run: dict[str, Any]) -> dict[str, Any]:
    """Bring the state after `run` back. On any error, and when interrupted, all is as it was. Returns the report."""
    started = time.perf_counter()
    history = session.open_history()
    state = session.state
    for earlier in history.all_runs():
        record.remember_text(session, earlier)
    versions: dict[str, CoVariable] = {}
    for manifest_id in run["state"].values():
        versions.setdefault(manifest_id, history.manifest(manifest_id))
    log = lineage_of(history, run)
    if run["session"] != session.session_id:
        # The page still shows what that session ran later; our own log has ours.
        log += followers_of(history, run)
    session.explain()
    if session.mode == "off" or not session.quiet.holds():
        # Nobody has looked since; what is live has to be known: to be brought back, and to stay where it is equal.
        state.sweep(suspects=set())
        state.remember_objects()
        session.read_ambient()
    undo: dict[str, Any] = {
        "values": {name: session.namespace[name] for name in state.live_names()},
        "bound": dict(state.bound),
        "loaded": set(state.loaded),
        "symbolic": dict(session.symbolic_ambient),
        "ambient": session.ambient.snapshots(),
        "pending": dict(session.ambient_pending),
        "chunks": dict(session.ambient_chunks),
        "process": list(session.process),
        "process_pending": list(session.process_pending),
        "log": list(session.log.runs),
        "waiting": session.waiting.versions(),
        "results": results.Before(session),
    }
    pending = {item["text"] for item in undo["process_pending"]}
    done = {item["text"] for item in undo["process"]} - pending
    run_id = run.get("of") or run["run_id"]
    process = [{**item, "run_id": run_id} for item in run["process_state"]]
    session.process = looking.with_live(process, undo["process"])
    session.process_pending = [item for item in session.process if item["text"] not in done]
    try:
        places = ("working directory", "environment", "module path")
        _restore_ambient(session, run, places)
        failed: dict[str, str] = {}
        with session.interrupts.allowed():
            repeat.run_process_effects(session, failed)
        # A library that is not here any more: what needs it is named, all else comes back.
        session.process = [item for item in session.process if item["text"] not in failed]
        loading = _Loading(session, run, versions)
        loading.load_all()
        # Loading may have drawn from generators and moved elsewhere.
        _restore_ambient(session, run, _ambient_names(session, is_late=False))
    except BaseException:
        session.process, session.process_pending = undo["process"], undo["process_pending"]
        session.ambient.put_back(undo["ambient"])
        raise
    undo["kept"] = loading.kept
    # Settings that were made here since, and that no provider takes back, are still there.
    made = {item["text"] for item in session.process} | pending
    stays = [
        item["text"]
        for item in undo["process"]
        if item["kind"] not in {"import", looking.SEEN}
        and item["text"] not in made
        and not record.is_taken_back(session, item)
    ]
    for name in list(state.bound):
        state.forget(name)
    for name in state.live_names():
        del session.namespace[name]
    session.namespace.update(loading.values)
    state.bound = {name: versions[run["state"][name]] for name in _in_order(run)}
    state.loaded = set(loading.values)
    with session.guarded("restoring what is open"):
        _restore_ambient(session, run, _ambient_names(session, is_late=True))
    session.ambient_pending.clear()
    for name, provider in session.ambient.providers.items():
        item = run["ambient_state"].get(name)
        if provider.is_contextual and item is not None and item["chunks"]:
            # A request may be carried out in another context than cells are: the next cell sets it in its own.
            session.ambient_pending[name] = item
            session.symbolic_ambient[name] = item["fp"]
    session.ambient_chunks = dict(run["ambient_state"])
    state.remember_objects()
    missing: list[str] = []
    with session.guarded("bringing back what was shown"):
        missing = results.bring(session, run, log, loading.values)
        undo["results"].count_on(session, log)
    session.read_ambient()
    for text in stays:
        session.hide(text, [f"`{text.strip()[:60]}` was executed"])
    for text, reason in failed.items():
        session.hide(text, [reason])
    session.log.set_aside(log)
    session.undo = undo
    session.waiting.begin([versions[manifest_id] for manifest_id in loading.waiting])
    changed = run.get("unrestorable", [])
    return {
        "run_id": run["run_id"],
        "cell_id": run["cell_id"],
        "source": run["source"],
        "seconds": time.perf_counter() - started,
        "recorded_seconds": run["seconds"],
        "names": [asdict(item) for item in loading.report],
        "process": [
            *(text for text in changed if text not in session.hidden_why),
            *failed.values(),
        ],
        "stays": [text for text in session.hidden_why if text not in {*changed, *failed.values()}],
        "results": missing,
    }


def _in_order(run: dict[str, Any]) -> list[str]:
    """The names of a run's state, as the namespace had them."""
    places = {name: place for place, name in enumerate(run.get("order", ()))}
    return sorted(run["state"], key=lambda name: places.get(name, len(places)))


def _ambient_names(session: Session, *, is_late: bool) -> list[str]:
    providers = session.ambient.providers.items()
    return [name for name, provider in providers if provider.is_late == is_late]


def _restore_ambient(session: Session, run: dict[str, Any], names: Iterable[str]) -> None:
    """Ambient state as the run left it; what it does not name is as a session begins."""
    ambient = session.ambient
    for name in names:
        session.interrupts.check()
        item = run["ambient_state"].get(name)
        if item is not None and item["chunks"]:
            ambient.restore(name, repeat.load_ambient(session, item))
            continue
        provider = ambient.providers[name]
        if provider.is_generator:
            # Nobody had seeded it then: any state will do, unless it is seeded now.
            if session.symbolic_ambient.get(name) not in {None, INITIAL}:
                ambient.reset(name)
        else:
            try:
                ambient.reset(name)
            except CannotReset as error:
                session.complain(str(error))


class _Loading:
    """The values of a run's state on their way, and what becomes of every name."""

    def __init__(
        self, session: Session, run: dict[str, Any], versions: dict[str, CoVariable]
    ) -> None:
        self._session = session
        self._run = run
        self._versions = versions
        self._built: dict[str, Any] = {"adopted": set()}
        self.values: dict[str, Any] = {}
        self.report: list[Restored] = []
        # Versions that are live already and stay; manifests of those that are loaded later.
        self.kept = [
            version
            for version in versions.values()
            if version.data is not None and is_live(session, session.state, version)
        ]
        live = {version.manifest_id for version in self.kept}
        self.waiting = waiting.choose(session, run, versions, live)

    def load_all(self) -> None:
        """Everything but what may wait."""
        # Engines first: lazy values come back to life on the cluster that is there. Then what was stored: what is
        # rebuilt shares it.
        order = sorted(
            self._versions.values(),
            key=lambda version: (not version.is_handle, version.data is None, version.names),
        )
        for idx, version in enumerate(order):
            self._session.progress(idx, len(order), ", ".join(self._names_of(version)))
            if version.manifest_id not in self.waiting:
                self._bring(version)
        for version in order:
            if version.manifest_id in self.waiting:
                self.report += [
                    Restored(name, "pending", "", version.n_bytes)
                    for name in self._names_of(version)
                ]
        self.report.sort(key=lambda item: item.name)
        self.values = {
            name: self.values[name] for name in _in_order(self._run) if name in self.values
        }

    def _names_of(self, version: CoVariable) -> list[str]:
        state = self._run["state"]
        return [name for name in version.names if state.get(name) == version.manifest_id]

    def _bring(self, version: CoVariable) -> None:
        """Load or rebuild one version; whatever goes wrong, its names get stubs that say so."""
        session = self._session
        names = self._names_of(version)
        how = "loaded" if version.data is not None else "rebuilt"
        try:
            if is_live_engine(session, version):
                # Another engine would be as good, and this one is running.
                found = {name: session.namespace[name] for name in version.names}
                how = "loaded"
            elif version in self.kept:
                found = {name: session.namespace[name] for name in version.names}
                self._built[version.manifest_id] = found
            else:
                with session.interrupts.allowed():
                    found = repeat.load_version(session, version, self._built)
                    if version.data is None and not version.is_handle:
                        self._share(version)
                    self._built[version.manifest_id] = found
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the name gets a stub that says so
            text = str(error) or type(error).__name__
            reason = text if version.why in {None, text} else f"{version.why}; {text}"
            for name in names:
                self.values[name] = waiting.Stub(name, reason)
                self.report.append(Restored(name, "stub", "Stub", 0, reason))
            return
        for name in names:
            self.values[name] = found[name]
            kind = type(found[name])
            shown = (
                kind.__qualname__
                if kind.__module__ == "builtins"
                else f"{kind.__module__}.{kind.__qualname__}"
            )
            self.report.append(Restored(name, how, shown, version.n_bytes, version.why))

    def _share(self, version: CoVariable) -> None:
        """What was rebuilt holds the very objects that restored names have; else it cannot stand for what it was.

        A recipe that makes `rows` again has made what the name `rows` should be, when that has the recorded content.
        """
        session, built, values = self._session, self._built, self.values
        rebuilt = built[version.manifest_id]
        around = built[recipes.surroundings_key(version)]
        others = {
            id(other): other
            for other in self._versions.values()
            if other.data is not None and other.joint is not None and set(other.names) & set(around)
        }
        for other in others.values():
            if other.manifest_id in self.waiting:
                self.waiting.discard(other.manifest_id)
                self._bring(other)
        targets = {
            id(around[name])
            for other in others.values()
            for name in other.names
            if name in around and gc.is_tracked(around[name])
        }
        held = recipes.reaches(rebuilt.values(), targets, session.namespace)
        for other in others.values():
            if not any(name in around and id(around[name]) in held for name in other.names):
                continue
            made = {name: around[name] for name in other.names if name in around}
            is_same = (
                len(made) == len(other.names) and session.state.fingerprint(made) == other.joint
            )
            is_shared = all(values.get(name) is value for name, value in made.items())
            if is_same and not is_shared and other.manifest_id not in built["adopted"]:
                values.update({name: made[name] for name in made if name in values})
                built[other.manifest_id] = made
                is_shared = True
            if is_same and is_shared:
                built["adopted"].add(other.manifest_id)
                continue
            if is_shared:
                # The names get their content back; only what was rebuilt is lost.
                again = repeat.load_version(session, other, {})
                built[other.manifest_id] = again
                values.update({name: again[name] for name in again if name in values})
            raise recipes.NoRecipe(f"it shares `{', '.join(made)}`, which is another object now")


def is_live(session: Session, live: NamespaceState, version: CoVariable) -> bool:
    """True when the very names of this version have its content now, in the namespace."""
    if version.is_handle:
        return is_live_engine(session, version)
    if version.joint is None:
        return False
    known = live.bound.get(version.names[0])
    if known is None or known.names != version.names or known.joint != version.joint:
        return False
    return not any(
        live.bound.get(name) is not known
        or name not in live.loaded
        or name not in session.namespace
        or type(session.namespace[name]) is waiting.Stub
        or known.facts[name].fp != version.facts[name].fp
        # What comes from the user's modules goes with them: a replay imports them again.
        or any(mark.startswith("module: ") for mark in known.facts[name].marks)
        or any(mark.startswith("module: ") for mark in version.facts[name].marks)
        for name in version.names
    )


def is_live_engine(session: Session, version: CoVariable) -> bool:
    """True when the very names of a compute engine hold engines of that kind now, and they run."""
    if not version.is_handle:
        return False
    for name in version.names:
        known = session.state.bound.get(name)
        value = session.namespace.get(name)
        if (
            known is None
            or name not in session.state.loaded
            or known.names != version.names
            or known.facts[name].handles != version.facts[name].handles
            or value is None
            or f"{type(value).__module__}.{type(value).__qualname__}"
            not in known.facts[name].handles
        ):
            return False
        status = getattr(value, "status", "running")
        if (
            getattr(status, "name", status) != "running"
            or getattr(value, "_shutdown", False) is True
        ):
            return False
    return True


def undo_restore(session: Session) -> bool:
    """Bring back what was there before the last restore. False when there was none."""
    undo = session.undo
    if undo is None:
        return False
    state: NamespaceState = session.state
    # What stayed through the restore may have changed in place since; it is in the store as it was.
    state.sweep(suspects=set())
    again: dict[str, Any] = {}
    for version in undo["kept"]:
        before = undo["bound"][version.names[0]]
        if not is_live(session, state, before):
            again.update(repeat.load_version(session, version, {}))
    session.ambient.put_back(undo["ambient"])
    for name in state.live_names():
        del session.namespace[name]
    session.namespace.update(undo["values"])
    session.namespace.update(again)
    state.bound, state.loaded = undo["bound"], undo["loaded"]
    session.symbolic_ambient = undo["symbolic"]
    session.ambient_pending, session.ambient_chunks = undo["pending"], undo["chunks"]
    session.process, session.process_pending = undo["process"], undo["process_pending"]
    undo["results"].put_back(session)
    state.remember_objects()
    session.log.put_back(undo["log"])
    session.undo = None
    session.waiting.begin(undo["waiting"])
    return True
