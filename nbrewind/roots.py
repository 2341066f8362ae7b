"""What `gc` must keep, and in which order the rest may go.

Roots are the pinned runs, the newest checkpoints of every cell, and all that running kernels recorded; of replays, the
newest of every cell. A root keeps its run record, the values of the whole namespace after it and, through recipes, the
values those are rebuilt from; of the runs that led to it, it keeps the records, not the values. Everything else may go
when a budget asks for it: what is old and cheap to compute again goes first.

Nothing here loads a recorded value.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbrewind._native import Store
from nbrewind.checkpoints import in_order

KEPT_CHECKPOINTS = 2
# A record of this kind, key = run id, keeps a run; the newest one with the key counts.
PIN = "pin"

RecordId = tuple[str, int]


@dataclass
class Choice:
    """What `Store.gc` is asked for."""

    # Groups of records that may go, the first to go first.
    drop: list[list[RecordId]] = field(default_factory=list)
    # Retired records that a root needs after all.
    revive: list[RecordId] = field(default_factory=list)
    n_roots: int = 0


@dataclass
class _Run:
    record: RecordId
    payload: dict[str, Any]

    @property
    def run_id(self) -> str:
        return str(self.payload["run_id"])

    def named(self) -> set[str]:
        """The values it names itself."""
        shown = (self.payload.get("result_value") or {}).get("manifest")
        own = {shown} if shown is not None else set()
        return {*self.payload["state"].values(), *self.payload["effects"]["writes"], *own}


def choose(store: Store, kept: int = KEPT_CHECKPOINTS) -> Choice:
    """Roots and the order of everything else, as the store is now."""
    runs = [_Run(_id(record), json.loads(record["payload"])) for record in store.records("run")]
    values = _Values(store)
    live = set(store.live_writers())
    pinned = _pinned(store)
    roots = _roots(runs, kept, pinned, live)
    replays, superseded = _replays(store, pinned, live)
    needed = values.closure({name for run in [*roots, *replays] for name in run.named()})
    choice = Choice(n_roots=len(roots) + len(replays))
    choice.revive = values.revived(needed)

    kept_runs = {run.run_id for run in roots} | _ancestors([*runs, *replays], [*roots, *replays])
    kept_runs |= {run.payload["of"] for run in replays}
    rest = [run for run in runs if run not in roots]
    choice.drop += values.groups_of_nobody(runs, needed)
    choice.drop += superseded
    choice.drop += _ranked(rest, kept_runs, needed, values, store)
    return choice


def disk_bytes(store: Path) -> int:
    """What the store takes; files with several names count once."""
    sizes: dict[tuple[int, int], int] = {}
    for path in store.glob("writers/*/*"):
        try:
            found = path.stat()
        except FileNotFoundError:
            continue
        sizes[found.st_dev, found.st_ino] = found.st_size
    return sum(sizes.values())


def parse_size(text: str) -> int:
    """`10GB`, `512 MiB`, `1e6`: bytes. Raises `ValueError`."""
    number = text.strip().lower().removesuffix("b")
    scale = 1.0
    for step, prefix in enumerate("kmgtp", start=1):
        if number.endswith(prefix + "i"):
            number, scale = number[:-2], 1024.0**step
        elif number.endswith(prefix):
            number, scale = number[:-1], 1000.0**step
    n_bytes = float(number) * scale
    if not 0 <= n_bytes < 2**63:
        raise ValueError(text)
    return int(n_bytes)


def show_size(n_bytes: float) -> str:
    """Bytes as people say them."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} B" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"


def _id(record: Mapping[str, Any]) -> RecordId:
    return record["writer"], record["seq"]


def _pinned(store: Store) -> set[str]:
    newest = {record["key"]: json.loads(record["payload"]) for record in store.records(PIN)}
    return {run_id for run_id, payload in newest.items() if payload.get("pinned", True)}


def _roots(runs: list[_Run], kept: int, pinned: set[str], live: set[str]) -> list[_Run]:
    roots = []
    seen: Counter[tuple[Any, ...]] = Counter()
    for run in reversed(runs):
        where = (run.payload["notebook"], run.payload["cell_id"], run.payload.get("kind"))
        is_checkpoint = run.payload["status"] == "ok"
        seen[where] += is_checkpoint
        is_new = is_checkpoint and seen[where] <= kept
        if is_new or run.run_id in pinned or run.record[0] in live:
            roots.append(run)
    return roots


def _ancestors(runs: list[_Run], roots: list[_Run]) -> set[str]:
    """The runs that led to the roots."""
    before = {run.run_id: (run.payload.get("lineage") or {}).get("previous") for run in runs}
    found: set[str] = set()
    for run in roots:
        current = before.get(run.run_id)
        while current is not None and current not in found:
            found.add(current)
            current = before.get(current)
    return found


