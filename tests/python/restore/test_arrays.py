# ruff: noqa: E501 - a cell is one line here
"""Arrays come back as they were: owned, laid out, writable or not, sharing; also from memory that is still there."""

from __future__ import annotations

from pathlib import Path

from tests.python.restore.checkpoint import audit, auditing, elsewhere, restore

CELLS = {
    "a": "import numpy as np",
    "b": "owned = {n: np.arange(n, dtype='f8') for n in (0, 3, 600, 9_000, 400_000)}",
    "c": "turned = np.copy(np.arange(120_000.).reshape(40, 50, 60).transpose(1, 2, 0), order='K')\nfortran = np.asfortranarray(np.arange(120_000.).reshape(300, 400))",
    "d": "fixed = np.arange(50_000)\nfixed.flags.writeable = False\nzero = np.array(7.5)",
    "e": "records = np.zeros(9_000, dtype=[('a', 'i4'), ('b', 'f8')])\ntimes = np.arange(9_000).astype('M8[s]')",
    "f": "whole = np.arange(60_000.)\npart = whole[5:50_000:3]\npart[0] = -1",
}
SHOW = """
print([(n, one.flags.owndata, one.flags.writeable) for n, one in owned.items()])
print(turned.strides, turned.flags.owndata, fortran.strides, fortran.flags.f_contiguous)
print(fixed.flags.writeable, fixed.sum(), zero.shape, zero, records.dtype.names, times[-1])
part[1] = -2
print(whole[5], whole[8], part.base is whole, whole.flags.owndata)
owned[9_000].resize(9_001)
print(len(owned[9_000]), owned[400_000].sum())
"""


def test_arrays_are_as_they_were(tmp_path: Path) -> None:
    shown = audit(tmp_path, {**CELLS, "g": SHOW})["g"]
    with elsewhere(tmp_path) as kernel:
        assert set(restore(kernel, "f").values()) == {"loaded"}
        assert [("stdout", kernel.show(SHOW))] == shown


def test_an_undo_takes_from_memory_only_what_was_recorded(tmp_path: Path) -> None:
    with auditing(tmp_path) as kernel:
        kernel.run_all(
            {
                "a": "import numpy as np, threading\na = np.arange(2_000_000.)\nb = np.arange(2_000_000.) * 2",
                "b": "a[1_000_000] = -1\nc = a.copy()\ndel b\nt = threading.Timer(0.1, lambda: a.__setitem__(slice(None), 9.0)); t.start()",
            }
        )
        # Its thread writes after the last look: what was in memory is something else by now.
        kernel.run("t.join()\nprint(a[5])")
        assert set(restore(kernel, "a").values()) == {"loaded"}
        shown = kernel.show("print(a[1_000_000], a.sum(), b.sum(), 'c' in globals())")
        assert shown == "1000000.0 1999999000000.0 3999998000000.0 False\n"
