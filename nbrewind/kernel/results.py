"""What cells showed and what they were, brought back by a restore: `Out`, `_`, `In` and their kin.

A result comes back when it is kept with the record of its run (a number, a text; see `shown`), when a name of the state
holds it, or when it was small, stood alone and was stored. In the place of all others is a stub that says so. Cells
that are executed later are counted on from there: a number stands for one cell, on the page and in `Out`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nbrewind._native import MissingError
from nbrewind.fingerprint import Context
from nbrewind.fingerprint.arrays import copies_on_write
from nbrewind.kernel import shown, waiting
from nbrewind.kernel.namespace import CoVariable, NameFacts, is_history, is_tracked

if TYPE_CHECKING:
    from nbrewind.kernel.log import LogRun
    from nbrewind.kernel.session import Run, Session

_LAST = ("_", "__", "___")
# A result that no name holds: how large it may be to be stored, and how much is walked to see that it stands alone.
_MAX_BYTES = 1 << 20
_MAX_NAMED_BYTES = 16 << 20
# Values that cost little to look at: not figures and what is drawn in them, for one.
_SIMPLE = frozenset(
    {"builtins", "collections", "datetime", "decimal", "fractions", "numpy", "pandas", "polars"}
)
_MAX_ITEMS = 100


def value_of(session: Session, run: Run) -> dict[str, str] | None:
    """Where a restore finds what the run showed, when it is not kept with the record itself. Called after the sweep."""
    if run.kept_result is not None:
        return None
    value, namespace, bound = run.result, session.namespace, session.state.bound
    for name in session.state.loaded:
        if namespace.get(name) is value and name in bound:
            return {"name": name, "manifest": bound[name].manifest_id}
    if namespace.get("_") is not value:
        return {"why": "`_` was a name of the notebook's own"}
    version = _stored(session, value)
    if version is None or version.data is None:
        return {"why": "no name holds it, and it was not small and by itself"}
    return {"manifest": version.manifest_id}


def _stored(session: Session, value: Any) -> CoVariable | None:
    """The value in the store, when it is small and shares nothing with what has a name."""
    from nbrewind.kernel.record import store_version

    state = session.state
    n_named = sum(version.n_bytes for version in set(state.bound.values()))
    if not _is_simple(value) or n_named > _MAX_NAMED_BYTES:
        return None
    if Context(namespace=session.namespace, memory=state.memory).walk(value).n_bytes > _MAX_BYTES:
        return None
    names = [name for name in state.live_names() if is_tracked(name)]
    values = [value, *(session.namespace[name] for name in names)]
    context = Context(namespace=session.namespace, memory=state.memory)
    walks, groups, _ = context.walk_namespace(values, state.root, copies_on_write())
    found = walks[0]
    is_alone = any(list(group) == [0] for group in groups)
    if found.fp is None or found.handles or not is_alone:
        return None
    version = CoVariable(("_",), found.fp, {"_": NameFacts.from_walk(found, value)})
    version.n_bytes = found.n_bytes
    store_version(session, version)
    return version


def _is_simple(value: Any, depth: int = 3) -> bool:
    kind = type(value)
    if kind.__module__.partition(".")[0] not in _SIMPLE or depth == 0:
        return False
    if not isinstance(value, list | tuple | dict | set | frozenset):
        return True
    parts = [*value.keys(), *value.values()] if isinstance(value, dict) else value
    return len(parts) <= _MAX_ITEMS and all(_is_simple(part, depth - 1) for part in parts)


class Before:
    """What the shell had, to be put back when the restore is undone."""

    def __init__(self, session: Session) -> None:
        names = [*_LAST, *(f"_{number}" for number in _out(session))]
        self._names = {name: session.namespace[name] for name in names if name in session.namespace}
        self._hook = {name: getattr(session.shell.displayhook, name, "") for name in _LAST}
        self._out = dict(_out(session))
        self._shown = session.shown
        self._held = list(session.held)
        self._n_inputs = len(session.shell.history_manager.input_hist_raw)
        self._count = session.shell.execution_count
        self._counted_to = self._count

    def count_on(self, session: Session, log: list[LogRun]) -> None:
        """The next cell gets a number that none of these has, and `In` holds their texts."""
        shell = session.shell
        last = max((entry.number or 0 for entry in log), default=0)
        if session.is_in_cell or last < self._count:
            return
        history = shell.history_manager
        texts = {entry.number: entry.source for entry in log}
        for number in range(self._n_inputs, last + 1):
            text = texts.get(number, "")
            history.input_hist_raw.append(text)
            history.input_hist_parsed.append(shell.transform_cell(text).rstrip("\n"))
            shell.push({f"_i{number}": text}, interactive=False)
        shell.execution_count = self._counted_to = last + 1

    def put_back(self, session: Session) -> None:
        """As it was. Numbers that cells have got since remain theirs."""
        shell = session.shell
        if self._count < self._counted_to == shell.execution_count:
            history = shell.history_manager
            del history.input_hist_raw[self._n_inputs :]
            del history.input_hist_parsed[self._n_inputs :]
            for number in range(self._n_inputs, self._counted_to):
                session.namespace.pop(f"_i{number}", None)
            shell.execution_count = self._count
        _clear(session)
        session.shell.push(self._names, interactive=False)
        for name, value in self._hook.items():
            setattr(session.shell.displayhook, name, value)
        _out(session).update(self._out)
        session.shown = self._shown
        session.held = self._held


def _out(session: Session) -> dict[int, Any]:
    found = session.namespace.get("_oh")
    return found if isinstance(found, dict) else {}


def _clear(session: Session) -> None:
    for number in _out(session):
        session.namespace.pop(f"_{number}", None)
    _out(session).clear()
    for name in _LAST:
        shown.put_result(session.shell, name, "")


def bring(
    session: Session, run: dict[str, Any], log: list[LogRun], values: dict[str, Any]
) -> list[str]:
    """Make the shell's results those of the cells that made the state; returns what is missing, in words.

    `values`: what the names of the state hold, as far as it is loaded.
    """
    from nbrewind.kernel.session import analyze

    history = session.open_history()
    records = {item["run_id"]: item for item in history.all_runs()}
    _clear(session)
    session.shown = shown.Shown()
    session.held = []
    last: list[Any] = []
    missing: dict[str, list[int]] = {}
    is_taken = False
    for entry in log:
        if entry.undone:
            continue
        is_taken = is_taken or any(map(is_history, analyze(entry.source)["writes"]))
        record = records.get(entry.run_id or "")
        if record is None or not record.get("n_results"):
            continue
        value, why = _value(session, run, record, values)
        kept = record.get("kept_result")
        session.shown.found(shown.ODD if why else kept)
        if why is not None:
            value = waiting.Stub(f"Out[{entry.number}]", why)
            if why is _LATER and entry.number is not None:
                name = record["result_value"]["name"]
                session.held.append((name, session.state.bound[name], entry.number, value))
            elif entry.number is not None:
                missing.setdefault(why, []).append(entry.number)
        last.append(value)
        if entry.number is not None:
            _out(session)[entry.number] = value
            session.shell.push({f"_{entry.number}": value}, interactive=False)
    if is_taken:
        session.shown.unknown()
    for name, value in zip(_LAST, reversed(last), strict=False):
        shown.put_result(session.shell, name, value)
    return [_words(numbers, why) for why, numbers in missing.items()]


_LATER = "the name that holds it is not loaded yet"


def names_held(session: Session) -> set[str]:
    """Names that results wait for."""
    return {name for name, *_ in session.held}


def settle(session: Session) -> None:
    """Results whose names were loaded meanwhile are what these hold."""
    state, namespace = session.state, session.namespace
    if not session.held or session.aside is not None:
        return
    left = []
    for name, version, number, stub in session.held:
        if state.bound.get(name) is not version:
            continue
        if name not in state.loaded or name not in namespace:
            left.append((name, version, number, stub))
            continue
        value = namespace[name]
        if _out(session).get(number) is stub:
            _out(session)[number] = value
            session.shell.push({f"_{number}": value}, interactive=False)
        for one in _LAST:
            if namespace.get(one) is stub:
                shown.put_result(session.shell, one, value)
    session.held = left


def _words(numbers: list[int], why: str) -> str:
    listed = ", ".join(f"`Out[{number}]`" for number in numbers)
    return f"{listed}: {why}"


def _value(
    session: Session, run: dict[str, Any], record: dict[str, Any], values: dict[str, Any]
) -> tuple[Any, str | None]:
    """What a recorded run showed, or why that is not known."""
    if record["n_results"] > 1:
        return None, "the cell showed several results"
    kept = record.get("kept_result", shown.ODD)
    if kept:
        return shown.load(kept), None
    place = record.get("result_value") or {}
    if "manifest" not in place:
        return None, place.get("why", "it was not kept")
    name = place.get("name")
    if name is not None:
        if run["state"].get(name) != place["manifest"]:
            return None, "the name that held it has changed since"
        if name not in values:
            return None, _LATER
        if type(values[name]) is waiting.Stub:
            return None, "the name that holds it was not restored"
        return values[name], None
    from nbrewind.kernel import repeat

    try:
        version = session.open_history().manifest(place["manifest"])
        return repeat.load_version(session, version, {})["_"], None
    except MissingError:
        return None, "it is not in the store any more"
    except Exception as error:  # noqa: BLE001 - whatever went wrong, a stub says so
        return None, str(error) or type(error).__name__
