# ruff: noqa: E501 - a cell is one line here
"""Large values wait in the store after a restore, and nobody can tell but by the clock."""

from __future__ import annotations

from pathlib import Path

from tests.python.kernel.live import Live
from tests.python.restore.checkpoint import audit, elsewhere, restore

# Zeros are one chunk on disk, whatever their size; the last byte tells them apart.
CELLS = {
    "a": "import numpy as np\n\ndef zeros(last):\n    made = np.zeros(100_000_000, np.uint8)\n    made[-1] = last\n    return made",
    "b": "big, other, small = zeros(1), zeros(2), [1, 2]",
    "c": "tail = other[-5:]\nlines = (str(v) for v in big[-3:])\n_ = next(lines)",
    "d": "box = {'big': zeros(3)}\nsame = box['big']",
}


def pending(kernel: Live) -> set[str]:
    return set(kernel.ask("status")["pending"])


def test_what_is_large_comes_before_it_is_used(tmp_path: Path) -> None:
    audit(tmp_path, CELLS)
    with elsewhere(tmp_path) as kernel:
        how = restore(kernel, "d")
        # What is rebuilt shares `big`, so that is rebuilt with it.
        assert how == {
            "np": "loaded",
            "zeros": "loaded",
            "small": "loaded",
            "big": "rebuilt",
            "lines": "rebuilt",
            "other": "pending",
            "tail": "pending",
            "box": "pending",
            "same": "pending",
        }
        assert kernel.show("tail[0] = 9\nprint(other[-5], other[-1], tail[-1])") == "9 2 2\n"
        assert kernel.show("same[0] = 8\nprint(box['big'][0], box['big'] is same)") == "8 True\n"
        assert kernel.show("print(next(lines), big[-1], small)") == "0 1 [1, 2]\n"
        assert pending(kernel) == set()


def test_an_idle_kernel_loads_the_rest(tmp_path: Path) -> None:
    audit(tmp_path, CELLS)
    with elsewhere(tmp_path) as kernel:
        assert restore(kernel, "b")["other"] == "pending"
        # Code that nobody looks into sees no namespace with holes once they are filled.
        kernel.until(lambda: not pending(kernel))
        kernel.silently("seen = (int(big[-1]), int(other[-1]))")
        assert kernel.show("print(seen)") == "(1, 2)\n"


def test_undo_while_something_waits(tmp_path: Path) -> None:
    audit(tmp_path, CELLS)
    with elsewhere(tmp_path) as kernel:
        kernel.run("other = 'mine'\nown = [other]", "own")
        assert restore(kernel, "b")["other"] == "pending"
        assert restore(kernel, "d")["box"] == "pending"
        # Back to a state of which parts may still wait, and of which nothing is known but the record.
        assert kernel.ask("undo-restore")["undone"]
        assert kernel.show("print(other[-1], big[-1], 'box' in dir())") == "2 1 False\n"
        kernel.until(lambda: not pending(kernel))
        assert restore(kernel, "a")["zeros"] == "loaded"
        assert kernel.ask("undo-restore")["undone"]
        assert kernel.show("print(other[-1], small)") == "2 [1, 2]\n"


def test_a_cell_replaces_what_waits(tmp_path: Path) -> None:
    audit(tmp_path, CELLS)
    with elsewhere(tmp_path) as kernel:
        restore(kernel, "b")
        kernel.run("other = 5\ndel big")
        assert kernel.show("print(other, 'big' in globals())") == "5 False\n"
        restore(kernel, "c")
        # Of two names that share memory, one.
        kernel.run("other = 6")
        assert kernel.show("print(other, tail[-1])") == "6 2\n"
        kernel.until(lambda: not pending(kernel))
        assert kernel.show("print(other)") == "6\n"


def test_a_restore_within_a_cell_leaves_nothing_to_be_loaded(tmp_path: Path) -> None:
    audit(tmp_path, CELLS)
    with elsewhere(tmp_path) as kernel:
        shown = kernel.show("%nbrewind goto b\nprint(big[-1], other[-1])")
        assert shown.endswith("\n1 2\n")
        restore(kernel, "d")
        restore(kernel, "a")
        shown = kernel.show("%nbrewind undo\nprint(big[-1], box['big'][-1])")
        assert shown.endswith("\n1 3\n")


def test_recording_goes_on_over_what_waits(tmp_path: Path) -> None:
    audit(tmp_path, CELLS)
    with elsewhere(tmp_path) as kernel:
        restore(kernel, "b")
        kernel.ask("configure", mode="audit")
        kernel.run("big[0] = 7\ntotal = int(big[0]) + int(other[-1])", "e")
        assert restore(kernel, "b")["big"] in {"loaded", "pending"}
        assert kernel.show("print(big[0])") == "0\n"
    with elsewhere(tmp_path) as kernel:
        restore(kernel, "e")
        assert kernel.show("print(big[0], other[-1], total)") == "7 2 9\n"


def test_what_cannot_be_loaded_later_says_so_and_the_rest_is_there(tmp_path: Path) -> None:
    cells = {
        "a": "import numpy as np\nbig = np.arange(9_000_000.0)\nsmall = [1, 2]",
        "b": "both = [big[0], small]\nfine = 1",
    }
    audit(tmp_path, cells)
    files = [path for path in (tmp_path / ".nbrewind").rglob("*") if path.is_file()]
    pack = max(files, key=lambda path: path.stat().st_size)
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 0x40
    pack.write_bytes(bytes(content))
    with elsewhere(tmp_path) as kernel:
        # The store still lists the chunk: only reading it tells.
        assert restore(kernel, "b")["big"] == "pending"
        shown = kernel.run("print(fine)\nbig.sum()")
        assert "1\n" in shown[0]
        assert any("`big` was not restored" in str(item) for item in shown)
        lost = [event for event in kernel.events if event["event"] == "lost"]
        assert [event["names"] for event in lost] == [["big"]]
        assert kernel.show("big = 2\nprint(big, small)") == "2 [1, 2]\n"
