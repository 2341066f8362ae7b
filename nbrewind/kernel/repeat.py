"""Repeat: decide whether a record stands for the cell, give its effects, or make everything ready to execute."""

from __future__ import annotations

import builtins
import json
import os
import pickle
import re
import shutil
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

from IPython.utils.capture import capture_output

from nbrewind import _native, checkpoints
from nbrewind.fingerprint import path_digest
from nbrewind.fingerprint.standing import USED_UP
from nbrewind.fingerprint.writing import UNWRITTEN
from nbrewind.hush import hushed
from nbrewind.kernel import foreseen, looking, outside, packages, pickling, recipes, record, shown
from nbrewind.kernel.ambient import is_transient
from nbrewind.kernel.namespace import CoVariable, NameFacts, NamespaceState
from nbrewind.kernel.takeback import journal
from nbrewind.kernel.variables import ENVIRONMENT

if TYPE_CHECKING:
    from nbrewind.kernel.session import Run, Session

ALWAYS_RUN = "nbrewind-always-run"
NEVER_RECORD = "nbrewind-never-record"
# What the repeat rule asks of a record. The rest, its whole state, grows with the notebook.
_ASKED = ("run_id", "replayable", "why_not", "inputs")


# --- The decision -------------------------------------------------------------------------------------------------


def decide(session: Session, run: Run, tags: list[str]) -> tuple[dict[str, Any] | None, list[str]]:
    """The record that stands for this cell now, or None and why the cell executes."""
    assert session.history is not None
    if is_never_recorded(run.effects, tags):
        return None, ["it is tagged never to be recorded"]
    if ALWAYS_RUN in tags or (run.effects.get("directives") or {}).get("always_run"):
        return None, ["it is tagged to run always"]
    if session.mode == "repeat":
        journal.is_on = True
        journal.place = session.history.path
    session.history.refresh()
    records = session.history.runs_of_source(run.effects["fingerprint"])
    if any(item["run_id"] in session.distrusted for item in records):
        # What this code makes cannot be loaded; a run of it that was recorded since will not do better.
        return None, ["what it made cannot be loaded from the store"]
    records = [
        item
        for item in records
        if item["exact_fp"] == run.effects["exact_fingerprint"]
        or not (run.reads_text or record.shows_lines(item["outputs"]))
    ]
    if not records:
        return None, [_why_new(session, run)]
    state = facts_for(session, records)
    state["ambient"]["texts"] = record.texts_fp(session, run)
    candidates = [json.dumps({key: item[key] for key in _ASKED}) for item in records]
    decision = json.loads(_native.choose(candidates, json.dumps(state)))
    if "execute" in decision:
        return None, decision["execute"]["why"]
    found = next(item for item in records if item["run_id"] == decision["replay"]["run_id"])
    found["n_others"] = decision["replay"]["n_others"]
    trouble = cannot_replay(session, found)
    if trouble:
        return None, trouble
    why = session.tasks.elsewhere.why_other() if session.tasks is not None else None
    if why is not None and any(found["tasks"].get(key) for key in ("hit", "run", "pruned")):
        return None, [why]
    for item in records:
        # What it made may have been stored by an earlier run of the same code.
        record.remember_text(session, item)
    return found, []


def told_of(found: dict[str, Any]) -> list[str]:
    """What the report says of a replay."""
    n_others = found.get("n_others", 0)
    if not n_others:
        return []
    return [f"the newest of {n_others + 1} recorded runs that match"]


def is_never_recorded(effects: dict[str, Any], tags: list[str]) -> bool:
    """True for cells of which nothing may be stored."""
    return NEVER_RECORD in tags or bool((effects.get("directives") or {}).get("never_record"))


def _why_new(session: Session, run: Run) -> str:
    assert session.history is not None
    if run.cell_id is not None:
        if any(item["cell_id"] == run.cell_id for item in session.history.all_runs()):
            return "it was edited"
    return "this code has not run before"


