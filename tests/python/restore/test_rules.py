# ruff: noqa: E501 - a cell is one line here
"""The repeat rule, rule by rule: where each of the 22 is held. What no other test holds is held here, in two kernels.

`RULES` names a test or the title of a case for every rule; a test sees that they are there.
"""

from __future__ import annotations

import http.server
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.python.books import Book
from tests.python.kernel.live import Live
from tests.python.restore.checkpoint import audit, elsewhere, restore

ROOT = Path(__file__).parents[3]
CASES = "tests/python/kernel/test_repeat_rule.py"
HERE = "tests/python/restore/test_rules.py"
TRAPS = "tests/python/restore/test_traps.py"
OUTSIDE = "tests/python/kernel/test_outside.py"
STORE = "crate/nbrewind-store/tests"

RULES: dict[str, list[tuple[str, str]]] = {
    "1 source": [
        (CASES, "a comment and another layout change nothing"),
        (CASES, "a semicolon hides the display"),
        (CASES, "a docstring is content"),
        (HERE, "test_rule_1_a_comment_that_the_code_reads"),
    ],
    "2 inputs by content": [
        (CASES, "an edited helper of a helper"),
        (CASES, "a module of the user's own is edited"),
        (CASES, "a name inside a string"),
        (CASES, "exec is what it executes"),
        (HERE, "test_rule_2_names_that_the_namespace_is_asked_for"),
    ],
    "3 absence": [
        (CASES, "a name that shadows a builtin"),
        (CASES, "a file that was not there"),
        (CASES, "a listing"),
        (CASES, "a failed import"),
        (OUTSIDE, "test_the_environment_counts_where_it_is_asked"),
    ],
    "4 sharing": [
        (CASES, "a copy where a shared list was"),
        (CASES, "a pure reader of identity"),
    ],
    "5 files": [
        (CASES, "a table that native code reads"),
        (CASES, "a file is read again when it changed"),
        (TRAPS, "test_trap_8_external_inputs"),
        ("tests/python/tasks/test_changes.py", "test_one_modified_file_of_eight_runs_its_partition_only"),
    ],
    "6 remote": [(HERE, "test_rule_6_what_asks_the_network_executes")],
    "7 ambient": [
        (CASES, "a setting reaches the display"),
        (CASES, "numpy's handling of errors"),
        (CASES, "a seed reaches the draw"),
        (HERE, "test_rule_7_a_setting_in_a_cell_that_waits_ends_with_it"),
    ],
    "8 versions": [(HERE, "test_rule_8_another_version_of_a_package")],
    "9 handles": [
        ("tests/python/tasks/test_engines.py", "test_a_second_cluster_runs_no_task"),
        ("tests/python/kernel/test_protocol.py", "test_a_dask_client_lives_through_a_replay"),
        (TRAPS, "test_trap_5_what_cannot_be_stored_works_again_or_names_itself"),
    ],
    "10 process effects": [
        (CASES, "an import of a replayed cell is there"),
        (CASES, "a filter of warnings that a function sets"),
    ],
    "11 no placeholder": [
        (HERE, "test_rule_11_everything_that_may_be_read_is_there"),
        ("tests/python/kernel/test_kernels.py", "test_the_namespace_is_the_user_s_own"),
    ],
    "12 files of a replay": [
        (OUTSIDE, "test_a_replay_writes_a_file_that_is_gone"),
        (OUTSIDE, "test_a_file_that_the_user_changed_is_kept_aside_before_the_cell_writes_it"),
        (HERE, "test_rule_12_folders_and_what_the_user_put_in_the_way"),
    ],
    "13 nondeterminism": [
        (CASES, "unseeded draws are replayed as they were"),
        (HERE, "test_rules_13_and_15_what_was_drawn_is_one_draw_and_the_newest"),
    ],
    "14 recipes": [
        (TRAPS, "test_trap_5_what_cannot_be_stored_works_again_or_names_itself"),
        (TRAPS, "test_trap_5_a_recipe_does_not_give_what_a_changed_file_holds_now"),
        (HERE, "test_values_that_pickle_changes_are_rebuilt"),
    ],
    "15 several records": [(HERE, "test_rules_13_and_15_what_was_drawn_is_one_draw_and_the_newest")],
    "16 shadow mode": [(HERE, "test_rule_16_shadow_mode_finds_a_record_that_lies")],
    "17 change detection": [
        (CASES, "a frame changed in place under a view"),
        (TRAPS, "test_trap_3_mutation_that_no_name_shows"),
        ("tests/python/fingerprint/test_memory.py", "test_every_change_in_place_is_seen"),
        ("tests/python/kernel/test_quiet.py", "test_memory_of_a_file_that_somebody_else_writes_to"),
    ],
    "18 joins": [
        (TRAPS, "test_trap_1_unrelated_values_do_not_join"),
        (HERE, "test_rule_18_what_joins_names"),
    ],
    "19 dropped state": [(HERE, "test_rule_19_state_that_a_reduction_drops")],
    "20 durable": [(TRAPS, "test_trap_9_killed_in_the_middle")],
    "21 several writers": [
        (f"{STORE}/processes.rs", "a_forked_child_is_a_new_writer_and_loses_nothing_of_its_parents"),
        (f"{STORE}/store.rs", "a_missing_pack_is_a_miss_and_the_content_can_be_stored_again"),
        (f"{STORE}/logs.rs", "a_tail_that_is_completed_later_is_read_then"),
        (f"{STORE}/gc.rs", "while_others_have_the_store_open_nothing_is_deleted_before_the_grace_is_over"),
        (f"{STORE}/gc.rs", "one_cleans_at_a_time_and_the_lease_of_a_dead_one_is_taken"),
    ],
    "22 owned memory": [
        (HERE, "test_rule_22_arrays_are_owned_and_laid_out_as_they_were"),
        (TRAPS, "test_trap_10_a_damaged_byte_is_never_a_value"),
    ],
}  # fmt: skip


