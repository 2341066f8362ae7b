"""The log of a session: what it executed, replayed or restored, in order, as the notebook shows it.

A run record names the entries before it, so that a restore in another process can tell how the state came about.
Entries that no longer are part of the state (undone by a restore, set aside by a replay) are kept, and say so.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbrewind.kernel.history import History


@dataclass(eq=False)
class LogRun:
    """One entry. `is_recorded`: its own record names the entries before it. `result`: what it left behind.

    `checkpoint`: what a restore to the state after it asks for. `is_private`: the cell is never recorded, so no record
    may name its text either. `replay_id`: the record that says what a replay left, for replays that come after it.
    """

    cell: str
    source: str
    number: int | None
    status: str = "running"
    how: str = "executed"
    undone: bool = False
    run_id: str | None = None
    seconds: float | None = None
    result: str | None = None
    checkpoint: str | None = None
    is_recorded: bool = False
    is_private: bool = False
    replay_id: str | None = None

    def payload(self) -> dict[str, Any]:
        """As the protocol and records have it."""
        found = asdict(self)
        del found["is_recorded"], found["is_private"], found["replay_id"]
        return found

    @classmethod
    def from_payload(cls, found: dict[str, Any]) -> LogRun:
        """An entry of a record, restored."""
        known = ("cell", "source", "number", "status", "run_id", "seconds")
        return cls(
            **{key: found[key] for key in known},
            how="restored",
            result=found.get("result"),
            checkpoint=found.get("checkpoint"),
        )

    @classmethod
    def from_record(cls, run: dict[str, Any]) -> LogRun:
        """The entry of a recorded run or replay, restored."""
        of = run.get("of")
        return cls(
            cell=run["cell_id"] or "",
            source=run["source"],
            number=run["run_number"],
            status=run["status"],
            how="restored",
            run_id=of or run["run_id"],
            seconds=run["seconds"],
            result=run.get("result"),
            checkpoint=run["run_id"] if run["status"] == "ok" else None,
            is_recorded=of is None,
            replay_id=run["run_id"] if of else None,
        )


class Log:
    """The entries of one session. Entries are only added or replaced in whole, so that any thread may read."""

    def __init__(self) -> None:
        self.runs: list[LogRun] = []

    def payload(self) -> list[dict[str, Any]]:
        """All entries, in order."""
        return [run.payload() for run in list(self.runs)]

    def running(self) -> LogRun | None:
        """The entry whose run goes on."""
        return next((run for run in reversed(list(self.runs)) if run.status == "running"), None)

    def lineage(self, *, of_replay: bool = False) -> dict[str, Any]:
        """What the state stands on: the last recorded run, and the entries after it; or after the last known replay.

        Records of runs do without those of replays, which go when the cell is replayed again.
        """
        between: list[dict[str, Any]] = []
        for run in reversed(self.runs):
            if run.undone or run.is_private or run.status == "running":
                continue
            if run.is_recorded:
                return {"previous": run.run_id, "between": between[::-1]}
            if of_replay and run.replay_id is not None:
                return {"previous": run.replay_id, "between": between[::-1]}
            between.append(run.payload())
        return {"previous": None, "between": between[::-1]}

    def set_aside(self, instead: list[LogRun]) -> None:
        """These entries made the state; all earlier ones no longer are part of it."""
        self.runs = [*instead, *_undone(self.runs), *_running(self.runs)]

    def put_back(self, before: list[LogRun]) -> None:
        """These entries made the state again; what came since no longer is part of it."""
        since = [run for run in self.runs if not run.undone and run.how != "restored"]
        running = _running(self.runs)
        earlier = [run for run in before if run not in running]
        self.runs = [*earlier, *_undone(since), *running]


def _running(runs: list[LogRun]) -> list[LogRun]:
    return [run for run in runs if run.status == "running"]


def _undone(runs: list[LogRun]) -> list[LogRun]:
    return [replace(run, undone=True) for run in runs if run.status != "running"]


def lineage_of(history: History, run: dict[str, Any]) -> list[LogRun]:
    """The entries that led to the state after `run`, itself included."""
    records = history.checkpoints()
    by_id = {item["run_id"]: item for item in records}
    found: list[LogRun] = []
    current: dict[str, Any] | None = run
    seen: set[str] = set()
    while current is not None and current["run_id"] not in seen:
        seen.add(current["run_id"])
        if current.get("kind") != "baseline":
            found.append(LogRun.from_record(current))
        before = current.get("lineage")
        if before is None:
            # Records of an older version: what the same session recorded earlier.
            earlier = [
                item
                for item in records
                if item["session"] == run["session"] and item["started"] < run["started"]
            ]
            found += [LogRun.from_record(item) for item in reversed(earlier)]
            break
        found += [LogRun.from_payload(item) for item in reversed(before["between"])]
        current = by_id.get(before["previous"] or "")
    return found[::-1]


def followers_of(history: History, run: dict[str, Any]) -> list[LogRun]:
    """What the same session recorded after `run`: no part of its state, but the page shows their outputs."""
    return [
        replace(LogRun.from_record(item), undone=True)
        for item in history.checkpoints()
        if item["session"] == run["session"]
        and item["run_number"] is not None
        and run["run_number"] is not None
        and item["run_number"] > run["run_number"]
        and item.get("kind") != "baseline"
    ]
