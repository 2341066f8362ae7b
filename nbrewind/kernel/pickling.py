"""Pickling of co-variables: one stream for all names that share objects, large memory out of band.

What differs from plain pickling, and why:

* functions of the notebook are rebuilt against the live namespace, so that they see names that are bound later;
* arrays are rebuilt over a buffer of their own, and views as views of the same owner, so that sharing survives;
* large blocks of frames are kept column by column, so that what changes in some columns leaves the others as they are;
* lazy collections are kept as graphs (`nbrewind.tasks.lazy`).
"""

from __future__ import annotations

import functools
import io
import math
import pickle
import sys
import types
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import cloudpickle

from nbrewind import _native
from nbrewind.fingerprint import is_importable
from nbrewind.kernel.reducers import reduce_own
from nbrewind.tasks.lazy import reduce_lazy

# Reducers of other rooms: each returns a reduction or NotImplemented.
reducers: list[Callable[[Any], Any]] = [reduce_lazy, reduce_own]

# Smaller arrays stay in the stream: there may be very many of them, and each buffer beside it has its own record.
_IN_BAND = 4096

_namespace: dict[str, Any] | None = None
# The columns of the stream that is being loaded.
_columns: Sequence[Any] = ()


def _live_namespace() -> dict[str, Any]:
    """The namespace that functions are rebuilt against; set while `load` runs."""
    if _namespace is None:
        raise pickle.UnpicklingError("functions of a notebook can be loaded only into a namespace")
    return _namespace


