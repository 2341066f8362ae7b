"""Replay from a cell in a live kernel: set the state aside, walk the notebook from the top, and go on from there.

The walk is symbolic: it sees a kernel in which nothing has run, and touches neither the namespace nor the process. A
plan ends there. `begin` then makes the state real: values that are live and equal stay loaded, all others come from the
store when they are needed. What a process cannot take back is a reason to start a new one; every doubt is one, too.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from nbrewind.kernel import figures, looking, packages, record, repeat
from nbrewind.kernel.ambient import CannotReset
from nbrewind.kernel.log import LogRun
from nbrewind.kernel.namespace import NamespaceState
from nbrewind.kernel.restore import is_live
from nbrewind.kernel.shown import Shown
from nbrewind.kernel.takeback import journal

if TYPE_CHECKING:
    from nbrewind.kernel.session import Session

# How much is loaded at the end of a replay, so that completion and inspectors see it; the rest loads on use.
MAX_LOADED = 256 << 20


class RestartNeeded(Exception):
    """This process cannot become what a new one is; the replay has to begin in a new kernel."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


# --- Setting aside ------------------------------------------------------------------------------------------------

_SYMBOLIC = (
    "state",
    "symbolic_ambient",
    "ambient_pending",
    "ambient_chunks",
    "process",
    "process_pending",
    "hidden",
    "hidden_reads",
    "hidden_why",
    "shown",
    "texts",
)


@contextmanager
def set_aside(session: Session) -> Iterator[None]:
    """Within, the session's state is that of a kernel in which nothing has run. Nothing real is touched."""
    from nbrewind.kernel.session import user_modules

    live = {name: getattr(session, name) for name in _SYMBOLIC}
    with ExitStack() as stack:
        stack.enter_context(
            packages.as_unloaded(set(user_modules()) - session.base_modules_of_user)
        )
        try:
            session.aside = live["state"]
            session.state = NamespaceState({}, session.ambient.places.root)
            session.symbolic_ambient = session.symbolic_beginning()
            session.ambient_pending, session.ambient_chunks = {}, {}
            session.process, session.process_pending = [], []
            session.hidden, session.hidden_reads, session.hidden_why = [], set(), []
            session.shown, session.texts = Shown(), {}
            yield
        finally:
            for name, value in live.items():
                setattr(session, name, value)
            session.aside = None


# --- The plan -----------------------------------------------------------------------------------------------------


def plan(session: Session, cells: list[dict[str, Any]], start: str) -> dict[str, Any]:
    """What a replay from `start` would do with every cell, and why it could not be done in this process."""
    _check(session, cells, start)
    _ready(session, cells)
    with set_aside(session):
        found = repeat.plan(session, cells)
        made = set(session.state.bound)
    live = {*session.state.live_names(), *session.state.pending()}
    above = True
    for item in found:
        above = above and item["id"] != start
        item["above"] = above
    reached = next((idx for idx, item in enumerate(found) if not item["above"]), len(found))
    first = next((i for i, item in enumerate(found) if item["status"] != "replay"), len(found))
    if not is_fresh(session):
        with set_aside(session):
            _walk(session, cells[: _position(cells, found, min(first, reached))], None)
            process = list(session.process)
        reasons = restart_reasons(session, process)
    else:
        reasons = []
    return {
        "plan": found,
        "seconds": round(sum(item["seconds"] for item in found if item["status"] != "replay"), 3),
        "saved_seconds": round(
            sum(item["recorded_seconds"] for item in found if item["status"] == "replay"), 3
        ),
        "restart": reasons,
        "lost": sorted(live - made),
    }


def _position(cells: list[dict[str, Any]], found: list[dict[str, Any]], idx: int) -> int:
    if idx >= len(found):
        return len(cells)
    return next(i for i, cell in enumerate(cells) if cell["id"] == found[idx]["id"])


def _check(session: Session, cells: list[dict[str, Any]], start: str) -> None:
    if all(cell["id"] != start for cell in cells):
        raise ValueError(f"there is no cell {start} among the cells")


def _ready(session: Session, cells: list[dict[str, Any]]) -> None:
    """What is live is known by content, and what ran without being recorded by its text."""
    session.open_history().refresh()
    session.tags.update({cell["id"]: list(cell.get("tags") or []) for cell in cells})
    for cell in cells:
        cell.setdefault("tags", [])
    session.settle()
    session.explain()


# A cell, the record that stands for it, and in what the state after it differs from the recorded one.
_Replayed = tuple[dict[str, Any], dict[str, Any], dict[str, Any] | None]


