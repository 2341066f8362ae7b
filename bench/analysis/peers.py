"""What marimo and ipyflow need for the notebooks that our analysis is timed on, and which cells marimo's graph flags.

Run by a Python that has them; needs nothing of ours:

    python bench/analysis/peers.py marimo FILE.json      the file as run.py writes it; one line of JSON
    python bench/analysis/peers.py ipyflow FILE.json
    python bench/analysis/peers.py flags                 a line of JSON [before, after] in, the flagged ids out

All times are processor time. Both are asked for what their own front ends ask when a text changes:

- marimo compiles every cell and registers it in its graph. After an edit the cell leaves the graph, is compiled and
  registered again, and all that descends from it is flagged. Names that several cells bind, an error there, stay.
- ipyflow knows a notebook by running it. Here every cell is run once, traced; then a changed text is handed to it, and
  it computes anew which cells wait or are ready.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Seconds for one kind of thing; what is slow is done less often.
PATIENCE = 20.0


def _timed(what: Callable[[], Any]) -> tuple[float, Any]:
    began = time.process_time()
    found = what()
    return 1e3 * (time.process_time() - began), found


def marimo(notebook: dict[str, Any]) -> dict[str, Any]:
    """Its graph from scratch, and after every edit that is valid Python."""
    import marimo as package
    from marimo._ast.compiler import compile_cell
    from marimo._runtime.dataflow import DirectedGraph, transitive_closure

    sources = {cell["id"]: cell["source"] for cell in notebook["cells"]}

    def build() -> Any:
        graph = DirectedGraph()
        for cell, source in sources.items():
            graph.register_cell(cell, compile_cell(source, cell_id=cell))
        return graph

    graph = build()
    full = []
    while len(full) < 10 and (not full or sum(full) < 1e3 * PATIENCE):
        spent, graph = _timed(build)
        full.append(spent)

    def retext(cell: str, source: str) -> set[str]:
        compiled = compile_cell(source, cell_id=cell)
        children = graph.delete_cell(cell)
        graph.register_cell(cell, compiled)
        return set(transitive_closure(graph, {cell} | children))

    edit: list[float] = []
    reached = []
    for at, source in notebook["edits"]:
        cell = notebook["cells"][at]["id"]
        try:
            spent, flagged = _timed(lambda cell=cell, source=source: retext(cell, source))
        except SyntaxError:
            # What cannot be compiled it leaves as it is.
            continue
        edit.append(spent)
        reached.append(len(flagged))
        if sum(edit) > 1e3 * PATIENCE:
            break
        retext(cell, sources[cell])
    return {
        "version": package.__version__,
        "full_ms": full,
        "edit_ms": edit,
        "reached": reached,
    }


def ipyflow(notebook: dict[str, Any]) -> dict[str, Any]:
    """A traced run of every cell, then its schedule after every edit."""
    from ipyflow.shell.interactiveshell import IPyflowInteractiveShell
    from ipyflow.singletons import flow

    for name, text in notebook["files"].items():
        Path(name).write_text(text, encoding="utf-8")
    shell = IPyflowInteractiveShell.instance()
    flow().initialize(interface="jupyterlab")
    shell.run_cell("import matplotlib\nmatplotlib.use('agg')")
    cells = notebook["cells"]

    def metadata(texts: list[str]) -> dict[str, Any]:
        return {
            cell["id"]: {"index": at, "content": text, "type": "code"}
            for at, (cell, text) in enumerate(zip(cells, texts, strict=True))
        }

    def run() -> None:
        for cell in cells:
            flow().set_active_cell(cell["id"])
            done = shell.run_cell(cell["source"], store_history=True, cell_id=cell["id"])
            done.raise_error()

    run_ms, _ = _timed(run)
    handler = getattr(flow(), "comm_manager", flow())

    def schedule(texts: list[str]) -> dict[str, Any]:
        found: dict[str, Any] = handler.handle_compute_exec_schedule(
            {
                "type": "compute_exec_schedule",
                "executed_cell_id": cells[-1]["id"],
                "cell_metadata_by_id": metadata(texts),
            }
        )
        if not found.get("success", True):
            raise RuntimeError(found)
        return found

    texts = [cell["source"] for cell in cells]
    schedule(texts)
    edit: list[float] = []
    reached = []
    for at, source in notebook["edits"]:
        edited = [*texts[:at], source, *texts[at + 1 :]]
        spent, found = _timed(lambda edited=edited: schedule(edited))
        edit.append(spent)
        reached.append(len({*found["waiting_cells"], *found["ready_cells"]}))
        schedule(texts)
        if sum(edit) > 1e3 * PATIENCE:
            break
    return {
        "version": version("ipyflow-core"),
        "full_ms": [run_ms],
        "edit_ms": edit,
        "reached": reached,
    }


def flags() -> None:
    """For every pair of pages the cells that marimo would run again, the edited ones left out."""
    from marimo._ast.compiler import compile_cell
    from marimo._runtime.dataflow import DirectedGraph, transitive_closure

    def register(graph: Any, cell: str, source: str) -> None:
        try:
            graph.register_cell(cell, compile_cell(source, cell_id=cell))
        except SyntaxError:
            # Magics are no Python.
            return

    for line in sys.stdin:
        before, after = (dict(page) for page in json.loads(line))
        graph = DirectedGraph()
        for cell, source in before.items():
            register(graph, cell, source)
        roots = set()
        edited = [cell for cell, source in after.items() if before.get(cell) != source]
        for cell in [*before]:
            if (cell not in after or cell in edited) and cell in graph.cells:
                roots |= graph.delete_cell(cell)
        for cell in edited:
            register(graph, cell, after[cell])
            roots |= {cell} & set(graph.cells)
        flagged = transitive_closure(graph, {cell for cell in roots if cell in graph.cells})
        print(json.dumps(sorted(set(flagged) - set(edited))), flush=True)


def main() -> int:
    """One notebook, or pairs of pages."""
    if sys.argv[1] == "flags":
        flags()
        return 0
    notebook = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    found = {"marimo": marimo, "ipyflow": ipyflow}[sys.argv[1]](notebook)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