class _NamespaceRef:
    """Stands in the stream for the namespace itself."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (_live_namespace, ())


def _rebuild_array(buffer: Any, dtype: Any, shape: tuple[int, ...], order: str) -> Any:
    import numpy as np

    build: Any = np.ndarray
    array = build(shape, dtype=dtype, buffer=buffer, order=order)
    return array


def _rebuild_empty(dtype: Any, shape: tuple[int, ...], writeable: bool) -> Any:
    import numpy as np

    array = np.empty(shape, dtype=dtype)
    array.flags.writeable = writeable
    return array


def _rebuild_view(
    owner: Any,
    dtype: Any,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    offset: int,
    writeable: bool,
) -> Any:
    import numpy as np

    if owner.flags.c_contiguous or not owner.flags.f_contiguous:
        flat = owner.reshape(-1)
    else:
        flat = owner.T.reshape(-1)
    # Through ndarray's own constructor, so that the owner is the base, as it was.
    view: Any = np.ndarray(
        shape, dtype=dtype, buffer=flat.view(np.uint8), offset=offset, strides=strides
    )
    if not writeable:
        view.flags.writeable = False
    return view


def _rebuild_object_view(
    owner: Any, shape: tuple[int, ...], strides: tuple[int, ...], offset: int, writeable: bool
) -> Any:
    """A view of an array of objects, for which numpy takes no buffer: a piece of the length, laid out as it was.

    Raises `ValueError` where the memory of the owner does not hold such a piece.
    """
    flat = owner.reshape(-1) if owner.flags.c_contiguous else owner.T.reshape(-1)
    turned = tuple(slice(None, None, -1) if stride < 0 else slice(None) for stride in strides)
    # Axes that run backwards begin at their other end.
    first = offset + sum(
        (n - 1) * stride for n, stride in zip(shape, strides, strict=True) if stride < 0
    )
    view = flat[first // owner.itemsize :][: math.prod(shape)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        view.shape = shape
        view.strides = tuple(abs(stride) for stride in strides)
    view = view[turned]
    if not writeable:
        view.flags.writeable = False
    return view


def _rebuild_block(
    first: int,
    dtype: Any,
    shape: tuple[int, int],
    order: str,
    writeable: bool,
    rest: tuple[Any, ...],
) -> Any:
    import numpy as np
    from pandas._libs import internals

    values: Any = np.empty(shape, dtype=dtype, order=order)  # type: ignore[call-overload]
    columns = list(_columns[first : first + shape[0]])
    if order == "F" and shape[0] > 1:
        _native.interleave(columns, values.itemsize, values.T.reshape(-1).view(np.uint8))
    else:
        for row, column in enumerate(columns):
            values[row] = np.frombuffer(column, dtype=dtype)
    values.flags.writeable = writeable
    return internals._unpickle_block(values, *rest)


def _rebuild_lru_cache(func: Any, parameters: dict[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(func)


class _Pickler(cloudpickle.Pickler):
    def __init__(
        self,
        file: io.BytesIO,
        namespace: dict[str, Any],
        view_owners: set[int],
        buffers: list[pickle.PickleBuffer],
        columns: list[Any],
    ) -> None:
        super().__init__(file, protocol=5, buffer_callback=buffers.append)
        self._columns = columns
        self._live = namespace
        self._view_owners = view_owners
        self._reference = _NamespaceRef()
        self._ndarray = getattr(sys.modules.get("numpy"), "ndarray", None)
        blocks = sys.modules.get("pandas.core.internals.blocks")
        self._block = getattr(blocks, "NumpyBlock", None)

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind is self._ndarray:
            return self._reduce_array(obj)
        if kind is self._block:
            return self._reduce_block(obj)
        if kind is functools._lru_cache_wrapper and not is_importable(obj):
            return (_rebuild_lru_cache, (obj.__wrapped__, obj.cache_parameters()))
        for reducer in reducers:
            reduced = reducer(obj)
            if reduced is not NotImplemented:
                return reduced
        return super().reducer_override(obj)

    def _dynamic_function_reduce(self, func: types.FunctionType) -> Any:
        reduced = list(super()._dynamic_function_reduce(func))
        if func.__globals__ is not self._live:
            return tuple(reduced)
        code, _, name, defaults, closure = reduced[1]
        state, slots = reduced[2]
        reduced[1] = (code, self._reference, name, defaults, closure)
        reduced[2] = (state, {**slots, "__globals__": {}})
        return tuple(reduced)

    def _reduce_block(self, block: Any) -> Any:
        """A large block of a frame: its columns one by one, and how they lie in memory."""
        from nbrewind.fingerprint.arrays import owner_of, place_of

        values = block.values
        _, *rest = block.__reduce__()[1]
        is_plain = (
            type(values) is self._ndarray
            and values.ndim == 2
            and not values.dtype.hasobject
            and values.shape[0] > 0
            and id(owner_of(values)) not in self._view_owners
            and place_of(values[0]) is not None
        )
        if not is_plain:
            return NotImplemented
        first = len(self._columns)
        self._columns.extend(values)
        order = "F" if values.flags.f_contiguous else "C"
        what = (values.dtype, values.shape, order, values.flags.writeable)
        return (_rebuild_block, (first, *what, tuple(rest)))

    def _reduce_array(self, array: Any) -> Any:
        import numpy as np

        from nbrewind.fingerprint.arrays import owner_of

        owner = owner_of(array)
        if array.dtype.hasobject:
            return self._reduce_objects(array, owner)
        if array.size == 0:
            return (_rebuild_empty, (array.dtype, array.shape, array.flags.writeable))
        if owner is not array and id(owner) in self._view_owners and type(owner) is np.ndarray:
            offset = array.__array_interface__["data"][0] - owner.__array_interface__["data"][0]
            return (
                _rebuild_view,
                (owner, array.dtype, array.shape, array.strides, offset, array.flags.writeable),
            )
        order = "F" if np.isfortran(array) else "C"
        flat: Any = (
            (array.T if order == "F" else np.ascontiguousarray(array)).reshape(-1).view(np.uint8)
        )
        content: Any
        if flat.nbytes < _IN_BAND:
            content = bytearray(flat) if array.flags.writeable else bytes(flat)
        else:
            if not array.flags.writeable:
                flat = flat.view()
                flat.flags.writeable = False
            content = pickle.PickleBuffer(flat)
        return (_rebuild_array, (content, array.dtype, array.shape, order))

    def _reduce_objects(self, array: Any, owner: Any) -> Any:
        """An array of objects: a part of its owner, if it can be got from there by cutting and turning."""
        offset = array.__array_interface__["data"][0] - owner.__array_interface__["data"][0]
        what = (array.shape, array.strides, offset, array.flags.writeable)
        if owner is array or id(owner) not in self._view_owners or array.dtype != owner.dtype:
            return NotImplemented
        try:
            view = _rebuild_object_view(owner, *what)
        except (ValueError, DeprecationWarning):
            return NotImplemented
        if view.__array_interface__["data"] != array.__array_interface__["data"]:
            return NotImplemented
        return (_rebuild_object_view, (owner, *what))


def dump(
    values: dict[str, Any], namespace: dict[str, Any], view_owners: set[int]
) -> tuple[bytes, list[pickle.PickleBuffer], list[Any]]:
    """One stream for these names, its out-of-band buffers, and the columns of large frames.

    Raises whatever the objects' own pickling raises.
    """
    file = io.BytesIO()
    buffers: list[pickle.PickleBuffer] = []
    columns: list[Any] = []
    _Pickler(file, namespace, view_owners, buffers, columns).dump(values)
    return file.getvalue(), buffers, columns


def load(
    head: Any, buffers: Sequence[Any], columns: Sequence[Any], namespace: dict[str, Any]
) -> dict[str, Any]:
    """The names of one stream, with functions bound to `namespace`; `namespace` itself is not changed."""
    global _namespace, _columns
    before = _namespace, _columns
    _namespace, _columns = namespace, columns
    try:
        values: dict[str, Any] = pickle.loads(head, buffers=buffers)
    finally:
        _namespace, _columns = before
    return values
