"""Distributed tasks: fingerprints, plans, and a cache that engines ask before they run a graph.

`install(cache)` makes every Dask computation of this process go through `cache`; user code stays as it is.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbrewind.tasks.cache import TaskCache, TaskReport

__all__ = ["TaskCache", "TaskReport", "current_cache", "install", "uninstall"]

# What goes wrong is in the report of the cell. A logger without a handler, or one that passes it on to the user's,
# would print it into the user's cells.
logging.getLogger("nbrewind.tasks").addHandler(logging.NullHandler())
logging.getLogger("nbrewind.tasks").propagate = False

_current: TaskCache | None = None


def __getattr__(name: str) -> object:
    # Workers import this package for `nbrewind.tasks.worker` alone; they must not pay for the planner.
    if name in {"TaskCache", "TaskReport"}:
        from nbrewind.tasks import cache

        return getattr(cache, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def install(cache: TaskCache) -> None:
    """Send every graph through `cache`, now and when an engine is imported later."""
    global _current
    from nbrewind.tasks import engines

    _current = cache
    engines.install()


def uninstall() -> None:
    """Leave engines as they were."""
    global _current
    _current = None
    engines = sys.modules.get("nbrewind.tasks.engines")
    if engines is not None:
        engines.uninstall()


def current_cache() -> TaskCache | None:
    """The cache that graphs go through, if any."""
    return _current