def test_every_rule_has_its_tests() -> None:
    assert [name.split()[0] for name in RULES] == [str(number) for number in range(1, 23)]
    for rule, tests in RULES.items():
        for file, name in tests:
            text = (ROOT / file).read_text(encoding="utf-8")
            is_there = re.search(rf"(def|fn) {re.escape(name)}\(", text) or f'"{name}"' in text
            assert is_there, f"rule {rule}: {file} has no `{name}`"


# --- Audited in one kernel, repeated in another ---------------------------------------------------------------------

CELLS = {
    "imports": "import asyncio, decimal, json, os, sys, urllib.request\nimport numpy as np\nfrom concurrent.futures import ThreadPoolExecutor",
    "r2_value": "k = 1",
    "r2_there": "print('k' in globals(), 'ghost' in dir(), globals().get('k'))",
    "r2_func": "def f():\n    return globals().get('k')",
    "r2_call": "print(f())",
    "r2_any": "print(len(dir()) > 3)",
    "r6": "print(urllib.request.urlopen(f'http://127.0.0.1:{open(\"port.txt\").read()}').read().decode())",
    "r7_waits": "np.seterr(divide='ignore')\ndecimal.getcontext().prec = 5\nawait asyncio.sleep(0)",
    "r7_after": "print(np.geterr()['divide'], decimal.getcontext().prec)",
    "r9_pool": "pool = ThreadPoolExecutor(1)",
    "r9_use": "print(list(pool.map(abs, [-1, -2])))",
    "r11_len": "len_ = len\nlen = lambda one: 99",
    "r11_list": "rows = [1, 2]",
    "r11_use": "print(len(rows))",
    "r11_exec": "exec('print(rows, k)')",
    "r11_back": "del len",
    "r19_make": "class Kept:\n    def __init__(self):\n        self.a, self.cache = 1, 0\n    def __getstate__(self):\n        return {'a': self.a}\n    def __setstate__(self, state):\n        self.a, self.cache = state['a'], 0\nkept = Kept()",
    "r19_change": "kept.cache = 7",
    "r19_read": "print(kept.a, kept.cache)",
    "last": "print('as it was')",
    "r8": "import fakelib\nprint(fakelib.value())",
}
EDITED = {
    "r2_value": "k = 2",
    "r7_after": "print(np.geterr()['divide'], decimal.getcontext().prec, 1)",
    "r9_use": "print(list(pool.map(abs, [-1, -3])))",
    "r11_use": "print(len(rows), 1)",
    "r19_change": "kept.cache = 8",
}


