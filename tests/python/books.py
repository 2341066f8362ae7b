"""Notebooks for tests: written, audited, edited and repeated through real kernels, each run in a new process."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nbformat

from nbrewind.cli import driver, report
from nbrewind.cli.notebook import Notebook, read_notebook

_ADDRESS = re.compile(r"0x[0-9a-f]{6,}")


def outputs_of(notebook: Notebook) -> dict[str, list[Any]]:
    """What a reader sees of every cell, without counts, colours and addresses."""
    found = {}
    for cell in notebook.code_cells():
        shown: list[Any] = []
        for output in cell.node.get("outputs", []):
            kind = output["output_type"]
            if kind == "stream":
                if shown and shown[-1][0] == output["name"]:
                    shown[-1] = (output["name"], shown[-1][1] + output["text"])
                else:
                    shown.append((output["name"], output["text"]))
            elif kind == "error":
                shown.append(("error", output["ename"], output["evalue"]))
            else:
                shown.append((kind, _ADDRESS.sub("0x", json.dumps(output["data"], sort_keys=True))))
        found[cell.id] = shown
    return found


class Book:
    """One notebook in one folder, with its store."""

    def __init__(self, folder: Path, cells: dict[str, str], name: str = "book.ipynb") -> None:
        self.folder = folder
        self.path = folder / name
        self.store = folder / ".nbrewind"
        self.cells = dict(cells)
        self.reports: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self.write()

    def write(self) -> None:
        """Save the cells as a notebook without outputs."""
        node = nbformat.v4.new_notebook(
            metadata={
                "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
                "language_info": {"name": "python"},
            }
        )
        for cell_id, source in self.cells.items():
            cell = nbformat.v4.new_code_cell(source)
            cell["id"] = cell_id
            node.cells.append(cell)
        nbformat.write(node, self.path)

    def edit(self, **changes: str) -> None:
        """Change the text of cells (an empty text removes the cell)."""
        for cell_id, source in changes.items():
            if source:
                self.cells[cell_id] = source
            else:
                self.cells.pop(cell_id, None)
        self.write()

    def run(self, mode: str, **options: Any) -> dict[str, list[Any]]:
        """Audit or repeat in a new kernel; returns what each cell shows."""
        notebook = read_notebook(self.path)
        store = options.pop("store", self.store)
        self.reports = driver.run(driver.run_notebook(notebook, mode, store, **options))
        self.summary = report.summarise(self.reports, 0.0, shadow=bool(options.get("shadow")))
        return outputs_of(notebook)

    def audit(self) -> dict[str, list[Any]]:
        """Execute and record every cell."""
        return self.run("audit")

    def repeat(self, **options: Any) -> dict[str, list[Any]]:
        """Replay what may be replayed."""
        return self.run("repeat", **options)

    def from_scratch(self) -> dict[str, list[Any]]:
        """The truth: everything executed, into a store that nobody reads."""
        return self.run(
            "audit", store=self.folder / f"scratch-{len(list(self.folder.glob('scratch-*')))}"
        )

    @property
    def statuses(self) -> dict[str, str]:
        """What became of every cell in the last run."""
        return {item["cell_id"]: item["status"] for item in self.reports}

    @property
    def executed(self) -> set[str]:
        """The cells that the last run executed."""
        return {cell for cell, status in self.statuses.items() if status == "executed"}

    def why(self, cell: str) -> str:
        """Why the last run executed a cell."""
        return "; ".join(next(item["why"] for item in self.reports if item["cell_id"] == cell))

    def why_not(self, cell: str) -> str:
        """Why the run that the last run recorded of a cell can never be replayed."""
        return "; ".join(
            next(item.get("why_not", []) for item in self.reports if item["cell_id"] == cell)
        )


async def _restore(book: Book, cell: str, probe: str) -> tuple[dict[str, Any], str]:
    notebook = read_notebook(book.path)
    probes = nbformat.v4.new_code_cell(probe)
    probes["id"] = "probe"
    notebook.node.cells.append(probes)
    async with driver.Driver(notebook, "audit", book.store) as kernel:
        answer = await kernel.ask("restore", cell=cell)
        await kernel.run_cell(notebook.find("probe"))
        shown = outputs_of(notebook)["probe"]
        return answer["report"], "".join(str(item[-1]) for item in shown)


def restore(book: Book, cell: str, probe: str) -> tuple[dict[str, str], str]:
    """Restore in a new kernel and run a probe there: how every name came back, and what the probe showed."""
    found, shown = driver.run(_restore(book, cell, probe))
    return {item["name"]: item["how"] for item in found["names"]}, shown