def facts_for(session: Session, records: list[dict[str, Any]]) -> dict[str, Any]:
    """The state now, for everything that any of the records asks about."""
    inputs = [item["inputs"] for item in records]
    bound = session.state.bound
    names = {name for item in inputs for name in [*item["names"], *item["absent"]] if name in bound}
    ambient: dict[str, str | None] = {}
    looked = looking.Facts(session)
    for item in inputs:
        for name, then in item["ambient"].items():
            if looking.is_fact(name):
                ambient[name] = looked(name)
                continue
            if name.startswith(shown.RESULT):
                kept = session.shown.kept(name.removeprefix(shown.RESULT))
                ambient[name] = kept["fp"] if kept else None
                continue
            now = session.symbolic_ambient.get(name)
            if name == "absolute folder":
                now = session.ambient.places.root
            if (
                then is not None
                and then.startswith("either:")
                and now in {None, then.removeprefix("either:")}
            ):
                now = then
            if now != then and None in {now, then}:
                # A module that is not loaded is as good as one that was just loaded.
                default = session.ambient.default_fp(name)
                if default is not None and default in {now, then}:
                    now = then
            if name not in ambient or now == then:
                ambient[name] = now
    return {
        "names": {name: session.state.name_fact(name) for name in names},
        "files": {key: record.file_fact(session, key) for item in inputs for key in item["files"]},
        "env": _env_facts(session, {name for item in inputs for name in item["env"]}),
        "ambient": ambient,
        "modules": _module_facts(session, records),
        "versions": {
            name: packages.version_of(name) for item in inputs for name in item["versions"]
        },
    }


def _env_facts(session: Session, names: set[str]) -> dict[str, str | None]:
    """Variables as replayed cells left them, which nobody has set in this process yet."""
    pending = session.ambient_pending.get("environment") if names else None
    if pending is None:
        return {name: outside.env_digest(name) for name in names}
    places = session.ambient.places
    changed = load_ambient(session, pending)
    return {
        name: outside.env_digest(name)
        if places.is_private(name)
        else outside.digest_of_variable(changed[name] if name in changed else places.env.get(name))
        for name in names
    }


def _module_facts(session: Session, records: list[dict[str, Any]]) -> dict[str, str | None]:
    """The user's modules as they would be found now: on the module path as replayed cells left it.

    A cell that changes the path itself imports from the path before or from the one that it leaves.
    """
    names = {name for item in records for name in item["inputs"]["modules"]}
    with _with_path(session, session.ambient_pending.get(_PATH)):
        found = {name: packages.module_fp(name) for name in names}
    before = session.symbolic_ambient.get(_PATH)
    later: dict[str, set[str | None]] = {}
    for item in records:
        left = item["effects"]["ambient"].get(_PATH)
        if left is None or item["inputs"]["ambient"].get(_PATH) != before:
            continue
        asked = [
            name for name, fp in item["inputs"]["modules"].items() if found[name] in {None, fp}
        ]
        try:
            with _with_path(session, left):
                for name in asked:
                    later.setdefault(name, set()).add(packages.module_fp(name))
        except _native.StoreError:
            later.update({name: {None} for name in asked})
    found.update(
        {name: (facts.pop() if len(facts) == 1 else None) for name, facts in later.items()}
    )
    return found


def cannot_replay(session: Session, found: dict[str, Any]) -> list[str]:
    """Reasons outside the repeat rule: effects that are not there any more, or files that are the user's now."""
    assert session.history is not None
    why: list[str] = []
    for manifest_id in found["effects"]["writes"]:
        try:
            version = session.history.manifest(manifest_id)
        except _native.MissingError:
            return ["what it made is not in the store any more"]
        is_used_up = any(USED_UP in facts.marks for facts in version.facts.values())
        if version.data is None and is_used_up and _is_live(session):
            # Whoever goes on in this kernel has it, though no cell of this replay may need it.
            why.append(f"{_named(version)} could not be stored: {version.why}")
        if version.data is not None and not all(
            session.history.store.has(chunk) for chunk in version.data["head"]
        ):
            return ["what it made is not in the store any more"]
    # What ends now would write what it has still to write.
    ends = {
        *found["effects"]["deletes"],
        *(n for one in found["effects"]["writes"] for n in session.history.manifest(one).names),
    }
    waits = sorted(
        name
        for name in ends & session.state.loaded
        if name in session.state.bound and UNWRITTEN in session.state.facts(name).marks
    )
    why += [f"`{name}` has text to write" for name in waits]
    for item in found["effects"]["files"]:
        path = record.key_path(session, item["path"])
        now = record.digest_now(path)
        if now == item["digest"] or (now is None and item["digest"] == record.FOLDER):
            continue
        if now is not None and now not in known_versions(session, item["path"]):
            keep_aside(session, path)
        if item["digest"] is None:
            why.append(f"file {item['path']} is there again")
        elif now is not None and now not in known_versions(session, item["path"]):
            why.append(
                f"file {item['path']} was changed by someone else (their version is kept in the store's folder)"
            )
        elif item["chunks"] is None or not all(
            session.history.store.has(chunk) for chunk in item["chunks"]
        ):
            why.append(f"file {item['path']} is gone and too large to be kept")
        elif now is not None and _is_in_use(path):
            why.append(f"file {item['path']} is open here, and may have been written in place")
    return why


