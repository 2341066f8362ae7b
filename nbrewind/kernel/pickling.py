"""Pickling of co-variables: one stream for all names that share objects, large memory out of band.

What differs from plain pickling, and why:

* functions of the notebook are rebuilt against the live namespace, so that they see names that are bound later;
* arrays own their memory again, and views are views of the same owner, so that sharing survives;
* so do masked arrays, arrays over memory that is lent to them, and tables of arrow and polars over that of an array;
* large blocks of frames are kept column by column, so that what changes in some columns leaves the others as they are;
* the content of both is kept apart from the stream, in pieces that are read to where they belong;
* lazy collections are kept as graphs (`nbrewind.tasks.lazy`).
"""

from __future__ import annotations

import functools
import importlib
import io
import math
import pickle
import sys
import types
import warnings
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

import cloudpickle

from nbrewind import _native, collector
from nbrewind.fingerprint import is_importable
from nbrewind.fingerprint.arrays import (
    bounds_of,
    copies_on_write,
    has_plain_memory,
    is_view,
    lender_of,
    outside_owner,
    owner_of,
    place_in,
    place_of,
    row_of,
)
from nbrewind.fingerprint.borrowers import memory_of_image
from nbrewind.fingerprint.libraries import whole_of
from nbrewind.fingerprint.objects import (
    generic_parts,
    is_plain,
    library_name_of_container,
    library_name_of_instance,
    singleton_name,
)
from nbrewind.fingerprint.walker import LARGE
from nbrewind.kernel.caches import reduce_cache
from nbrewind.kernel.reducers import HeldByLibrary, reduce_own
from nbrewind.tasks.lazy import reduce_lazy

# Reducers of other rooms: each returns a reduction or NotImplemented.
reducers: list[Callable[[Any], Any]] = [reduce_lazy, reduce_own]

# Smaller arrays stay in the stream: there may be very many of them, and each piece beside it has its own record.
_IN_BAND = 4096

_namespace: dict[str, Any] | None = None
# The pieces of the stream that is being loaded, and who is told what their content is.
_pieces: Sequence[Piece] = ()
_memory: _native.Memory | None = None


class Piece(Protocol):
    """Bytes that are in the store."""

    @property
    def names(self) -> list[str] | None:
        """Fingerprints of the slices, when all that is read is compared with them."""

    def fill(self, flat: Any) -> None:
        """Read them into an array of bytes that is as long."""

    def read(self) -> bytearray:
        """Read them."""


def _live_namespace() -> dict[str, Any]:
    """The namespace that functions are rebuilt against; set while `load` runs."""
    if _namespace is None:
        raise pickle.UnpicklingError("functions of a notebook can be loaded only into a namespace")
    return _namespace


class _NamespaceRef:
    """Stands in the stream for the namespace itself."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (_live_namespace, ())


class _Cell:
    """Stands in the stream for a cell of closures, without what is in it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (types.CellType, ())


# How an owned array lies in memory: "C", "F", or its strides where that is another order of the axes.
_Layout = str | tuple[int, ...]


def _layout_of(array: Any) -> _Layout:
    """The layout, for a copy that is as compact as possible."""
    if array.flags.c_contiguous:
        return "C"
    if array.flags.f_contiguous:
        return "F"
    in_order = array.transpose(_axes_of(array.strides))
    return array.strides if in_order.flags.c_contiguous else "C"


def _axes_of(strides: tuple[int, ...]) -> list[int]:
    """The axes from the slowest to the fastest."""
    return sorted(range(len(strides)), key=lambda axis: -strides[axis])


def _flat(array: Any, layout: _Layout) -> Any:
    """The bytes of an array in the order of its memory; a copy when it has gaps."""
    import numpy as np

    if layout == "F":
        array = array.T
    elif layout != "C":
        array = array.transpose(_axes_of(array.strides))
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _empty(dtype: Any, shape: tuple[int, ...], layout: _Layout) -> Any:
    import numpy as np

    if isinstance(layout, str):
        return np.empty(shape, dtype=dtype, order=layout)  # type: ignore[call-overload]
    # Nothing of the pattern but its strides is looked at.
    pattern = np.lib.stride_tricks.as_strided(np.empty(1, dtype=dtype), shape, layout)
    return np.empty_like(pattern, order="K", subok=False)


