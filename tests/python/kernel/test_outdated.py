"""Files that cells read and that something outside the notebook changed since, as a real kernel tells them."""

from __future__ import annotations

from pathlib import Path

from tests.python.kernel.live import Live


def test_files_that_something_else_changed_are_named_with_the_runs_that_read_them(
    tmp_path: Path,
) -> None:
    data, out = tmp_path / "data.csv", tmp_path / "out.txt"
    data.write_text("1\n")

    with Live(tmp_path) as kernel:

        def outside() -> dict[str, list[str]]:
            runs = kernel.ask("outside")["runs"]
            cells = {run["run_id"]: run["cell"] for run in kernel.ask("log")["runs"]}
            return {cells[run]: names for run, names in runs.items()}

        assert outside() == {}
        kernel.ask("configure", mode="audit", notebook="book.ipynb")
        kernel.run("text = open('data.csv').read()", "a")
        kernel.run("_ = open('out.txt', 'w').write(text)", "b")
        kernel.run("copied = open('out.txt').read()", "c")
        kernel.run("import os\nnames = sorted(os.listdir('.'))", "d")
        assert outside() == {}
        data.write_text("22\n")
        assert outside() == {"a": ["data.csv"]}
        # What a cell writes is no change from outside.
        kernel.run("_ = open('out.txt', 'w').write('other')", "b")
        assert outside() == {"a": ["data.csv"]}
        out.write_text("by hand")
        assert outside() == {"a": ["data.csv"], "c": ["out.txt"]}
        data.write_text("1\n")
        assert outside() == {"c": ["out.txt"]}
        kernel.run("copied = open('out.txt').read()", "c")
        assert outside() == {}
        data.unlink()
        assert outside()["a"] == ["data.csv"]
        # The restored state has the earlier run of that cell, which read something else.
        kernel.ask("restore", cell="b")
        assert outside() == {"a": ["data.csv"], "c": ["out.txt"]}