class _Page(http.server.BaseHTTPRequestHandler):
    text = b"one"

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.text)

    def log_message(self, *args: object) -> None:
        pass


@dataclass
class Repeated:
    shown: dict[str, str]
    statuses: dict[str, str]


def _install_fakelib(folder: Path, version: str) -> None:
    """A package of this version, whose only function gives the version."""
    for name in folder.glob("fakelib*"):
        for path in name.iterdir():
            path.unlink()
        name.rmdir()
    (folder / "fakelib").mkdir(parents=True)
    (folder / "fakelib" / "__init__.py").write_text(f"def value():\n    return '{version}'\n")
    info = folder / f"fakelib-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: fakelib\nVersion: {version}\n")
    (info / "top_level.txt").write_text("fakelib\n")
    (info / "RECORD").write_text("fakelib/__init__.py,,\n")


@pytest.fixture(scope="module")
def repeated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repeated]:
    folder = tmp_path_factory.mktemp("rules")
    packages = folder / "site-packages"
    variables = {"PYTHONPATH": str(packages), "PYTHONDONTWRITEBYTECODE": "1"}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here = folder / "here"
    here.mkdir()
    (here / "port.txt").write_text(str(server.server_port))
    _install_fakelib(packages, "1.0")
    with Live(here, PYTHONHASHSEED="0", **variables) as kernel:
        kernel.ask("configure", mode="audit", notebook="book.ipynb")
        shown = kernel.run_all(CELLS)
        assert {cell for cell, out in shown.items() if any(o[0] == "error" for o in out)} == set()
    _install_fakelib(packages, "2.0")
    _Page.text = b"two"
    with Live(here, PYTHONHASHSEED="3", **variables) as kernel:
        kernel.ask("configure", mode="repeat", notebook="book.ipynb")
        shown = kernel.run_all({**CELLS, **EDITED})
        while kernel.pump(0.05):
            pass
        texts = {cell: "".join(str(item[-1]) for item in out) for cell, out in shown.items()}
        yield Repeated(texts, kernel.statuses())
    server.shutdown()
    server.server_close()


def test_rule_2_names_that_the_namespace_is_asked_for(repeated: Repeated) -> None:
    assert repeated.shown["r2_there"] == "True False 2\n"
    assert repeated.shown["r2_call"] == "2\n"
    # Who may ask for any name always executes.
    assert repeated.statuses["r2_any"] == "executed"


def test_rule_6_what_asks_the_network_executes(repeated: Repeated) -> None:
    assert repeated.shown["r6"] == "two\n"


def test_rule_7_a_setting_in_a_cell_that_waits_ends_with_it(repeated: Repeated) -> None:
    assert repeated.shown["r7_after"] == "warn 28 1\n"


def test_rule_8_another_version_of_a_package(repeated: Repeated) -> None:
    assert repeated.shown["r8"] == "2.0\n"


def test_rule_9_a_compute_engine_is_there_when_it_is_used(repeated: Repeated) -> None:
    assert repeated.shown["r9_use"] == "[1, 3]\n"


def test_rule_11_everything_that_may_be_read_is_there(repeated: Repeated) -> None:
    assert repeated.shown["r11_use"] == "99 1\n"
    assert repeated.shown["r11_exec"] == "[1, 2] 2\n"


def test_rule_19_state_that_a_reduction_drops(repeated: Repeated) -> None:
    assert repeated.shown["r19_read"] == "1 8\n"


def test_what_has_nothing_to_do_with_the_edits_is_replayed(repeated: Repeated) -> None:
    replayed = {cell for cell, status in repeated.statuses.items() if status == "replayed"}
    assert {"imports", "r9_pool", "r11_len", "r11_list", "r19_make", "last"} <= replayed


# --- Files ----------------------------------------------------------------------------------------------------------


