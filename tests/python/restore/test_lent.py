# ruff: noqa: E501 - a cell is one line here
"""Arrays over memory that another object has: lent by something else, or that of a plain array under another class."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.python.restore.checkpoint import audit, check_like_a_run, elsewhere, restore

LENDERS = {
    "an array of the standard library": ("array.array('d', [1, 2, 3, 4])", "owner[1], owner[3]"),
    "a bytearray": ("bytearray(32)", "owner[8:16] == b'\\0' * 6 + b'\\x1c\\x40', len(owner)"),
}


@pytest.mark.parametrize("lender", LENDERS)
def test_what_is_written_to_an_array_is_seen_where_its_memory_was_lent(
    tmp_path: Path, lender: str
) -> None:
    made, seen = LENDERS[lender]
    cells = {
        "a": "import array\nimport numpy as np",
        "b": f"owner = {made}",
        "c": "whole = np.frombuffer(owner)",
        "d": "part = np.asarray(memoryview(owner).cast('B').cast('d'))[1:]\nother = part[1:]",
        "e": "apart = whole.copy()",
    }
    check = f"whole[1] = 7\nother[1] = 9\nprint(part[0], whole[3], {seen}, apart[1] == 7)"
    check_like_a_run(tmp_path, cells, check)


def test_an_array_over_memory_of_ctypes_is_named(tmp_path: Path) -> None:
    cells = {
        "a": "import ctypes\nimport numpy as np",
        "b": "owner = (ctypes.c_double * 4)(1, 2, 3, 4)\nvalues = np.frombuffer(owner)",
        "c": "total = values.sum()",
    }
    audit(tmp_path, cells)
    with elsewhere(tmp_path) as kernel:
        how = restore(kernel, "c")
        assert how["values"] != "loaded", how
        assert how["total"] == "loaded", how


def test_an_array_over_memory_that_other_processes_have_is_named(tmp_path: Path) -> None:
    cells = {
        "a": "from multiprocessing import shared_memory\nimport numpy as np",
        "b": "shared = shared_memory.SharedMemory(create=True, size=80)\n"
        "values = np.ndarray(10, buffer=shared.buf)\nvalues[:] = 1",
        "c": "total = values.sum()",
        "d": "del values\nshared.close()\nshared.unlink()",
    }
    audit(tmp_path, cells)
    with elsewhere(tmp_path) as kernel:
        how = restore(kernel, "c")
        assert how["values"] != "loaded", how
        assert how["total"] == "loaded", how


def test_masked_arrays_matrices_and_the_like_share_what_they_were_made_from(tmp_path: Path) -> None:
    cells = {
        "a": "import numpy as np\nclass Info(np.ndarray):\n    pass\nclass Bare(np.ndarray):\n    __slots__ = ()",
        "b": "x = np.arange(6.0)\ntable = np.zeros(3, dtype=[('a', 'f8'), ('b', 'i4')])",
        "c": "masked = np.ma.masked_array(x, mask=[0, 1, 0, 0, 0, 0])\npart = masked[1:]\nhard = masked.copy()\nhard.harden_mask()\n"
        "own = np.ma.masked_invalid([1.0, np.nan, 3.0])\nof_own = own[1:]",
        "d": "matrix = np.asmatrix(x.reshape(2, 3))\ninfo = x[2:].view(Info)\ninfo.unit = 'm'\nrecords = table.view(np.recarray)\nbare = x[1:].view(Bare)",
    }
    check = (
        "x[0], x[5] = 7, 8\nmasked[2] = 9\nown[2] = 4\ntable['a'][1] = 4\nhard[1] = 5\n"
        "print(masked, part, matrix, info, info.unit, type(info), records.a, hard, x, own, of_own, bare)"
    )
    check_like_a_run(tmp_path, cells, check)
