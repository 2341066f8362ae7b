"""Names resolve as CPython resolves them: a fixed sample of the standard library, beside `symtable`.

`python bench/corpus/scopes.py` does it for everything that is installed.
"""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]

SAMPLE = (
    "ast asyncio/base_events collections/__init__ contextlib copy dataclasses difflib email/message enum fractions"
    " functools heapq html/parser http/client json/decoder logging/__init__ pickletools random re/_parser shutil"
    " string tempfile textwrap threading typing unittest/mock weakref zipfile"
).split()


@pytest.fixture(scope="module")
def scopes() -> ModuleType:
    """The program of bench/corpus."""
    spec = importlib.util.spec_from_file_location("scopes", ROOT / "bench/corpus/scopes.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(
    sys.version_info[:2] != (3, 11),
    reason="symtable of CPython 3.11 is the judge: later ones leave out comprehensions",
)
def test_names_resolve_as_cpython_resolves_them(scopes: ModuleType) -> None:
    """Global names read and bound, file by file and function by function."""
    n_scopes = 0
    wrong: list[str] = []
    for name in SAMPLE:
        path = Path(sysconfig.get_paths()["stdlib"]) / f"{name}.py"
        source = path.read_text(encoding="utf-8")
        compared, found = scopes.differences(source, name)
        n_scopes += compared
        if found and not scopes.has_scope_called_top(source):
            found = scopes.differences(source, name, scopes.without_local_annotations(source))[1]
            wrong += found
    assert not wrong
    assert n_scopes > 200


def test_a_difference_would_be_seen(scopes: ModuleType) -> None:
    """The judge does not agree with everything."""
    compared, found = scopes.differences(
        "def f():\n    return a\n", "own", "def f():\n    return b\n"
    )
    assert compared == 2
    assert len(found) == 2
