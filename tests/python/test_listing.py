"""Which recorded runs belong to a notebook."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nbrewind.listing import of_notebook


def _run(notebook: str | None) -> dict[str, Any]:
    return {"notebook": notebook}


def test_runs_under_an_earlier_name_of_a_renamed_notebook_are_its_own(tmp_path: Path) -> None:
    (tmp_path / "new.ipynb").touch()
    (tmp_path / "copy.ipynb").touch()
    runs = [_run("old.ipynb"), _run("copy.ipynb"), _run("new.ipynb"), _run(None)]
    found = of_notebook(runs, "new.ipynb", str(tmp_path))
    assert [run["notebook"] for run in found] == ["old.ipynb", "new.ipynb"]


def test_in_a_store_of_several_folders_only_the_name_counts() -> None:
    runs = [_run("old.ipynb"), _run("new.ipynb")]
    assert of_notebook(runs, "new.ipynb", None) == [_run("new.ipynb")]
