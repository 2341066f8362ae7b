# ruff: noqa: E501 - a case is one line of a table
"""Variables of the environment are inputs of the runs that asked for them, and of no other; native code is heard, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbrewind import _native
from nbrewind.kernel import variables
from tests.python.books import Book
from tests.python.generated.check import Lab
from tests.python.kernel.test_repeat_rule import Case

pytestmark = pytest.mark.skipif(
    not _native.watch_hears_variables(), reason="nobody hears what native code asks for here"
)

A = "import os, sys, time\nsys.path.append('site-packages')"
# A library that asks once and keeps the answer, asks each time, looks at all; and one that asks when it is imported.
ASKS = "import os\n_found = []\n\n\ndef once():\n    if not _found:\n        _found.append(os.environ.get('NB_X'))\n    return _found[0]\n\n\ndef each():\n    return os.getenv('NB_X')\n\n\ndef every():\n    return dict(os.environ).get('NB_X')\n"
EAGER = "import os\nX = os.environ.get('NB_X')\n\n\ndef x():\n    return X\n"
# The user's own: by way of what no mapping tells.
OWN = "import logging, os\n\n\ndef level():\n    return vars(logging.getLogger('x'))['level']\n\n\ndef other():\n    return logging.getLogger('x').__dict__['level']\n\n\ndef inside():\n    return vars(os.environ)['_data'].get(b'NB_X')\n"
FILES = {
    "site-packages/asks.py": ASKS,
    "site-packages/eager.py": EAGER,
    "site-packages/eager_too.py": "Y = 1\n",
    "own.py": OWN,
}
HEAR = "import logging, sys\nlogging.basicConfig(stream=sys.stdout, format='%(message)s', level=logging.INFO)"
ONE, TWO = "os.environ['NB_X'] = 'one'", "os.environ['NB_X'] = 'two'"

CASES = [
    Case("a variable that few ask for", {"a": A, "b": "n = sum(range(3))\nprint(n)", "c": "print(os.environ.get('NB_X'))", "d": "print(os.getenv('NB_X'), 'NB_X' in os.environ)", "e": "print(os.environ.get('NB_Y'))", "f": "print(os.environb.get(b'NB_X'))", "g": "print(os.path.expandvars('$NB_X'))", "h": "import numpy\nprint(numpy.arange(3))"}, {"ab": TWO}, "ab c d f g"),
    Case("whoever looks at all variables", {"a": A, "b": "print('NB_X' in str(os.environ))", "c": "print(len(os.environ) > 0)", "d": "import copy\nprint(copy.copy(os.environ)['NB_X'] if 'NB_X' in {**os.environ} else None)", "e": "n = 1"}, {"ab": TWO}, "ab b c d"),
    Case("a variable that is set to what it is", {"a": A + f"\ndef put():\n    {ONE}", "ab": ONE, "b": "put()", "c": "print(os.environ.get('NB_X'))"}, {"ab": "n = 1"}, "ab b"),
    Case("a variable that is taken away", {"a": A, "ab": ONE, "b": "print(os.environ.pop('NB_X', None))", "c": "n = 2"}, {"ab": "n = 1"}, "ab b", may="c"),
    Case("a library that asks", {"a": A, "ab": ONE, "b": "import asks", "c": "print(asks.each())", "d": "n = 1"}, {"ab": TWO}, "ab c", may="d", files=FILES),
    Case("a library that asks once", {"a": A + "\nimport asks", "c": "print(asks.once())", "d": "print(asks.once(), 2)", "e": "n = 1"}, {"b": TWO, "c": ""}, "b d", may="e", files=FILES),
    Case("a library that asked before the variable was set", {"a": A + "\nimport asks", "b": "print(asks.once())", "c": TWO, "d": "print(asks.once(), 2)", "e": "n = 1"}, {"b": ""}, "d", may="e", files=FILES),
    Case("a library that looks at all variables", {"a": A + "\nimport asks", "c": "print(asks.every())", "d": "n = 1"}, {"b": TWO}, "b c", may="d", files=FILES),
    Case("what the clock asks the C library for", {"a": A, "b": "os.environ['TZ'] = 'Asia/Tokyo'\ntime.tzset()", "c": "print(time.mktime((2020, 1, 1, 0, 0, 0, 0, 0, 0)))", "d": "n = 1"}, {"b": "os.environ['TZ'] = 'UTC'\ntime.tzset()"}, "b c", may="d"),
    Case("the C library itself", {"a": A + "\nimport ctypes", "c": "libc = ctypes.CDLL(None)\nlibc.getenv.restype = ctypes.c_char_p\nprint(libc.getenv(b'NB_X'))\ndel libc", "d": "n = 1"}, {"b": TWO}, "b c", may="d"),
    Case("native code", {"a": A + "\nimport sqlite3", "b": "c = sqlite3.connect(':memory:')\nprint(c.execute('select 1').fetchone())\ndel c", "c": "import numpy as np\nprint(np.linalg.det(np.eye(2)))", "d": "n = 1"}, {"ab": "os.environ['OPENBLAS_VERBOSE'] = '0'"}, "ab", may="b c"),
    Case("an import that a replay makes again", {"a": A, "b": ONE, "c": "import eager", "d": TWO, "e": "print(eager.x())"}, {"e": "print(eager.x(), 2)"}, "e", files=FILES),
    Case("an import after a variable in one cell", {"a": A, "b": f"{ONE}\nimport eager", "c": TWO, "e": "print(eager.x())"}, {"e": "print(eager.x(), 2)"}, "e", files=FILES),
    Case("an import before a variable in one cell", {"a": A, "b": ONE, "c": f"import eager\n{TWO}", "e": "print(eager.x())"}, {"e": "print(eager.x(), 2)"}, "e", files=FILES),
    Case("an import whose text is part of another's", {"a": A, "b": "n = 1", "c": f"import eager_too\n{ONE}\nimport eager", "d": TWO, "e": "print(eager.x())"}, {"e": "print(eager.x(), 2)"}, "c e", may="d", files=FILES),
    Case("an import between two in one cell", {"a": A, "b": "n = 1", "c": f"{ONE}\nimport eager\n{TWO}", "e": "print(eager.x())"}, {"e": "print(eager.x(), 2)"}, "c e", files=FILES),
    Case("what the mapping keeps", {"a": A, "ab": ONE, "b": "print(os.environ._data.get(b'NB_X'))"}, {"ab": TWO}, "ab b"),
    Case("a module of the user's that looks inside loggers", {"a": HEAR + "\nimport own, os", "c": "print(own.level())", "d": "print(own.other())"}, {"ab": "logging.getLogger('x').setLevel(10)"}, "ab c d", files=FILES),
    Case("a module of the user's that looks inside the mapping", {"a": HEAR + "\nimport own, os", "c": "print(own.inside())"}, {"ab": TWO}, "ab c", files=FILES),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_a_variable_counts_where_it_was_asked_for(case: Case, lab: Lab) -> None:
    found = lab.check(case.generated())
    assert not found.differences and not found.skipped
    executed, must, may = found.executed[0], set(case.executed.split()), set(case.may.split())
    assert must <= executed <= must | may, (executed, found.missed)


def test_a_kernel_replays_what_asks_for_other_variables(tmp_path: Path) -> None:
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "eager.py").write_text(EAGER)
    cells = {
        "a": A,
        "a1": "n = 1",
        "b": ONE,
        "c": "import eager",
        "d": "k = 2\nk",
        "e": "print(eager.x(), k)",
    }
    book = Book(tmp_path, cells)
    book.audit()
    book.edit(d="k = 3\nk")
    assert book.repeat() == book.from_scratch()
    book.edit(a1="os.environ['NB_OTHER'] = '1'")
    truth = book.from_scratch()
    assert book.repeat() == truth
    # What leaves the environment changed leaves all of it so.
    assert book.executed == {"a1", "b"}


def test_native_questions_are_heard() -> None:
    import ctypes

    import numpy  # noqa: F401

    seen: list[str] = []
    _native.watch_start()
    try:
        # Through the import slot of a library that is loaded: Python's module of locales asks so.
        path = next(
            (line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "openblas" in line),
            None,
        )  # fmt: skip
        if path is None:
            pytest.skip("numpy comes without OpenBLAS")
        ask = ctypes.CDLL(path)
        reader = next(
            (getattr(ask, name) for name in ("scipy_openblas_read_env64_", "openblas_read_env64_", "openblas_read_env") if hasattr(ask, name)),
            None,
        )  # fmt: skip
        if reader is None:
            pytest.skip("this OpenBLAS has no function that only asks")
        reader()
    finally:
        seen = [name for kind, name, _ in _native.watch_stop() if kind == "variable"]
    assert any(name.startswith("OPENBLAS") for name in seen)


def test_what_is_told_holds_no_value() -> None:
    assert variables.told({"NB_X": "a word"}, "NB_X") is not None
    assert "word" not in str(variables.told({"NB_X": "a word"}, "NB_X"))
    assert variables.told({"NB_X": "a word"}, "NB_Y") is None
    assert variables.loaded("/x/site-packages/numpy/core/a.so") == variables.loaded(
        "/x/site-packages/numpy/fft/b.so"
    )