def _walk(
    session: Session, cells: list[dict[str, Any]], start: str | None
) -> tuple[list[_Replayed], str | None]:
    """Replay cell by cell, without writing files, up to the first that has to execute, or `start`."""
    found: list[_Replayed] = []
    is_reached = False
    for idx, cell in enumerate(cells):
        is_reached = is_reached or cell["id"] == start
        if not cell["source"].strip():
            continue
        if is_reached:
            return found, cell["id"]
        session.progress(idx, len(cells), cell["id"])
        run = session.observe(cell["source"], cell["id"])
        record_found, _ = repeat.decide(session, run, cell["tags"])
        if record_found is None:
            return found, cell["id"]
        repeat.replay(session, record_found, run, dry=True)
        session.shown.replayed(record_found)
        found.append((cell, record_found, repeat.left_by_replay(session, record_found)))
    return found, None


# --- What a process cannot take back --------------------------------------------------------------------------------


def is_fresh(session: Session) -> bool:
    """True while nothing of the user's has happened in this process."""
    return session.began_fresh and not session.has_run()


def restart_reasons(session: Session, process: list[dict[str, Any]]) -> list[str]:
    """Why this process is not what a new one would be after executing `process`. Sentences for the user."""
    from nbrewind.kernel.session import user_modules

    if is_fresh(session):
        return []
    why: list[str] = []
    if not session.began_fresh:
        why.append("cells ran before NBRewind was loaded, and how this kernel began is not known")
    why += [
        f"a cell changed this process: {text}"
        for text in session.hidden_why
        if text != record.OPEN_FIGURE and not text.startswith(record.MODULE_STATE)
    ]
    why += [f"a cell ran what cannot be seen through: {text}" for text in _unique(session.unseen)]
    why += [f"the thread {name} still runs" for name in record.user_threads(session.base_threads)]
    if _user_tasks(session):
        why.append("an asynchronous task of a cell still runs")
    hooks = record.shell_hooks(session.shell) - session.base_hooks
    why += [f"a cell added to the shell's {place}" for place in sorted({one for one, _ in hooks})]
    for name in user_modules():
        if name not in session.base_modules_of_user:
            reason = packages.why_not_unload(name)
            if reason is not None:
                why.append(reason)
    texts = {item["text"] for item in process}
    undone = {item["text"] for item in session.process_pending}
    for item in [*session.process, *session.leftover]:
        if item["kind"] == looking.SEEN:
            if looking.is_kept(item) and item["text"] not in texts:
                why.append("a library was told of a setting, and may have kept it")
            continue
        if (
            item["kind"] != "import"
            and item["text"] not in texts
            and item["text"] not in undone
            and not record.is_taken_back(session, item)
        ):
            why.append(f"`{item['text'].strip()[:60]}` was executed and cannot be taken back")
    why += [f"the state of {name} cannot be taken back" for name in session.ambient.cannot_reset()]
    imports = " ".join(item["text"] for item in process)
    for name, top in _accessors():
        if re.search(rf"\b{re.escape(top)}\b", imports) is None:
            why.append(f"{top} added `{name}` to classes of another library")
    return _unique(why)


def _user_tasks(session: Session) -> bool:
    """True when code of a cell goes on in the event loop."""
    loop = getattr(getattr(session.kernel, "io_loop", None), "asyncio_loop", None)
    if loop is None:
        return False
    for task in asyncio.all_tasks(loop):
        frame = getattr(task.get_coro(), "cr_frame", None)
        if frame is not None and frame.f_globals is session.namespace:
            return True
    return False


def _accessors() -> list[tuple[str, str]]:
    """Attributes that libraries registered on pandas and xarray classes, and who did it."""
    found = []
    extended = (("pandas", ("DataFrame", "Series", "Index")), ("xarray", ("Dataset", "DataArray")))
    for module, kinds in extended:
        for kind in kinds:
            owner = getattr(sys.modules.get(module), kind, None)
            if owner is None:
                continue
            for name, value in list(vars(owner).items()):
                made = getattr(value, "_accessor", None)
                top = (getattr(made, "__module__", None) or module).partition(".")[0]
                if made is not None and top != module:
                    found.append((name, top))
    return found


def _unique(texts: list[str]) -> list[str]:
    return list(dict.fromkeys(texts))


# --- Begin and end ------------------------------------------------------------------------------------------------