def test_rule_12_folders_and_what_the_user_put_in_the_way(tmp_path: Path) -> None:
    cells = {
        "imports": "import os, shutil",
        "make": "os.makedirs('out/deep', exist_ok=True)",
        "write": "open('out/deep/x.txt', 'w').write('1');",
        "scratch": "os.mkdir('scratch')\nopen('scratch/y.txt', 'w').write('y');",
        "clean": "shutil.rmtree('scratch')",
        "nothing": "shutil.rmtree('later', ignore_errors=True)",
        "remove": "open('z.txt', 'w').write('z')\nos.remove('z.txt')",
    }
    book = Book(tmp_path, cells)
    book.audit()
    # The folder is made again by the replay, because the cell that writes into it executes.
    (tmp_path / "out" / "deep" / "x.txt").unlink()
    (tmp_path / "out" / "deep").rmdir()
    (tmp_path / "out").rmdir()
    (tmp_path / "z.txt").write_text("mine")
    (tmp_path / "later").mkdir()
    book.edit(write="open('out/deep/x.txt', 'w').write('2');")
    book.repeat()
    assert {"make", "scratch"}.isdisjoint(book.executed) and "write" in book.executed
    assert (tmp_path / "out" / "deep" / "x.txt").read_text() == "2"
    gone = ("scratch", "z.txt", "later")
    assert [name for name in gone if (tmp_path / name).exists()] == []
    assert [path.read_text() for path in (book.store / "kept").iterdir()] == ["mine"]


def test_a_repeat_that_begins_again_finds_folders_and_large_files_as_they_were(
    tmp_path: Path,
) -> None:
    # One byte more than what is copied beside the small files.
    size = (64 << 20) + 1
    cells = {
        "a": "import os\nwith open('large.bin', 'r+b') as file:\n    n = file.read(1)[0] + 1\n    file.seek(0)\n    _ = file.write(bytes([n]))",
        "b": "first = not os.path.isdir('made')\nos.makedirs('made', exist_ok=True)\nos.rmdir('old') if os.path.isdir('old') else None",
        "c": "g = (i for i in range(3))",
        "d": "print(n, first, next(g))",
    }
    book = Book(tmp_path / "here", cells)
    large = book.folder / "large.bin"
    with open(large, "wb") as file:
        file.truncate(size)
    (book.folder / "old").mkdir()
    book.audit()
    (book.folder / "made").rmdir()
    (book.folder / "old").mkdir()
    shown = book.repeat()
    assert shown["d"] == [("stdout", "2 True 0\n")]
    with open(large, "rb") as file:
        assert file.read(1) == b"\x02"
    assert (book.folder / "made").is_dir() and not (book.folder / "old").exists()
    assert [path.name for path in book.store.iterdir() if path.name.startswith("aside")] == []


# --- Nondeterminism, and which record stands ------------------------------------------------------------------------


def test_rules_13_and_15_what_was_drawn_is_one_draw_and_the_newest(tmp_path: Path) -> None:
    cells = {
        "a": "import uuid\nrun = uuid.uuid4().hex",
        "b": "name = f'run-{run}'",
        "c": "print(run, name)",
    }
    audit(tmp_path, cells)
    second = audit(tmp_path, cells)
    with Live(tmp_path) as kernel:
        kernel.ask("configure", mode="repeat", notebook="book.ipynb")
        shown = kernel.run_all({**cells, "c": cells["c"] + "\nprint(name == f'run-{run}')"})
        assert shown["c"][0][1] == second["c"][0][1] + "True\n"
        assert kernel.statuses() == {"a": "replayed", "b": "replayed", "c": "executed"}
        assert kernel.report_of("a")["why"] == ["the newest of 2 recorded runs that match"]
        assert kernel.report_of("b")["why"] == []


def test_rule_16_shadow_mode_finds_a_record_that_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The order of a set is another one in every process, and nothing shows that the code asked for it.
    cells = {"a": "x = list({f'k{i}' for i in range(40)})", "b": "print('other')"}
    book = Book(tmp_path, cells)
    monkeypatch.setenv("PYTHONHASHSEED", "1")
    book.audit()
    monkeypatch.setenv("PYTHONHASHSEED", "2")
    book.repeat(shadow=True)
    assert book.summary["shadow"] == {"compared": 2, "differences": ["a: x"]}


