"""Records of tasks as a cache reads them, and what they say of tasks that change something outside."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from nbrewind import _native
from nbrewind.tasks import left, recorder, worker

if TYPE_CHECKING:
    from nbrewind.tasks.cache import TaskCache
    from nbrewind.tasks.graph import Node
    from nbrewind.tasks.plan import Plan

_MAX_CANDIDATES = 40


class Records:
    """Records of tasks, read once per run."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.by_fp: dict[str, list[dict[str, Any]]] = {}
        self.by_name: dict[str, list[tuple[int, str]]] | None = None
        self.parsed_by_name: dict[str, list[dict[str, Any]]] = {}
        self.flags: dict[str, tuple[bool, str | None] | None] = {}
        self.by_path: dict[str, list[dict[str, Any]]] | None = None

    def refresh(self) -> None:
        self.store.refresh()
        self.by_fp.clear()
        self.by_path = None
        self.by_name = None
        self.parsed_by_name.clear()
        self.flags.clear()

    def of(self, fp: str) -> list[dict[str, Any]]:
        """Records of one fingerprint, oldest first."""
        found = self.by_fp.get(fp)
        if found is None:
            texts = _native.record_texts(self.store, worker.KIND, fp)
            found = self.by_fp[fp] = [_parsed(time_ns, text) for time_ns, text in texts]
        return found

    def named(self, name: str) -> list[dict[str, Any]]:
        """The newest records of tasks with this name, oldest first."""
        if self.by_name is None:
            self.by_name = _native.newest_tasks(self.store, _MAX_CANDIDATES)
        found = self.parsed_by_name.get(name)
        if found is None:
            found = self.parsed_by_name[name] = [
                _parsed(time_ns, text) for time_ns, text in self.by_name.get(name, ())
            ]
        return found

    def forget(self, fp: str) -> None:
        """There is a new record of this fingerprint."""
        self.by_fp.pop(fp, None)

    def writers_of(self, path: str) -> list[dict[str, Any]]:
        """Records of tasks that wrote a file and have copies of what they wrote."""
        if self.by_path is None:
            self.by_path = {}
            for record in self.store.records(worker.KIND):
                if '"copies"' in record["payload"]:
                    found = _parsed(record["time_ns"], record["payload"])
                    for name, _, _ in found.get("copies", {}).get("files", ()):
                        self.by_path.setdefault(name, []).append(found)
        return self.by_path.get(path, [])

    def look_at(self, fps: list[str]) -> None:
        """Read the flags of many fingerprints at once."""
        unknown = [fp for fp in fps if fp not in self.flags]
        self.flags.update(dict.fromkeys(unknown))
        self.flags.update(_native.task_flags(self.store, unknown))

    def flags_of(self, fp: str) -> tuple[bool, str | None]:
        """Does its result depend on more than the fingerprint covers; what does it change outside."""
        if fp not in self.flags:
            self.look_at([fp])
        return self.flags[fp] or (False, None)


def is_result(record: dict[str, Any]) -> bool:
    """Does a record hold a result? A writer's only if it says what the task left where it wrote."""
    return record["status"] == "ok" or "left" in record


class Writers:
    """What the records of one cache say of tasks that change something outside."""

    def __init__(self, cache: TaskCache) -> None:
        self.cache = cache
        # Of those whose files are not as they left them: the record, and what would bring the files back.
        self.to_bring_back: dict[str, tuple[dict[str, Any], list[left.Step]]] = {}
        # Those of which that failed.
        self.lost: set[str] = set()

    def reason(self, fp: str) -> str | None:
        """What the task changes; None: nothing."""
        return self.cache._records.flags_of(fp)[1]

    def may_be_known(self, fp: str) -> bool:
        """Was it never uncertain what the task left behind?"""
        records = self.cache._records.of(fp)
        return all("left" in one for one in records if one["status"] in {"ok", "writer"})

    def as_left(self, fps: set[str]) -> set[str]:
        """Those of which all that they wrote is, or can be made, as they left it, and that alone wrote it."""
        by_path: dict[str, set[str]] = {}
        for fp in fps:
            for record in self.cache._records.of(fp):
                for path, relative, there in record.get("left", ()):
                    if there is not None and there[0] != recorder.FOLDER:
                        by_path.setdefault(os.path.abspath(path or relative), set()).add(fp)
        # Which of several was the last one is for a run to say.
        several = {fp for found in by_path.values() if len(found) > 1 for fp in found}
        return {
            fp
            for fp in fps - several - self.lost
            if self.may_be_known(fp)
            and (self.cache._choose(fp) is not None or self._can_be_brought_back(fp))
        }

    def _can_be_brought_back(self, fp: str) -> bool:
        if fp in self.to_bring_back:
            return True
        cache = self.cache
        for record in reversed(cache._records.of(fp)):
            if not (is_result(record) and cache._is_usable(record, with_outputs=False)):
                continue
            steps = left.steps(cache.store, record, self._has_copy)
            if steps is not None:
                self.to_bring_back[fp] = (record, steps)
                cache._chosen[fp] = record
                return True
        return False

    def _has_copy(self, path: str, there: list[Any]) -> bool:
        """Did a task write this very file, and is its content in the store?"""
        store = self.cache.store
        return any(
            name == path and chunks is not None and all(map(store.has, chunks))
            for record in self.cache._records.writers_of(path)
            for (_, _, then), (name, chunks, _) in zip(
                record["left"], record["copies"]["files"], strict=True
            )
            if then is not None and then[0] == there[0]
        )

    def bring_back(self, plan: Plan) -> bool:
        """Bring back files of tasks that are not executed; False: decide again."""
        cache = self.cache
        is_done = True
        for node in _asked_for(plan):
            fp = plan.facts[node.idx].fp
            if fp is None or fp not in self.to_bring_back or node.kind != "task":
                continue
            record, steps = self.to_bring_back.pop(fp)
            cache._chosen.pop(fp, None)
            if plan.decisions[node.idx].action == "execute":
                continue
            there = left.take(cache.store, record, steps)
            if there is None:
                self.lost.add(fp)
                is_done = False
            else:
                cache._left_again(record, there)
        return is_done


def _parsed(time_ns: int, text: str) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads(text)
    payload["time_ns"] = time_ns
    return payload


def _asked_for(plan: Plan) -> Iterator[Node]:
    """The tasks that would run without any records: not those behind results that are on the cluster already."""
    pending = list(plan.graph.outputs.values())
    seen: set[int] = set()
    while pending:
        node = pending.pop()
        if node.idx in seen or plan.decisions[node.idx].action == "leave":
            continue
        seen.add(node.idx)
        yield node
        pending += [node.target] if node.target is not None else list(node.refs.values())