def _adopt(owner: Any, parts: Iterable[tuple[Any, Piece]]) -> None:
    """What was just compared with its fingerprints need not be hashed to know them."""
    if _memory is None or owner.nbytes < LARGE:
        return
    found = [
        (place, piece.names)
        for part, piece in parts
        if piece.names is not None and (place := place_of(part)) is not None
    ]
    _memory.adopt((owner.__array_interface__["data"][0], owner.nbytes), found)


def _rebuild_small(
    content: bytes, dtype: Any, shape: tuple[int, ...], layout: _Layout, writeable: bool
) -> Any:
    import numpy as np

    array = _empty(dtype, shape, layout)
    _flat(array, layout)[:] = np.frombuffer(content, dtype=np.uint8)
    array.flags.writeable = writeable
    return array


def _rebuild_large(
    index: int, dtype: Any, shape: tuple[int, ...], layout: _Layout, writeable: bool
) -> Any:
    array = _empty(dtype, shape, layout)
    _pieces[index].fill(_flat(array, layout))
    _adopt(array, [(array, _pieces[index])])
    array.flags.writeable = writeable
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

    plain = owner if type(owner) is np.ndarray else owner.view(np.ndarray)
    if plain.flags.c_contiguous or not plain.flags.f_contiguous:
        flat = plain.reshape(-1)
    else:
        flat = plain.T.reshape(-1)
    # Through ndarray's own constructor, so that the owner is the base, as it was.
    view: Any = np.ndarray(
        shape, dtype=dtype, buffer=flat.view(np.uint8), offset=offset, strides=strides
    )
    if not writeable:
        view.flags.writeable = False
    return view


def _rebuild_kind_of_array(kind: type, *part: Any) -> Any:
    return _rebuild_view(*part).view(kind)


def _rebuild_arrow_buffer(owner: Any, start: int, n_bytes: int, mutable: bool) -> Any:
    import numpy as np
    import pyarrow as pa

    part = _flat(owner, _layout_of(owner)).view(np.uint8)[start : start + n_bytes]
    part.flags.writeable = mutable
    return pa.py_buffer(part)


def _rebuild_image(owner: Any, start: int, n_bytes: int, mode: str, size: Any, info: Any) -> Any:
    import numpy as np
    from PIL import Image

    flat = _flat(owner, _layout_of(owner)).view(np.uint8)[start : start + n_bytes]
    image = Image.frombuffer(mode, size, flat, "raw", mode, 0, 1)
    image.info = info
    return image


def _rebuild_polars(name: str | None, content: Any) -> Any:
    import polars as pl

    made: Any = pl.from_arrow(content)
    return made if name is None else made.alias(name)


def _rebuild_own_kind(
    kind: Any,
    dtype: Any,
    shape: tuple[int, ...],
    layout: Any,
    writeable: bool,
    where: bytes | int,
) -> Any:
    """An array of this class that owns its memory, as `kind.__new__` often does not make it."""
    import numpy as np

    array: Any = np.ndarray.__new__(kind, shape, dtype, order=layout)
    plain = array.view(np.ndarray)
    flat = _flat(plain, layout)
    if isinstance(where, int):
        _pieces[where].fill(flat)
        _adopt(plain, [(plain, _pieces[where])])
    else:
        flat[:] = np.frombuffer(where, dtype=np.uint8)
    array.flags.writeable = writeable
    return array


def _set_attributes(obj: Any, attributes: dict[str, Any]) -> None:
    if attributes:
        vars(obj).update(attributes)


def _rebuild_lent(
    lender: Any,
    dtype: Any,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    offset: int,
    writeable: bool,
) -> Any:
    import numpy as np

    array: Any = np.ndarray(shape, dtype=dtype, buffer=lender, offset=offset, strides=strides)
    array.flags.writeable = writeable
    return array


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


