"""What one session knows of objects that tasks have changed in place, where others see them (terms: `given`)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from typing import Any

from nbrewind.tasks import given
from nbrewind.tasks.graph import Key, Node
from nbrewind.tasks.plan import Plan
from nbrewind.tasks.sharing import Effects, Sharing, could_change


class Changes:
    """Of one store, for one session."""

    def __init__(self, store: Any) -> None:
        self.store = store
        # Names this session, where objects live on in futures.
        self.scope = uuid.uuid4().hex
        # Fingerprint of a giver -> who changed what it gave, and in which scopes.
        self.known: dict[str, list[dict[str, Any]]] = {}
        # Scopes in which results of these fingerprints were made of such objects.
        self.stains: dict[str, frozenset[str]] = {}
        # Givers of which a future holds something else than they gave.
        self.spoiled: set[str] = set()
        # Has a task run that might change what a future holds?
        self.may_be_new = False

    def read(self) -> None:
        """See what the store says of it now."""
        found: dict[str, list[dict[str, Any]]] = {}
        for record in self.store.records(given.KIND):
            marker = json.loads(record["payload"])
            found.setdefault(record["key"], []).append(marker)
            if marker["scope"] == self.scope:
                self.spoiled.add(record["key"])
        self.known = found

    def catch_up(self) -> None:
        """The same in the middle of a cell, if a task may have done such a thing meanwhile."""
        if self.may_be_new:
            self.store.refresh()
            self.read()

    def is_spoiled(self, fp: str | None, stands_on: Iterable[str]) -> bool:
        """Does a future with this fingerprint hold, or stand on, what a task has changed in place?"""
        return bool(self.spoiled) and (fp in self.spoiled or not self.spoiled.isdisjoint(stands_on))

    def may_load(self, record: dict[str, Any]) -> bool:
        """Was the result of a task made of what its inputs gave, as they gave it?"""
        stains = self.stains.get(record["fingerprint"])
        return stains is None or stains.isdisjoint(record.get("scopes") or stains)

    # -- planning

    def sharing(self, graph: Any, facts: list[Any]) -> tuple[Sharing, set[str]]:
        """Who sees what in a graph, and the fingerprints of which it became known what they were made of."""
        sharing = Sharing(graph, facts, (self.scope, uuid.uuid4().hex))
        return sharing, self._find_stains(sharing) if self.known else set()

    def _find_stains(self, sharing: Sharing) -> set[str]:
        facts = sharing.facts
        stains: dict[int, frozenset[str]] = {}
        named: set[str] = set()
        for node in sharing.graph.nodes:
            fp = facts[node.idx].fp
            found = frozenset[str]()
            if node.kind == "external":
                found = self.stains.get(fp or "", found)
            elif node.target is not None:
                found = stains.get(node.target.idx, found)
            for source in node.refs.values() if node.target is None else ():
                markers = self.known.get(facts[source.idx].fp or "", ())
                found |= stains.get(source.idx, frozenset()) | {one["scope"] for one in markers}
            if found:
                stains[node.idx] = found
                if fp is not None:
                    self.stains[fp] = found
                    named.add(fp)
        return named

    def expect(self, plan: Plan) -> None:
        """Futures that tasks of this graph change, as they did before, hold something else from now on."""
        facts, sharing = plan.facts, plan.sharing
        changers = {facts[idx].fp or facts[idx].name for idx in plan.effects.reached}
        self.spoiled |= {
            fp
            for fp, markers in self.known.items()
            if any((one["by"] or one["name"]) in changers for one in markers)
        }
        self.may_be_new = self.may_be_new or (
            sharing is not None
            and any(
                could_change(node, facts[node.idx])
                and any(map(sharing.is_outside, node.refs.values()))
                for node in plan.nodes("execute")
            )
        )

    # -- afterwards

    def account(self, plan: Plan) -> tuple[list[str], set[Key]]:
        """What tasks of a graph changed of what futures hold, and the requested keys that hold something else, or were
        made of that.
        """
        problems = list(plan.effects.changers)
        effects, sharing = plan.effects, plan.sharing
        if self.known and sharing is not None:
            here = self._of(plan, sharing)
            if here:
                effects = sharing.effects(here, nothing)
                problems += [
                    f"{one['name']} {given.told(one)}"
                    for markers in here.values()
                    for one in markers
                    if one["scope"] == self.scope
                ]
        outputs = plan.graph.outputs.items()
        return list(dict.fromkeys(problems)), {key for key, node in outputs if is_in(effects, node)}

    def _of(self, plan: Plan, sharing: Sharing) -> dict[str, list[dict[str, Any]]]:
        """What tasks of this graph were seen to change in its scopes."""
        facts = plan.facts
        executed = {facts[node.idx].fp or facts[node.idx].name for node in plan.nodes("execute")}
        found = {
            fp: [
                one
                for one in markers
                if one["scope"] in sharing.scopes and (one["by"] or one["name"]) in executed
            ]
            for fp, markers in self.known.items()
        }
        return {fp: markers for fp, markers in found.items() if markers}


def is_in(effects: Effects, node: Node) -> bool:
    """Is what a node gives changed in place, or made of what is?"""
    return any(
        idx in effects.touched or idx in effects.reached for idx in (node.idx, node.resolved().idx)
    )


def nothing(fp: str) -> None:
    """No record stands for a task that is to run."""
