"""How many tasks of a cell will run, before it runs: from what its last run asked for.

The tasks of a run are kept in *groups*: those of one name, with the functions and files that are part of their
fingerprints and the groups that they get their inputs from. An edit of a function reaches the groups that it is part
of, and all that follow them. That is a forecast, not a promise: a result that comes out as before stops it early.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from nbrewind.tasks.components import shared_components
from nbrewind.tasks.plan import Plan

if TYPE_CHECKING:
    from nbrewind.tasks.cache import TaskCache

# One group: how many tasks, names of functions and globals, names of files, names of groups before it.
Group = dict[str, Any]


def add_groups(groups: dict[str, Group], plan: Plan) -> None:
    """Count the tasks of one plan, whatever becomes of them."""
    parts: dict[tuple[int, ...], tuple[set[str], set[str]]] = {}
    seen: set[tuple[str, tuple[int, ...]]] = set()
    for node in plan.graph.nodes:
        if node.kind != "task":
            continue
        fact = plan.facts[node.idx]
        group = groups.setdefault(fact.name, {"n": 0, "names": [], "files": [], "after": []})
        group["n"] += 1
        for source in node.refs.values():
            before = plan.facts[source.resolved().idx].name
            if before not in group["after"] and source.resolved().kind == "task":
                group["after"].append(before)
        key = tuple(map(id, fact.literals))
        if (fact.name, key) in seen:
            continue
        seen.add((fact.name, key))
        if key not in parts:
            labels = list(shared_components(fact))
            files = {label.rpartition("file:")[2] for label in labels if "file:" in label}
            names = {
                name.rstrip("'")
                for label in labels
                if "file:" not in label
                for name in label.split(" -> ")
            }
            parts[key] = (names - {"function"}, files)
        for place, found in zip(("names", "files"), parts[key], strict=True):
            group[place] += sorted(found.difference(group[place]))


def forecast(
    groups: dict[str, Group],
    changed: Collection[str],
    seconds_of: Callable[[str], float | None],
) -> dict[str, Any]:
    """What will run when these names have changed. `run` is None when a name is part of no task: it may decide which
    tasks there are (`why` says so). `seconds_of`: how long a task of that name takes, if that is known.
    """
    total = sum(group["n"] for group in groups.values())
    because = {
        name: sum(group["n"] for group in groups.values() if name in group["names"])
        for name in sorted(changed)
    }
    unknown = [name for name, n_tasks in because.items() if not n_tasks]
    if unknown:
        told = ", ".join(f"`{name}`" for name in unknown)
        why = f"{told} may decide which tasks there are"
        return {"total": total, "run": None, "seconds": None, "because": {}, "why": why}
    reached = {name for name, group in groups.items() if set(group["names"]) & set(changed)}
    pending = list(reached)
    while pending:
        before = pending.pop()
        for name, group in groups.items():
            if name not in reached and before in group["after"]:
                reached.add(name)
                pending.append(name)
    known = [(groups[name]["n"], seconds_of(name)) for name in sorted(reached)]
    seconds = [n_tasks * one for n_tasks, one in known if one is not None]
    return {
        "total": total,
        "run": sum(n_tasks for n_tasks, _ in known),
        "seconds": round(sum(seconds), 3) if len(seconds) == len(known) else None,
        "because": because,
        "why": None,
    }


def text_of(found: dict[str, Any]) -> str:
    """The forecast as a sentence."""
    total = found["total"]
    if found["run"] is None:
        return (
            f"how many of its tasks will run is not known ({total} in its last run): {found['why']}"
        )
    text = f"{found['run']} of {total} tasks will run"
    if found["run"]:
        text += (
            f", about {found['seconds']:.1f} s"
            if found["seconds"] is not None
            else ", and how long that takes is not known"
        )
    told = [f"{n_tasks} of them because of `{name}`" for name, n_tasks in found["because"].items()]
    return "; ".join([text, *told])


# --- What an edit changes --------------------------------------------------------------------------


def definitions(source: str) -> tuple[dict[str, str], list[str]]:
    """What each name is bound to by functions, classes and plain assignments, as text; and all other statements."""
    try:
        body = ast.parse(source).body
    except SyntaxError:
        # Magics and the like.
        return {}, [source]
    named: dict[str, str] = {}
    others: list[str] = []
    for statement in body:
        text = ast.dump(statement)
        match statement:
            case (
                ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
                | ast.Assign(targets=[ast.Name(id=name)])
                | ast.AnnAssign(target=ast.Name(id=name))
            ) if name not in named:
                named[name] = text
            case _:
                others.append(text)
    return named, others


class Foresight:
    """The tasks of cells that will execute, cell after cell from above."""

    def __init__(self, runs: list[dict[str, Any]], cache: TaskCache | None) -> None:
        self.last = {
            run["cell_id"]: run
            for run in runs
            if run["cell_id"] is not None and run["status"] == "ok"
        }
        self.cache = cache
        # Names that edits above have bound to something else.
        self.edited: set[str] = set()

    def look(
        self, cell_id: str, source: str, reads: Collection[str], why: list[str]
    ) -> dict[str, Any] | None:
        """What this cell, which will execute, will do with tasks; None when it had none so far."""
        last = self.last.get(cell_id)
        if last is None:
            self.edited |= definitions(source)[0].keys()
            return None
        (before, others_before), (now, others) = definitions(last["source"]), definitions(source)
        own = {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}
        self.edited |= own
        groups = last["tasks"].get("groups")
        if not groups:
            return None
        total = sum(group["n"] for group in groups.values())
        known = {name for group in groups.values() for name in group["names"]}
        changed = own | self.edited & {*reads, *known}
        reason = None
        if others != others_before:
            reason = "the cell was edited where it asks for them"
        elif not changed and last["replayable"]:
            reason = "; ".join(why)
        if reason is not None:
            return {"total": total, "run": None, "seconds": None, "because": {}, "why": reason}
        seconds_of = self.cache.seconds_of if self.cache is not None else lambda name: None
        return forecast(groups, changed, seconds_of)
