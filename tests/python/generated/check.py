"""Runs a case and holds every repeat against a run from scratch; shrinks a case that fails."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.python.generated import describe
from tests.python.generated.cases import Case, Cells, Step
from tests.python.generated.kernels import Zygote

MAX_RESTARTS = 40


@dataclass
class Found:
    """What came of one case."""

    differences: list[str] = field(default_factory=list)
    # Why the case says nothing: what it does has no one result.
    skipped: str = ""
    n_cells: int = 0
    n_executed: int = 0
    # Cells whose text or inputs no recorded run had, and those that no record can stand for.
    n_changed: int = 0
    n_never: int = 0
    n_restarts: int = 0
    # Why cells executed whose text and inputs a recorded run had.
    misses: Counter[str] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)
    # Cells that were not replayed, of every repeat.
    executed: list[set[str]] = field(default_factory=list)


class Lab:
    """Where cases run: a folder, and processes to fork kernels from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._zygotes: dict[tuple[str, bool], Zygote] = {}

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *exc: object) -> None:
        for zygote in self._zygotes.values():
            zygote.close()

    def kernel(self, what: str, warm: bool) -> Zygote:
        """Audits and repeats run in processes that order sets differently."""
        known = self._zygotes.get((what, warm))
        if known is None:
            seed = {"audit": 1, "repeat": 2}[what]
            known = self._zygotes[what, warm] = Zygote(seed, warm=warm)
        return known

    def check(self, case: Case) -> Found:
        """Run the case in an empty folder."""
        here = self.folder / "here"
        for name in ("here", "store", "aside", "scratch"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        write_files(here, dict(case.files))
        return _Check(self, case, here).run()


# By what a notebook makes generators of random numbers the same in every process.
_SEEDS = {
    "random": re.compile(r"(?<![\w.])random\.seed"),
    "numpy random": re.compile(r"np\.random\.seed"),
}


class _Broken(Exception):
    """A kernel did not come to an end."""


class _Check:
    def __init__(self, lab: Lab, case: Case, here: Path) -> None:
        self.lab = lab
        self.case = case
        self.here = here
        self.store = lab.folder / "store"
        self.found = Found()
        # Text and inputs of every run that the store knows, by digest.
        self.known: set[str] = set()

    def run(self) -> Found:
        try:
            self._audit()
            for number, step in enumerate(self.case.steps):
                if self.found.differences or self.found.skipped:
                    break
                self._repeat(number, step)
        except _Broken as error:
            self.found.differences.append(str(error))
        return self.found

    def _run(self, mode: str, cells: Cells, **more: Any) -> dict[str, Any]:
        zygote = self.lab.kernel("audit" if mode == "audit" else "repeat", self.case.warm)
        found = zygote.run(
            folder=str(self.here), store=str(self.store), mode=mode, cells=cells, **more
        )
        if "broken" in found:
            raise _Broken(f"{mode}: {found['broken']}")
        return found

    def _from_scratch(self, cells: Cells) -> dict[str, Any]:
        """The truth: a run without NBRewind, in a copy of the folder that stands in its place."""
        aside, scratch = self.lab.folder / "aside", self.lab.folder / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        self.here.rename(aside)
        try:
            shutil.copytree(aside, self.here, symlinks=True)
            looks = [names_read(source) for _, source in cells]
            found = self._run("plain", cells, looks=looks)
            found["files"] = read_files(self.here)
        finally:
            self.here.rename(scratch)
            aside.rename(self.here)
        if any(item[:2] == ["error", "RecursionError"] for out in found["outputs"] for item in out):
            self.found.skipped = "it calls itself for ever"
        return found

    def _audit(self) -> None:
        sources = dict(self.case.cells)
        cells = [(cell, sources[cell]) for cell in self.case.audit]
        truth = self._from_scratch(cells)
        made = self._run("audit", cells)
        made["files"] = read_files(self.here)
        self._compare("audit", cells, truth, made)
        self._learn(cells, truth)

    def _learn(self, cells: Cells, truth: dict[str, Any]) -> None:
        for at in range(len(cells)):
            if not _failed(truth["outputs"][at]):
                self.known.add(_digest(cells, truth, at))

    def _repeat(self, number: int, step: Step) -> None:
        write_files(self.here, step.files)
        truth = self._from_scratch(step.cells)
        if self.found.skipped:
            return
        distrusted: list[str] = []
        while True:
            made = self._run("repeat", step.cells, distrusted=distrusted)
            again = made["restart"]
            if not again:
                break
            if set(again) <= set(distrusted) or len(distrusted) > MAX_RESTARTS:
                self.found.differences.append(f"repeat {number}: refused: {made['why_restart']}")
                return
            self.found.n_restarts += 1
            distrusted += again
        made["files"] = read_files(self.here)
        self._compare(f"repeat {number}", step.cells, truth, made)
        self._count(step.cells, truth, made)
        self._learn(step.cells, truth)

    def _compare(
        self, what: str, cells: Cells, truth: dict[str, Any], made: dict[str, Any]
    ) -> None:
        how = {}
        for report in made["reports"]:
            if report["status"] == "not recorded":
                self.found.differences.append(f"{what}: trouble: {report['why']}")
            how[report["cell_id"]] = report["status"]
        for (cell, _), then, now in zip(cells, truth["outputs"], made["outputs"], strict=True):
            if then != now:
                text = f"{what}: {cell} ({how.get(cell)}) shows\n  {now}\ninstead of\n  {then}"
                self.found.differences.append(text)
        self.found.differences += compare_states(what, cells, truth, made)

    def _count(self, cells: Cells, truth: dict[str, Any], made: dict[str, Any]) -> None:
        reports = {report["cell_id"]: report for report in made["reports"]}
        self.found.executed.append(
            {cell for cell, report in reports.items() if report["status"] != "replayed"}
        )
        for at, (cell, _) in enumerate(cells):
            report = reports.get(cell)
            if report is None:
                continue
            found = self.found
            found.n_cells += 1
            is_executed = report["status"] != "replayed"
            found.n_executed += is_executed
            is_changed = _digest(cells, truth, at) not in self.known
            # Of what was replayed nothing is asked: it gave what a run from scratch gives.
            if is_executed and is_changed:
                found.n_changed += 1
            elif is_executed:
                why = "; ".join(re.sub(r"`\w+`", "`x`", text) for text in report["why"][:1])
                if report.get("why_not"):
                    found.n_never += 1
                    why = f"never: {report['why_not'][0][:60]}"
                found.misses[why] += 1
                found.missed.append(f"{cell}: {report['why']} {report.get('why_not')}")


def compare_states(
    what: str, cells: Cells, truth: dict[str, Any], made: dict[str, Any]
) -> list[str]:
    """How what was left differs from what should be: names, settings, files and who shares memory."""
    found = []
    for part in ("state", "settings", "files"):
        then, now = truth.get(part, {}), made.get(part, {})
        for name in sorted({*then, *now}):
            if name.startswith("numpy ") and then.get(name) is None:
                # Not imported by the notebook; nobody saw it.
                continue
            if name in _SEEDS and not any(_SEEDS[name].search(text) for _, text in cells):
                continue
            if then.get(name) != now.get(name):
                text = f"{what}: {part}: `{name}` is\n  {now.get(name)}\ninstead of\n  {then.get(name)}"
                found.append(text)
    if truth["sharing"] != made["sharing"]:
        found.append(f"{what}: memory is shared by {made['sharing']} instead of {truth['sharing']}")
    return found


def _failed(shown: list[Any]) -> bool:
    return any(item[0] == "error" for item in shown)


# --- What a cell could read ---------------------------------------------------------------------------------------


class _Reads(ast.NodeVisitor):
    """Names that a cell reads when it runs; bodies of functions count if the function is named again."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.bodies: dict[str, list[ast.AST]] = {}

    def visit_Name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Store):
            self.names.add(node.id)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self.names.add(node.target.id)
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.names.update(re.findall(r"\w+", node.value))

    def _visit_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for part in [*node.decorator_list, node.args]:
            self.visit(part)
        self.bodies.setdefault(node.name, []).extend(node.body)

    visit_FunctionDef = visit_AsyncFunctionDef = _visit_function


def names_read(source: str) -> list[str]:
    """Names whose values decide what the cell does, apart from what functions read when they are called."""
    text = re.sub(r"^%+\w*", "", source, flags=re.MULTILINE)
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return sorted(set(re.findall(r"\w+", text)))
    reads = _Reads()
    reads.visit(tree)
    while reads.bodies.keys() & reads.names:
        for body in reads.bodies.pop(min(reads.bodies.keys() & reads.names)):
            reads.visit(body)
    return sorted(reads.names)


def _digest(cells: Cells, truth: dict[str, Any], at: int) -> str:
    """Text and inputs of one run."""
    source = cells[at][1]
    try:
        text = ast.dump(ast.parse(source)) + str(source.rstrip().endswith(";"))
    except SyntaxError:
        text = source
    return hashlib.sha256(json.dumps([text, truth["inputs"][at]]).encode()).hexdigest()


# --- Files --------------------------------------------------------------------------------------------------------


def write_files(folder: Path, files: dict[str, str | None]) -> None:
    """Write or remove files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            # The hardest edit to see: at the same time, where something was there before.
            times = path.stat() if path.exists() else None
            path.write_text(text)
            if times is not None:
                os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        elif path.exists():
            path.unlink()


def read_files(folder: Path) -> dict[str, str]:
    """Every file's content, without addresses; folders by a stroke at the end."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir():
            found[f"{name}/"] = ""
        else:
            data = path.read_bytes()
            text = describe.masked(data.decode("utf-8", "replace"))
            found[name] = text if len(text) < 500 else _hash(text.encode())
    return found


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- Shrinking ----------------------------------------------------------------------------------------------------


def shrink(
    case: Case,
    fails: Callable[[Case], bool],
    attempts: int = 150,
    say: Callable[[str], None] = print,
) -> Case:
    """A smaller case that still fails: without steps, cells, runs, files and lines that it does not need."""
    goes_on = True
    while goes_on and attempts > 0:
        goes_on = False
        for smaller in _smaller(case):
            attempts -= 1
            if attempts < 0:
                break
            if fails(smaller):
                case, goes_on = smaller, True
                say(f"  smaller: {len(case.cells)} cells, {attempts} attempts left")
                break
    return case


def _smaller(case: Case) -> Iterator[Case]:
    for at in reversed(range(len(case.steps))):
        if len(case.steps) > 1:
            yield replace(case, steps=case.steps[:at] + case.steps[at + 1 :])
    # The first cell makes everything else deterministic.
    ids = [cell for cell, _ in case.cells[1:]]
    ids += [cell for step in case.steps for cell, _ in step.cells[1:] if cell not in ids]
    for size in (4, 2, 1):
        for start in range(0, len(ids), size):
            gone = set(ids[start : start + size])
            if len(gone) == size:
                yield _without(case, gone)
    order = [cell for cell, _ in case.cells]
    if case.audit != order:
        yield replace(case, audit=order)
        for at in range(len(case.audit)):
            yield replace(case, audit=case.audit[:at] + case.audit[at + 1 :])
    for number, step in enumerate(case.steps):
        for name in step.files:
            files = {key: value for key, value in step.files.items() if key != name}
            yield _with_step(case, number, replace(step, files=files))
        for at, (cell, source) in enumerate(step.cells):
            before = dict(case.cells).get(cell)
            if before is not None and before != source:
                cells = [*step.cells[:at], (cell, before), *step.cells[at + 1 :]]
                yield _with_step(case, number, replace(step, cells=cells))
    for name in case.files:
        yield replace(case, files={key: value for key, value in case.files.items() if key != name})
    texts = {source for _, source in case.cells}
    texts |= {source for step in case.steps for _, source in step.cells}
    for text in sorted(texts - {case.cells[0][1]}):
        for piece in _pieces(text):
            yield _with_text(case, text, piece)


def _pieces(text: str) -> Iterator[str]:
    """The text without one of its statements, or with less to show."""
    lines = text.split("\n")
    starts = [at for at, line in enumerate(lines) if line and line[0] not in " \t@"]
    for number, start in enumerate(starts):
        end = starts[number + 1] if number + 1 < len(starts) else len(lines)
        if len(starts) > 1:
            yield "\n".join(lines[:start] + lines[end:])
    found = re.search(r"^print\((.*)\)$", text, re.MULTILINE)
    if found is not None:
        try:
            parts = [ast.unparse(one) for one in ast.parse(found[0]).body[0].value.args]  # type: ignore[attr-defined]
        except SyntaxError:
            return
        for at in range(len(parts)):
            if len(parts) > 1:
                kept = f"print({', '.join(parts[:at] + parts[at + 1 :])})"
                yield text[: found.start()] + kept + text[found.end() :]


def _without(case: Case, gone: set[str]) -> Case:
    return replace(
        case,
        cells=[one for one in case.cells if one[0] not in gone],
        audit=[one for one in case.audit if one not in gone],
        steps=[
            replace(step, cells=[one for one in step.cells if one[0] not in gone])
            for step in case.steps
        ],
    )


def _with_step(case: Case, number: int, step: Step) -> Case:
    return replace(case, steps=[*case.steps[:number], step, *case.steps[number + 1 :]])


def _with_text(case: Case, old: str, new: str) -> Case:
    def change(cells: Cells) -> Cells:
        return [(cell, new if source == old else source) for cell, source in cells]

    return replace(
        case,
        cells=change(case.cells),
        steps=[replace(step, cells=change(step.cells)) for step in case.steps],
    )
