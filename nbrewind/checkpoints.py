"""The states of a store that a restore can go to: after cells that were executed, and after cells that were replayed.

A replay gives a cell's effects again; what else there is may be other than when the cell ran, because cells above were
edited. A record of kind `replay` says in what the state differs, and stands for the cell as it is on the page.
Nothing here loads a recorded value.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nbrewind._native import Store

# What a replay may leave otherwise than the run it stands for: parts of the run record, each a mapping.
_MAPPINGS = {"names": "state", "ambient": "ambient_state"}
_LISTS = {"process": "process_state", "unrestorable": "unrestorable"}
# What a replay has of its own.
_OWN = ("cell_id", "notebook", "source", "session", "run_number", "started", "lineage")


@dataclass(frozen=True)
class Checkpoint:
    """One state: the store's record of it, and a run record that has it. `of`: the run that was replayed."""

    record: Mapping[str, Any]
    payload: dict[str, Any]

    @property
    def of(self) -> str | None:
        """The id of the run that was replayed; None for a run that was executed."""
        found: str | None = self.payload.get("of")
        return found


def in_order(
    runs: Sequence[Mapping[str, Any]], replays: Sequence[Mapping[str, Any]]
) -> list[Checkpoint]:
    """Every state once, the one that a page showed last at the end.

    ``runs`` and ``replays`` are the store's records of kind `run` and `replay`. A replay that left just what its run
    had left is no state of its own: it makes that of the run the newest again.
    """
    executed = {run["run_id"]: (record, run) for record, run in _read(runs)}
    times = {run_id: record["time_ns"] for run_id, (record, _) in executed.items()}
    found = []
    for record, note in _read(replays):
        if note["run_id"] not in executed or "left" not in note:
            continue
        run = executed[note["run_id"]][1]
        if place_of(run, note) == run["run_id"]:
            times[run["run_id"]] = max(times[run["run_id"]], record["time_ns"])
        else:
            found.append((record["time_ns"], Checkpoint(record, _merged(run, note))))
    found += [(times[run_id], Checkpoint(*item)) for run_id, item in executed.items()]
    return [checkpoint for _, checkpoint in sorted(found, key=lambda item: item[0])]


def of_store(store: Store) -> list[dict[str, Any]]:
    """Every state of a store as a run record, the one that a page showed last at the end."""
    found = in_order(store.records("run"), store.records("replay"))
    return [checkpoint.payload for checkpoint in found]


def place_of(run: Mapping[str, Any], note: Mapping[str, Any]) -> str:
    """The id of the state that a replay left: that of its run, if it is no other one."""
    is_own = (note["cell_id"], note["notebook"]) == (run["cell_id"], run["notebook"])
    return str(run["run_id"] if is_own and not note["left"] else note["replay_id"])


def difference(run: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """In what the state `now` differs from the one that a run recorded, both as run records have it."""
    found: dict[str, Any] = {}
    for part, key in _MAPPINGS.items():
        then, is_now = run[key], now[key]
        changed = {name: item for name, item in is_now.items() if then.get(name) != item}
        changed |= dict.fromkeys(then.keys() - is_now.keys())
        if changed:
            found[part] = changed
    for part, key in _LISTS.items():
        if now[key] != run.get(key, []):
            found[part] = now[key]
    return found


def _read(records: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], dict[str, Any]]]:
    return [(record, json.loads(record["payload"])) for record in records]


def _merged(run: dict[str, Any], note: dict[str, Any]) -> dict[str, Any]:
    left = note["left"]
    made = {**run, **{key: note[key] for key in _OWN}, "run_id": note["replay_id"]}
    made["of"] = run["run_id"]
    for part, key in _MAPPINGS.items():
        whole = {**run[key], **left.get(part, {})}
        made[key] = {name: whole[name] for name in sorted(whole) if whole[name] is not None}
    for part, key in _LISTS.items():
        if part in left:
            made[key] = left[part]
    return made
