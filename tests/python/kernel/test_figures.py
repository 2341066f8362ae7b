# ruff: noqa: E501 - a cell is one line here
"""Figures that stay open in pyplot are part of the state: found again by number, and the very figures of their names."""

from __future__ import annotations

from pathlib import Path

from tests.python.kernel.live import Live
from tests.python.kernel.test_protocol import audit

CELLS = {
    "a": "import matplotlib\nmatplotlib.use('Agg')\nimport matplotlib.pyplot as plt",
    "b": "n = 3",
    "c": "fig, ax = plt.subplots()\n_ = ax.plot(range(n))",
    "d": "total = sum(range(10))",
    "e": "plt.title(f'T {total}')",
    "f": "print(plt.get_fignums(), plt.gcf() is fig, ax.get_title(), len(ax.lines[0].get_xdata()), total)",
}


def shown(kernel: Live, cells: dict[str, str], start: str) -> tuple[dict[str, object], set[str]]:
    found = kernel.replay(cells, start)
    return found["shown"], {item["id"] for item in found["plan"] if item["status"] == "replay"}


def test_unchanged_notebooks_with_open_figures_replay(tmp_path: Path) -> None:
    with Live(tmp_path) as kernel:
        audit(kernel)
        first = kernel.run_all(CELLS)
        assert first["f"] == [("stdout", "[1] True T 45 3 45\n")]
    with Live(tmp_path) as kernel:
        audit(kernel)
        found = kernel.replay(CELLS, "a")
        assert (found["executed"], found["replayed"]) == (0, 6)
        # What is asked now finds the very figure.
        assert kernel.show(CELLS["f"]) == "[1] True T 45 3 45\n"
        # Another cell below: the title is set on the figure that `fig` names.
        kernel.run("plt.title('U')\nprint(ax.get_title(), plt.get_fignums())")
        assert kernel.show("print(fig.axes[0].get_title())") == "U\n"


def test_edits_find_the_figures_that_a_run_from_scratch_would(tmp_path: Path) -> None:
    edits = {
        "b": ("n = 5", "[1] True T 45 5 45\n"),
        "d": ("total = sum(range(5))", "[1] True T 10 3 10\n"),
        "c": (
            "fig2, ax2 = plt.subplots()\nfig, ax = plt.subplots()\n_ = ax.plot(range(n))",
            "[1, 2] True T 45 3 45\n",
        ),
        "e": ("plt.close(fig)\nplt.figure()", "[1] False  3 45\n"),
    }
    for cell, (text, expected) in edits.items():
        folder = tmp_path / cell
        folder.mkdir()
        with Live(folder) as kernel:
            audit(kernel)
            kernel.run_all(CELLS)
            found = kernel.replay({**CELLS, cell: text}, cell)
            assert found["shown"]["f"] == [("stdout", expected)], cell


def test_restore_and_undo_bring_the_open_figures(tmp_path: Path) -> None:
    with Live(tmp_path) as kernel:
        audit(kernel)
        kernel.run_all({**CELLS, "g": "plt.close('all')\nplt.figure()\nfig = 7"})
        assert kernel.ask("restore", cell="e")["ok"]
        assert kernel.show(CELLS["f"]) == "[1] True T 45 3 45\n"
        assert kernel.ask("undo-restore")["undone"]
        assert kernel.show("print(plt.get_fignums(), fig, plt.gcf().axes)") == "[1] 7 []\n"
    with Live(tmp_path) as kernel:
        audit(kernel)
        assert kernel.ask("restore", cell="c")["ok"]
        assert (
            kernel.show("print(plt.get_fignums(), plt.gcf() is fig, ax.get_title())")
            == "[1] True \n"
        )


def test_a_figure_without_a_name_keeps_its_cell_from_being_replayed(tmp_path: Path) -> None:
    cells = {
        "a": CELLS["a"],
        "b": "_ = plt.plot([1, 2])",
        "c": "x = 1",
        "d": "print(plt.get_fignums(), x)",
    }
    with Live(tmp_path) as kernel:
        audit(kernel)
        kernel.run_all(cells)
    with Live(tmp_path) as kernel:
        audit(kernel)
        found = kernel.replay(cells, "a")
        assert found["shown"]["d"] == [("stdout", "[1] 1\n")]
        assert found["executed"] >= 1
