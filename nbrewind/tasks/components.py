"""What a task fingerprint is made of, by label: where two of them differ is why a task runs again."""

from __future__ import annotations

import json

from nbrewind.tasks.content import digest
from nbrewind.tasks.fingerprint import TaskFacts
from nbrewind.tasks.graph import Node

_SHORT = 16


def shared_components(facts: TaskFacts) -> dict[str, str]:
    """What the functions and literals of a fingerprint are made of, by label."""
    found: dict[str, str] = {}
    for literal in facts.literals:
        for label, value in literal.components:
            while label in found and found[label] != value[:_SHORT]:
                label += "'"
            found[label] = value[:_SHORT]
    if facts.literals:
        found["function"] = (facts.literals[0].fp or "")[:_SHORT]
    return found


def own_components(facts: TaskFacts, node: Node, all_facts: list[TaskFacts]) -> dict[str, str]:
    """What else it is made of: the arguments, and the inputs by the names of their tasks."""
    rest = [literal.fp or "" for literal in facts.literals[1:]]
    found = {
        "arguments": digest((facts.scalars, *rest))[:_SHORT] if rest else facts.scalars[:_SHORT]
    }
    inputs: dict[str, list[str]] = {}
    for source in node.refs.values():
        upstream = all_facts[source.idx]
        inputs.setdefault(upstream.name, []).append(upstream.fp or "")
    for name, fps in inputs.items():
        found[f"input {name}"] = (digest(tuple(fps)) if len(fps) > 1 else fps[0])[:_SHORT]
    return found


def components(facts: TaskFacts, node: Node, all_facts: list[TaskFacts]) -> dict[str, str]:
    """What a fingerprint is made of, by label: where two of them differ is why a task runs again."""
    return {**shared_components(facts), **own_components(facts, node, all_facts)}


def notes(facts: TaskFacts) -> dict[str, dict[str, str]]:
    """Name of a function -> the constants that it names."""
    found: dict[str, dict[str, str]] = {}
    for literal in facts.literals:
        for name, known in literal.notes.items():
            found.setdefault(name, known)
    return found


def explain(
    now: dict[str, str],
    before: dict[str, str],
    notes_now: dict[str, dict[str, str]] | None = None,
    notes_before: dict[str, dict[str, str]] | None = None,
) -> str:
    """Which components differ; the innermost when one label is inside another."""
    labels = [label for label in now if now[label] != before.get(label)]
    labels += [label for label in before if label not in now]
    named = [label for label in labels if label not in {"function", "arguments"}]
    if named:
        # The arguments are also told by the inputs among them.
        labels = named
    inner = [
        label for label in labels if not any(other.startswith(label + " -> ") for other in labels)
    ]
    told = []
    for label in inner:
        name = label.rstrip("'").rpartition(" -> ")[2]
        if name.startswith("file:"):
            # The task that is most like it may be one that was given another file.
            file = label.replace("file:", "")
            if label in now:
                told.append(f"{file} changed" if label in before else f"{file} is another file")
            elif not any(other in now and other not in before for other in inner):
                told.append(f"{file} is not named any more")
            continue
        what = _explain_notes((notes_now or {}).get(name), (notes_before or {}).get(name))
        told.append(f"{label} -> {what}" if what else label)
    return ", ".join(told) if told else "nothing that is named"


def _explain_notes(now: dict[str, str] | None, before: dict[str, str] | None) -> str | None:
    """Which constants of a function became others; None when that is not all that one can see."""
    if now is None or before is None or now == before:
        return None
    told = [
        f"{name} {before[name]} became {now[name]}"
        for name in now
        if name != "constant" and name in before and before[name] != now[name]
    ]
    old, new = json.loads(before["constant"]), json.loads(now["constant"])
    if len(old) == len(new):
        told += [f"constant {a} became {b}" for a, b in zip(old, new, strict=True) if a != b]
    return ", ".join(told) if told else None
