"""The command line as scripts use it: exit codes, messages with a next step, and nothing lost."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.python.books import Book


def nbrewind(*arguments: str | Path, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nbrewind.cli.main", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def book(tmp_path: Path) -> Book:
    book = Book(tmp_path / "here", {"a": "x = 1", "b": "y = x + 1\ny", "c": "print(y)"})
    done = nbrewind("audit", book.path, "-o", "out.ipynb", "--json", cwd=book.folder)
    assert done.returncode == 0, done.stderr
    assert [cell["status"] for cell in json.loads(done.stdout)["cells"]] == ["executed"] * 3
    return book


def test_repeat_replays_and_says_what_it_saved(book: Book) -> None:
    done = nbrewind("repeat", book.path, "--json", "--task-log", "tasks.jsonl", cwd=book.folder)
    summary = json.loads(done.stdout)
    assert done.returncode == 0
    assert [cell["status"] for cell in summary["cells"]] == ["replayed"] * 3
    assert summary["tasks"] == {"hit": 0, "run": 0, "pruned": 0, "why": {}}
    assert (book.folder / "tasks.jsonl").read_text() == ""


def test_cells_before_the_start_are_restored(book: Book) -> None:
    done = nbrewind("repeat", book.path, "--from", "c", "--json", cwd=book.folder)
    assert [cell["status"] for cell in json.loads(done.stdout)["cells"]] == [
        "restored",
        "restored",
        "replayed",
    ]


def test_a_dry_run_tells_and_does_nothing(book: Book) -> None:
    book.edit(b="y = x + 2")
    before = sorted(path.stat().st_size for path in book.store.rglob("*") if path.is_file())
    done = nbrewind("repeat", book.path, "--dry-run", "--json", cwd=book.folder)
    assert done.returncode == 0, done.stderr
    assert [(cell["id"], cell["status"]) for cell in json.loads(done.stdout)["cells"]] == [
        ("a", "replay"),
        ("b", "execute"),
        ("c", "perhaps"),
    ]
    assert sorted(path.stat().st_size for path in book.store.rglob("*") if path.is_file()) == before


def test_a_dry_run_knows_what_an_edited_cell_leaves_as_it_was(tmp_path: Path) -> None:
    cells = {
        "head": "import math\nscale = 2\nlimits = [1, 2]\ndef half(x):\n    return x / 2",
        "roots": "roots = [math.sqrt(one) for one in limits]",
        "more": "also = half(sum(limits))",
        "scaled": "print(scale * 3)",
    }
    book = Book(tmp_path / "here", cells)
    assert nbrewind("audit", book.path, cwd=book.folder).returncode == 0

    def planned() -> list[str]:
        done = nbrewind("repeat", book.path, "--dry-run", "--json", cwd=book.folder)
        return [cell["status"] for cell in json.loads(done.stdout)["cells"]]

    book.edit(head=cells["head"].replace("scale = 2", "scale = 3"))
    assert planned() == ["execute", "replay", "replay", "perhaps"]
    book.edit(head=cells["head"].replace("x / 2", "x / 4"))
    assert planned() == ["execute", "replay", "perhaps", "replay"]
    book.edit(head=cells["head"].replace("limits = [1, 2]", "limits = list((1, 2))"))
    assert planned() == ["execute", "perhaps", "perhaps", "replay"]
    done = nbrewind("repeat", book.path, "--json", cwd=book.folder)
    found = [cell["status"] for cell in json.loads(done.stdout)["cells"]]
    assert found == ["executed", "replayed", "replayed", "replayed"]


def test_stale_names_the_edited_cell_and_what_follows(book: Book) -> None:
    fresh = nbrewind("stale", book.path, cwd=book.folder)
    assert fresh.stdout == "Every cell is fresh.\n"
    book.edit(b="y = x + 2")
    found = json.loads(nbrewind("stale", book.path, "--json", cwd=book.folder).stdout)
    assert found["stale"] == ["b", "c"]
    assert "`y`" in found["reasons"]["c"]


def test_stale_between_two_notebooks(book: Book, tmp_path: Path) -> None:
    other = Book(tmp_path / "other", {**book.cells, "a": "x = 5"})
    done = nbrewind("stale", "--audited", book.path, other.path, "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["stale"] == ["a", "b", "c"]


def test_a_failing_cell_is_exit_code_1_and_the_outputs_are_kept(book: Book) -> None:
    book.edit(b="y = 1 / 0")
    done = nbrewind("repeat", book.path, "-o", "out.ipynb", cwd=book.folder)
    assert done.returncode == 1
    assert "cell b failed: ZeroDivisionError: division by zero" in done.stderr
    assert "ZeroDivisionError" in (book.folder / "out.ipynb").read_text()


def test_wrong_arguments_are_exit_code_2(book: Book) -> None:
    assert nbrewind("repeat", cwd=book.folder).returncode == 2
    done = nbrewind("restore", book.path, "--to", "nowhere", cwd=book.folder)
    assert done.returncode == 2
    assert "nowhere" in done.stderr


def test_without_a_store_the_next_step_is_named(tmp_path: Path) -> None:
    book = Book(tmp_path, {"a": "x = 1"})
    for command in (["restore", "--to", "a"], ["stale"], ["check"]):
        done = nbrewind(command[0], book.path, *command[1:], cwd=tmp_path)
        assert done.returncode == 3, command
        assert "nbrewind audit" in done.stderr


def test_a_store_of_a_newer_version_is_refused_and_untouched(book: Book) -> None:
    marker = book.store / "format.json"
    marker.write_text(
        marker.read_text()
        .replace('"version":1', '"version":99')
        .replace('"version": 1', '"version": 99')
    )
    done = nbrewind("repeat", book.path, cwd=book.folder)
    assert done.returncode == 3
    assert "version 99" in done.stderr
    assert "Upgrade" in done.stderr


def test_a_damaged_store_is_named_by_verify_and_the_repeat_executes_instead(book: Book) -> None:
    book.edit(a="import numpy as np\nx = np.arange(1000)", b="y = x + 1\ny.sum()", c="print(y[3])")
    assert nbrewind("audit", book.path, cwd=book.folder).returncode == 0
    pack = max(book.store.rglob("pack-*"), key=lambda path: path.stat().st_mtime_ns)
    content = bytearray(pack.read_bytes())
    for place in range(0, len(content), 64):
        content[place] ^= 0xFF
    pack.write_bytes(content)
    done = nbrewind("verify", "--store", book.store, cwd=book.folder)
    assert done.returncode == 3
    assert str(pack) in done.stdout
    book.edit(c="print(y[4])")
    done = nbrewind("repeat", book.path, "-o", "out.ipynb", cwd=book.folder)
    assert done.returncode == 0, done.stderr
    assert '"5\\n"' in (book.folder / "out.ipynb").read_text()


@pytest.fixture
def read_only_store(book: Book) -> Iterator[Path]:
    """The book's store, as nobody may change it: not even root, where the file system has that flag."""
    if os.getuid() == 0:
        done = subprocess.run(
            ["chattr", "-R", "+i", book.store], check=False, capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(
                f"root writes everywhere, and this file system cannot forbid it: {done.stderr.strip()}"
            )
        yield book.store
        subprocess.run(["chattr", "-R", "-i", book.store], check=True)
    else:
        folders = [book.store, *(path for path in book.store.rglob("*") if path.is_dir())]
        for folder in folders:
            folder.chmod(0o555)
        yield book.store
        for folder in folders:
            folder.chmod(0o755)


def test_a_store_that_cannot_be_written_still_replays_and_says_what_is_not_recorded(
    book: Book, read_only_store: Path
) -> None:
    done = nbrewind("repeat", book.path, "--json", cwd=book.folder)
    assert done.returncode == 0, done.stderr
    assert {cell["status"] for cell in json.loads(done.stdout)["cells"]} == {"replayed"}
    book.edit(c="print(y + 1)")
    done = nbrewind("repeat", book.path, "-o", book.folder / "out.ipynb", cwd=book.folder)
    assert done.returncode == 0, done.stderr
    assert '"3\\n"' in (book.folder / "out.ipynb").read_text()
    assert "cell c is not recorded" in done.stderr
    assert "read-only" in done.stderr or "permission" in done.stderr


def test_a_full_disk_loses_nothing_and_the_notebook_goes_on(book: Book) -> None:
    book.edit(
        b="y = x + 2\ny",
        c="import random\nbig = random.Random(1).randbytes(9_000_000)\nprint(len(big))",
    )
    limited = (
        f"ulimit -f 4096; exec {sys.executable} -m nbrewind.cli.main repeat {book.path} --json"
    )
    done = subprocess.run(
        ["bash", "-c", limited], cwd=book.folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [cell["status"] for cell in json.loads(done.stdout)["cells"]] == [
        "replayed",
        "executed",
        "executed",
    ]
    assert "no room left" in done.stderr
    assert nbrewind("verify", "--store", book.store, cwd=book.folder).returncode == 0
    done = nbrewind("repeat", book.path, "--json", cwd=book.folder)
    assert [cell["status"] for cell in json.loads(done.stdout)["cells"]][:2] == [
        "replayed",
        "replayed",
    ]


def test_a_folder_that_is_no_store_is_refused(tmp_path: Path) -> None:
    book = Book(tmp_path, {"a": "x = 1"})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("important")
    done = nbrewind("audit", book.path, "--store", tmp_path / "mine", cwd=tmp_path)
    assert done.returncode == 3
    assert "is not an NBRewind store" in done.stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_another_user_s_store_must_be_trusted_first(book: Book) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give a file to another user")
    os.chown(book.store, 12345, -1)
    done = nbrewind("repeat", book.path, cwd=book.folder)
    assert done.returncode == 3
    assert "NBREWIND_TRUST=1" in done.stderr
    assert nbrewind("repeat", book.path, cwd=book.folder, NBREWIND_TRUST="1").returncode == 0


def test_parameters_are_injected_and_recorded(book: Book) -> None:
    done = nbrewind("repeat", book.path, "-p", "x=7", "--json", "-o", "out.ipynb", cwd=book.folder)
    assert done.returncode == 0, done.stderr
    assert [cell["status"] for cell in json.loads(done.stdout)["cells"]] == ["executed"] * 3
    assert '"8\\n"' in (book.folder / "out.ipynb").read_text()


def test_check_tells_reproduced_from_different_and_nondeterministic(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("1")
    cells = {
        "a": "x = 1",
        "b": "import uuid\nu = uuid.uuid4().hex",
        "c": "name = f'run {u}'",
        "d": "print(name)",
        "e": "text = open('in.txt').read()",
        "f": "order = list({f'k{i}' for i in range(40)})",
        "g": "print(order)",
        "h": "print(x)",
    }
    book = Book(tmp_path, cells)
    assert nbrewind("audit", book.path, cwd=tmp_path, PYTHONHASHSEED="1").returncode == 0
    (tmp_path / "in.txt").write_text("2")
    done = nbrewind("check", book.path, "--json", cwd=tmp_path, PYTHONHASHSEED="2")
    found = {cell["id"]: cell for cell in json.loads(done.stdout)["cells"]}
    assert {cell: item["verdict"] for cell, item in found.items()} == {
        "a": "reproduced",
        "b": "nondeterministic",
        "c": "nondeterministic",
        "d": "nondeterministic",
        "e": "not checked",
        "f": "differs",
        "g": "differs",
        "h": "reproduced",
    }
    assert found["e"]["differences"] == ["file in.txt changed"]
    assert done.returncode == 1


def test_shadow_executes_everything_and_reports_what_differs(tmp_path: Path) -> None:
    book = Book(tmp_path, {"a": "order = list({f'k{i}' for i in range(40)})", "b": "print(1)"})
    assert nbrewind("audit", book.path, cwd=tmp_path, PYTHONHASHSEED="1").returncode == 0
    done = nbrewind("repeat", "--shadow", book.path, "--json", cwd=tmp_path, PYTHONHASHSEED="1")
    summary = json.loads(done.stdout)
    assert (done.returncode, summary["shadow"]) == (0, {"compared": 2, "differences": []})
    assert {cell["status"] for cell in summary["cells"]} == {"executed"}
    done = nbrewind("repeat", "--shadow", book.path, cwd=tmp_path, PYTHONHASHSEED="2")
    assert done.returncode == 1
    assert "shadow: 2 replays compared, 1 differ\n  differs: a: order" in done.stdout


def test_why_stats_ls_and_graph_answer(book: Book) -> None:
    assert "c is fresh" in nbrewind("why", book.path, "c", cwd=book.folder).stdout
    assert "n_chunks" in nbrewind("stats", cwd=book.folder).stdout
    assert nbrewind("ls", cwd=book.folder).stdout.count("\n") == 3
    assert nbrewind("graph", book.path, cwd=book.folder).stdout.lstrip().startswith("<svg")
    assert "b" in nbrewind("analyze", book.path, cwd=book.folder).stdout


def test_restore_starts_a_kernel_that_stays(book: Book) -> None:
    from jupyter_client.blocking.client import BlockingKernelClient

    done = nbrewind("restore", book.path, "--to", "b", "--json", cwd=book.folder)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {item["name"]: item["how"] for item in found["names"]} == {"x": "loaded", "y": "loaded"}
    client = BlockingKernelClient(connection_file=found["connection_file"])
    client.load_connection_file()
    client.start_channels()
    try:
        shown: list[str] = []
        client.execute_interactive(
            "print(x, y)",
            output_hook=lambda m: shown.append(m["content"].get("text", "")),
            timeout=60,
        )
        assert "1 2\n" in shown
    finally:
        client.shutdown()
        client.stop_channels()


def test_an_interrupted_command_ends_its_kernel_and_says_so(tmp_path: Path) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    book = Book(tmp_path / "here", {"a": "x = 1", "b": "print(x)"})
    book.edit(b="import time\nopen('begun', 'w').close()\ntime.sleep(600)")
    command = subprocess.Popen(
        [sys.executable, "-m", "nbrewind.cli.main", "audit", str(book.path)],
        cwd=book.folder,
        env={**os.environ, "TMPDIR": str(place)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # What a shell starts in the background is deaf to it, and so is all that comes from there.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    (kernel,) = _wait_for(lambda: list(place.glob("nbrewind-*/kernel.json")), command)
    _wait_for(lambda: list(book.folder.glob("begun")), command)
    port = json.loads(kernel.read_text())["hb_port"]
    command.send_signal(signal.SIGINT)
    _, said = command.communicate(timeout=60)
    assert command.returncode == 1
    assert said == "nbrewind: interrupted; what was recorded before is safe\n"
    assert list(place.glob("nbrewind-*")) == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=10).close()
    book.edit(b="print(x)")
    done = nbrewind("repeat", book.path, "--json", cwd=book.folder)
    assert [cell["status"] for cell in json.loads(done.stdout)["cells"]] == ["replayed", "executed"]


def test_what_a_kernel_does_at_its_end_is_done_when_the_command_is_over(tmp_path: Path) -> None:
    late = "import atexit, time\natexit.register(lambda: (time.sleep(0.5), open('ended', 'w').close()))"
    book = Book(tmp_path, {"a": late, "b": "file = open('late.txt', 'w')\nfile.write('text')"})
    assert nbrewind("audit", book.path, cwd=book.folder).returncode == 0
    assert (book.folder / "ended").exists()
    assert (book.folder / "late.txt").read_text() == "text"


def test_a_command_without_a_notebook_to_run_leaves_no_kernel(tmp_path: Path) -> None:
    (tmp_path / "broken.ipynb").write_text("{")
    done = nbrewind("repeat", "broken.ipynb", cwd=tmp_path, TMPDIR=str(tmp_path))
    assert done.returncode == 2
    assert "broken.ipynb does not parse as JSON" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["broken.ipynb"]


def _wait_for(
    look: Callable[[], list[Path]], command: subprocess.Popen[str], seconds: float = 60
) -> list[Path]:
    """What `look` finds, as soon as it finds anything while the command runs."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert command.poll() is None, "the command ended"
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.01)
    return found