def _rebuild_row(owner: Any, dtype: Any, offset: int, writeable: bool) -> Any:
    """A row of an array: for arrays of objects, for which numpy takes no buffer, a whole item of it."""
    if dtype.hasobject:
        return owner.reshape(-1)[offset // owner.itemsize]
    return _rebuild_view(owner, dtype, (), (), offset, writeable)[()]


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
    columns = _pieces[first : first + shape[0]]
    if order == "F" and shape[0] > 1:
        table = values.T.reshape(-1).view(np.uint8)
        _native.interleave([column.read() for column in columns], values.itemsize, table)
    else:
        for row, column in zip(values, columns, strict=True):
            column.fill(row.view(np.uint8))
    _adopt(values, zip(values, columns, strict=True))
    values.flags.writeable = writeable
    return internals._unpickle_block(values, *rest)


# Blocks that shared their memory when they were stored, each with one that stands for those it shared it with.
_shared_blocks: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


def _rebuild_shared_block(rebuild: Any, parts: tuple[Any, ...]) -> Any:
    """A block whose memory another frame shared: pandas copies it before it writes.

    The other one is loaded on its own. An array that is taken from this one must not see what is written later.
    """
    block = rebuild(*parts)
    other = block.__reduce__()[0](*block.__reduce__()[1])
    block.refs.add_reference(other)
    _shared_blocks[block] = other
    return block


def _rebuild_beside(rebuild: Any, parts: tuple[Any, ...], other: Any) -> Any:
    """A block that has its memory from the same place as another one of this stream."""
    block = rebuild(*parts)
    block.refs = other.refs
    block.refs.add_reference(block)
    return block


def _rebuild_column(block: Any, labels: Any) -> Any:
    from pandas.core.internals.managers import SingleBlockManager

    return SingleBlockManager(block, labels, verify_integrity=False)


def _rebuild_generic(implementations: list[tuple[type, Any]], own: dict[str, Any]) -> Any:
    (_, default), *others = implementations
    made = functools.singledispatch(default)
    for kind, function in others:
        made.register(kind, function)
    vars(made).update(own)
    return made


# What modules call `nan`: a list has it by which object it is, not by its value.
_MODULES_WITH_NAN = ("numpy", "math")


class _Pickler(cloudpickle.Pickler):
    def __init__(
        self,
        file: io.BytesIO,
        namespace: dict[str, Any],
        view_owners: set[int],
        buffers: list[pickle.PickleBuffer],
        pieces: list[Any],
        lenders: Sequence[Any] | None = None,
        owners: Collection[int] = (),
        blocks: Mapping[int, Any] | None = None,
    ) -> None:
        super().__init__(file, protocol=5, buffer_callback=buffers.append)
        # Arrays whose memory others may use that are no arrays, and how often they were seen to.
        self._is_lent = lenders is not None
        self._lenders = lenders or ()
        self.n_lent = 0
        # Objects that have the memory of arrays, and arrays that they gave for their own pickle.
        self._owners = owners
        self._given: dict[int, Any] = {}
        # Where tables and arrays share memory: the first block of those that know of each other.
        self._is_shared = blocks is not None
        self._first_blocks = blocks or {}
        self._pieces = pieces
        self._live = namespace
        self._view_owners = view_owners
        self._reference = _NamespaceRef()
        self._cells: dict[int, _Cell] = {}
        # Values of names that a library keeps, too, by identity: inside other values they are the same object.
        self.held: dict[int, HeldByLibrary] = {}
        # Figures of plotly of which the stream has something, each with what that is.
        self._wholes: dict[int, Any] = {}
        # Arrays that come back with memory of their own: those that had it from elsewhere, and those that own it.
        self._foreign: list[Any] = []
        self._owning: list[Any] = []
        self._ndarray = getattr(sys.modules.get("numpy"), "ndarray", None)
        self._plotly = sys.modules.get("plotly.basedatatypes")
        self._row = getattr(sys.modules.get("numpy"), "void", None)
        internals = sys.modules.get("pandas.core.internals.blocks")
        self._block = getattr(internals, "NumpyBlock", None)
        managers = sys.modules.get("pandas.core.internals.managers")
        self._column = getattr(managers, "SingleBlockManager", None)

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if id(obj) in self.held:
            return self.held[id(obj)].__reduce__()
        if self._is_lent:
            reduced = self._reduce_borrower(obj)
            if reduced is not NotImplemented:
                return reduced
        if kind is self._ndarray:
            return self._reduce_array(obj)
        if self._ndarray is not None and isinstance(obj, self._ndarray):
            reduced = self._reduce_kind_of_array(obj)
            if reduced is not NotImplemented:
                return reduced
        elif self._row is not None and isinstance(obj, self._row) and obj.base is not None:
            return self._reduce_row(obj)
        elif kind is self._block:
            return self._reduce_block(obj)
        elif self._is_shared and kind is self._column:
            # Pandas takes the block apart, and forgets who else has its memory.
            return (_rebuild_column, (obj.blocks[0], obj.axes[0]))
        if kind is functools._lru_cache_wrapper and not is_importable(obj):
            return reduce_cache(obj)
        if kind is types.FunctionType and obj.__module__ == "__main__":
            generic = generic_parts(obj)
            if generic is not None:
                return (_rebuild_generic, generic)
        for reducer in reducers:
            reduced = reducer(obj)
            if reduced is not NotImplemented:
                return reduced
        if self._plotly is not None and kind.__module__.startswith("plotly."):
            self._note_whole(obj)
        return super().reducer_override(obj)

    def _dynamic_function_reduce(self, func: types.FunctionType) -> Any:
        reduced = list(super()._dynamic_function_reduce(func))
        if func.__globals__ is self._live:
            code, _, name, defaults, closure = reduced[1]
            state, slots = reduced[2]
            reduced[1] = (code, self._reference, name, defaults, closure)
            reduced[2] = (state, {**slots, "__globals__": {}})
        if func.__closure__:
            # Functions that share a cell go on sharing it. What is in it comes later: it may be the function itself.
            cells = tuple(self._cells.setdefault(id(cell), _Cell()) for cell in func.__closure__)
            reduced[1] = (*reduced[1][:-1], cells)
        return tuple(reduced)

    def _reduce_block(self, block: Any) -> Any:
        """A block of a frame, and whether other frames share its memory."""
        reduced = self._reduce_columns(block)
        if not copies_on_write() or not block.refs.has_reference():
            return reduced
        if reduced is NotImplemented:
            reduced = block.__reduce__()
        first = self._first_blocks.get(id(block.refs))
        if first is block:
            return reduced[:2]
        if first is not None:
            return (_rebuild_beside, (*reduced[:2], first))
        return (_rebuild_shared_block, reduced[:2])

    def _reduce_columns(self, block: Any) -> Any:
        """A large block of a frame: its columns one by one, and how they lie in memory."""
        values = block.values
        reduced = block.__reduce__()
        is_plain = type(values) is self._ndarray and values.ndim == 2 and values.shape[0] > 0
        if is_plain and id(owner_of(values)) in self._view_owners:
            # Not by `__reduce_ex__`, which copies what is not contiguous: it is a part of memory that others share.
            return reduced
        if not is_plain or values.dtype.hasobject or place_of(values[0]) is None:
            return NotImplemented
        _, *rest = reduced[1]
        first = len(self._pieces)
        self._pieces.extend(values)
        order = "F" if values.flags.f_contiguous else "C"
        what = (values.dtype, values.shape, order, values.flags.writeable)
        return (_rebuild_block, (first, *what, tuple(rest)))

    def _reduce_array(self, array: Any) -> Any:
        import numpy as np

        owner = owner_of(array)
        if self._is_lent and id(array) not in self._given:
            outside = outside_owner(array)
            if outside is not None and id(outside) in self._owners:
                return self._reduce_part(array, outside)
        if self._lenders and owner.base is not None and array.size > 0:
            # Polars gives the memory of one array to another one.
            address = array.__array_interface__["data"][0]
            if self._lender(address, array.itemsize) is not None:
                raise pickle.PicklingError("two arrays share memory by way of another library")
        if array.dtype.hasobject:
            return self._reduce_objects(array, owner)
        if array.size == 0:
            return (_rebuild_empty, (array.dtype, array.shape, array.flags.writeable))
        if owner is not array and id(owner) in self._view_owners and type(owner) is np.ndarray:
            return (_rebuild_view, self._part_of(owner, array))
        if (lender := lender_of(array)) is not None:
            where = (array.strides, place_in(lender, array), array.flags.writeable)
            return (_rebuild_lent, (lender, array.dtype, array.shape, *where))
        if id(array) not in self._given:
            (self._owning if array.flags.owndata else self._foreign).append(array)
        layout = _layout_of(array)
        what = (array.dtype, array.shape, layout, array.flags.writeable)
        if array.nbytes < _IN_BAND and layout == "C":
            return (_rebuild_small, (array.tobytes(), *what))
        flat = _flat(array, layout)
        if flat.nbytes < _IN_BAND:
            return (_rebuild_small, (bytes(flat), *what))
        self._pieces.append(flat)
        return (_rebuild_large, (len(self._pieces) - 1, *what))

    def _note_whole(self, obj: Any) -> None:
        """A figure is pickled as the numbers and texts in it: its traces would come back beside it."""
        whole = whole_of(obj)
        if whole is not None and self._wholes.setdefault(id(whole), obj) is not obj:
            raise pickle.PicklingError("a figure and a part of it")

    def check(self) -> None:
        """Raise `PicklingError` when values of the stream share something that the stream does not have as shared."""
        if not self._foreign:
            # Of two arrays that own their memory none has the other's.
            return
        last, is_written = 0, False
        arrays = (*self._foreign, *self._owning)
        for first, end, writeable in sorted((*bounds_of(it), it.flags.writeable) for it in arrays):
            if first < last and (writeable or is_written):
                raise pickle.PicklingError("two arrays share memory, and nobody tells whose it is")
            if end > last:
                last, is_written = end, writeable

    @staticmethod
    def _part_of(owner: Any, array: Any) -> tuple[Any, ...]:
        offset = array.__array_interface__["data"][0] - owner.__array_interface__["data"][0]
        return (owner, array.dtype, array.shape, array.strides, offset, array.flags.writeable)

    @staticmethod
    def _reduce_row(row: Any) -> Any:
        found = row_of(row)
        if found is None:
            return NotImplemented
        owner, offset = found
        is_item = row.dtype == owner.dtype and offset % owner.itemsize == 0
        if row.dtype.hasobject and not (is_item and owner.flags.c_contiguous):
            raise pickle.PicklingError("a part of a row that holds objects")
        return (_rebuild_row, (owner, row.dtype, offset, row.flags.writeable))

    def _reduce_kind_of_array(self, array: Any) -> Any:
        """A masked array, a matrix and the like: its memory, or a part of its owner's, and its attributes."""
        import numpy as np

        kind, owner = type(array), owner_of(array)
        # Classes with empty slots have no attributes.
        attributes = getattr(array, "__dict__", {})
        if is_view(array) and id(owner) in self._view_owners:
            what = (kind, *self._part_of(owner, array))
            return (_rebuild_kind_of_array, what, attributes, None, None, _set_attributes)
        layout = _layout_of(array)
        if (
            array.base is not None
            or array.size == 0
            or array.dtype.hasobject
            or not isinstance(layout, str)
            or not has_plain_memory(kind)
        ):
            return NotImplemented
        flat = _flat(array.view(np.ndarray), layout)
        where: Any = bytes(flat)
        if flat.nbytes >= _IN_BAND:
            self._pieces.append(flat)
            where = len(self._pieces) - 1
        args = (kind, array.dtype, array.shape, layout, array.flags.writeable, where)
        return (_rebuild_own_kind, args, attributes, None, None, _set_attributes)

    def _reduce_borrower(self, obj: Any) -> Any:
        """What uses the memory of an array: by that array."""
        library = type(obj).__module__.partition(".")[0]
        if library == "PIL" and (memory := memory_of_image(obj)) is not None:
            return self._reduce_image(obj, memory)
        if library == "scipy" and _is_tree(obj):
            func, args, state, *rest = obj.__reduce_ex__(4)
            data = obj.data
            found = self._lender(data.__array_interface__["data"][0], data.nbytes)
            self.n_lent += found is not None
            return (func, args, (state[0], data, *state[2:]), *rest)
        if library in {"pyarrow", "polars"}:
            return self._reduce_foreign(obj)
        return self._reduce_owner(obj) if id(obj) in self._owners else NotImplemented

    def _reduce_owner(self, obj: Any) -> Any:
        """What has given arrays its memory. Those that it gives for its own pickle are no others."""
        reduced = obj.__reduce_ex__(4)
        if self._ndarray is None or not isinstance(reduced, tuple):
            return reduced
        state = reduced[2] if len(reduced) > 2 else None
        held = (
            state.values() if isinstance(state, dict) else state if isinstance(state, tuple) else ()
        )
        for one in held:
            if isinstance(one, self._ndarray) and outside_owner(one) is obj:
                self._given[id(one)] = one
        return reduced

    def _reduce_part(self, array: Any, outside: Any) -> Any:
        """An array over the memory of an object: the attribute that gives it."""
        for name in dir(type(outside)):
            if type(getattr(type(outside), name, None)) is not types.GetSetDescriptorType:
                continue
            found = getattr(outside, name, None)
            if type(found) is self._ndarray and _is_same_piece(found, array):
                self.n_lent += 1
                return (getattr, (outside, name))
        raise pickle.PicklingError("it uses memory that belongs to an object of a library")

    def _reduce_image(self, image: Any, memory: tuple[int, int]) -> Any:
        found = self._lender(*memory)
        is_plain = type(image).__name__ == "Image" and image.palette is None and not image._exif
        if found is None or not is_plain:
            raise pickle.PicklingError("an image of this kind over the memory of an array")
        self.n_lent += 1
        return (_rebuild_image, (*found, memory[1], image.mode, image.size, image.info))

    def _reduce_foreign(self, obj: Any) -> Any:
        """Tables, and the memory that arrow uses."""
        kind = type(obj).__qualname__
        if kind in {"Series", "DataFrame"}:
            what = (obj.name if kind == "Series" else None, obj.to_arrow())
            types = "dtype" if kind == "Series" else "schema"
            # Arrow has no word for some of its types.
            is_same = getattr(_rebuild_polars(*what), types) == getattr(obj, types)
            return (_rebuild_polars, what) if is_same else NotImplemented
        if not kind.endswith("Buffer"):
            return NotImplemented
        found = self._lender(obj.address, obj.size)
        if found is None:
            return NotImplemented
        self.n_lent += 1
        return (_rebuild_arrow_buffer, (*found, obj.size, obj.is_mutable))

    def _lender(self, address: int, n_bytes: int) -> tuple[Any, int] | None:
        """The array that has this memory, and how far into it it begins."""
        for owner in self._lenders:
            start = address - owner.__array_interface__["data"][0]
            if start >= 0 and start + n_bytes <= owner.nbytes:
                return owner, start
        return None

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


def _is_tree(obj: Any) -> bool:
    """True for scipy's trees of points."""
    kind = getattr(sys.modules.get("scipy.spatial"), "cKDTree", None)
    return kind is not None and isinstance(obj, kind)


def _is_same_piece(one: Any, other: Any) -> bool:
    """True for arrays that are the same part of the same memory."""
    return all(
        one.__array_interface__[key] == other.__array_interface__[key]
        for key in ("data", "shape", "strides", "typestr")
    )


class _Lenders(_Pickler):
    """Finds the arrays and tables that a stream would hold: what comes first may use the memory of a later one."""

    def __init__(
        self,
        file: io.BytesIO,
        namespace: dict[str, Any],
        view_owners: set[int],
    ) -> None:
        super().__init__(file, namespace, view_owners, [], [], blocks={})
        # Arrays whose memory others may use; objects that have the memory of arrays.
        self.found: dict[int, Any] = {}
        self.owners: dict[int, Any] = {}
        self._arrays: dict[int, Any] = {}
        self._blocks: dict[int, Any] = {}

    def _note(self, array: Any) -> None:
        owner = owner_of(array)
        if type(owner) is self._ndarray and owner.flags.owndata and owner.flags.writeable:
            self.found[id(owner)] = owner
        outside = outside_owner(array)
        # Of what arrow has, nobody writes.
        if outside is not None and not type(outside).__module__.startswith("pyarrow."):
            self.owners[id(outside)] = outside

    def _reduce_array(self, array: Any) -> Any:
        self._note(array)
        self._arrays[id(array)] = array
        return super()._reduce_array(array)

    def _reduce_block(self, block: Any) -> Any:
        self._blocks[id(block)] = block
        if type(block.values) is self._ndarray:
            self._note(block.values)
        return block.__reduce__()

    def first_blocks(self) -> dict[int, Any]:
        """Of several blocks that know of each other the first, by what they know."""
        first: dict[int, Any] = {}
        several = set()
        for block in self._blocks.values():
            if first.setdefault(id(block.refs), block) is not block:
                several.add(id(block.refs))
        return {ident: block for ident, block in first.items() if ident in several}

    def shared(self) -> dict[int, Any]:
        """Arrays whose memory both tables and other arrays have. Raises `PicklingError` where it is nobody's."""
        tables = [block.values for block in self._blocks.values()]
        own = {id(values) for values in tables}
        tables = [values for values in tables if type(values) is self._ndarray]
        arrays = [array for ident, array in self._arrays.items() if ident not in own]
        owners = {id(owner_of(array)): owner_of(array) for array in arrays}
        found = {}
        for values in tables:
            owner = owner_of(values)
            if id(owner) in owners:
                found[id(owner)] = owner
        for owner in (*found.values(), *(owner_of(values) for values in tables)):
            is_own = type(owner) is self._ndarray and owner.base is None
            others = (one for ident, one in owners.items() if not is_own or ident != id(owner))
            if any(_overlap(owner, other) for other in others):
                raise pickle.PicklingError("a table and an array share memory of something else")
        return found


def _overlap(one: Any, other: Any) -> bool:
    import numpy as np

    return bool(np.may_share_memory(one, other))


class _NanPickler(_Pickler):
    """Keeps which object a value is that is not a number. It asks for every object: others go without it."""

    def persistent_id(self, obj: Any) -> str | None:
        if type(obj) is float and math.isnan(obj):
            for name in _MODULES_WITH_NAN:
                if obj is getattr(sys.modules.get(name), "nan", None):
                    return name
        return None


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, pid: str) -> Any:
        return importlib.import_module(pid).nan


