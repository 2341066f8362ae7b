"""From an executed run to its record: inputs, effects, and whether it may ever be replayed."""

from __future__ import annotations

import ast
import collections
import hashlib
import io
import json
import linecache
import os
import pickle
import re
import sys
import threading
import types
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from nbrewind import _native
from nbrewind.fingerprint import is_library_module, path_digest
from nbrewind.fingerprint.objects import library_name_of_container
from nbrewind.fingerprint.standing import USED_UP
from nbrewind.kernel import (
    hidden,
    looking,
    packages,
    pickling,
    results,
    settings,
    shown,
    speaking,
    trial,
    witnessed,
)
from nbrewind.kernel.ambient import INITIAL, handlers_of
from nbrewind.kernel.namespace import CoVariable, NameFacts, is_same_of_modules
from nbrewind.kernel.outside import Findings

if TYPE_CHECKING:
    from nbrewind.kernel.session import Run, Session

# Stands for the content of a folder that a run made: what is in it counts apart.
FOLDER = "folder"

# Files that a run wrote are kept, so that a replay can write them elsewhere; above this they are only verified.
MAX_KEPT_FILE = 2 << 30

# In the list of what was done to the process: a module that was imported. The import itself is a statement.
MODULE = "module"

_ENGINE_MODULES = frozenset(
    "distributed dask tornado asyncio concurrent zmq ipykernel IPython nbrewind tqdm joblib".split()
)
_ENGINE_THREADS = (
    "IO loop",
    "Dask",
    "Profile",
    "AsyncProcess",
    "TCP-Executor",
    "ThreadPoolExecutor",
    "asyncio_",
)


def process_statements(
    session: Session, source: str, effects: dict[str, Any], run_id: str
) -> list[dict[str, Any]]:
    """The cell's imports, magics and configuration calls, as text, in order."""
    raw = source.encode()
    texts = [raw[item["start"] : item["end"]].decode() for item in effects["statements"]]
    return [
        {"kind": item["kind"], "text": text, "run_id": run_id}
        for item, text in zip(effects["statements"], texts, strict=True)
        if hidden.is_executed_anyway(item, text, session.namespace)
    ]


