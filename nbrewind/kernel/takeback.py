"""Files as they were before a repeat changed them.

A repeat that has to begin again, because a replayed value cannot be loaded, must find the files as it found them the
first time: otherwise a cell that appends to a log appends twice, and a cell that asks whether a file is there sees what
a cell below it wrote. Kept from the first decision of a repeat on, and given back when whoever drives the repeat says
that it begins again.
"""

from __future__ import annotations

import os
import shutil
import tempfile

# A larger file is not copied before it is written: such files are made anew, not appended to.
MAX_COPIED = 64 << 20


class Journal:
    """What was there, by path. A process has one."""

    def __init__(self) -> None:
        self.is_on = False
        self._before: dict[str, str | None] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def note(self, path: str) -> None:
        """This file is about to be written or removed."""
        path = os.path.abspath(path)
        if not self.is_on or path in self._before:
            return
        if not os.path.lexists(path):
            self._before[path] = None
        elif os.path.isfile(path) and os.path.getsize(path) <= MAX_COPIED:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="nbrewind-")
            copy = os.path.join(self._folder.name, str(len(self._before)))
            shutil.copy2(path, copy)
            self._before[path] = copy

    def end(self) -> None:
        """Nothing will be taken back any more."""
        self.is_on = False
        self._before.clear()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def take_back(self) -> list[str]:
        """Make the files as they were; returns their paths."""
        taken = []
        for path, copy in self._before.items():
            if copy is None:
                if os.path.isfile(path):
                    os.remove(path)
                    taken.append(path)
            else:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                shutil.copy2(copy, path)
                taken.append(path)
        self._before.clear()
        return sorted(taken)


journal = Journal()