def _is_live(session: Session) -> bool:
    """True for a replay within a session, and for its plan."""
    return session.replaying is not None or session.aside is not None


def _is_in_use(path: str) -> bool:
    """True when this process has the file open, or in its memory: whoever does sees what is written in place."""
    there = os.stat(path)
    for number in os.listdir("/dev/fd"):
        # The folder itself was open when it was listed.
        with suppress(OSError):
            opened = os.fstat(int(number))
            if (opened.st_dev, opened.st_ino) == (there.st_dev, there.st_ino):
                return True
    with suppress(OSError), open("/proc/self/maps", "rb") as maps:
        return any(int(line.split(None, 5)[4]) == there.st_ino for line in maps)
    return False


def known_versions(session: Session, key: str) -> set[str]:
    """Every content that recorded runs gave this file."""
    assert session.history is not None
    return {
        item["digest"]
        for run in session.history.all_runs()
        for item in run["effects"]["files"]
        if item["path"] == key
    }


def keep_aside(session: Session, path: str) -> None:
    """Save the user's version of a file before a run overwrites it."""
    assert session.history is not None
    folder = os.path.join(session.history.path, "kept")
    os.makedirs(folder, exist_ok=True)
    digest = path_digest(path)
    if digest is not None and os.path.isfile(path):
        target = os.path.join(folder, f"{digest[:12]}-{os.path.basename(path)}")
        if not os.path.exists(target):
            shutil.copy2(path, target)


# --- Replay -------------------------------------------------------------------------------------------------------


def replay(session: Session, found: dict[str, Any], run: Run, *, dry: bool = False) -> None:
    """Give the recorded run's effects without executing it. Values stay in the store until they are needed."""
    assert session.history is not None
    state = session.state
    session.texts[found["run_id"]] = (run.effects["exact_fingerprint"], found["exact_fp"])
    versions = [session.history.manifest(manifest_id) for manifest_id in found["effects"]["writes"]]
    if not dry:
        write_files(session, found["effects"]["files"])
    for name in found["effects"]["deletes"]:
        state.forget(name)
    known_names = set(state.bound)
    for version in versions:
        bound = {state.bound.get(name) for name in version.names}
        known = bound.pop() if len(bound) == 1 else None
        if (
            known is not None
            and known.joint is not None
            and known.joint == version.joint
            and known.names == version.names
        ):
            continue
        # Whoever made it first: this is the run to distrust when it cannot be loaded.
        version.made_by = found["run_id"]
        state.bind(version)
    state.put_in_order(known_names, found.get("order", ()))
    for name, item in found["effects"]["ambient"].items():
        session.symbolic_ambient[name] = item["fp"]
        session.ambient_chunks[name] = item
        if item["chunks"]:
            session.ambient_pending[name] = item
    session.process.extend(found["effects"]["process"])
    session.process_pending.extend(found["effects"]["process"])


def left_by_replay(session: Session, found: dict[str, Any]) -> dict[str, Any] | None:
    """In what the state now, after a replay of this run, differs from the one it recorded; None: it cannot be told."""
    assert session.history is not None
    bound = session.state.bound
    left = checkpoints.difference(
        found,
        {
            "state": {name: version.manifest_id for name, version in bound.items()},
            "ambient_state": session.ambient_chunks,
            "process_state": record.without_runs(session.process),
            "unrestorable": list(session.hidden_why),
        },
    )
    # What no run explains was not stored.
    made = {bound[name].manifest_id for name in left.get("names", {}) if name in bound}
    return left if all(map(session.history.knows_manifest, made)) else None


