"""What it takes to have a state again: an unchanged repeat, a restore into a fresh kernel, an undo.

    python bench/checkpoint/again.py [tables objects large long] [--rounds 3]

Side by side in every round: the repeat of an empty notebook (kernel start and end) and the unchanged repeat, both
through the command line; reading the restored bytes from the store's files into new memory; `pickle.load` of the same
state from one file, without what cannot be pickled; and the restore: until it answers (names are there,
small values loaded), and until the idle kernel has loaded everything. Shown are medians and ranges.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
from kernel import Kernel
from workloads import WORKLOADS

from nbrewind._native import Store


def write_notebook(path: Path, cells: dict[str, str]) -> None:
    """Code cells by id."""
    node: Any = nbformat.v4.new_notebook()
    node.cells = [nbformat.v4.new_code_cell(text.strip(), id=cell) for cell, text in cells.items()]
    node.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(node, path)


def command(*arguments: str, folder: Path) -> tuple[float, dict[str, Any]]:
    """Seconds of one command, and what it answered."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "nbrewind.cli.main", *arguments, "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return time.perf_counter() - started, json.loads(done.stdout)


def forget_pages(folder: Path) -> list[Path]:
    """The packs of the store, none of them in the page cache."""
    packs = sorted(folder.rglob("pack-*"))
    for pack in packs:
        with pack.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return packs


def bytes_of_state(folder: Path) -> int:
    """Bytes of all chunks that the newest run's state consists of, each once."""
    store = Store(str(folder / ".nbrewind"), "r")
    newest = json.loads(store.records("run")[-1]["payload"])
    chunks: set[str] = set()
    for manifest in set(newest["state"].values()):
        data = json.loads(store.records("manifest", manifest)[-1]["payload"])["data"]
        if data is not None:
            chunks.update(data["head"])
            for part in (*data["buffers"], *data["columns"]):
                chunks.update(part["chunks"])
    return sum(len(store.get([chunk])) for chunk in chunks)


_TOUCH = """
import mmap, sys
memory = mmap.mmap(-1, int(sys.argv[1]), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(mmap.MADV_HUGEPAGE)
for place in range(0, len(memory), 4096):
    memory[place] = 1
"""


def fetch_memory(n_bytes: int) -> None:
    """Make the host of a virtual machine give it this much memory now: whoever touches it first pays for that."""
    subprocess.run([sys.executable, "-c", _TOUCH, str(n_bytes + (64 << 20))], check=True)


def read_all(folder: Path, n_bytes: int) -> float:
    """Seconds to read as many bytes of the store's packs into new memory."""
    packs = forget_pages(folder)
    fetch_memory(n_bytes)
    started = time.perf_counter()
    left = n_bytes
    for pack in packs:
        if left > 0:
            found = np.fromfile(pack, dtype=np.uint8, count=min(left, pack.stat().st_size))
            left -= found.nbytes
    return time.perf_counter() - started


_DUMP = """
import os as _os, pickle as _pickle
_kept = {}
for _name, _value in list(globals().items()):
    if not _name.startswith("_") and _name not in ("In", "Out", "exit", "quit", "get_ipython", "open"):
        # Code of the notebook's own is not in a pickle.
        if getattr(_value, "__module__", None) == "__main__":
            continue
        try:
            _pickle.dumps(_value, 5, buffer_callback=lambda _: None)
            _kept[_name] = _value
        except Exception:
            pass
with open("state.pickle", "wb") as _file:
    _pickle.dump(_kept, _file, 5)
    _file.flush()
    _os.fsync(_file.fileno())
"""
_LOAD = """
import pickle as _pickle, time as _time
_started = _time.perf_counter()
with open("state.pickle", "rb") as _file:
    globals().update(_pickle.load(_file))
print(_time.perf_counter() - _started)
"""


def load_pickle(folder: Path, imports: str, n_bytes: int) -> float:
    """Seconds of `pickle.load` in a fresh kernel that has made the imports."""
    with Kernel(folder, sys.executable) as kernel:
        kernel.run(imports, is_silent=True)
        with (folder / "state.pickle").open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        fetch_memory(n_bytes)
        return float(kernel.run(_LOAD, is_silent=True))


def measure(name: str, rounds: int, scratch: Path) -> list[dict[str, float]]:
    """All rounds of one workload, with one store."""
    cells, _ = WORKLOADS[name]
    folder = Path(tempfile.mkdtemp(dir=scratch))
    try:
        write_notebook(folder / "book.ipynb", cells)
        write_notebook(folder / "empty.ipynb", {"only": "pass"})
        command("audit", "book.ipynb", folder=folder)
        command("audit", "empty.ipynb", "--store", "other", folder=folder)
        n_bytes = bytes_of_state(folder)
        found = []
        for _ in range(rounds):
            empty, _ = command("repeat", "empty.ipynb", "--store", "other", folder=folder)
            unchanged, said = command("repeat", "book.ipynb", folder=folder)
            replayed = sum(cell["status"] == "replayed" for cell in said["cells"])
            with Kernel(folder, sys.executable) as kernel:
                kernel.run("%load_ext nbrewind", is_silent=True)
                kernel.open_comm()
                kernel.ask("configure", mode="audit", notebook="book.ipynb")
                # What is imported is not what is measured.
                kernel.run(cells["c01"], is_silent=True)
                forget_pages(folder)
                fetch_memory(n_bytes)
                answered, loaded, report = kernel.restore(list(cells)[-1])
                if not (folder / "state.pickle").exists():
                    kernel.run(_DUMP, is_silent=True)
                fetch_memory(n_bytes)
                _, undo, _ = kernel.restore(list(cells)[-2])
            one = {
                "empty": empty,
                "unchanged": unchanged,
                "executed": len(cells) - replayed,
                "mb": n_bytes / 1e6,
                "read": read_all(folder, n_bytes),
                "pickle": load_pickle(folder, cells["c01"], n_bytes),
                "answered": answered,
                "restore": loaded,
                "undo": undo,
                "stubs": sum(item["how"] == "stub" for item in report["names"]),
            }
            print(json.dumps(one), file=sys.stderr, flush=True)
            found.append(one)
        return found
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def spread(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("workloads", nargs="*", default=["tables", "objects", "large", "long"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()))
    arguments = parser.parse_args()
    print(
        "| workload | cells (executed again) | empty notebook s | unchanged repeat s | more than empty s | bar s "
        "| restored MB | reading s | `pickle.load` s | restore answers s | all loaded s | of reading "
        "| of `pickle.load` | undo of the last cell s |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
    )
    for name in arguments.workloads:
        found = measure(name, arguments.rounds, arguments.scratch)
        n_cells = len(WORKLOADS[name][0])
        more = [one["unchanged"] - one["empty"] for one in found]
        ratio = [one["restore"] / one["read"] for one in found]
        of_pickle = [one["restore"] / one["pickle"] for one in found]
        column = {key: [one[key] for one in found] for key in found[0]}
        print(
            f"| {name} | {n_cells} ({max(column['executed']):.0f}) | {spread(column['empty'])} | "
            f"{spread(column['unchanged'])} | {spread(more)} | {0.3 + 0.005 * n_cells:.2f} | "
            f"{statistics.median(column['mb']):.0f} | {spread(column['read'])} | {spread(column['pickle'])} | "
            f"{spread(column['answered'])} | "
            f"{spread(column['restore'])} | {spread(ratio)} | {spread(of_pickle)} | {spread(column['undo'])} |",
            flush=True,
        )
    print(
        f"\n{arguments.rounds} rounds; load average at the end {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores."
    )


if __name__ == "__main__":
    main()