def begin(
    session: Session,
    cells: list[dict[str, Any]],
    start: str,
    distrusted: list[str] | None = None,
    owner: str | None = None,
) -> dict[str, Any]:
    """Replay up to the first cell that executes, or `start`; the session is in repeat mode then.

    `owner` is the comm that begins it. Raises `RestartNeeded` when this process will not do. On any error, and when
    interrupted, all is as it was.
    """
    from nbrewind.kernel.session import user_modules

    started = time.time()
    _check(session, cells, start)
    known = set(session.distrusted)
    session.distrusted.update(distrusted or [])
    files = _Files()
    if session.replaying is not None and distrusted:
        # It begins again.
        journal.take_back()
    else:
        journal.end()
    journal.is_on = True
    try:
        _ready(session, cells)
        fresh = is_fresh(session)
        if not fresh:
            with set_aside(session):
                _walk(session, cells, start)
                process = list(session.process)
            reasons = restart_reasons(session, process)
            if reasons:
                raise RestartNeeded(reasons)
        # Right before anything is kept: what is live is hashed.
        changed, _ = session.state.sweep(suspects=set())
        for version in changed:
            version.recipe = None
        session.state.remember_objects()
        with set_aside(session):
            replayed, following = _walk(session, cells, start)
            symbolic = {name: getattr(session, name) for name in _SYMBOLIC}
        for _, found, _ in replayed:
            session.interrupts.check()
            files.write(session, found)
        pool = _pool(session, symbolic["state"])
        snapshots = session.ambient.snapshots()
        try:
            _reset_ambient(session)
        except CannotReset as error:
            session.ambient.put_back(snapshots)
            raise RestartNeeded([str(error)]) from error
        except BaseException:
            session.ambient.put_back(snapshots)
            raise
    except BaseException:
        session.distrusted = known
        raise
    # From here on nothing can fail and no interrupt comes.
    unloaded = [name for name in user_modules() if name not in session.base_modules_of_user]
    packages.unload(unloaded)
    _take_over(session, symbolic, pool)
    session.log.set_aside(_noted(session, replayed))
    before = session.replaying
    session.replaying = {
        "mode": before["mode"] if before else session.default_mode or session.mode,
        "owner": owner,
        "started": before["started"] if before else started,
        "replayed": [found for _, found, _ in replayed],
        "earlier": [*before["earlier"], *before["reports"]] if before else [],
        "reports": [],
    }
    session.default_mode = None
    session.mode = "repeat"
    session.shadow = False
    session._set_up_tasks()
    session.read_ambient()
    return {
        "replayed": [
            {
                "id": cell["id"],
                "run_id": found["run_id"],
                "recorded_seconds": found["seconds"],
            }
            for cell, found, _ in replayed
        ],
        "next": following,
    }


def _noted(session: Session, replayed: list[_Replayed]) -> list[LogRun]:
    """The log that begins with these, each of which the history knows."""
    entries: list[LogRun] = []
    lineage: dict[str, Any] = {"previous": None, "between": []}
    for cell, found, left in replayed:
        at = (cell["id"], cell["source"])
        replay_id, checkpoint = repeat.note_replay(session, found, at, left, lineage)
        lineage = {"previous": replay_id, "between": []}
        entries.append(
            LogRun(
                *at,
                None,
                "ok",
                "replayed",
                run_id=found["run_id"],
                seconds=0.0,
                result=found.get("result"),
                checkpoint=checkpoint,
                replay_id=replay_id,
            )
        )
    return entries


class _Files:
    """Files of replayed runs, written one run at a time."""

    def write(self, session: Session, found: dict[str, Any]) -> None:
        repeat.write_files(session, found["effects"]["files"])


def _pool(session: Session, target: NamespaceState) -> dict[str, Any]:
    """Values that are live and equal to what the new state has: the same names with the same joint content."""
    live = session.state
    found: dict[str, Any] = {}
    for version in {id(item): item for item in target.bound.values()}.values():
        if any(target.bound.get(name) is not version for name in version.names):
            continue
        if not is_live(session, live, version):
            continue
        found.update({name: session.namespace[name] for name in version.names})
    return found


def _reset_ambient(session: Session) -> None:
    """The process as a new one would be, as far as the providers look."""
    first = session.symbolic_beginning()
    now = session.ambient.fingerprints()
    for name, provider in session.ambient.providers.items():
        if provider.is_generator and now[name] == first[name]:
            continue
        session.ambient.reset(name)
    session.ambient.places.reset()


