"""While the kernel looks at objects, stores and loads them, code of theirs may run: what that prints is no output.

`__getstate__` and `__reduce__` of the user's classes are called at every look, also between cells.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class _Hushed:
    """A stream that drops what one thread writes, until it is `opened` again; all else goes through.

    A handler of logging that is made meanwhile keeps it.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._thread: int | None = threading.get_ident()

    def opened(self) -> None:
        """From now on everything goes through."""
        self._thread = None

    def write(self, text: str) -> int:
        """Drop it, or pass it on."""
        if threading.get_ident() == self._thread:
            return len(text)
        written: int = self._stream.write(text)
        return written

    def writelines(self, lines: Any) -> None:
        """Drop them, or pass them on."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def hushed() -> Iterator[None]:
    """Within, nothing that this thread prints is shown."""
    before = sys.stdout, sys.stderr
    own = (_Hushed(before[0]), _Hushed(before[1]))
    sys.stdout, sys.stderr = own
    try:
        yield
    finally:
        for stream in own:
            stream.opened()
        # Not when something within has put a stream of its own there.
        if sys.stdout is own[0]:
            sys.stdout = before[0]
        if sys.stderr is own[1]:
            sys.stderr = before[1]