# --- Restore ----------------------------------------------------------------------------------------------------------

STATE = {
    "imports": "import numpy as np\nimport pandas as pd\nfrom helpers import SEEN as ys",
    "r18": "mark = object()\nboth = [mark]\ndef keep(one, acc=[]):\n    acc.append(one)\n    return acc\nfirst = keep(1)\nclass Reg:\n    items = []\nitems = Reg.items\ndef closed():\n    box = []\n    return (lambda: box), box\nget, box = closed()",
    "r22": "owned = np.arange(6.0)\nlarge = np.arange(100_000.0)\nfort = np.asfortranarray(np.arange(6).reshape(2, 3))\nturned = np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2).copy(order='K')",
    "pickle": "sparse = pd.Series(pd.arrays.SparseArray([0, 0, 5]))",
    "end": "pass",
}


@pytest.fixture(scope="module")
def restored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Live, dict[str, str]]]:
    folder = tmp_path_factory.mktemp("state")
    (folder / "helpers.py").write_text("SEEN = []\ndef note(one):\n    SEEN.append(one)\n")
    audit(folder, STATE)
    with elsewhere(folder) as kernel:
        yield kernel, restore(kernel, "end")


Restored = tuple[Live, dict[str, str]]


def test_settings_in_context_variables_come_back_through_a_subshell(tmp_path: Path) -> None:
    cells = {
        "a": "import decimal\nimport numpy as np",
        "b": "np.seterr(divide='ignore')\ndecimal.getcontext().prec = 5",
    }
    audit(tmp_path, cells)
    with elsewhere(tmp_path) as kernel:
        # As JupyterLab sends requests: they are carried out in a context of their own.
        kernel.make_subshell()
        restore(kernel, "b")
        assert kernel.show("print(np.geterr()['divide'], decimal.getcontext().prec)") == (
            "ignore 5\n"
        )


def test_rule_18_what_joins_names(restored: Restored) -> None:
    kernel, _ = restored
    shown = kernel.show(
        "print(both[0] is mark, first is keep(2), items is Reg.items, get() is box)\nprint(first)"
    )
    assert shown == "True True True True\n[1, 2]\n"


def test_rule_22_arrays_are_owned_and_laid_out_as_they_were(restored: Restored) -> None:
    kernel, _ = restored
    shown = kernel.show(
        "owned.resize(3, refcheck=False)\nlarge.resize(4, refcheck=False)\nprint(owned.tolist(), large.tolist())\n"
        "print([a.flags.owndata for a in (owned, large, fort, turned)], fort.flags.f_contiguous, turned.strides)"
    )
    assert shown == (
        "[0.0, 1.0, 2.0] [0.0, 1.0, 2.0, 3.0]\n[True, True, True, True] True (32, 96, 8)\n"
    )


def test_an_object_of_a_module_is_the_module_s_own(restored: Restored) -> None:
    kernel, how = restored
    assert how["ys"] == "rebuilt"
    assert kernel.show("import helpers\nhelpers.note(3)\nprint(ys is helpers.SEEN, ys)") == (
        "True [3]\n"
    )


def test_values_that_pickle_changes_are_rebuilt(restored: Restored) -> None:
    kernel, how = restored
    assert how["sparse"] == "rebuilt"
    assert kernel.show("print(sparse.sum(), sparse.dtype)") == "5 Sparse[int64, 0]\n"


def test_rule_1_a_comment_that_the_code_reads(tmp_path: Path) -> None:
    cells = {
        "a": "def f():\n    # one\n    return 1",
        "b": "import inspect",
        "c": "print(inspect.getsource(f))",
    }
    book = Book(tmp_path, cells)
    book.audit()
    book.repeat()
    assert book.executed == set()
    book.edit(a="def f():\n    # two\n    return 1")
    assert "# two" in str(book.repeat()["c"])
    book.repeat()
    assert book.executed == set()
