"""The workloads: which notebook, which change, and what may run because of it.

A *change* is the kind the paper makes: a knob, the reduce function, one region of an image, one of four books,
more stations. A *reformatted* notebook has other comments, blank lines, quotes and line breaks in every cell, and
the same syntax tree. The *frontier* of a change are the tasks whose stored results the tasks that run again need.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat

from demo.run import Edit
from nbrewind.cli.notebook import inject_parameters, read_notebook, write_notebook

NOTEBOOKS = Path(__file__).resolve().parents[2] / "demo" / "workloads"
# Those that need nothing besides Dask; "taskvine" needs its own package (see `vine`).
ENGINES = ("threads", "distributed")
SETUP = ("imports", "parameters", "cluster")


@dataclass(frozen=True)
class Size:
    """Parameters of the notebook at one size, and how many tasks it has then."""

    n_tasks: int
    parameters: Mapping[str, Any] = field(default_factory=dict)
    # Parameters that the change sets, besides its edits.
    changed: Mapping[str, Any] = field(default_factory=dict)
    # Tasks of the changed notebook, and those of them that must run, by name.
    n_tasks_changed: int = 0
    must_run: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Workload:
    """One notebook with its change."""

    name: str
    change: str
    full: Size
    small: Size
    # Cells that the change makes execute; the first of them that computes is `compute`.
    must_execute: frozenset[str]
    compute: str
    # Names of tasks whose results are loaded for those that run.
    frontier: str
    # Expressions whose text or bytes are the final values.
    values: tuple[str, ...]
    edits: tuple[Edit, ...] = ()

    @property
    def notebook(self) -> Path:
        return NOTEBOOKS / f"{self.name}.ipynb"

    def size(self, *, small: bool) -> Size:
        return self.small if small else self.full


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(
            "dv5",
            "a knob: the least pT of a jet",
            Size(4, {}, {}, 4, {"fill": 2}),
            Size(4, {"N_EVENTS": 300, "N_VARIATIONS": 9}, {}, 4, {"fill": 2}),
            frozenset({"fill", "histograms", "summary", "save", "figure"}),
            "histograms",
            "skim",
            ("[(name, found.values().tobytes()) for name, found in sorted(filled.items())]",),
            (Edit("fill", "MIN_PT = 30.0", "MIN_PT = 35.0"),),
        ),
        Workload(
            "mapreduce",
            "the reduce function: how a term is weighted",
            Size(13, {}, {}, 13, {"weigh": 1}),
            Size(13, {"N_DOCUMENTS": 20, "VOCABULARY": 500}, {}, 13, {"weigh": 1}),
            frozenset({"reduce", "terms", "summary", "save", "figure"}),
            "terms",
            "combine",
            ("terms",),
            (Edit("reduce", "term: count * math.log", "term: (1 + math.log(count)) * math.log"),),
        ),
        Workload(
            "dconv",
            "one more retouched region of the image",
            Size(1024, {}, {}, 1024, {"deblur": 1}),
            Size(64, {"SIZE": 256, "GRID": 8, "ITERATIONS": 2}, {}, 64, {"deblur": 1}),
            frozenset({"retouch", "sharpen", "summary", "save", "figure"}),
            "sharpen",
            "deblur",
            ("exposure.tobytes()", "sharp.tobytes()", "sharp.dtype.str"),
            (Edit("retouch", "(168, 40, 6, 12)]", "(168, 40, 6, 12), (104, 104, 10, 10)]"),),
        ),
        Workload(
            "rag",
            "another edition of one of four books",
            Size(4, {}, {}, 4, {"clean_and_chunk": 1}),
            Size(4, {"N_SENTENCES": 150, "N_HASHES": 8}, {}, 4, {"clean_and_chunk": 1}),
            frozenset({"editions", "books", "chunks", "index", "questions", "save", "figure"}),
            "chunks",
            "clean_and_chunk",
            ("chunks", "sorted(index.postings)", "index.norms", "answers"),
            (Edit("editions", '"glacier": 1', '"glacier": 2'),),
        ),
        Workload(
            "ctrend",
            "eight more stations",
            Size(
                120,
                {},
                {"N_STATIONS": 127},
                128,
                {"station_anomaly": 8, "regional_trend": 1},
            ),
            Size(
                12,
                {"N_STATIONS": 11, "N_ARCHIVE": 12, "FIRST_YEAR": 1971, "N_RESAMPLES": 2},
                {"N_STATIONS": 12},
                13,
                {"station_anomaly": 1, "regional_trend": 1},
            ),
            frozenset({"parameters", "trend", "summary", "save", "figure"}),
            "trend",
            "station_anomaly",
            (
                "yearly.to_csv()",
                "per_decade",
                "error",
                "[Path(path).name for path in sorted(paths)]",
            ),
        ),
    )
}


def write_variant(
    workload: Workload,
    target: Path,
    *,
    engine: str,
    small: bool,
    is_changed: bool = False,
    is_reformatted: bool = False,
    has_probe: bool = False,
    port: int | None = None,
    only: Collection[str] | None = None,
    without: Collection[str] = (),
) -> None:
    """Write the notebook as it is run: at one size, on one engine, changed or not.

    `port` is where a manager of TaskVine listens.
    With a probe, a last cell prints digests of the final values; `only` and `without` choose cells.
    """
    size = workload.size(small=small)
    parameters = {"ENGINE": engine, **size.parameters, **(size.changed if is_changed else {})}
    if port is not None:
        parameters["PORT"] = port
    notebook = inject_parameters(read_notebook(workload.notebook), parameters)
    for edit in workload.edits if is_changed else ():
        cell = notebook.find(edit.cell).node
        if cell.source.count(edit.old) != 1:
            raise ValueError(f"{workload.name}: {edit.old!r} is not once in cell {edit.cell}")
        cell.source = cell.source.replace(edit.old, edit.new)
    if is_reformatted:
        for code in notebook.code_cells():
            code.node.source = reformatted(code.source)
    if "figure" in without:
        cell = notebook.find("imports").node
        cell.source = cell.source.replace("import matplotlib.pyplot as plt\n", "")
    notebook.node.cells = [
        cell
        for cell in notebook.node.cells
        if (only is None or cell.id in only) and cell.id not in without
    ]
    if has_probe:
        cell = nbformat.v4.new_code_cell(probe(workload))
        cell["id"] = "probe"
        notebook.node.cells.append(cell)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_notebook(notebook, target)


def reformatted(source: str) -> str:
    """Other text, same syntax tree: all comments and line breaks are new."""
    tree = ast.parse(source)
    text = f"# Looked through again.\n\n{ast.unparse(tree)}\n\n# To be continued.\n"
    if ast.dump(ast.parse(text)) != ast.dump(tree):
        raise ValueError("this cell cannot be reformatted without changing it")
    return text


def probe(workload: Workload) -> str:
    """A cell that prints what the final values are."""
    values = ", ".join(workload.values)
    return (
        "import hashlib\n\n"
        f"for value in [{values}]:\n"
        "    print(hashlib.sha256(value if isinstance(value, bytes) else repr(value).encode()).hexdigest())"
    )


def count_extra(ran: Counter[str], must_run: Mapping[str, int]) -> tuple[Counter[str], list[str]]:
    """Tasks that ran beyond those that must, by name; and those that must run and did not."""
    missing = [name for name, count in must_run.items() if ran[name] < count]
    return ran - Counter(must_run), missing
