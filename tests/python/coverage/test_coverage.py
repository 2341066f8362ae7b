"""Every class of the coverage table that can be imported here, through real kernels, against docs/coverage.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.python.coverage.cases import CASES, SETUP
from tests.python.coverage.session import is_installed, run_cases
from tests.python.coverage.table import PAGE, row, row_of, version_of, versions_of

# One pair of kernels each; the long run (`python -m tests.python.coverage.table`) puts all into one.
SHARDS = [
    ["python", "standard library", "numpy", "joblib"],
    ["pandas", "polars", "pyarrow", "dask", "xarray", "PIL"],
    ["scipy", "scikit-learn", "statsmodels", "networkx", "plotly"],
    ["matplotlib", "torch"],
]


def test_every_library_is_in_a_shard_and_every_case_has_a_row_of_its_own() -> None:
    assert sorted(sum(SHARDS, [])) == sorted(SETUP)
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names) >= 80
    page = PAGE.read_text(encoding="utf-8")
    assert [case.title for case in CASES if row_of(page, case) is None] == []


def without_anew(line: str) -> list[str]:
    """A row but for "made anew": whether that gives equal content is the library's affair (order in sets)."""
    cells = line.split(" | ")
    return cells[:-2] + cells[-1:]


@pytest.mark.parametrize("libraries", SHARDS, ids=["-".join(shard[:2]) for shard in SHARDS])
def test_classes_come_back_as_the_table_says(libraries: list[str], tmp_path: Path) -> None:
    here = [library for library in libraries if is_installed(library)]
    print("not installed:", ", ".join(sorted(set(libraries) - set(here))) or "none")
    cases = [case for case in CASES if case.library in here]
    found = run_cases(tmp_path, cases)
    page = PAGE.read_text(encoding="utf-8")
    made_with = versions_of(page)
    known_wrong = {one.case.name for one in found if "not said" in (row_of(page, one.case) or "")}
    problems = []
    for one in found:
        what = f"{one.case.library} {one.case.title}"
        library = "python" if one.case.library == "standard library" else one.case.library
        if made_with.get(library) == version_of(one.case.library):
            if without_anew(row(one)) != without_anew(row_of(page, one.case) or ""):
                problems.append(f"{what}: {row(one)}\n  the table has {row_of(page, one.case)}")
        elif one.failed is None and one.is_wrong and one.case.name not in known_wrong:
            # Another version of the library: its rows may differ, but never to the worse in silence.
            problems.append(f"{what} comes back as {one.shown[1]}, it was {one.shown[0]}")
        if not one.is_change_visible and one.failed is None and not one.case.note:
            problems.append(f"{what}: the probe does not see the change")
    assert problems == [], "\n".join(problems)
