"""Cases: a notebook, how it was run while it was audited, and what was edited before each repeat."""

from __future__ import annotations

import json
import random
import re
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.python.generated.cells import (
    HELPERS,
    NAMES,
    STATEMENTS,
    WORDS,
    Scope,
    draw_cell,
    draw_template,
    fill,
)

Cells = list[tuple[str, str]]

_NUMBER = re.compile(r"(?<![\w.'])\d(?![\w.'])")
_IN_PLACE = re.compile(
    r"^(\{\w+(\.\w)?\}(\.|\[| \+=)|del |\{np\}\.|os\.|random\.|setattr|list\(map)"
)


@dataclass
class Step:
    """What the notebook and its files become before one more repeat."""

    cells: Cells
    # Files that somebody else changed; None: removed.
    files: dict[str, str | None] = field(default_factory=dict)
    what: list[str] = field(default_factory=list)


@dataclass
class Case:
    """One case; all of it can be written down and read again."""

    seed: int
    # Whether kernels have numpy and pandas loaded before the first cell.
    warm: bool
    cells: Cells
    files: dict[str, str]
    # The cells that the audited session ran, in order.
    audit: list[str]
    steps: list[Step]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Case:
        found = json.loads(text)
        steps = [
            Step([(a, b) for a, b in one["cells"]], one["files"], one["what"])
            for one in found.pop("steps")
        ]
        cells = [(a, b) for a, b in found.pop("cells")]
        return cls(**found, cells=cells, steps=steps)

    def __str__(self) -> str:
        parts = [f"seed {self.seed}, {'warm' if self.warm else 'bare'}"]
        parts += [f"--- file {name}\n{text}" for name, text in self.files.items()]
        parts += [f"--- cell {cell}\n{source}" for cell, source in self.cells]
        parts.append(f"=== audited: {' '.join(self.audit)}")
        before = self.cells
        for step in self.steps:
            parts.append(f"=== edited: {'; '.join(step.what) or 'nothing'}")
            parts += [f"--- file {name}\n{text}" for name, text in step.files.items()]
            known = dict(before)
            parts += [
                f"--- cell {cell}" + ("" if known.get(cell) == source else f"\n{source}")
                for cell, source in step.cells
            ]
            before = step.cells
        return "\n".join(parts)


def make_case(seed: int) -> Case:
    """The case of a seed."""
    draw = random.Random(seed)
    scope = Scope()
    first = f"import os, random\nrandom.seed({draw.randrange(10)})"
    libraries = draw.choice([(), ("np",), ("np", "pd"), ("np", "pd")])
    if "np" in libraries:
        first += f"\nimport numpy as np\nnp.random.seed({draw.randrange(10)})"
        scope.bind("np", "np")
    if "pd" in libraries:
        first += "\nimport pandas as pd"
        scope.bind("pd", "pd")
    cells = [("c0", first)]
    for number in range(1, draw.randrange(5, 13)):
        cells.append((f"c{number}", draw_cell(scope, draw)))
    files = {
        "in.txt": "one",
        "in.csv": "a,b\n1,1.5\n2,2.5\n",
        "data/f1.txt": "1",
        "helpers.py": HELPERS.format(factor=draw.randrange(10), offset=draw.randrange(10)),
    }
    audit = _audited(cells, draw)
    case = Case(seed, draw.random() < 0.75, cells, files, audit, [])
    editor = _Editor(case, draw)
    for _ in range(draw.choice([1, 1, 2, 3])):
        case.steps.append(editor.step())
    return case


def _audited(cells: Cells, draw: random.Random) -> list[str]:
    """The order in which the cells ran: from top to bottom, mostly."""
    order = [cell for cell, _ in cells]
    kind = draw.random()
    if kind < 0.6:
        return order
    for _ in range(draw.randrange(1, 4)):
        place = draw.randrange(1, len(order) + 1)
        if kind < 0.8:
            order.insert(place, draw.choice(order[1:] or order))
        elif len(order) > 2:
            moved = order.pop(draw.randrange(1, len(order)))
            order.insert(draw.randrange(1, len(order) + 1), moved)
    if kind > 0.95:
        del order[draw.randrange(1, len(order)) :]
    return order