def note_replay(
    session: Session,
    found: dict[str, Any],
    cell: tuple[str | None, str],
    left: dict[str, Any] | None,
    lineage: dict[str, Any],
    number: int | None = None,
) -> tuple[str, str | None]:
    """So that the history knows this text as the cell's latest, and the state after it; durable with the next commit.

    `cell`: its id and text. `left`: see `left_by_replay`. `lineage`: what stands before it in the log. Returns the id,
    and what a restore to the state asks for.
    """
    assert session.history is not None
    replay_id = uuid.uuid4().hex
    note = {
        "replay_id": replay_id,
        "run_id": found["run_id"],
        "cell_id": cell[0],
        "notebook": session.notebook,
        "source": cell[1],
        "session": session.session_id,
        "run_number": number,
        "started": time.time(),
        "lineage": lineage,
    }
    if left is None:
        session.history.note_replay(note)
        return replay_id, None
    note["left"] = left
    session.history.note_replay(note)
    return replay_id, checkpoints.place_of(found, note)


def plan(session: Session, cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What `repeat` would do with these cells, without doing it. For a kernel that is thrown away afterwards.

    What a cell that executes will leave behind is not known: cells that read it are `perhaps`, because a run that ends
    in the same content leaves them fresh.
    """
    assert session.history is not None
    found_plan: list[dict[str, Any]] = []
    runs = session.history.all_runs()
    latest = {run["cell_id"]: run for run in runs if run["status"] == "ok"}
    open_names: set[str] = set()
    from nbrewind.tasks.forecast import Foresight

    foresight = Foresight(runs, session.tasks)
    for idx, cell in enumerate(cells):
        if not cell["source"].strip():
            continue
        session.progress(idx, len(cells), cell["id"])
        run = session.observe(cell["source"], cell["id"])
        found, why = decide(session, run, cell["tags"])
        item = {
            "id": cell["id"],
            "status": "replay",
            "seconds": 0.0,
            "recorded_seconds": 0.0,
            "why": why,
        }
        if found is not None:
            item["recorded_seconds"] = round(found["seconds"], 3)
            replay(session, found, run, dry=True)
            session.shown.replayed(found)
        else:
            session.shown.unknown()
            depends = sorted(run.present & open_names)
            item["status"] = "perhaps" if depends else "execute"
            before = latest.get(cell["id"])
            if before is not None:
                item["seconds"] = item["recorded_seconds"] = round(before["seconds"], 3)
            if depends:
                item["why"] = [
                    f"it reads {', '.join(f'`{name}`' for name in depends)}, which cells above may change"
                ]
            changed = set(run.effects["writes"]) | set(run.effects["mutates"]) & set(
                session.state.bound
            )
            if before is not None:
                for version in foreseen.unchanged_names(session, run, before, open_names):
                    session.state.bind(version)
                    changed -= set(version.names)
                    open_names -= set(version.names)
            for name in sorted(changed):
                unknown = NameFacts(fp=None, opaque=["it is not known yet"])
                session.state.bind(
                    CoVariable((name,), None, {name: unknown}, why="it is not known yet")
                )
            open_names |= changed
            tasks = foresight.look(cell["id"], cell["source"], set(run.present), why)
            if tasks is not None:
                item["tasks"] = tasks
        found_plan.append(item)
    return found_plan


def write_files(session: Session, items: list[dict[str, Any]]) -> None:
    """Bring recorded files back where they are absent or one of our own versions."""
    assert session.history is not None
    for item in items:
        path = record.key_path(session, item["path"])
        if item["digest"] in {None, record.digest_now(path)}:
            continue
        _make_folders(path if item["digest"] == record.FOLDER else os.path.dirname(path))
        if item["digest"] == record.FOLDER:
            continue
        content = session.history.store.get(item["chunks"])
        temporary = f"{path}.nbrewind-{os.getpid()}"
        try:
            with open(temporary, "wb") as file:
                file.write(content)
            journal.note(path)
            os.replace(temporary, path)
        finally:
            if os.path.exists(temporary):
                os.remove(temporary)


def _make_folders(path: str) -> None:
    """Make a folder and those above it, so that they can be taken back."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        journal.note(folder)
        os.makedirs(folder, exist_ok=True)


# --- Making ready to execute --------------------------------------------------------------------------------------


def prepare(session: Session, run: Run) -> None:
    """Everything that replayed cells left symbolic and this cell may read becomes real (rules 10 and 11)."""
    _check_texts(session, run)
    journal.text = run.source
    make_process_ready(session)
    open_figures = session.figures.expected()
    _load_wanted(session, run)
    session.figures.make_real(open_figures)


def _load_wanted(session: Session, run: Run) -> None:
    pending = session.state.pending()
    if not pending:
        if run.unknown:
            session.state.arrange()
        return
    # A pickle names classes and functions of the notebook.
    loads_all = run.unknown or _PICKLES.search(run.source) or _reaches_pickles(session, run)
    wanted = set(pending) if loads_all else {name for name in pending if name in run.present}
    engines = {name for name in pending if session.state.bound[name].is_handle}
    places = (dict(os.environ), list(sys.path))
    load_names(session, engines)
    if engines:
        session.ambient.places.adopt(places, set(), path=True)
    wanted |= {name for name in pending if hasattr(builtins, name)}
    load_names(session, wanted - engines)
    if loads_all:
        session.state.arrange()


_PICKLES = re.compile(r"pickle|joblib|torch\.load|\bnp\.load|numpy\.load|load_model")


def _reaches_pickles(session: Session, run: Run) -> bool:
    return any("unpickles" in session.state.facts(name).marks for name in run.present)


def _check_texts(session: Session, run: Run) -> None:
    """Code that reads its own text must find the text as it stands now, comments and all."""
    from nbrewind.kernel.session import CannotReplay

    if not record.reads_source(run):
        return
    made_by = {session.state.bound[name].made_by for name in run.present}
    elsewhere = _stored_under_another_text(session, run.present)
    retold = sorted(
        run_id
        for run_id in made_by
        if run_id in session.texts and len(set(session.texts[run_id])) > 1 or run_id in elsewhere
    )
    if retold:
        raise CannotReplay("this cell reads the text of code that was written anew", *retold)


def _stored_under_another_text(session: Session, names: set[str]) -> set[str]:
    """Runs whose values were stored by an earlier run of another text: code that is loaded says it is from there."""
    assert session.history is not None
    runs = session.history.all_runs()
    texts = {run["run_id"]: run["exact_fp"] for run in runs}
    first: dict[str, str] = {}
    for run in runs:
        for manifest_id in run["effects"]["writes"]:
            first.setdefault(manifest_id, run["exact_fp"])
    found = set()
    for name in names.intersection(session.state.pending()):
        version = session.state.bound[name]
        text = texts.get(version.made_by)
        if text is not None and first.get(version.manifest_id, text) != text:
            found.add(version.made_by)
    return found


def make_process_ready(session: Session) -> None:
    """Process effects and ambient state of replayed cells."""
    run_process_effects(session)
    for name, item in list(session.ambient_pending.items()):
        provider = session.ambient.providers[name]
        if provider.is_late:
            continue
        session.ambient.restore(name, load_ambient(session, item))
        if not (provider.is_contextual and is_transient()):
            del session.ambient_pending[name]


def load_ambient(session: Session, item: dict[str, Any]) -> Any:
    """A recorded ambient state."""
    assert session.history is not None
    return pickle.loads(bytes(session.history.store.get(item["chunks"])))


def run_process_effects(session: Session, failed: dict[str, str] | None = None) -> None:
    """Execute the imports, magics and configuration calls of replayed cells, in a namespace of their own.

    As in a cell, `get_ipython` is there: libraries ask it whether they are in a notebook. What raises is told in
    `failed`, by its text; without it, `CannotReplay` is raised.
    """
    from nbrewind.kernel.session import CannotReplay

    pending, session.process_pending = session.process_pending, []
    for item in pending:
        if item["kind"] in {record.MODULE, looking.SEEN}:
            continue
        try:
            code = session.shell.transform_cell(item["text"])
            session.scratch.setdefault("get_ipython", session.shell.get_ipython)
            # What they show was shown when their cell was replayed.
            is_magic = item["kind"] == "magic"
            output = nullcontext() if is_magic else capture_output(stdout=False, stderr=False)
            with session.shell.builtin_trap, output, hushed(), _surroundings_of(session, item):
                exec(
                    compile(code, "<nbrewind: process effects>", "exec", dont_inherit=True),
                    session.scratch,
                )
        except CannotReplay:
            raise
        except Exception as error:
            what = f"`{item['text'].strip()[:80]}`"
            reason = f"could not be executed here: {type(error).__name__}: {error}"
            if failed is None:
                text = f"{what} of a replayed cell {reason}"
                raise CannotReplay(text, item["run_id"]) from error
            failed[item["text"]] = f"{what} {reason}"


@contextmanager
def _surroundings_of(session: Session, item: dict[str, Any]) -> Iterator[None]:
    """The module path and the environment that a statement of a replayed cell had, as far as cells changed them."""
    assert session.history is not None
    pending = {_PATH, ENVIRONMENT}.intersection(session.ambient_pending)
    run = None
    if pending:
        run = next((r for r in session.history.all_runs() if r["run_id"] == item["run_id"]), None)
    path = None
    if run is not None and item["kind"] == "import" and _PATH in pending:
        path = run["ambient_state"].get(_PATH)
    with _with_path(session, path):
        if run is None or ENVIRONMENT not in pending:
            yield
            return
        with _with_environment(session, _environment_of(session, run, item["text"])):
            yield


def _environment_of(session: Session, run: dict[str, Any], text: str) -> dict[str, str | None]:
    """What of the environment was changed when a statement of this run was executed."""
    from nbrewind.kernel.session import CannotReplay

    assert session.history is not None
    found: dict[str, Any] | None = run
    if ENVIRONMENT in run["effects"]["ambient"]:
        # The run changed it itself, before the statement or after it.
        is_before = _is_before_changes(run["source"], text.strip())
        if is_before is None:
            raise CannotReplay(
                f"`{text.strip()[:80]}` of a cell that changes the environment as well",
                run["run_id"],
            )
        if is_before:
            previous = run.get("lineage", {}).get("previous")
            known = [one for one in session.history.checkpoints() if one["run_id"] == previous]
            if previous is not None and not known:
                raise CannotReplay("what the environment was is not known any more", run["run_id"])
            found = known[-1] if known else None
    state = (found["ambient_state"] if found is not None else {}).get(ENVIRONMENT)
    return load_ambient(session, state) if state is not None and state["chunks"] else {}


def _is_before_changes(source: str, text: str) -> bool | None:
    """Whether a statement comes before all that changes the environment in a cell, or after it; None: who knows."""
    from nbrewind.kernel.session import analyze

    places = [match.start() for match in _ENVIRON.finditer(source)]
    at = source.find(text)
    # `import a` is also found in `import ab`: which of them it is cannot be told.
    if source.count(text) != 1:
        return None
    if not places:
        # Imports change it for themselves; what is called may do so for others.
        raw = source.encode()
        calls = [
            len(raw[: item["start"]].decode())
            for item in analyze(source)["statements"]
            if item["calls"] and item["kind"] != "import"
        ]
        return True if not calls or at < min(calls) else None
    if at < min(places):
        return True
    return False if at > max(places) else None


_ENVIRON = re.compile(r"environ|putenv|unsetenv|dotenv|%\s*(set_)?env\b")


@contextmanager
def _with_environment(session: Session, state: dict[str, str | None]) -> Iterator[None]:
    """Whatever changes meanwhile stays; all else is as it was."""
    real = dict(os.environ)
    session.ambient.places.env_set(state)
    begun = dict(os.environ)
    try:
        yield
    finally:
        left = dict(os.environ)
        for name in {*real, *begun, *left}:
            if begun.get(name) == left.get(name) != real.get(name):
                if name in real:
                    os.environ[name] = real[name]
                else:
                    os.environ.pop(name, None)


@contextmanager
def _with_path(session: Session, found: dict[str, Any] | None) -> Iterator[None]:
    real = list(sys.path)
    try:
        if found is not None and found["chunks"]:
            session.ambient.places.path_set(load_ambient(session, found))
        yield
    finally:
        if found is not None:
            sys.path[:] = real


_PATH = "module path"


def load_names(session: Session, names: set[str]) -> None:
    """Load these names, and all that share objects with them. Raises `CannotReplay` naming the run to execute."""
    from nbrewind.kernel.session import CannotReplay

    state = session.state
    versions = {id(state.bound[name]): state.bound[name] for name in sorted(names)}.values()
    # Executing the cell that made it is always right; a recipe only if what it makes can be compared (rule 14).
    lost = [
        version
        for version in versions
        if version.data is None and not version.is_handle and version.joint is None
    ]
    if lost:
        text = "; ".join(
            f"{_named(version)} cannot be loaded: {version.why or 'it could not be stored'}"
            for version in lost
        )
        if session.mode != "repeat":
            # Nobody will execute it by themselves.
            text += ". Run the cell that makes it again"
        raise CannotReplay(text, *dict.fromkeys(version.made_by for version in lost))
    for version in versions:
        try:
            values = load_version(session, version, {})
        except Exception as error:
            if session.waiting.give_up(version, error):
                continue
            raise CannotReplay(
                f"{_named(version)} cannot be loaded: {error}", version.made_by
            ) from error
        bind_values(state, version, values)


def _named(version: CoVariable) -> str:
    return ", ".join(f"`{name}`" for name in version.names)


def bind_values(state: NamespaceState, version: CoVariable, values: dict[str, Any]) -> None:
    """Put loaded values into the namespace, for the names that are still bound to this version."""
    for name in version.names:
        if state.bound.get(name) is version:
            state.namespace[name] = values[name]
            state.loaded.add(name)
    state.remember_objects()


class NotWhatWasRecorded(Exception):
    """What was loaded is not what was recorded."""


def load_version(session: Session, version: CoVariable, built: dict[str, Any]) -> dict[str, Any]:
    """The values of one version: from its bytes, checked against its record, or by its recipe."""
    assert session.history is not None
    if version.data is None:
        values = recipes.rebuild(session, version, built)
        # Engines are not content. Of what has no fingerprint, what can be told must be as it was.
        is_other = (
            session.state.fingerprint(values) != version.joint
            if version.joint is not None
            else version.seen is not None and session.state.seen(values) != version.seen
        )
        if is_other:
            raise NotWhatWasRecorded("what its recipe makes is not what was recorded")
        return values
    # What is in memory now is nearer than the disk.
    stream = session.history.get_value(version.data, session.state.memory.sources())
    values = pickling.load(*stream, session.namespace, session.state.memory)
    if session.tasks is not None:
        session.tasks.await_loading()
    if version.joint is None or session.state.fingerprint(values) == version.joint:
        return values
    for facts in version.facts.values():
        for path, digest in facts.files.items():
            if path_digest(os.path.join(session.ambient.places.root, path)) != digest:
                name = os.path.basename(path)
                raise NotWhatWasRecorded(f"it reads {name}, which has changed since")
    raise NotWhatWasRecorded("the loaded value is not what was recorded")


# --- Shadow mode --------------------------------------------------------------------------------------------------


def compare_shadow(session: Session, run: Run, made: dict[str, Any]) -> dict[str, Any]:
    """Shadow mode executed the cell: would the record that stood for it have given the same?"""
    assert session.history is not None
    found = run.shadow
    if found is None:
        return {"would_replay": False}
    differences: list[str] = []
    if made["outputs"] != found["outputs"] and _without_counts(made["outputs"]) != _without_counts(
        found["outputs"]
    ):
        differences.append("outputs")
    then = _contents(session, found["effects"]["writes"])
    now = _contents(session, made["effects"]["writes"])
    differences += sorted(name for name in then if name in now and then[name] != now[name])
    for name in sorted(set(then) ^ set(now)):
        fp = then.get(name, now.get(name))
        bound = session.state.bound.get(name)
        # A run that ends in the content that was there before writes nothing.
        if name not in now and bound is not None and bound.joint == fp:
            continue
        if name not in then and fp is not None and run.before.get(name, {}).get("fp") == fp:
            continue
        differences.append(name)
    if found["effects"]["deletes"] != made["effects"]["deletes"]:
        differences.append("deleted names")
    files_then = {item["path"]: item["digest"] for item in found["effects"]["files"]}
    files_now = {item["path"]: item["digest"] for item in made["effects"]["files"]}
    differences += sorted(
        f"file {path}"
        for path, digest in files_now.items()
        if files_then.get(path, digest) != digest
    )
    return {
        "would_replay": True,
        "run_id": found["run_id"],
        "differences": differences,
        "marks": found.get("marks", []),
    }


def _without_counts(outputs: list[dict[str, Any]]) -> list[Any]:
    return [
        (item["kind"], {k: v for k, v in item["content"].items() if k != "execution_count"})
        for item in outputs
    ]


def _contents(session: Session, manifest_ids: list[str]) -> dict[str, str | None]:
    assert session.history is not None
    found: dict[str, str | None] = {}
    for manifest_id in manifest_ids:
        version = session.history.manifest(manifest_id)
        found.update(dict.fromkeys(version.names, version.joint))
    return {name: fp for name, fp in found.items() if fp is not None}