class Finalizes(Exception):
    """A class whose objects run code when they end."""


class _CautiousUnpickler(_Unpickler):
    """Makes no object whose end the user would see: a warning that it was never used."""

    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name)
        if isinstance(found, type) and hasattr(found, "__del__"):
            raise Finalizes(f"{module}.{name}")
        return found


def _place_in_library(value: Any) -> tuple[str, str] | None:
    """Module and name of what a library has only one of, where no reducer is asked; None for all others."""
    if is_plain(value):
        return singleton_name(value) or library_name_of_container(value)
    return library_name_of_container(value) or library_name_of_instance(value)


def dump(
    values: dict[str, Any],
    namespace: dict[str, Any],
    view_owners: set[int],
    *,
    holds_nan: bool = False,
    is_lent: bool = False,
    is_shared: bool = False,
) -> tuple[bytes, list[pickle.PickleBuffer], list[Any]]:
    """One stream for these names, its out-of-band buffers, and its pieces: arrays of bytes, and columns of frames.

    `holds_nan`: among them is `np.nan` or `math.nan` itself. `is_lent`: what is no array uses the memory of one.
    `is_shared`: tables and arrays use the same memory.
    Raises whatever the objects' own pickling raises.
    """
    file = io.BytesIO()
    buffers: list[pickle.PickleBuffer] = []
    pieces: list[Any] = []
    held = {
        name: HeldByLibrary(place)
        for name, value in values.items()
        if (place := _place_in_library(value)) is not None
    }
    lenders: list[Any] | None = None
    owners: dict[int, Any] = {}
    blocks: dict[int, Any] | None = None
    if is_lent or is_shared:
        finder = _Lenders(io.BytesIO(), namespace, view_owners)
        finder.dump({**values, **held})
        if is_lent:
            lenders, owners = list(finder.found.values()), finder.owners
            # Frames and arrays over their memory are parts of it.
            view_owners = view_owners | finder.found.keys()
        if is_shared:
            blocks = finder.first_blocks()
            view_owners = view_owners | finder.shared().keys()
    kind = _NanPickler if holds_nan else _Pickler
    pickler = kind(file, namespace, view_owners, buffers, pieces, lenders, owners, blocks)
    pickler.held = {id(values[name]): place for name, place in held.items()}
    pickler.dump({**values, **held})
    pickler.check()
    if is_lent and not pickler.n_lent:
        raise pickle.PicklingError("it uses the memory of an array that cannot be told")
    return file.getvalue(), buffers, pieces


def load(
    head: Any,
    buffers: Sequence[Any],
    pieces: Sequence[Piece],
    namespace: dict[str, Any],
    memory: _native.Memory | None = None,
    *,
    is_trial: bool = False,
) -> dict[str, Any]:
    """The names of one stream, with functions bound to `namespace`; `namespace` itself is not changed.

    `memory` is told the fingerprints of what has been compared with them. `is_trial`: the values are thrown away;
    raises `Finalizes` when somebody would see that.
    """
    global _namespace, _pieces, _memory
    before = _namespace, _pieces, _memory
    _namespace, _pieces, _memory = namespace, pieces, memory
    builtins = namespace.get("__builtins__")
    try:
        with collector.paused():
            kind = _CautiousUnpickler if is_trial else _Unpickler
            values: dict[str, Any] = kind(io.BytesIO(head), buffers=buffers).load()
    finally:
        _namespace, _pieces, _memory = before
        # cloudpickle puts a dict there with every function that it makes; users look into the module.
        if builtins is not None and namespace.get("__builtins__") is not builtins:
            namespace["__builtins__"] = builtins
    return values
