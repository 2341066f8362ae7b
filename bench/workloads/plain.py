"""Run a notebook in the plain kernel and write its outputs into it: `python bench/workloads/plain.py NB.ipynb`.

What every command of ours does before its kernel runs (reading notebooks, talking to kernels) is imported the same way
here, so that the difference is what recording and replaying cost.
"""

from __future__ import annotations

import sys
from pathlib import Path

# First: it knows what need not be imported with nbformat.
from nbrewind.cli.notebook import read_notebook, write_notebook  # isort: skip
from nbclient import NotebookClient


def main(path: Path) -> None:
    notebook = read_notebook(path)
    client = NotebookClient(notebook.node, kernel_name="python3", timeout=None)
    client.resources = {"metadata": {"path": str(path.parent)}}
    client.execute()
    write_notebook(notebook, path)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
