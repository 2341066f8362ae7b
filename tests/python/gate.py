"""Cells that run until the test lets them end."""

from __future__ import annotations

from pathlib import Path


class Gate:
    """A statement for a cell that ends when the gate is opened, however long anybody takes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.wait = f"import os, time\nwhile not os.path.exists({str(path)!r}): time.sleep(0.02)"
        self.wait_in_loop = f"import asyncio, os\nwhile not os.path.exists({str(path)!r}): await asyncio.sleep(0.02)"

    def open(self) -> None:
        """Let it end."""
        self.path.touch()

    def close(self) -> None:
        """From now on it waits again."""
        self.path.unlink()
