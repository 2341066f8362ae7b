"""Python's garbage collector, kept out of work that makes many objects and no garbage."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """No collections meanwhile.

    Walks, plans and loads make many objects that all stay or go by themselves. A full collection looks at all that the
    user has, too: a tenth of a second and more, several times in a row. And what it finalises is the user's.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
