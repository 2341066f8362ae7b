"""Live sessions of generated notebooks: in one kernel cells run, restores go back, replays follow edits.

After every restore the state is what the cell left, after every replay what a run from scratch leaves.
"""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.python.generated import describe
from tests.python.generated.cases import Case, make_case
from tests.python.generated.check import Lab, compare_states, read_files, write_files
from tests.python.generated.kernels import ROOT
from tests.python.kernel.live import Live

N_REPLAYS = 4

# Silent, so that it is no cell; its own name is one that a notebook may not use.
_PROBE = """
def __probe__():
    import json, sys
    sys.path.insert(0, {root!r})
    try:
        from tests.python.generated import describe
    finally:
        sys.path.remove({root!r})
    try:
        state, sharing = describe.describe(get_ipython().user_ns)
    except RuntimeError as error:
        # A restore said that it could not bring this name back.
        if "was not restored" not in str(error):
            raise
        print({mark!r}, "null")
        return
    print({mark!r}, json.dumps(dict(state=state, sharing=sharing, settings=describe.settings())))
try:
    __probe__()
finally:
    del __probe__
"""
_MARK = "described:"


@dataclass
class Session:
    """One session: what was done, and what was wrong."""

    seed: int
    lab: Lab
    folder: Path
    done: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)

    def run(self) -> list[str]:
        """Play it; how it differed from the truth."""
        case = make_case(self.seed)
        self.draw = random.Random(self.seed)
        self.here, self.there = self.folder / "here", self.folder / "there"
        for path in (self.here, self.there):
            shutil.rmtree(path, ignore_errors=True)
        write_files(self.here, dict(case.files))
        with Live(self.here, PYTHONHASHSEED="1", OMP_NUM_THREADS="1") as self.kernel:
            self.kernel.ask("configure", mode="audit", notebook="book.ipynb")
            self._play(case)
        return self.differences

    def __str__(self) -> str:
        return "\n".join(["; ".join(self.done), *self.differences])

    def _play(self, case: Case) -> None:
        self.cells = dict(case.cells)
        # What a cell left when it was run or replayed last, where that is known.
        self.left: dict[str, dict[str, Any]] = {}
        for cell in case.audit:
            self._run(cell)
        steps = list(case.steps)
        for _ in range(N_REPLAYS):
            if steps and self.draw.random() < 0.7:
                step = steps.pop(0)
                self.cells = dict(step.cells)
                write_files(self.here, step.files)
                self.done.append(f"edit {step.what}")
            for _ in range(self.draw.randrange(3)):
                if self.draw.random() < 0.4:
                    self._run(self.draw.choice(list(self.cells)))
                elif self.left:
                    self._restore(self.draw.choice(list(self.left)))
            if self.differences or not self._replay(self.draw.choice(list(self.cells))):
                return

    def _run(self, cell: str) -> None:
        self.done.append(f"run {cell}")
        shown = self.kernel.run(self.cells[cell], cell)
        if not any(output[0] == "error" for output in shown):
            # A restore goes to the last run that was completed.
            self.left.pop(cell, None)
            if (left := self._describe()) is not None:
                self.left[cell] = left

    def _restore(self, cell: str) -> None:
        self.done.append(f"restore {cell}")
        answer = self.kernel.try_ask("restore", cell=cell)
        if not answer["ok"]:
            # Its last run failed.
            assert answer["code"] == "unknown-run", answer
            return
        report = answer["report"]
        if report["process"] or report["stays"]:
            # It says that it is not what it was.
            self.left.clear()
            return
        lost = {item["name"] for item in report["names"] if item["how"] == "stub"}
        if not lost:
            now = self._describe()
            assert now is not None, f"restore {cell} left a stub and did not say so"
            self._compare(f"restore {cell}", self.left[cell], now)

    def _replay(self, start: str) -> bool:
        """Replay; False when what comes after it says nothing."""
        self.done.append(f"replay from {start}")
        truth = self._from_scratch()
        shown = dict(zip(self.cells, truth.get("outputs", ()), strict=False))
        if "broken" in truth or any("RecursionError" in str(found) for found in shown.values()):
            return False
        found = self.kernel.replay(self.cells, start, may_restart=True)
        self.left.clear()
        for cell, outputs in found["shown"].items():
            now = [[*output[:-1], describe.masked(output[-1])] for output in outputs]
            if now != shown[cell]:
                text = f"{self.done[-1]}: {cell} shows\n  {now}\ninstead of\n  {shown[cell]}"
                self.differences.append(text)
        if found["failed"] is None:
            made = self._describe()
            if found["lost"]:
                # It says that they are not what they were.
                return True
            assert made is not None, f"{self.done[-1]} left a stub and did not say so"
            self._compare(self.done[-1], truth, {**made, "files": self._files(self.here)})
            self.left[list(self.cells)[-1]] = made
        return not self.differences

    def _from_scratch(self) -> dict[str, Any]:
        """A run without NBRewind, in a copy of the folder that stands in its place."""
        aside = self.folder / "aside"
        shutil.rmtree(self.there, ignore_errors=True)
        self.here.rename(aside)
        try:
            shutil.copytree(aside, self.here, symlinks=True, ignore=_left_out)
            found = self.lab.kernel("audit", warm=False).run(
                folder=str(self.here), mode="plain", cells=list(self.cells.items())
            )
            found["files"] = self._files(self.here)
        finally:
            self.here.rename(self.there)
            aside.rename(self.here)
        return found

    def _files(self, folder: Path) -> dict[str, str]:
        found = read_files(folder)
        return {name: text for name, text in found.items() if not name.startswith(_OWN)}

    def _compare(self, what: str, then: dict[str, Any], now: dict[str, Any]) -> None:
        self.differences += compare_states(what, list(self.cells.items()), then, now)

    def _describe(self) -> dict[str, Any] | None:
        """What the names hold; None where a restore left a stub."""
        said = self.kernel.silently(_PROBE.format(root=str(ROOT), mark=_MARK))
        found: dict[str, Any] | None = json.loads(said.split(_MARK, 1)[1])
        return found


_OWN = (".nbrewind", "__pycache__")


def _left_out(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name in _OWN]