class _Editor:
    def __init__(self, case: Case, draw: random.Random) -> None:
        self.case = case
        self.draw = draw
        self.cells = list(case.cells)
        self.n_new = 0

    def step(self) -> Step:
        """The next state of the notebook, one to three edits away; sometimes the same, or as it was."""
        draw = self.draw
        step = Step([], {}, [])
        if self.case.steps and draw.random() < 0.25:
            if draw.random() < 0.5:
                self.cells = list(self.case.cells)
                step.what.append("everything as it was")
        else:
            for _ in range(draw.choice([1, 1, 1, 2, 3])):
                self._edit(step)
        step.cells = list(self.cells)
        return step

    def _edit(self, step: Step) -> None:
        names = """constant constant constant constant body body insert insert change change delete move duplicate
            rename rename_one comment helpers file file nothing""".split()
        name = self.draw.choice(names)
        step.what.append(f"{name} {getattr(self, '_' + name)(step) or ''}".strip())

    def _place(self) -> int:
        return self.draw.randrange(1, len(self.cells)) if len(self.cells) > 1 else 0

    def _scope_at(self, place: int) -> Scope:
        """Which names there are before a place, as far as the text tells."""
        scope = Scope()
        text = "\n".join(source for _, source in self.cells[:place])
        for kind, names in NAMES.items():
            for name in names:
                if re.search(
                    rf"\b{name}\b( =|, \*?\w+ =| \+=|:=|\()|as {name}\b|import {name}\b|for {name} in|class {name}\b",
                    text,
                ):
                    scope.bind(kind, name)
        return scope

    def _new_id(self) -> str:
        self.n_new += 1
        return f"e{self.n_new}"

    def _constant(self, step: Step) -> str:
        places = [
            (at, found)
            for at, (_, source) in enumerate(self.cells)
            for found in _NUMBER.finditer(source)
        ]
        if not places:
            return ""
        at, found = self.draw.choice(places)
        cell, source = self.cells[at]
        other = str((int(found[0]) + self.draw.randrange(1, 10)) % 10)
        self.cells[at] = (cell, source[: found.start()] + other + source[found.end() :])
        return cell

    def _body(self, step: Step) -> str:
        at = self._place()
        if at == 0:
            return ""
        self.cells[at] = (self.cells[at][0], draw_cell(self._scope_at(at), self.draw))
        return self.cells[at][0]

    def _insert(self, step: Step) -> str:
        at = self.draw.randrange(1, len(self.cells) + 1)
        self.cells.insert(at, (self._new_id(), draw_cell(self._scope_at(at), self.draw)))
        return self.cells[at][0]

    def _change(self, step: Step) -> str:
        """A cell that changes something in place: through an alias, a method, a function, an attribute."""
        at = self.draw.randrange(1, len(self.cells) + 1)
        scope = self._scope_at(at)
        table = [one for one in STATEMENTS if _IN_PLACE.match(one[1]) or one[1] == "{func}({i})"]
        if not any(scope.has(template) for _, template in table):
            return ""
        source = fill(draw_template(table, scope, self.draw), scope, self.draw)
        self.cells.insert(at, (self._new_id(), source))
        return self.cells[at][0]

    def _delete(self, step: Step) -> str:
        at = self._place()
        return "" if at == 0 else self.cells.pop(at)[0]

    def _move(self, step: Step) -> str:
        at = self._place()
        if at == 0:
            return ""
        cell = self.cells.pop(at)
        self.cells.insert(self.draw.randrange(1, len(self.cells) + 1), cell)
        return cell[0]

    def _duplicate(self, step: Step) -> str:
        at = self._place()
        if at == 0:
            return ""
        source = self.cells[at][1]
        self.cells.insert(self.draw.randrange(at, len(self.cells)) + 1, (self._new_id(), source))
        return self.cells[at][0]

    def _some_name(self) -> tuple[str, str]:
        kind = self.draw.choice(["int", "list", "dict", "func", "obj", "klass", "arr", "frame"])
        return self.draw.choice(NAMES[kind]), self.draw.choice([*NAMES[kind], "renamed"])

    def _rename(self, step: Step) -> str:
        old, new = self._some_name()
        self.cells = [(cell, re.sub(rf"\b{old}\b", new, source)) for cell, source in self.cells]
        return f"{old} {new}"

    def _rename_one(self, step: Step) -> str:
        old, new = self._some_name()
        at = self._place()
        cell, source = self.cells[at]
        self.cells[at] = (cell, re.sub(rf"\b{old}\b", new, source))
        return f"{cell} {old} {new}"

    def _comment(self, step: Step) -> str:
        at = self._place()
        cell, source = self.cells[at]
        if not source.startswith("%"):
            self.cells[at] = (cell, f"# why\n{source}\n")
        return cell

    def _nothing(self, step: Step) -> None:
        pass

    def _helpers(self, step: Step) -> None:
        factor, offset = self.draw.randrange(10), self.draw.randrange(10)
        step.files["helpers.py"] = HELPERS.format(factor=factor, offset=offset)

    def _file(self, step: Step) -> str:
        draw = self.draw
        name = draw.choice(
            "in.txt in.txt in.csv data/f1.txt data/f9.txt out.txt out.csv log.txt extra.py c.pkl".split()
        )
        if name == "c.pkl" or draw.random() < 0.25:
            step.files[name] = None
        elif name.endswith(".csv"):
            step.files[name] = f"a,b\n{draw.randrange(10)},1.5\n2,2.5\n"
        elif name == "extra.py":
            step.files[name] = f"V = {draw.randrange(10)}\n"
        else:
            step.files[name] = draw.choice(["two", "six", *WORDS])
        return name


def shown(found: Any) -> str:
    """For a person to read."""
    return json.dumps(found, indent=1, sort_keys=True)
