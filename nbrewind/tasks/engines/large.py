"""Dask's warning that a graph is large speaks of the graph that was asked for, not of the one that is sent.

Dask weighs what it sends. A planned graph weighs more, with what keeps the results, or less, where stored results stand
for what makes them. Both would be told of a run that never was.
"""

from __future__ import annotations

import contextlib
import logging
import math
import pickle
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import cloudpickle

from nbrewind.hush import hushed

logger = logging.getLogger("nbrewind.tasks")

_local = threading.local()
_originals: dict[str, Any] = {}


def hook(module: ModuleType) -> None:
    """Let clients compare, and show, what `weighing` says."""
    parse = getattr(module, "parse_bytes", None)
    show = getattr(module, "format_bytes", None)
    if parse is None or show is None:
        return
    _originals.update(parse_bytes=parse, format_bytes=show)

    def parse_bytes(text: Any) -> Any:
        limit, weight = parse(text), getattr(_local, "weight", None)
        if weight is None:
            return limit
        # Whatever is sent weighs more than the one and less than the other.
        return -1 if weight > limit else math.inf

    def format_bytes(number: int) -> str:
        weight = getattr(_local, "weight", None)
        shown: str = show(number if weight is None else weight)
        return shown

    module.parse_bytes, module.format_bytes = parse_bytes, format_bytes  # type: ignore[attr-defined]


def unhook(module: ModuleType) -> None:
    """Undo `hook`."""
    for name, original in _originals.items():
        setattr(module, name, original)
    _originals.clear()


@contextlib.contextmanager
def weighing(weight: int) -> Iterator[None]:
    """Until this ends, what this thread sends weighs this much."""
    _local.weight = weight
    try:
        yield
    finally:
        _local.weight = None


def weight_of(expr: Any) -> int:
    """What this weighs when Dask sends it. Planning makes it heavier: tasks keep what was worked out of them."""
    if not _originals:
        return 0
    from distributed.protocol import serialize, to_serialize
    from distributed.utils import nbytes

    try:
        with hushed():
            # What it is sent as comes with a header of its own.
            header, frames = serialize(to_serialize(_Nothing()), on_error="raise")
            counted = _counted(expr) if len(frames) == 1 else None
            if counted is not None:
                return int(nbytes(header)) + counted
            header, frames = serialize(to_serialize(expr), on_error="raise")
        return sum(map(nbytes, [header, *frames]))
    except Exception:
        # Dask will say what is wrong with it.
        logger.debug("a graph could not be weighed", exc_info=True)
        return 0


class _Nothing:
    """Something that is sent as any other object."""


class _ByNameError(Exception):
    """Code of the notebook's would be sent by its name."""


class _Scale:
    """A file that keeps nothing but the number of bytes."""

    def __init__(self, *, without: bytes | None = None) -> None:
        self.weight = 0
        self.without = without

    def write(self, data: Any) -> int:
        # What is named is short: it is never split.
        if self.without is not None and self.without in bytes(data):
            raise _ByNameError
        n_bytes = memoryview(data).nbytes
        self.weight += n_bytes
        return n_bytes

    def take(self, buffer: pickle.PickleBuffer) -> None:
        """A buffer that is sent beside the pickle."""
        self.weight += buffer.raw().nbytes


def _counted(value: Any) -> int | None:
    """How many bytes `distributed` makes of a value, which need not be made for that; None: that is not known.

    It tries pickle, then its own pickler, and cloudpickle for what these cannot do or would send by its name.
    """
    from distributed.protocol import pickle as engine

    kinds: list[Any] = [pickle.Pickler, getattr(engine, "_DaskPickler", None)]
    if kinds[1] is None or cloudpickle.list_registry_pickle_by_value():
        return None
    for kind in kinds:
        scale = _Scale(without=b"__main__")
        try:
            kind(scale, protocol=engine.HIGHEST_PROTOCOL, buffer_callback=scale.take).dump(value)
        except _ByNameError:
            break
        except Exception:  # noqa: BLE001 - foreign __reduce__ may raise anything
            continue
        return scale.weight
    scale = _Scale()
    cloudpickle.Pickler(scale, protocol=engine.HIGHEST_PROTOCOL, buffer_callback=scale.take).dump(
        value
    )
    return scale.weight
