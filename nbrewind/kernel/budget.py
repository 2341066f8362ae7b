"""The budget of a store: when it is exceeded, it is cleaned up beside the notebook, by a process of its own.

What a clean-up may drop is in `nbrewind.roots`: never the newest checkpoints of a cell, pins, or what a running kernel
has recorded. The budget comes from `NBREWIND_BUDGET` or `%nbrewind budget 10GB`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from nbrewind import roots

# How often the store's size is looked at, in seconds, and how long after a clean-up. What others may still read goes
# only with the second one, after their grace.
_PERIOD = 60.0
_PAUSE = 660.0
# How long a session that begins waits for a clean-up: while nobody has the store open, everything goes at once.
_PATIENCE = 10.0


class Budget:
    """The budget of one session; none by default."""

    def __init__(self) -> None:
        self.n_bytes: int | None = None
        self._next_look = 0.0
        self._cleaner: subprocess.Popen[bytes] | None = None
        text = os.environ.get("NBREWIND_BUDGET")
        if text:
            try:
                self.set(text)
            except ValueError:
                print(  # noqa: T201
                    f"NBRewind: NBREWIND_BUDGET is {text}, which is not a size", file=sys.stderr
                )

    def set(self, text: str) -> None:
        """`10GB`, or `off`. Raises `ValueError`."""
        self.n_bytes = None if text == "off" else roots.parse_size(text)
        self._next_look = 0.0

    def look(self, path: str) -> bool:
        """Start a clean-up when the store at `path` is above the budget and none is under way; True when it did."""
        if self.n_bytes is None or time.monotonic() < self._next_look:
            return False
        self._next_look = time.monotonic() + _PERIOD
        if self._cleaner is not None and self._cleaner.poll() is None:
            return False
        if roots.disk_bytes(Path(path)) <= self.n_bytes:
            return False
        self._cleaner = subprocess.Popen(
            [sys.executable, "-m", "nbrewind.cli.main", "gc"]
            + ["--store", path, "--budget", str(self.n_bytes)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._next_look = time.monotonic() + _PAUSE
        return True

    def begin(self, path: str) -> None:
        """Before a session opens the store at `path`."""
        if os.path.isdir(path) and self.look(path) and self._cleaner is not None:
            try:
                self._cleaner.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                # It goes on; what the session needs stays.
                return
