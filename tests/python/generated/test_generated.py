"""Generated notebooks: `repeat` gives what a run from scratch gives, and executes little more than what changed.

A fixed number of seeds; `make fuzz-repeat SEEDS=1000` runs many, and shrinks the notebook of a seed that fails.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.python.books import Book
from tests.python.generated.__main__ import Totals
from tests.python.generated.cases import make_case
from tests.python.generated.check import Lab
from tests.python.generated.sessions import Session

# Seeds of one test.
N_SEEDS = 12


@pytest.mark.slow
@pytest.mark.parametrize("first", [0, 12])
def test_repeat_gives_what_a_run_from_scratch_gives(first: int, lab: Lab) -> None:
    totals = Totals()
    for seed in range(first, first + N_SEEDS):
        case = make_case(seed)
        found = lab.check(case)
        assert found.differences == [], f"{case}\n{found.differences}"
        totals.add(found)
    print(totals)
    assert totals.n_executed <= 1.3 * (totals.n_changed + totals.n_never), totals.misses


@pytest.mark.slow
@pytest.mark.parametrize("seed", [9, 17])
def test_a_session_of_restores_and_replays_is_always_right(
    seed: int, tmp_path: Path, lab: Lab
) -> None:
    session = Session(seed, lab, tmp_path)
    assert session.run() == [], f"{make_case(seed)}\n{session}"
    assert any("restore" in done for done in session.done)


_PROBE = "print(__import__('runpy').run_path({path!r})['describe'](globals()))"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 16])
def test_kernels_with_sockets_give_the_same(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The kernels of the other test are forked and have no sockets; these are started as the command line starts them.
    case = make_case(seed)
    path = Path(__file__).with_name("describe.py")
    probe = ("probe", _PROBE.format(path=str(path)))
    book = Book(tmp_path / "here", dict([*case.cells, probe]))
    for name, text in case.files.items():
        file = book.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("PYTHONHASHSEED", "1")
    book.audit()
    book.cells = dict([*case.steps[0].cells, probe])
    book.write()
    before = {
        file: file.read_bytes()
        for file in book.folder.rglob("*")
        if file.is_file() and book.store not in file.parents
    }
    monkeypatch.setenv("PYTHONHASHSEED", "2")
    shown = book.repeat()
    for file in book.folder.rglob("*"):
        if file.is_file() and file not in before and book.store not in file.parents:
            file.unlink()
    for file, content in before.items():
        file.write_bytes(content)
    assert shown == book.from_scratch()
