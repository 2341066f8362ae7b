"""Audits a notebook through a real kernel, and reads what its store says of every cell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat

from bench.verdicts.pages import Page
from nbrewind import records
from nbrewind._native import Store

# Seconds that an audit may take.
LIMIT = 120


def recorded(page: Page) -> dict[str, Any]:
    """The facts of an audit of this notebook, as `nbrewind stale --audited A B --store DIR` uses them."""
    with tempfile.TemporaryDirectory(prefix="nbrewind-audit-") as name:
        folder = Path(name)
        for file, text in page.files.items():
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        node = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
        for cell, source in page.cells:
            made = nbformat.v4.new_code_cell(source)
            made["id"] = cell
            node.cells.append(made)
        nbformat.write(node, folder / "page.ipynb")
        subprocess.run(
            [sys.executable, "-m", "nbrewind.cli.main", "audit", "page.ipynb", "-o", "out.ipynb"],
            cwd=folder,
            env={**os.environ, "MPLBACKEND": "agg"},
            check=False,
            capture_output=True,
            timeout=LIMIT,
        )
        store = Store(str(folder / ".nbrewind"), "r")
        cells = [{"id": cell, "source": source} for cell, source in page.cells]
        found = records.recorded_facts(store, cells)
    # What passes to the analysis is text.
    return dict(json.loads(json.dumps(found)))
