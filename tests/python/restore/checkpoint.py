"""Audit in one kernel, restore in others: each a process of its own with another hash seed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nbrewind._native import Store
from tests.python.kernel.live import Live


@contextmanager
def auditing(folder: Path) -> Iterator[Live]:
    """A kernel that records."""
    with Live(folder, PYTHONHASHSEED="0", PYTHONDONTWRITEBYTECODE="1") as kernel:
        kernel.ask("configure", mode="audit", notebook="book.ipynb")
        yield kernel


@contextmanager
def elsewhere(folder: Path) -> Iterator[Live]:
    """A fresh kernel with another hash seed, which records nothing."""
    with Live(folder, PYTHONHASHSEED="7", PYTHONDONTWRITEBYTECODE="1") as kernel:
        kernel.ask("configure", mode="off", notebook="book.ipynb")
        yield kernel


def audit(folder: Path, cells: dict[str, str]) -> dict[str, list[Any]]:
    """Record every cell in one kernel; what each shows."""
    with auditing(folder) as kernel:
        return kernel.run_all(cells)


def restore(kernel: Live, cell: str) -> dict[str, str]:
    """Restore to a cell; how every name came back."""
    report = kernel.ask("restore", cell=cell)["report"]
    return {item["name"]: item["how"] for item in report["names"]}


def manifests_of(folder: Path) -> list[dict[str, Any]]:
    """Every version in the store."""
    store = Store(str(folder / ".nbrewind"), "r")
    return [json.loads(item["payload"]) for item in store.records("manifest")]


def runs_of(folder: Path) -> list[dict[str, Any]]:
    """Every run record in the store, oldest first."""
    store = Store(str(folder / ".nbrewind"), "r")
    return [json.loads(item["payload"]) for item in store.records("run")]


def check_like_a_run(folder: Path, cells: dict[str, str], check: str) -> None:
    """Audit, restore the state after the last cell elsewhere, and see that `check` shows what it shows after a run."""
    audit(folder, cells)
    with elsewhere(folder) as kernel:
        how = restore(kernel, list(cells)[-1])
        assert set(how.values()) == {"loaded"}, how
        restored = kernel.show(check)
    with elsewhere(folder) as kernel:
        for text in cells.values():
            kernel.show(text)
        assert restored == kernel.show(check)