def _replays(
    store: Store, pinned: set[str], live: set[str]
) -> tuple[list[_Run], list[list[RecordId]]]:
    """Replays that are roots, where they left a state of their own; and the records of those that are superseded.

    A replay keeps those that led to it.
    """
    records = store.records("replay")
    notes = {_id(record): json.loads(record["payload"]) for record in records}
    newest = {(note["cell_id"], note["notebook"]): record for record, note in notes.items()}
    kept = set(newest.values())
    kept |= {
        record
        for record, note in notes.items()
        if note.get("replay_id") in pinned or record[0] in live
    }
    by_id = {note.get("replay_id"): record for record, note in notes.items()}
    todo = list(kept)
    while todo:
        before = by_id.get((notes[todo.pop()].get("lineage") or {}).get("previous"))
        if before is not None and before not in kept:
            kept.add(before)
            todo.append(before)
    checkpoints = in_order(store.records("run"), records)
    replays = [
        _Run(_id(one.record), one.payload)
        for one in checkpoints
        if one.of is not None and _id(one.record) in kept
    ]
    return replays, [[record] for record in notes if record not in kept]


class _Values:
    """The manifests of a store: their records, sizes, and what their recipes need."""

    def __init__(self, store: Store) -> None:
        self.records: dict[str, list[RecordId]] = {}
        self.n_bytes: dict[str, int] = {}
        self._needs: dict[str, set[str]] = {}
        self._retired: dict[str, RecordId] = {}
        for record in store.records("manifest"):
            self.records.setdefault(record["key"], []).append(_id(record))
            self._note(record)
        for record in store.retired_records("manifest"):
            if record["key"] not in self.records:
                self._retired[record["key"]] = _id(record)
                self._note(record)

    def _note(self, record: dict[str, Any]) -> None:
        payload = json.loads(record["payload"])
        self.n_bytes[record["key"]] = (payload.get("data") or {}).get("bytes", 0)
        steps = payload.get("recipe") or ()
        self._needs[record["key"]] = {name for step in steps for name in step["needs"].values()}

    def closure(self, wanted: set[str]) -> set[str]:
        """These values and all that their recipes need."""
        found: set[str] = set()
        todo = list(wanted)
        while todo:
            name = todo.pop()
            if name not in found:
                found.add(name)
                todo += self._needs.get(name, ())
        return found

    def revived(self, needed: set[str]) -> list[RecordId]:
        """Retired manifests among these."""
        return [record for name, record in sorted(self._retired.items()) if name in needed]

    def groups_of_nobody(self, runs: list[_Run], needed: set[str]) -> list[list[RecordId]]:
        """Values that no recorded run names: what a run stored that was never recorded."""
        named = self.closure({name for run in runs for name in run.named()}) | needed
        return [records for name, records in sorted(self.records.items()) if name not in named]


def _ranked(
    rest: list[_Run],
    kept_runs: set[str],
    needed: set[str],
    values: _Values,
    store: Store,
) -> list[list[RecordId]]:
    """Runs with the values that only they name, and tasks: old and cheap for their size first."""
    worth: list[tuple[float, int, Any]] = []
    for number, run in enumerate(rest):
        own = sum(values.n_bytes.get(name, 0) for name in run.payload["effects"]["writes"])
        own += sum(item.get("size") or 0 for item in run.payload["effects"]["files"])
        is_good = run.payload["status"] == "ok"
        density = run.payload["seconds"] / max(own, 1) if is_good else 0.0
        worth.append((density * (number + 1) / len(rest), number, run))
    tasks = store.records("task")
    for number, record in enumerate(tasks):
        payload = json.loads(record["payload"])
        density = (payload.get("seconds") or 0.0) / max(payload.get("bytes") or 0, 1)
        worth.append((density * (number + 1) / len(tasks), number, record))

    settled: dict[str, list[RecordId]] = {}
    for record in store.records("settled"):
        settled.setdefault(record["key"], []).append(_id(record))
    named = {run.run_id: values.closure(run.named()) - needed for run in rest}
    n_users = Counter(name for names in named.values() for name in names)
    groups = []
    for _, _, item in sorted(worth, key=lambda entry: entry[:2]):
        if not isinstance(item, _Run):
            groups.append([_id(item)])
            continue
        group = []
        if item.run_id not in kept_runs:
            group += [item.record, *settled.get(item.run_id, ())]
        for name in sorted(named[item.run_id]):
            n_users[name] -= 1
            if n_users[name] == 0:
                group += values.records.get(name, ())
        if group:
            groups.append(group)
    return groups
