"""What lies outside the process: files that runs write, the environment, and other folders."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.python.books import Book


def test_a_replay_writes_a_file_that_is_gone(tmp_path: Path) -> None:
    book = Book(
        tmp_path,
        {"a": "import os\nos.makedirs('out', exist_ok=True)\nopen('out/x.txt', 'w').write('one');"},
    )
    book.audit()
    shutil.rmtree(tmp_path / "out")
    book.repeat()
    assert book.executed == set()
    assert (tmp_path / "out" / "x.txt").read_text() == "one"


def test_a_file_that_the_user_changed_is_kept_aside_before_the_cell_writes_it(
    tmp_path: Path,
) -> None:
    book = Book(tmp_path, {"a": "open('x.txt', 'w').write('one');"})
    book.audit()
    (tmp_path / "x.txt").write_text("mine")
    book.repeat()
    assert book.executed == {"a"}
    assert "changed by someone else" in book.why("a")
    assert (tmp_path / "x.txt").read_text() == "one"
    assert [path.read_text() for path in (book.store / "kept").iterdir()] == ["mine"]


def test_appending_has_the_old_content_as_an_input(tmp_path: Path) -> None:
    book = Book(tmp_path, {"a": "with open('log.txt', 'a') as f:\n    f.write('x')"})
    book.audit()
    book.repeat()
    assert book.executed == {"a"}
    assert (tmp_path / "log.txt").read_text() == "xx"


def test_a_file_that_is_touched_and_cut_to_nothing_is_made_anew(tmp_path: Path) -> None:
    # As fsspec does, and uproot with it.
    (tmp_path / "b.txt").write_text("old")
    book = Book(
        tmp_path,
        {
            "a": "import os\nopen('a.txt', 'a').close()\nos.truncate('a.txt', 0)\n"
            "open('a.txt', 'r+').write('one');",
            "b": "open('b.txt', 'a').close()\nbefore = open('b.txt').read()\nos.truncate('b.txt', 0)\n"
            "open('b.txt', 'r+').write('new');",
        },
    )
    book.audit()
    book.repeat()
    # What `b` looked at before it was cut is an input.
    assert book.executed == {"b"}
    assert (tmp_path / "a.txt").read_text() == "one"


def test_a_file_that_is_written_and_read_in_one_cell_is_no_input(tmp_path: Path) -> None:
    book = Book(
        tmp_path,
        {
            "a": "import pathlib\np = pathlib.Path('x.txt')\np.write_text('one')\nn = p.stat().st_size",
            "b": "print(n)",
        },
    )
    book.audit()
    book.repeat()
    assert book.executed == set()


def test_a_written_file_reaches_its_reader(tmp_path: Path) -> None:
    book = Book(
        tmp_path, {"a": "open('x.txt', 'w').write('one');", "b": "print(open('x.txt').read())"}
    )
    book.audit()
    book.edit(a="open('x.txt', 'w').write('two');")
    shown = book.repeat()
    assert book.executed == {"a", "b"}
    assert shown["b"] == [("stdout", "two\n")]


def test_the_environment_counts_where_it_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NB_COLOUR", "red")
    book = Book(
        tmp_path,
        {
            "a": "import os\nprint(os.environ['NB_COLOUR'], os.getenv('NB_SHAPE', 'none'))",
            "b": "print('other')",
        },
    )
    book.audit()
    monkeypatch.setenv("NB_OTHER", "1")
    book.repeat()
    assert book.executed == set()
    monkeypatch.setenv("NB_COLOUR", "blue")
    assert book.repeat()["a"] == [("stdout", "blue none\n")]
    assert book.executed == {"a"}
    monkeypatch.setenv("NB_COLOUR", "red")
    monkeypatch.setenv("NB_SHAPE", "round")
    assert book.repeat()["a"] == [("stdout", "red round\n")]


def test_everything_is_replayed_in_another_folder(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "in.csv").write_text("a\n1\n2\n")
    cells = {
        "a": "import pandas as pd\ndf = pd.read_csv('in.csv')",
        "b": "df.to_csv('out.csv')\ntotal = int(df.a.sum())",
        "c": "print(total)",
    }
    book = Book(tmp_path / "here", cells)
    book.audit()
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    shutil.rmtree(tmp_path / "here")
    other = Book(tmp_path / "there", cells)
    (tmp_path / "there" / "out.csv").unlink()
    assert other.repeat()["c"] == [("stdout", "3\n")]
    assert other.executed == set()
    assert (tmp_path / "there" / "out.csv").exists()


def test_a_folder_that_the_code_names_is_looked_at_where_it_is(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    (here / "in.txt").write_text("one")
    cells = {
        "a": f"folder = '{here}'",
        "b": "import os\ntext = open(os.path.join(folder, 'in.txt')).read()",
        "c": "print(text)",
    }
    book = Book(here, cells)
    book.audit()
    shutil.copytree(here, there)
    (here / "in.txt").write_text("two")
    other = Book(there, cells)
    assert other.repeat()["c"] == [("stdout", "two\n")]


def test_the_working_directory_counts_where_it_is_asked(tmp_path: Path) -> None:
    cells = {"a": "import os\nplace = os.path.basename(os.getcwd())", "b": "print(place)"}
    Book(tmp_path / "here", cells).audit()
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    other = Book(tmp_path / "there", cells)
    assert other.repeat()["b"] == [("stdout", "there\n")]


def test_a_failed_run_is_recorded_and_never_replayed(tmp_path: Path) -> None:
    book = Book(tmp_path, {"a": "x = [1]", "b": "x.append(2)\n1 / 0"})
    book.audit()
    assert book.statuses == {"a": "executed", "b": "failed"}
    book.repeat()
    assert book.statuses == {"a": "replayed", "b": "failed"}


def test_shadow_mode_executes_everything_and_finds_a_wrong_record(tmp_path: Path) -> None:
    book = Book(tmp_path, {"a": "x = 1", "b": "print(x)"})
    book.audit()
    book.repeat(shadow=True)
    assert book.executed == {"a", "b"}
    assert book.summary["shadow"] == {"compared": 2, "differences": []}


def test_edit_and_undo_replays_the_older_record(tmp_path: Path) -> None:
    book = Book(tmp_path, {"a": "x = 1", "b": "print(x)"})
    book.audit()
    book.edit(a="x = 2")
    book.repeat()
    assert book.executed == {"a", "b"}
    book.edit(a="x = 1")
    assert book.repeat()["b"] == [("stdout", "1\n")]
    assert book.executed == set()
