"""Files and folders as they were before a repeat changed them.

A repeat that has to begin again, because a replayed value cannot be loaded, must find the files as it found them the
first time: otherwise a cell that appends to a log appends twice, and a cell that asks whether a file is there sees what
a cell below it wrote. Kept from the first decision of a repeat on, and given back when whoever drives the repeat says
that it begins again. What could not be kept, for want of room, is named then.
"""

from __future__ import annotations

import contextlib
import fcntl
import filecmp
import os
import re
import shutil
import tempfile
from collections.abc import Iterable

# Above this a copy goes where the store is, because the folder for temporary files may be memory.
LARGE = 64 << 20
# A copy leaves as much room as it takes.
_ROOM = 2
# FICLONE of linux/fs.h: a copy that shares the blocks, where the file system can.
_CLONE = 0x40049409


class Journal:
    """What was there, by path. A process has one."""

    def __init__(self) -> None:
        self.is_on = False
        # Everything was made as it was: what this process has still to write is nobody's.
        self.is_over = False
        # Where copies of large files go; None: with the others.
        self.place: str | None = None
        # None: there was nothing; empty: a folder; else the copy of a file.
        self._before: dict[str, str | None] = {}
        self._lost: list[str] = []
        # The text of the cell that is executed.
        self.text = ""
        # Of what a program may have changed: paths that were kept, and what others looked like.
        self._named: set[str] = set()
        self._looks: dict[str, tuple[int, int] | None] = {}
        self._folders: set[str] = set()
        self._small: tempfile.TemporaryDirectory[str] | None = None
        self._large: tempfile.TemporaryDirectory[str] | None = None

    def note(self, path: str, *, goes: bool = False) -> None:
        """This file or folder is about to be written, made or (`goes`) removed."""
        path = os.path.abspath(path)
        if not self.is_on or path in self._before or path in self._lost:
            return
        if not os.path.lexists(path):
            self._before[path] = None
        elif os.path.isdir(path) and not os.path.islink(path):
            self._before[path] = ""
        elif os.path.isfile(path):
            try:
                self._before[path] = self._copy(path, goes)
            except OSError:
                self._lost.append(path)
        else:
            self._lost.append(path)

    def note_program(self, texts: Iterable[str]) -> None:
        """A program is about to be started with these texts: files that it names are kept.

        Nobody sees what it does. Of the others in this folder and in those that are named, their looks are kept, so
        that it can be told when they were changed.
        """
        if not self.is_on:
            return
        words = {word for text in texts for word in _WORD.findall(text)}
        folders = [os.getcwd()]
        for word in sorted(words)[:_MAX_LOOKS]:
            path = os.path.abspath(os.path.expanduser(word))
            if os.path.isdir(path):
                folders.append(path)
            elif os.path.isfile(path) and os.path.getsize(path) > LARGE:
                self._looks.setdefault(path, _look(path))
            elif path not in self._before and os.path.isdir(os.path.dirname(path)):
                if os.path.isfile(path) or not os.path.lexists(path):
                    self.note(path)
                    self._named.add(path)
        for folder in folders:
            if folder in self._folders:
                continue
            self._folders.add(folder)
            with contextlib.suppress(OSError):
                for name in sorted(os.listdir(folder))[:_MAX_LOOKS]:
                    path = os.path.join(folder, name)
                    if os.path.isfile(path):
                        self._looks.setdefault(path, _look(path))

    def _copy(self, path: str, goes: bool) -> str:
        """Raises `OSError` when there is no room."""
        size = os.path.getsize(path)
        is_large = size > LARGE
        target = os.path.join(self._folder(is_large), str(len(self._before)))
        if os.path.islink(path):
            shutil.copy2(path, target, follow_symlinks=False)
            return target
        if is_large and (goes and _linked(path, target) or _cloned(path, target)):
            return target
        if shutil.disk_usage(os.path.dirname(target)).free < _ROOM * size:
            raise OSError("no room")
        shutil.copy2(path, target)
        return target

    def _folder(self, is_large: bool) -> str:
        if is_large and self.place is not None and os.access(self.place, os.W_OK):
            if self._large is None:
                self._large = tempfile.TemporaryDirectory(prefix="aside-", dir=self.place)
            return self._large.name
        if self._small is None:
            self._small = tempfile.TemporaryDirectory(prefix="nbrewind-")
        return self._small.name

    def end(self) -> None:
        """Nothing will be taken back any more."""
        self.is_on = False
        self._forget()

    def _forget(self) -> None:
        self._before.clear()
        self._lost.clear()
        self._named.clear()
        self._looks.clear()
        self._folders.clear()
        for folder in (self._small, self._large):
            if folder is not None:
                folder.cleanup()
        self._small = self._large = None

    def take_back(self) -> tuple[list[str], list[str]]:
        """Make everything as it was; returns the paths that are, and those that are not."""
        self.is_over = True
        taken, lost = [], list(self._lost)
        lost += [
            path
            for path, look in self._looks.items()
            if path not in self._before and path not in lost and _look(path) != look
        ]
        # What is in a folder was noted after the folder.
        for path, copy in reversed(self._before.items()):
            try:
                if copy is None and _remove(path):
                    taken.append(path)
            except OSError:
                lost.append(path)
        for path, copy in self._before.items():
            if copy is None or path in self._named and _is_as(copy, path):
                continue
            try:
                if copy == "":
                    os.makedirs(path, exist_ok=True)
                else:
                    os.makedirs(os.path.dirname(path), exist_ok=True)
                    _put_back(copy, path)
                taken.append(path)
            except OSError:
                lost.append(path)
        self._forget()
        return sorted(taken), sorted(lost)


_WORD = re.compile(r"[^\s<>|&;()'\"`=,\[\]{}]{1,255}")
_MAX_LOOKS = 2000


def _look(path: str) -> tuple[int, int] | None:
    """What tells that a file was written."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _is_as(copy: str, path: str) -> bool:
    try:
        return filecmp.cmp(copy, path, shallow=False)
    except OSError:
        return False


def _linked(path: str, target: str) -> bool:
    """Keep a file that is about to be removed under another name."""
    try:
        os.link(path, target)
    except OSError:
        return False
    return True


def _cloned(path: str, target: str) -> bool:
    try:
        with open(path, "rb") as source, open(target, "wb") as copy:
            fcntl.ioctl(copy.fileno(), _CLONE, source.fileno())
        shutil.copystat(path, target)
    except OSError:
        return False
    return True


def _put_back(copy: str, path: str) -> None:
    if os.path.islink(path) or os.path.islink(copy):
        if os.path.lexists(path):
            os.remove(path)
        shutil.copy2(copy, path, follow_symlinks=False)
    elif os.path.getsize(copy) > LARGE:
        shutil.move(copy, path)
    else:
        shutil.copy2(copy, path)


def _remove(path: str) -> bool:
    """Remove a file, or a folder that is empty; False when there was nothing. Raises `OSError`."""
    if os.path.isdir(path) and not os.path.islink(path):
        os.rmdir(path)
    elif os.path.lexists(path):
        os.remove(path)
    else:
        return False
    return True


journal = Journal()
