"""Tables of arrow and polars over the memory of an array: they show what is written to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.python.restore.checkpoint import audit, check_like_a_run, elsewhere, restore

pa = pytest.importorskip("pyarrow")

MADE = {
    "an array of arrow": ("import pyarrow as pa", "t = pa.array(a)", "t.to_pylist()[:2]"),
    "a table of arrow": (
        "import pyarrow as pa",
        "t = pa.table({'k': a, 'l': b, 'm': ['x'] * len(a)})",
        "t.slice(0, 2).to_pydict()",
    ),
    "a part of an array": ("import pyarrow as pa", "t = pa.array(a[1:])", "t.to_pylist()[:2]"),
    "a series of polars": ("import polars as pl", "t = pl.Series('n', a)", "t.head(2)"),
    "a frame of polars": (
        "import polars as pl",
        "t = pl.DataFrame({'k': a, 'l': b, 'm': ['x'] * len(a)})",
        "t.head(2)",
    ),
}


def test_types_that_arrow_has_no_word_for_are_kept(tmp_path: Path) -> None:
    pytest.importorskip("polars")
    cells = {
        "a": "import numpy as np\nimport polars as pl",
        "b": "a = np.arange(2.0)",
        "c": "t = pl.DataFrame({'k': a, 'e': pl.Series(['x', 'y'], dtype=pl.Enum(['y', 'x']))})",
    }
    audit(tmp_path, cells)
    with elsewhere(tmp_path) as kernel:
        if restore(kernel, "c")["t"] == "loaded":
            assert kernel.show("a[0] = 7\nprint(t.dtypes[1], t['k'][0])").startswith("Enum")
            assert kernel.show("print(t['k'][0])") == "7.0\n"


@pytest.mark.parametrize("size", [4, 50_000])
@pytest.mark.parametrize("made", MADE)
def test_a_table_shows_what_is_written_to_the_array_it_was_made_from(
    tmp_path: Path, made: str, size: int
) -> None:
    imports, make, shown = MADE[made]
    pytest.importorskip(imports.split()[1])
    cells = {
        "a": f"import numpy as np\n{imports}",
        "b": f"a = np.arange({size}.0)\nb = a * 2",
        "c": make,
        "d": "c = a.sum()",
    }
    check = f"a[:2] = 7\nb[1] = 9\nprint({shown}, c, a[:3])"
    check_like_a_run(tmp_path, cells, check)


def test_what_only_reads_an_array_is_apart_from_it(tmp_path: Path) -> None:
    cells = {
        "a": "import numpy as np\nimport pyarrow as pa",
        "b": "t = pa.array([1.0, 2.0, 3.0])\nn = t.to_numpy()",
        "c": "u = t.slice(1)",
    }
    audit(tmp_path, cells)
    with elsewhere(tmp_path) as kernel:
        assert set(restore(kernel, "c").values()) == {"loaded"}
        assert (
            kernel.show("print(n, u.to_pylist(), n.flags.writeable)")
            == "[1. 2. 3.] [2.0, 3.0] False\n"
        )