def _take_over(session: Session, symbolic: dict[str, Any], pool: dict[str, Any]) -> None:
    """The symbolic state becomes the session's; only what is in the pool is loaded."""
    state, live = session.state, session.process
    for name in state.live_names():
        del session.namespace[name]
    session.namespace.update(pool)
    state.bound = symbolic["state"].bound
    state.loaded = set(pool)
    state.remember_objects()
    for name in _SYMBOLIC[1:]:
        setattr(session, name, symbolic[name])
    session.process = looking.with_live(session.process, live)
    session.unseen, session.leftover = [], []
    session.scratch = {"__name__": "__main__", "__builtins__": __builtins__}
    session.undo = None
    _forget_results(session)
    # What the compiler and the interpreter note beside the names; leaving this block makes every warning new again.
    for name in ("__annotations__", "__warningregistry__"):
        session.namespace.pop(name, None)
    with warnings.catch_warnings():
        pass
    session.figures.open_only(figures.NONE_OPEN)


def _forget_results(session: Session) -> None:
    """`Out` and `_` of cells that were set aside: a new kernel would not have them."""
    namespace = session.namespace
    out = namespace.get("_oh")
    if isinstance(out, dict):
        for number in out:
            namespace.pop(f"_{number}", None)
        out.clear()
    hook = getattr(session.shell, "displayhook", None)
    blank = dict.fromkeys(("_", "__", "___"), "")
    for name, value in blank.items():
        setattr(hook, name, value)
    # So that the shell takes them for its own.
    session.shell.push(blank, interactive=False)


def end(session: Session) -> dict[str, Any]:
    """The mode before the replay again, what became of the cells, and the names that are loaded for whoever looks."""
    going = session.replaying
    if going is None:
        raise ValueError("no replay has begun")
    session.replaying = None
    session.mode = going["mode"]
    journal.end()
    lost = _make_real(session)
    session._set_up_tasks()
    reports = [item for item in going["reports"] if item["status"] != "not recorded"]
    made = {
        item["run_id"] for item in [*going["earlier"], *reports] if item["status"] == "executed"
    }
    # A run that this replay executed and then replayed, after it had to begin again, was executed.
    replayed = [item for item in reports if item["status"] == "replayed"]
    before = going["replayed"]
    executed = [item for item in reports if item["status"] == "executed"]
    failed = next((item for item in reversed(reports) if item["status"] == "failed"), None)
    if failed is not None and reports[-1] is not failed:
        # It was run again after it failed.
        later = reports[reports.index(failed) + 1 :]
        if any(item["cell_id"] == failed["cell_id"] for item in later):
            failed = None
    tasks = [item["tasks"] for item in [*going["earlier"], *reports] if item.get("tasks")]
    redone = [item for item in before if item["run_id"] in made]
    redone += [item for item in replayed if item["run_id"] in made]
    n_replayed = len(before) + len(replayed) - len(redone)
    saved = sum(item["seconds"] for item in before if item["run_id"] not in made)
    saved += sum(
        item["recorded_seconds"] - item["seconds"]
        for item in replayed
        if item["run_id"] not in made
    )
    return {
        "mode": session.mode,
        "report": {
            "executed": len(executed) + len(redone),
            "replayed": n_replayed,
            "tasks": {key: sum(item[key] for item in tasks) for key in ("hit", "run")},
            "seconds": round(time.time() - going["started"], 3),
            "saved_seconds": round(max(saved, 0.0), 3),
            "failed": None if failed is None else failed["cell_id"],
            "lost": lost,
        },
    }


def _make_real(session: Session) -> list[str]:
    """Bring ambient state and small names in. Returns names that only their cells can make; they say so when used."""
    from nbrewind.kernel.session import CannotReplay

    state = session.state
    lost = {
        name
        for name in state.pending()
        if state.bound[name].data is None and not state.bound[name].is_handle
    }
    try:
        with session.interrupts.allowed():
            repeat.make_process_ready(session)
            pending = {id(state.bound[name]): state.bound[name] for name in state.pending()}
            room = MAX_LOADED
            versions = sorted(pending.values(), key=lambda item: item.n_bytes)
            for done, version in enumerate(versions):
                room -= version.n_bytes
                if room < 0:
                    break
                session.progress(done, len(versions), ", ".join(version.names))
                try:
                    repeat.load_names(session, set(state.group_of(version.names[0])))
                except (CannotReplay, KeyError):
                    lost.update(version.names)
            if session.figures.names().isdisjoint(state.pending()):
                session.figures.make_real(session.figures.expected())
    except (CannotReplay, KeyboardInterrupt):
        pass
    return sorted(lost & set(state.pending()))
