"""While objects are looked at, stored and loaded, code of theirs may run: what that prints is no output.

`__getstate__` and `__reduce__` of the user's classes are called at every look: between cells, and in the middle of one
when it hands an object to a task. Several threads may look at once.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# How often each thread that is hushed has begun to be.
_depth: dict[int, int] = {}
_lock = threading.Lock()


class _Hushed:
    """A stream that drops what hushed threads write; all else goes through.

    A handler of logging that is made meanwhile keeps it.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Drop it, or pass it on."""
        if threading.get_ident() in _depth:
            return len(text)
        written: int = self._stream.write(text)
        return written

    def writelines(self, lines: Any) -> None:
        """Drop them, or pass them on."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def standard_stream(name: str) -> Any:
    """What `sys` has under this name (stdout, stderr) when nothing is hushed."""
    stream = getattr(sys, name)
    return stream._stream if type(stream) is _Hushed else stream


@contextmanager
def hushed() -> Iterator[None]:
    """Within, nothing that this thread prints is shown."""
    ident = threading.get_ident()
    with _lock:
        _depth[ident] = _depth.get(ident, 0) + 1
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is not None and type(stream) is not _Hushed:
                setattr(sys, name, _Hushed(stream))
    try:
        yield
    finally:
        with _lock:
            _depth[ident] -= 1
            if not _depth[ident]:
                del _depth[ident]
            if not _depth:
                # Not when something within has put a stream of its own there.
                for name in ("stdout", "stderr"):
                    stream = getattr(sys, name)
                    if type(stream) is _Hushed:
                        setattr(sys, name, stream._stream)
