"""Arrays over memory that another object has."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.python.restore.checkpoint import audit, elsewhere, restore

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
    audit(tmp_path, cells)
    check = f"whole[1] = 7\nother[1] = 9\nprint(part[0], whole[3], {seen}, apart[1] == 7)"
    with elsewhere(tmp_path) as kernel:
        how = restore(kernel, "e")
        assert set(how.values()) == {"loaded"}, how
        restored = kernel.show(check)
    with elsewhere(tmp_path) as kernel:
        for text in cells.values():
            kernel.show(text)
        assert restored == kernel.show(check)


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