def without_runs(process: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Statements as records keep them, whichever run they come from."""
    return [{"kind": item["kind"], "text": item["text"]} for item in process]


def module_effects(names: set[str], run_id: str) -> list[dict[str, Any]]:
    """Modules of the user's whose import changes the process: like settings, they are an input of all that follows."""
    return [
        {"kind": MODULE, "text": f"{name} {packages.module_fp(name)}", "run_id": run_id}
        for name in sorted(names)
        if hidden.of_module(name)
    ]


def store_version(session: Session, version: CoVariable) -> None:
    """Put the version's bytes and its manifest; what cannot be stored says why."""
    assert session.history is not None
    if session.history.has_manifest(version.manifest_id):
        known = session.history.manifest(version.manifest_id)
        version.data, version.n_bytes = known.data, known.n_bytes
        return
    if version.why is None and not version.is_handle:
        values = {name: session.namespace[name] for name in version.names}
        try:
            stream = pickling.dump(
                values,
                session.namespace,
                session.state.view_owners,
                holds_nan=version.holds_nan,
                is_lent=version.is_lent,
                is_shared=version.is_shared,
            )
            if not trial.comes_back(session, version, stream):
                version.why = "what is loaded for it is not what was there"
                session.history.put_manifest(version)
                return
            version.data = session.history.put_value(*stream, session.state.memory)
            version.n_bytes = version.data["bytes"]
        except _native.StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - foreign pickling may raise anything
            version.why = f"it cannot be pickled ({type(error).__name__}: {error})"[:300]
    elif version.is_handle:
        version.why = "it is a connection to a compute engine"
    session.history.put_manifest(version)


def recipe_for(session: Session, run: Run, version: CoVariable) -> list[dict[str, Any]]:
    """How to rebuild names that cannot be stored: the statements that made them, and the inputs those had then."""
    statements = run.effects["statements"]
    if any(
        _is_used_up_by_reading(session.namespace.get(name), version.facts[name])
        for name in version.names
    ):
        statements = _with_uses(session, run, version, statements)
    found = json.loads(_native.slice(json.dumps(statements), set(version.names)))
    raw = run.source.encode()
    texts = [
        raw[item["start"] : item["end"]].decode()
        for item in (run.effects["statements"][index] for index in found["statements"])
    ]
    earlier: list[dict[str, Any]] = []
    needs: dict[str, str] = {}
    reachable: set[str] = set()
    todo = list(found["needs"])
    while todo:
        name = todo.pop()
        before = run.before_versions.get(name)
        if name in reachable or before is None:
            continue
        reachable.add(name)
        todo.extend(before.facts[name].refs)
        if name in version.names and before.recipe:
            earlier = before.recipe
        elif name not in version.names or before.data is not None:
            needs[name] = before.manifest_id
    return [*earlier, {"run_id": run.run_id, "statements": texts, "needs": needs}]


def _is_used_up_by_reading(value: Any, facts: NameFacts) -> bool:
    """True for generators, open files, and what holds one. A query leaves a connection as it was."""
    if USED_UP in facts.marks:
        return True
    holds = any(word in text for text in facts.opaque for word in _USED_UP)
    return bool(facts.opaque) and (holds or isinstance(value, Iterator))


# In words on what has no content: kinds of iterators, files and readers.
_USED_UP = ("generator", "iterator", "TextIOWrapper", "Buffered", "FileIO", "reader", "Cursor")


def _with_uses(
    session: Session, run: Run, version: CoVariable, statements: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The statements, where reading what has no content may change it: `list(g)` uses up a generator.

    No fingerprint would tell afterwards that the recipe left such a statement out.
    """
    changed = []
    for item in statements:
        seen: set[str] = set()
        todo = list(item["reads"])
        while todo:
            name = todo.pop()
            facts = run.before_versions.get(name) or session.state.bound.get(name)
            if name not in seen and facts is not None:
                seen.add(name)
                todo.extend(facts.facts[name].refs)
        used = seen.intersection(version.names)
        changed.append({**item, "mutates": sorted({*item["mutates"], *used})} if used else item)
    return changed


def path_key(session: Session, path: str, is_rooted: bool) -> str:
    """A path as records name it: relative to the notebook's folder when nothing in the code names that folder."""
    root = session.ambient.places.root
    if is_rooted:
        return path
    # Links on the way below the folder are part of the name: where they lead may change.
    if path.startswith(root + os.sep):
        return os.path.relpath(path, root)
    above = path
    while True:
        if above == root or os.path.realpath(above) == root:
            return os.path.relpath(path, above)
        if above == os.path.dirname(above):
            return path
        above = os.path.dirname(above)


def key_path(session: Session, key: str) -> str:
    """The path on this machine."""
    return os.path.join(session.ambient.places.root, key)


def file_fact(session: Session, key: str) -> str | None:
    """Content now of what a key of `inputs.files` names; None when it does not exist."""
    from nbrewind.kernel.outside import listing_digest

    if key.startswith("["):
        kind, path, *rest = json.loads(key)
        path = key_path(session, path)
        if kind == "listing":
            return listing_digest(path, set(rest[0]))
        if kind == "link":
            return os.readlink(path) if os.path.islink(path) else None
        return path_digest(path)
    path = key_path(session, key)
    return digest_now(path)


def digest_now(path: str) -> str | None:
    """Content of a file; of a folder only that it is one; None when there is nothing."""
    if os.path.isdir(path):
        return FOLDER
    return path_digest(path) if os.path.exists(path) else None


def file_inputs(
    session: Session, run: Run, findings: Findings, is_rooted: bool
) -> dict[str, str | None]:
    """Files by content, listings, and what lazy values stand for."""
    found: dict[str, str | None] = {}
    for key, digest in findings.reads.items():
        if key.startswith("["):
            kind, path, own = json.loads(key)
            key = json.dumps([kind, path_key(session, path, is_rooted), own])
        else:
            key = path_key(session, key, is_rooted)
        found[key] = digest
    for path in run.task_files:
        # Looked at again in our own words: a task's digest of a folder is not ours.
        kind = "listing" if os.path.isdir(path) else "tree"
        key = json.dumps(
            [kind, path_key(session, path, is_rooted), *([[]] if kind == "listing" else [])]
        )
        found[key] = file_fact(session, key)
    for path, digest in run.lazy_files.items():
        found[json.dumps(["tree", path_key(session, path, is_rooted)])] = digest
    return found


def lazy_files(session: Session, names: set[str]) -> dict[str, str | None]:
    """What the lazy values among these names stand for, by content now."""
    places = session.ambient.places
    paths = {path for name in names for path in session.state.facts(name).files}
    return {
        os.path.join(places.root, path): path_digest(os.path.join(places.root, path))
        for path in sorted(paths)
    }


def file_effects(
    session: Session, findings: Findings, is_rooted: bool, why_not: list[str]
) -> list[dict[str, Any]]:
    """Files that the run left behind or removed, with their content."""
    assert session.history is not None
    found: list[dict[str, Any]] = []
    for path in sorted(findings.written):
        key = path_key(session, path, is_rooted)
        if os.path.isdir(path) and not os.path.islink(path):
            if path in findings.folders:
                found.append({"path": key, "digest": FOLDER, "chunks": None, "size": 0})
            else:
                why_not.append(f"it moved a folder to {key}")
            continue
        if os.path.islink(path) or not os.path.isfile(path):
            why_not.append(f"it left something at {key} that is not a plain file")
            continue
        size = os.path.getsize(path)
        chunks = None
        if size <= MAX_KEPT_FILE:
            with open(path, "rb") as file:
                chunks = session.history.store.put(file.read())
        found.append({"path": key, "digest": path_digest(path), "chunks": chunks, "size": size})
    for path in sorted(findings.deleted):
        found.append(
            {"path": path_key(session, path, is_rooted), "digest": None, "chunks": None, "size": 0}
        )
    return found


def env_inputs(run: Run, findings: Findings, handle_names: set[str]) -> dict[str, str | None]:
    """Variables that the user's code asked for, apart from those that only chose a compute engine (rule 9)."""
    handle_lines: set[int] = set()
    for item in run.effects["statements"]:
        if item["writes"] and set(item["writes"]) <= handle_names:
            handle_lines.update(range(item["line"], item["end_line"] + 1))
    return {
        name: digest
        for name, (digest, lines) in findings.env.items()
        if not lines or not lines <= handle_lines
    }


def hidden_state(session: Session, run: Run, findings: Findings) -> list[str]:
    """What the run may have changed inside this process where no walk and no provider looks."""
    why = hidden_calls(session, run.source, run.effects, run.containers)
    if run.unknown:
        # What it executed as text. Its own code has been looked at.
        own = code_file(session, run.source)
        codes = [code for code in findings.executed if code.co_filename != own]
        why += [text for text in hidden.of_code(codes, session.namespace) if text not in why]
    started = user_threads(run.threads)
    made_engine = any(
        version.is_handle and run.before_versions.get(name) is not version
        for name, version in session.state.bound.items()
    )
    if started and not made_engine:
        why.append("it left a thread running")
    added = sorted({place for place, _ in shell_hooks(session.shell) - run.shell_hooks})
    why += [f"it adds to the shell's {place}" for place in added]
    if session.figures.unnamed():
        why.append(OPEN_FIGURE)
    is_configured = any(
        item["kind"] == "config" and "logging" in call
        for item in run.effects["statements"]
        for call in item["calls"]
    )
    # Settings and imports are executed when their cell is replayed; other handlers are objects that nothing gives back.
    kinds = {item["kind"] for item in run.effects["statements"]}
    is_made_again = is_configured or kinds == {"import"}
    if handlers_of(session.ambient.snapshot("logging")) != run.handlers and not is_made_again:
        why.append("it changes the handlers of logging")
    return why


# Hidden state that can be undone: figures are closed, and the user's modules imported again.
OPEN_FIGURE = "it left a figure open that no name holds"
MODULE_STATE = "it changed the state of"


def shell_hooks(shell: Any) -> frozenset[tuple[str, int]]:
    """The user's own functions that the shell calls by itself: (what for, identity)."""
    found: list[tuple[str, Any]] = []
    magics = getattr(getattr(shell, "magics_manager", None), "magics", {})
    found += [("magics", one) for kind in magics.values() for one in kind.values()]
    callbacks = getattr(getattr(shell, "events", None), "callbacks", {})
    found += [("events", one) for group in callbacks.values() for one in group]
    for name in ("input_transformers_cleanup", "input_transformers_post", "ast_transformers"):
        found += [("input transformers", one) for one in getattr(shell, name, [])]
    formatters = getattr(getattr(shell, "display_formatter", None), "formatters", {})
    for formatter in formatters.values():
        for printers in (formatter.type_printers, formatter.deferred_printers):
            found += [("display formatters", one) for one in printers.values()]
    handlers = getattr(shell, "custom_exceptions", ())
    found += [("exception handlers", one) for one in handlers]
    return frozenset(
        (place, id(one))
        for place, one in found
        if not is_library_module(getattr(one, "__module__", None) or type(one).__module__)
        and (getattr(one, "__module__", None) or type(one).__module__) != "builtins"
    )


# Modules whose settings the ambient providers look after, and functions that change nothing else.
_PROVIDED = frozenset(
    {
        "pandas", "numpy", "matplotlib", "matplotlib.pyplot", "seaborn", "sklearn", "random", "decimal", "numpy.random",
        "warnings",
    }
)  # fmt: skip
_PROVIDED_SETTING = re.compile(
    r"\s*(\w+)\.(?:(?:set_option|reset_option|options\.[\w.]+\s*=|rcParams\b|rc\(|style\.use|set_theme|set_style|"
    r"set_context|set_palette|set\(|set_printoptions|seterr|set_config|seed|random\.seed|getcontext\(\)|"
    r"simplefilter|filterwarnings|resetwarnings)).*",
    re.DOTALL,
)
_HARMLESS_MAGIC = re.compile(
    r"\s*%(matplotlib\s+(inline|widget|ipympl)?|time|timeit|who|whos|pwd|ls|config\s+InlineBackend)\b"
)


def is_taken_back(session: Session, item: dict[str, Any]) -> bool:
    """True when resetting the ambient state undoes this statement."""
    text = item["text"].strip()
    if item["kind"] == "magic":
        return _HARMLESS_MAGIC.match(text) is not None
    found = _PROVIDED_SETTING.fullmatch(text)
    if found is None:
        return False
    module = session.namespace.get(found[1], session.scratch.get(found[1]))
    return getattr(module, "__name__", "") in _PROVIDED and is_library_module(
        getattr(module, "__name__", "")
    )


def user_threads(known: set[int]) -> list[str]:
    """Threads that run and that neither the kernel nor a compute engine started."""
    return [
        thread.name
        for thread in threading.enumerate()
        if (thread.ident or 0) not in known and not _is_engine_thread(thread)
    ]


def hidden_calls(
    session: Session,
    source: str,
    effects: dict[str, Any],
    before: hidden.Containers | None = None,
) -> list[str]:
    """What a cell may have changed in this process where no walk and no provider looks."""
    transform = session.shell.transform_cell
    return hidden.of_cell(source, effects, session.namespace, transform, before)


def _is_engine_thread(thread: threading.Thread) -> bool:
    """True for threads that compute engines and the kernel keep for themselves."""
    module = (
        getattr(getattr(thread, "_target", None), "__module__", None) or type(thread).__module__
    )
    if thread.name.startswith(_ENGINE_THREADS) or module.partition(".")[0] in _ENGINE_MODULES:
        return True
    # A nanny of Dask speaks to its worker process through a queue. The thread does nothing but feed it.
    nannies = getattr(
        getattr(sys.modules.get("distributed.nanny"), "Nanny", None), "_instances", ()
    )
    return module == "multiprocessing.queues" and len(nannies) > 0


def settle(session: Session, run: dict[str, Any], files: dict[str, str | None]) -> None:
    """Say what the tasks of a run read that went on after its cell. A file that changed meanwhile settles nothing."""
    assert session.history is not None
    found: dict[str, str | None] = {}
    for path, then in files.items():
        kind = "listing" if os.path.isdir(path) else "tree"
        if kind == "tree" and path_digest(path) != then:
            return
        key = json.dumps(
            [kind, path_key(session, path, run["is_rooted"]), *([[]] if kind == "listing" else [])]
        )
        found[key] = file_fact(session, key)
    session.history.settle(run["run_id"], found)


def why_not_replayable(session: Session, run: Run, findings: Findings, status: str) -> list[str]:
    """Reasons why this run can never stand for another one."""
    why: list[str] = []
    if status != "ok":
        why.append("it failed" if status == "failed" else "it was interrupted")
    why += [f"it uses {text}" for text in run.unseen]
    if run.results is None or set(run.history) - run.results.keys():
        why += [f"it uses {text}" for text in run.history]
    why += findings.problems
    if session.tap is not None and session.tap.opened_comm:
        why.append("it shows a live widget")
    private = session.ambient.places.private_changes(run.places[0])
    if private:
        why.append(
            f"it changes {', '.join(private)} in the environment, which may be a secret and is not stored"
        )
    written = witnessed.written_through(run)
    findings.written |= written
    if speaking.empties_folders(session, run):
        why.append("it removes whatever is in folders that it writes to")
    if run.lazy_files and os.path.realpath(os.getcwd()) != session.ambient.places.root:
        why.append("it reads lazy data after a change of the working directory")
    for path, digest in run.lazy_files.items():
        if path not in written and path_digest(path) != digest:
            why.append(f"{os.path.basename(path)} changed while the cell ran")
    return why


def record_run(
    session: Session,
    run: Run,
    findings: Findings,
    outputs: list[dict[str, Any]],
    status: str,
    seconds: float,
    tasks: dict[str, Any],
) -> dict[str, Any]:
    """Sweep the namespace, store what is new, and append the record. Returns it."""
    from nbrewind.kernel.session import user_modules

    assert session.history is not None
    # Others may have cleaned up: what they dropped has to be stored again.
    session.history.refresh()
    state = session.state
    witnessed.look(session, run, findings)
    raw = run.source.encode()
    statements = [raw[item["start"] : item["end"]].decode() for item in run.effects["statements"]]
    witnessed.name_statements(run.effects, statements, session.namespace)
    same_object = {name: state.same_object(name) for name in run.before}
    suspects = run.present | set(run.effects["writes"]) | set(run.effects["mutates"])
    was_calm = session.quiet.is_calm()
    changed, _ = state.sweep(suspects)
    session.quiet.begin(was_calm)
    deletes = sorted(name for name in run.before if name not in state.bound)
    changed_names = {name for version in changed for name in version.names}
    touched = sorted(name for name in changed_names if same_object.get(name))
    handle_names = {
        name for version in state.bound.values() if version.is_handle for name in version.names
    }

    why_not = why_not_replayable(session, run, findings, status)
    unseen = hidden_state(session, run, findings)
    unseen = witnessed.without_undone(unseen, was_patched=run.was_patched)
    is_rooted = session.ambient.places.root in run.source or any(
        "rooted" in run.before_versions[name].facts[name].marks for name in run.present
    )
    for name in touched:
        marks = [mark for mark in state.facts(name).marks if mark.startswith("module: ")]
        before = run.before_versions[name].facts[name]
        if marks and not is_same_of_modules(before, state.facts(name)):
            unseen.append(f"{MODULE_STATE} {', '.join(marks)}")
        place = library_name_of_container(session.namespace[name])
        if place is not None and before.fp != state.facts(name).fp:
            unseen.append(f"it changes `{'.'.join(place)}` of a library")
    shared = {**shared_with_libraries(session, changed), **shared_with_modules(session, changed)}
    for version in changed:
        module = shared.get(version.manifest_id)
        if module is not None:
            # A copy would not be the module's own.
            names = ", ".join(f"`{name}`" for name in version.names)
            why_not.append(f"{names} shares objects with the module {module}")
            if not set(version.names).isdisjoint(touched):
                unseen.append(f"it may change {module} through {names}")
            version.why = f"it shares objects with the module {module}"
            # Values of the same content that belong to no module are other versions, which can be stored.
            version.manifest_id = uuid.uuid4().hex
    why_not += unseen
    if unseen:
        # Later runs start from a process that only runs like this one can make.
        inputs = [
            run.effects["fingerprint"],
            *(str(run.before[name]["fp"]) for name in sorted(run.present)),
            sorted(file_inputs(session, run, findings, is_rooted).items()),
            sorted((name, digest) for name, (digest, _) in findings.env.items()),
        ]
        reads = {*run.effects["loads"], *run.effects["writes"]}
        session.hide(json.dumps(inputs), unseen, reads)

    # Whatever is bound and has no manifest yet (made by something that no run explains) is stored along.
    new: dict[str, CoVariable] = {version.manifest_id: version for version in changed}
    for version in state.bound.values():
        if version.made_by == "" and version.manifest_id not in new:
            new[version.manifest_id] = version
    for version in new.values():
        if (
            version.data is None
            and version.why is None
            and not version.is_handle
            and version.joint is None
        ):
            version.why = "it has no content to compare"
        version.made_by = run.run_id
        if version.is_unrecorded:
            session.history.put_manifest(version)
            continue
        if version in changed and (
            version.joint is None or version.why is not None or version.is_handle
        ):
            version.recipe = recipe_for(session, run, version)
        store_version(session, version)
        if version.data is None and version.recipe is None and version in changed:
            version.recipe = recipe_for(session, run, version)
            session.history.put_manifest(version)

    if any(version.is_handle for version in changed):
        named = set(run.effects["string_names"])
        session.ambient.places.adopt(run.places, named, path="sys" not in run.effects["loads"])
    again, kept = bound_again(session, run, changed_names, status)
    why_not += [
        f"{', '.join(f'`{name}`' for name in version.names)} could not be stored: {version.why}"
        for version in again
        if version.data is None and not version.is_handle
    ]
    # Bound to what it read (`ys = ys`): all that shares with it must be what it was, or it would be taken apart.
    read = {name for version in again for name in version.names} & run.present
    touched = sorted({*touched, *(name for name in read if same_object.get(name))})
    looked_up, modules_looked_up = unpickled(run, findings)
    run.present |= looked_up & set(run.before)
    run.absent |= looked_up - set(run.before)
    inputs_names = (run.present | set(touched) | kept) & set(run.before)
    if not speaking.may_seed(run):
        session.ambient.settle(run.before_ambient)
    process = (
        process_statements(session, run.source, run.effects, run.run_id) if status == "ok" else []
    )
    process += module_effects(set(user_modules()) - run.modules, run.run_id)
    process += looking.items(session, run)
    session.process.extend(process)
    if status != "ok":
        session.leftover += process_statements(session, run.source, run.effects, run.run_id)
    ambient_after = session.ambient.fingerprints()
    session.read_ambient(ambient_after)
    session.add_symbolic(ambient_after)
    looked, whole = looking.inputs(session, run, ambient_after, tasks)
    ambient_inputs, ambient_effects = ambient_record(session, run, ambient_after, whole, why_not)
    ambient_inputs |= looked
    session.symbolic_ambient.update(ambient_after)

    loaded = user_modules()
    packages.note_loaded(loaded)
    why_not += [
        f"the import of {name} may show something, once in a process"
        for name in sorted((imported_by(session, run) | (set(loaded) - run.modules)) & set(loaded))
        if packages.shows_when_imported(name)
    ]
    modules = {
        mark.removeprefix("module: ")
        for name in inputs_names | changed_names
        for facts in (run.before_versions.get(name), state.bound.get(name))
        if facts is not None
        for mark in facts.facts[name].marks
        if mark.startswith("module: ")
    }
    modules |= set(loaded) - run.modules
    modules |= findings.missing_modules | modules_looked_up
    if run.imports_by_name:
        # It may ask for any of them, loaded before or not.
        modules |= set(loaded)
    asks_where = any(
        "cwd" in entry["construct"].lower() for entry in run.effects["marks"].get("environment", [])
    )
    if asks_where or any(
        "reads: cwd" in run.before_versions[name].facts[name].marks for name in inputs_names
    ):
        ambient_inputs["absolute folder"] = session.ambient.places.root

    ambient_inputs |= {shown.RESULT + name: fp for name, fp in (run.results or {}).items()}
    texts = texts_fp(session, run)
    if texts is not None:
        ambient_inputs["texts"] = texts
    session.texts[run.run_id] = (run.effects["exact_fingerprint"],) * 2

    # Names that the run may bind and that it did not leave behind: `except E as e` takes an older `e` away.
    missing = set(run.effects["writes"]) - set(state.bound)
    record: dict[str, Any] = {
        "run_id": run.run_id,
        "session": session.session_id,
        "run_number": session.shell.execution_count - 1,
        "notebook": session.notebook,
        "cell_id": run.cell_id,
        "source": run.source,
        "file": code_file(session, run.source),
        "source_fp": run.effects["fingerprint"],
        "exact_fp": run.effects["exact_fingerprint"],
        "status": status,
        "started": run.started,
        "seconds": seconds,
        "inputs": {
            "names": {name: run.before[name] for name in sorted(inputs_names)},
            "touched": touched,
            "absent": sorted(
                (run.absent | (set(run.effects["reads"]) - run.present) | missing) - set(run.before)
            ),
            "files": file_inputs(session, run, findings, is_rooted),
            "env": env_inputs(run, findings, handle_names),
            "ambient": ambient_inputs,
            "modules": {name: packages.module_fp(name) for name in sorted(modules)},
            "versions": packages.loaded_versions(session.base_modules),
        },
        "effects": {
            "writes": [version.manifest_id for version in [*changed, *again]],
            "deletes": deletes,
            "files": file_effects(session, findings, is_rooted, why_not),
            "ambient": ambient_effects,
            "process": process,
        },
        "state": {name: version.manifest_id for name, version in sorted(state.bound.items())},
        # In which the namespace has them.
        "order": list(state.bound),
        "ambient_state": session.ambient_chunks,
        # What is changed inside the process, by which no restore goes back.
        "unrestorable": list(session.hidden_why),
        "lineage": session.log.lineage(),
        "process_state": without_runs(session.process),
        "outputs": outputs,
        "n_results": shown.n_results(session.shell, outputs),
        "kept_result": run.kept_result,
        "result_value": results.value_of(session, run) if status == "ok" else None,
        "replayable": not why_not,
        # Until a record of kind `settled` tells what tasks read that went on after the cell.
        "unsettled": run.unfinished is not None,
        "is_rooted": is_rooted,
        "why_not": why_not,
        "marks": [entry["construct"] for entry in run.effects["marks"].get("nondeterministic", [])],
        "tasks": {
            **{key: tasks[key] for key in ("hit", "run", "pruned")},
            **({"groups": run.task_groups} if run.task_groups else {}),
        },
    }
    record["result"] = result_of(session, run, record, changed_names)
    needs = [chunk for item in record["effects"]["files"] for chunk in item["chunks"] or []]
    needs += [chunk for item in session.ambient_chunks.values() for chunk in item["chunks"]]
    session.history.append_run(record, list(dict.fromkeys(needs)))
    state.remember_objects()
    return record


def imported_by(session: Session, run: Run) -> set[str]:
    """Modules that the cell's own statements import, loaded before or not, with the packages that they are in."""
    try:
        tree = ast.parse(session.shell.transform_cell(run.source))
    except SyntaxError:
        return set()
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {
        ".".join(name.split(".")[: at + 1]) for name in found for at in range(name.count(".") + 1)
    }


def unpickled(run: Run, findings: Findings) -> tuple[set[str], set[str]]:
    """Names that loading pickles looked up in the notebook, with all that they read; and the user's modules."""
    names: set[str] = set()
    todo = [name.partition(".")[0] for module, name in findings.unpickled if module == "__main__"]
    while todo:
        name = todo.pop()
        if name not in names:
            names.add(name)
            before = run.before_versions.get(name)
            if before is not None:
                todo += before.facts[name].refs
    modules = {module for module, _ in findings.unpickled if module not in {"__main__", "builtins"}}
    return names, {name for name in modules if not is_library_module(name)}


class _Shared(Exception):
    """An object that belongs to a module as well is about to be kept by value."""


def shared_with_libraries(session: Session, changed: list[CoVariable]) -> dict[str, str]:
    """Versions that hold a container of a library (`{"types": mimetypes.types_map}`)."""
    found: dict[str, str] = {}
    for version in changed:
        for name in version.names:
            place = hidden.container_within(session.namespace[name])
            if place is not None:
                found[version.manifest_id] = place
    return found


def shared_with_modules(session: Session, changed: list[CoVariable]) -> dict[str, str]:
    """Versions that would come back as copies of what a module of the user's has (`from helpers import CACHE`)."""
    from nbrewind.kernel.session import user_modules

    owners = _objects_of_modules(set(user_modules()) - session.base_modules_of_user)
    if not owners:
        return {}

    class Finder(pickling._Pickler):
        def persistent_id(self, obj: Any) -> None:
            if id(obj) in owners:
                raise _Shared(owners[id(obj)])

    found: dict[str, str] = {}
    for version in changed:
        if version.is_handle or version.joint is None:
            continue
        values = {name: session.namespace[name] for name in version.names}
        try:
            Finder(io.BytesIO(), session.namespace, session.state.view_owners, [], []).dump(values)
        except _Shared as error:
            found[version.manifest_id] = str(error)
        except Exception:  # noqa: BLE001 - what cannot be pickled is not kept by value
            continue
    return found


_IMMUTABLE = (types.ModuleType, str, bytes, int, float, complex, type(None), type(...), range)


def _objects_of_modules(names: set[str]) -> dict[int, str]:
    """Mutable objects that the state of these modules holds, by identity: the module's name."""
    found: dict[int, str] = {}
    for name in sorted(names):
        module = sys.modules.get(name)
        if module is None:
            continue
        seen = {id(module)}
        todo = [value for key, value in vars(module).items() if not key.startswith("__")]
        while todo:
            value = todo.pop()
            if id(value) in seen or isinstance(value, _IMMUTABLE):
                continue
            seen.add(id(value))
            if isinstance(value, types.FunctionType):
                if value.__module__ in names:
                    todo += [value.__defaults__, value.__kwdefaults__, vars(value)]
                    todo += [
                        cell.cell_contents for cell in value.__closure__ or () if _is_filled(cell)
                    ]
            elif isinstance(value, type):
                if value.__module__ in names:
                    todo += list(vars(value).values())
            elif isinstance(value, dict):
                found[id(value)] = name
                todo += [*value.keys(), *value.values()]
            elif isinstance(value, list | set | tuple | frozenset | collections.deque):
                if not isinstance(value, tuple | frozenset):
                    found[id(value)] = name
                todo += list(value)
            elif not callable(value):
                found[id(value)] = name
                todo += list(getattr(value, "__dict__", {}).values())
    return found


def _is_filled(cell: types.CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def bound_again(
    session: Session, run: Run, changed: set[str], status: str
) -> tuple[list[CoVariable], set[str]]:
    """What the run may have bound and that is as it was before (`x = 1` where `x` was 1).

    Elsewhere the names may be missing, or be something else. What the run has bound for certain is an effect all the
    same; what it may have left alone is an input.
    """
    state = session.state
    same = {
        name for name in run.effects["writes"] if name in run.before and name in state.bound
    } - changed
    if not same:
        return [], set()
    certain = (
        bound_for_certain(session.shell.transform_cell(run.source)) if status == "ok" else set()
    )
    again: dict[str, CoVariable] = {}
    kept: set[str] = set()
    for name in sorted(same):
        version = state.bound[name]
        # Whatever shares with it is there as well, because the run read it or bound it.
        if name in certain and set(version.names) <= run.present | certain:
            again[version.manifest_id] = version
        else:
            kept.add(name)
    return list(again.values()), kept


def bound_for_certain(source: str) -> set[str]:
    """Names that plain statements bind, whatever happens before, as long as the code comes to its end."""
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return set()
    found: set[str] = set()
    for item in body:
        match item:
            case ast.Assign(targets=targets):
                found.update(
                    node.id
                    for target in targets
                    for node in ast.walk(target)
                    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
                )
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr()):
                found.add(name)
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                found.update(one.asname or one.name.partition(".")[0] for one in names)
            case (
                ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
            ):
                found.add(name)
    return found


def code_file(session: Session, source: str) -> str:
    """The name under which the compiler keeps a cell's text; the code of its functions has it."""
    shell = session.shell
    number = shell.execution_count - 1
    name: str = shell.compile.get_code_name(source, shell.transform_cell(source), number)
    return name


def reads_source(run: Run) -> bool:
    """True when the cell, or a function that it can reach, asks for the text of code."""
    return run.reads_text or any(
        "reads: source" in run.before_versions[name].facts[name].marks for name in run.present
    )


# What the kernel calls the file that a cell's code is in.
_FILE_OF_CELL = re.compile(r"ipykernel_\d+[/\\]\d+\.py|<ipython-input-\d+-|\bCell In\[\d+\]")


def shows_lines(outputs: list[dict[str, Any]]) -> bool:
    """True when a run says in which of its lines something is, as warnings do: a comment above moves it."""
    return any(
        output["kind"] == "stream" and _FILE_OF_CELL.search(output["content"]["text"])
        for output in outputs
    )


def texts_fp(session: Session, run: Run) -> str | None:
    """Fingerprint of the texts of the cells that made what the cell can reach; None for cells that ask for no text.

    Comments and layout are no content, but `inspect.getsource` shows them.
    """
    if not reads_source(run):
        return None
    found = []
    for name in sorted(run.present):
        made_by = run.before_versions[name].made_by
        now, _ = session.texts.get(made_by, ("", ""))
        found.append((name, now))
    return hashlib.blake2b(json.dumps(found).encode(), digest_size=16).hexdigest()


def remember_text(session: Session, run: dict[str, Any]) -> None:
    """So that `inspect.getsource` finds the text of functions that a recorded run defined."""
    shell, text = session.shell, run["source"]
    if run.get("file"):
        # Asked for only when somebody looks.
        linecache.cache[run["file"]] = (lambda: shell.transform_cell(text),)


def result_of(session: Session, run: Run, record: dict[str, Any], changed: set[str]) -> str | None:
    """Fingerprint of what the run left in names and files; None when something there cannot be compared."""
    state = session.state
    names = {*changed, *run.effects["writes"], *run.effects["mutates"], *run.effects["deletes"]}
    left: dict[str, Any] = {}
    for name in sorted(names):
        left[name] = state.name_fact(name) if name in state.bound else None
        if left[name] is not None and left[name]["fp"] is None:
            return None
    files = [(item["path"], item["digest"]) for item in record["effects"]["files"]]
    ambient = {name: item["fp"] for name, item in record["effects"]["ambient"].items()}
    text = json.dumps([left, files, ambient], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def ambient_record(
    session: Session,
    run: Run,
    after: dict[str, str | None],
    whole: set[str],
    why_not: list[str],
) -> tuple[dict[str, str | None], dict[str, dict[str, Any]]]:
    """Which ambient state was an input, and what the run changed of it.

    `whole`: of what others look at by parts, the kinds of which all counts.
    """
    assert session.history is not None
    inputs: dict[str, str | None] = {}
    effects: dict[str, dict[str, Any]] = {}
    for name, fp in after.items():
        before = run.before_ambient.get(name)
        provider = session.ambient.providers.get(name)
        if name in settings.WATCHED and name not in run.looked_at and before == fp:
            # Nobody looked.
            continue
        if name in looking.KINDS and name not in whole:
            continue
        if provider is None or not provider.is_generator:
            # A module that was not loaded before may be loaded now with its defaults: `either` says so.
            inputs[name] = before if before is not None or fp is None else f"either:{fp}"
        elif before is not None and (
            before != fp or (before != INITIAL and speaking.may_seed(run))
        ):
            # It drew from it, or it may have seeded it as it was.
            inputs[name] = before
        if before == fp:
            continue
        item: dict[str, Any] = {"fp": fp, "chunks": []}
        if provider is not None and fp is not None:
            try:
                item["chunks"] = session.history.store.put(
                    pickle.dumps(session.ambient.snapshot(name), protocol=5)
                )
            except (pickle.PicklingError, TypeError, AttributeError) as error:
                why_not.append(f"the state of {name} cannot be stored ({error})")
        effects[name] = item
        session.ambient_chunks[name] = item
    return inputs, effects
