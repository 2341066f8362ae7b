"""Facts for arrays and tables: numpy, pandas, pyarrow, polars. Content, not memory layout, decides."""

from __future__ import annotations

import ctypes
import mmap
import sys
from array import array as _array
from typing import Any

from nbrewind.fingerprint.library import module_version
from nbrewind.fingerprint.walker import (
    FOREIGN,
    LARGE,
    READ_ONLY,
    READS,
    Context,
    Fact,
    Place,
    register,
)

# Items of these sizes fill the slices of a large buffer without rest; others are copied before they are read.
_EVEN_ITEMS = frozenset({1, 2, 4, 8, 16})


def _flat_bytes(array: Any) -> Any:
    """The array's items as one flat buffer of bytes, copied only when the memory is not contiguous."""
    import numpy as np

    if array.flags.f_contiguous and not array.flags.c_contiguous:
        array = array.T
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def owner_of(array: Any) -> Any:
    """The array at the end of the chain of bases that holds the memory (the array itself when it owns it).

    What is taken of a row leads over the row to the array that the row is from, and so does what `np.nditer` gave.
    """
    import numpy as np

    found, base = array, array.base
    while base is not None:
        if isinstance(base, np.nditer):
            base = _walked_by(base, found)
        if isinstance(base, np.ndarray):
            found = base
        elif not isinstance(base, np.void):
            break
        base = base.base
    return found


def _walked_by(iterator: Any, item: Any) -> Any:
    """The array that an iterator of numpy goes through and that the item is a part of."""
    try:
        operands = iterator.operands
    except ValueError:
        # It is closed, and says nothing any more.
        return None
    first = item.__array_interface__["data"][0]
    for one in operands:
        start, n_bytes = _span(one)
        if start <= first < start + n_bytes:
            return one
    return None


def has_plain_memory(kind: type) -> bool:
    """True for arrays that are their memory and their attributes: masked ones, matrices, classes of the notebook."""
    import numpy as np

    if kind is np.ndarray or kind is np.ma.MaskedArray:
        return True
    return not issubclass(kind, np.memmap) and all(
        getattr(kind, name) is getattr(np.ndarray, name)
        for name in ("__reduce__", "__reduce_ex__", "__setstate__")
    )


def is_view(array: Any) -> bool:
    """True for a part of the memory of another array. A view of nothing shares nothing.

    So are masked arrays and matrices of what they were made from.
    """
    import numpy as np

    owner = owner_of(array)
    if owner is array or array.size == 0:
        return False
    if type(array) is type(owner) is np.ndarray:
        return bool(owner.dtype.hasobject == array.dtype.hasobject)
    if owner.dtype.hasobject or array.dtype.hasobject:
        return False
    return has_plain_memory(type(array)) and has_plain_memory(type(owner))


def lender_of(array: Any) -> Any:
    """What has the memory of an array that was made over it (`np.frombuffer`); None where nothing else can write to it.

    Of what other objects lend, libraries see to it that nobody writes to it, or the array cannot be written to either.
    """
    import numpy as np

    owner = owner_of(array)
    if owner is not array and not isinstance(array.base, np.ndarray):
        # An iterator stands between them.
        return owner
    lender = owner.base
    if isinstance(lender, memoryview):
        lender = lender.obj
    if isinstance(owner, np.memmap) or isinstance(lender, mmap.mmap):
        return lender if array.flags.writeable else None
    return lender if isinstance(lender, bytearray | _array | ctypes.Array) else None


def outside_owner(array: Any) -> Any:
    """The object of another kind that has the array's memory and may write to it; None for all that `lender_of` knows.

    Nobody reaches what is in a capsule but through the array.
    """
    owner = owner_of(array).base
    if isinstance(owner, memoryview):
        owner = owner.obj
    if owner is None or isinstance(owner, bytes | mmap.mmap) or type(owner).__name__ == "PyCapsule":
        return None
    return None if lender_of(array) is not None else owner


def place_in(lender: Any, array: Any) -> int:
    """How far into the memory that is lent the array begins, in bytes."""
    import numpy as np

    first: int = array.__array_interface__["data"][0]
    whole: int = np.frombuffer(lender, dtype=np.uint8).__array_interface__["data"][0]
    return first - whole


def bounds_of(array: Any) -> tuple[int, int]:
    """Where an array's memory begins, and one past its end."""
    start, n_bytes = _span(array)
    return start, start + n_bytes


def _span(array: Any) -> tuple[int, int]:
    import numpy as np

    flags = array.flags
    if type(array) is np.ndarray and (flags.c_contiguous or flags.f_contiguous):
        return array.__array_interface__["data"][0], array.nbytes
    # numpy 1 has it at the top.
    low, high = getattr(np.lib, "array_utils", np).byte_bounds(array)
    return low, high - low


def place_of(array: Any) -> Place | None:
    """Where the items of a large array are, in the order of its memory; None when it must be copied first."""
    if array.nbytes < LARGE:
        return None
    start, owned = _span(owner_of(array))
    first = array.__array_interface__["data"][0]
    if array.flags.c_contiguous or array.flags.f_contiguous:
        place = (first, array.nbytes, 1, 1, start, owned)
    elif array.ndim == 1 and array.strides[0] > array.itemsize and array.itemsize in _EVEN_ITEMS:
        place = (first, array.size, array.strides[0], array.itemsize, start, owned)
    else:
        return None
    is_inside = start <= first and _span(array)[1] + first <= start + owned
    return place if is_inside else None


def _content(array: Any) -> dict[str, Any]:
    """The array's items, for a fact: where they are, or as a flat copy."""
    place = place_of(array)
    if place is not None:
        return {"place": place, "data": array}
    return {"data": _flat_bytes(array)}


def _prepare(values: Any, ctx: Context) -> None:
    """Fingerprint the columns of a block that is stored by rows all at once: one by one would read it many times."""
    import numpy as np

    if ctx.memory is None or not isinstance(values, np.ndarray) or values.ndim != 2:
        return
    if values.dtype.hasobject or values.shape[0] < 2 or values.strides[0] != values.itemsize:
        return
    place = place_of(values[0])
    if place is not None and place[2] != place[3]:
        ctx.memory.prepare(place, values.shape[0], values.itemsize)


def copies_on_write() -> bool:
    """True when pandas copies what several of its objects share before it writes: then nobody can tell that they do.

    So does pandas 3, and pandas 2 with its option `mode.copy_on_write`.
    """
    pandas = sys.modules.get("pandas")
    asked = getattr(sys.modules.get("pandas._config"), "using_copy_on_write", None)
    if asked is not None:
        return bool(asked())
    # Only older ones than pandas 2 have neither; what is built from its sources may have no number.
    return not getattr(pandas, "__version__", "").startswith(("0.", "1."))


def dtype_key(dtype: Any) -> str:
    """A dtype as text; structured dtypes with their field names."""
    return repr(dtype.descr) if dtype.names else f"{dtype.str}{dtype.metadata or ''}"


@register("numpy:ndarray")
def _ndarray_fact(array: Any, ctx: Context) -> Fact:
    import numpy as np

    start, n_bytes = _span(array)
    seen = array.flags
    buffers = [(start, n_bytes, 0 if seen.writeable else READ_ONLY)]
    if (outside := outside_owner(array)) is not None:
        buffers.append((id(outside), 1, 0))
    flags = ("writeable" if seen.writeable else "read-only", "F" if seen.fnc else "C")
    head: tuple[Any, ...] = (type(array), dtype_key(array.dtype), array.shape, flags)
    extra = getattr(array, "__dict__", None)
    if is_view(array):
        # Which part of which memory it is, so that two views of one array are not two equal copies. Views of
        # objects are not stored as views: what is loaded for them is found to differ, and is made again instead.
        owner = owner_of(array)
        ctx.view_owners.add(id(owner))
        offset = array.__array_interface__["data"][0] - owner.__array_interface__["data"][0]
        if isinstance(array, np.ma.MaskedArray):
            head = (*head, array.mask, array.fill_value, array.hardmask, array.sharedmask)
        elif extra:
            head = (*head, extra)
        return Fact("view", (*head, array.strides, offset, owner), mutable=True, buffers=buffers)
    if (lender := lender_of(array)) is not None and array.size > 0:
        return Fact(
            "lent",
            (*head, array.strides, place_in(lender, array), lender),
            mutable=True,
            buffers=buffers,
        )
    if array.dtype.hasobject:
        return Fact(
            "array of objects",
            (*head, extra, tuple(array.ravel(order="K").tolist())),
            mutable=True,
            buffers=buffers,
        )
    mask = (array.mask, array.fill_value) if isinstance(array, np.ma.MaskedArray) else None
    return Fact(
        "array",
        (*head, extra if mask is None else None, mask),
        mutable=True,
        buffers=buffers,
        **_content(np.asarray(array)),
    )


def row_of(obj: Any) -> tuple[Any, int] | None:
    """Of a row of an array with fields, or of a record in one: the array that owns its memory, and how far into it.

    None for all else, and for rows that have their own memory.
    """
    import numpy as np

    base: Any = obj.base if isinstance(obj, np.void) else None
    if not isinstance(base, np.ndarray):
        return None
    owner = owner_of(base)
    first: int = np.frombuffer(obj, dtype=np.uint8).__array_interface__["data"][0]
    return owner, first - owner.__array_interface__["data"][0]


@register("numpy:generic")
def _scalar_fact(obj: Any, ctx: Context) -> Fact:
    if obj.dtype.names is not None:
        # Unlike other scalars these can be written to, and so is the array that they were taken from.
        return _row_fact(obj, ctx)
    if obj.dtype.hasobject:
        return Fact("numpy scalar", (dtype_key(obj.dtype), obj.item()))
    return Fact("numpy scalar", (dtype_key(obj.dtype), obj.tobytes()))


def _row_fact(obj: Any, ctx: Context) -> Fact:
    head = (type(obj), dtype_key(obj.dtype), "writeable" if obj.flags.writeable else "read-only")
    found = row_of(obj)
    if found is None:
        own = obj.item() if obj.dtype.hasobject else obj.tobytes()
        return Fact("row", (*head, own), mutable=True)
    owner, offset = found
    ctx.view_owners.add(id(owner))
    start = owner.__array_interface__["data"][0] + offset
    buffers = [(start, obj.nbytes, 0 if obj.flags.writeable else READ_ONLY)]
    return Fact("row of array", (*head, offset, owner), mutable=True, buffers=buffers)


@register("numpy:dtype")
def _dtype_fact(obj: Any, ctx: Context) -> Fact:
    return Fact("dtype", (dtype_key(obj),))


@register("numpy:ufunc")
def _ufunc_fact(obj: Any, ctx: Context) -> Fact:
    import numpy as np

    name: str = obj.__name__
    if getattr(np, name, None) is obj:
        return Fact("ufunc", (name, np.__version__))
    # Others do not say where they come from; pickle looks for them by name as well.
    for module in _OF_UFUNCS:
        if getattr(sys.modules.get(module), name, None) is obj:
            return Fact("ufunc", (module, name, module_version(module)))
    return Fact("opaque", opaque=f"ufunc {name} is not numpy's own")


_OF_UFUNCS = ("scipy.special",)


def _column_fact(values: Any, holder: int, ctx: Context) -> Fact:
    """One column of a frame (`holder`), or the items of an index (0), which nobody changes."""
    import numpy as np

    if not isinstance(values, np.ndarray):
        if copies_on_write() or not holder:
            return _array_fact(values)
        # Who writes into it writes for all that have it.
        return Fact("shared column", (values,))
    start, n_bytes = _span(values)
    is_object = values.dtype.hasobject
    shares = holder and not (is_object and copies_on_write())
    if not values.flags.writeable:
        holder |= READS
    buffers = ((start, n_bytes, holder),) if shares else ()
    if ctx.by_memory and holder:
        owner = owner_of(values)
        ctx.view_owners.add(id(owner))
        offset = values.__array_interface__["data"][0] - owner.__array_interface__["data"][0]
        parts = (dtype_key(values.dtype), values.shape, values.strides, offset, owner)
        return Fact("column in memory", parts, buffers=buffers)
    if is_object:
        items = tuple(values.ravel().tolist())
        return Fact("column of objects", (values.shape, items), buffers=buffers)
    return Fact(
        "column", (dtype_key(values.dtype), values.shape), buffers=buffers, **_content(values)
    )


def _array_fact(values: Any) -> Fact:
    """An array of pandas' own."""
    arrow = getattr(values, "_pa_array", None)
    if arrow is not None:
        return Fact("arrow column", (str(values.dtype), arrow))
    return Fact("extension column", (str(values.dtype), type(values), *values.__reduce__()[1:]))


@register("pandas:Index", "pandas.core.indexes.base:Index")
def _index_fact(index: Any, ctx: Context) -> Fact:
    fact = _labels_fact(index, ctx)
    # It can be given another name, which all see that have this very index.
    fact.mutable = True
    return fact


def _labels_fact(index: Any, ctx: Context) -> Fact:
    import pandas as pd

    head = (type(index).__name__, tuple(index.names), str(index.dtype))
    if isinstance(index, pd.RangeIndex):
        return Fact("index", (*head, index.start, index.stop, index.step))
    if isinstance(index, pd.MultiIndex):
        codes = tuple(_column_fact(code, 0, ctx) for code in index.codes)
        # Nobody has the levels themselves: their names are those of the whole.
        levels = tuple(_labels_fact(level, ctx) for level in index.levels)
        return Fact("index", (*head, levels, codes))
    freq = getattr(index, "freqstr", None)
    return Fact("index", (*head, freq, _column_fact(index._values, 0, ctx)))


def _column(frame: Any, position: int) -> Any:
    """The values of a column as they are stored."""
    get = getattr(frame, "_get_column_array", None)
    return get(position) if get is not None else frame.iloc[:, position]._values


def whole_of(frame: Any) -> Any:
    """What pandas 2 takes a table for a part of: it warns when the part is written. None when there is nothing."""
    known = None if copies_on_write() else getattr(frame, "_is_copy", None)
    whole = known() if callable(known) else known
    # It warns of no other.
    return None if getattr(whole, "shape", None) == frame.shape else whole


@register("pandas:DataFrame", "pandas.core.frame:DataFrame")
def _frame_fact(frame: Any, ctx: Context) -> Fact:
    holder = id(frame)
    for block in getattr(getattr(frame, "_mgr", None), "blocks", ()):
        _prepare(block.values, ctx)
    columns = tuple(_column_fact(_column(frame, i), holder, ctx) for i in range(frame.shape[1]))
    extra = (
        {name: getattr(frame, name, None) for name in frame._metadata} if frame._metadata else None
    )
    parts = (
        type(frame),
        frame.columns,
        frame.index,
        frame.attrs,
        frame.flags.allows_duplicate_labels,
        extra,
        columns,
        whole_of(frame) is not None,
    )
    return Fact("frame", parts, mutable=True)


@register("pandas:Series", "pandas.core.series:Series")
def _series_fact(series: Any, ctx: Context) -> Fact:
    parts = (
        type(series),
        series.name,
        series.index,
        series.attrs,
        series.flags.allows_duplicate_labels,
        _column_fact(series._values, id(series), ctx),
        whole_of(series) is not None,
    )
    return Fact("series", parts, mutable=True)


@register("pandas.core.arrays.base:ExtensionArray", "pandas.api.extensions:ExtensionArray")
def _extension_array_fact(values: Any, ctx: Context) -> Fact:
    fact = _array_fact(values)
    fact.mutable = True
    return fact


@register(
    "pandas.core.dtypes.base:ExtensionDtype", "pandas.core.dtypes.dtypes:PandasExtensionDtype"
)
def _extension_dtype_fact(dtype: Any, ctx: Context) -> Fact:
    fact = _fallback(dtype, ctx)
    fact.mutable = False
    return fact


def _fallback(obj: Any, ctx: Context) -> Fact:
    from nbrewind.fingerprint.objects import _reduce_fact

    return _reduce_fact(obj, ctx)


@register(
    "pandas._libs.missing:NAType",
    "pandas._libs.tslibs.nattype:NaTType",
    "pandas.api.typing:NAType",
    "pandas.api.typing:NaTType",
)
def _missing_fact(obj: Any, ctx: Context) -> Fact:
    return Fact("missing", (type(obj).__name__,))


def _ipc_bytes(table: Any) -> Any:
    """A table or array in Arrow's stream format: slices and chunks are folded, so that only content counts."""
    import numpy as np
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    if isinstance(table, pa.Table) and any(map(_is_cut, table.columns)):
        # What stands behind the end of a slice of texts would be written along.
        columns = [pa.concat_arrays(one.chunks) if _is_cut(one) else one for one in table.columns]
        table = pa.Table.from_arrays(columns, schema=table.schema)
    table = table.combine_chunks()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return np.frombuffer(sink.getvalue(), dtype=np.uint8)


def _is_cut(column: Any) -> bool:
    """True for a single chunk that is only a part of its memory."""
    import pyarrow as pa

    chunks = column.chunks
    return (
        len(chunks) == 1
        and not isinstance(column.type, pa.BaseExtensionType | pa.UnionType)
        and chunks[0].nbytes != chunks[0].get_total_buffer_size()
    )


def _arrow_fact(tag: str, name: Any, chunks: list[Any], schema: bytes, table: Any) -> Fact:
    """Arrow data: its stream is made again only when some of its memory was written since.

    Only for flat types is the memory all that counts: nested ones have offsets further down, dictionaries are apart.
    """
    import pyarrow as pa

    spans: dict[tuple[int, int], None] = {}
    shapes: list[Any] = []
    for chunk in chunks:
        shapes.append((len(chunk), chunk.offset))
        for buffer in chunk.buffers():
            shapes.append(buffer and buffer.address)
            if buffer is not None and buffer.size:
                if not buffer.is_cpu:
                    return Fact("opaque", opaque="arrow data outside main memory", mutable=True)
                spans[buffer.address, buffer.size] = None
    used = [(address, size, FOREIGN) for address, size in spans]
    is_flat = all(
        chunk.type.num_fields == 0
        and not isinstance(
            chunk.type, pa.DictionaryType | pa.BaseExtensionType | pa.RunEndEncodedType
        )
        for chunk in chunks
    )
    if not is_flat or sum(size for _, size in spans) < LARGE:
        return Fact(tag, (name,), data=_ipc_bytes(table()), buffers=used)
    key = repr((tag, schema, shapes, list(spans))).encode()
    known = (key, list(spans), lambda: _ipc_bytes(table()))
    return Fact(tag, (name,), derived=known, buffers=used)


@register("pyarrow.lib:Table", "pyarrow.lib:RecordBatch")
def _table_fact(table: Any, ctx: Context) -> Fact:
    import pyarrow as pa

    if isinstance(table, pa.RecordBatch):
        table = pa.Table.from_batches([table])
    chunks = [chunk for column in table.columns for chunk in column.chunks]
    schema = table.schema.serialize().to_pybytes()
    return _arrow_fact("arrow table", None, chunks, schema, lambda: table)


@register("pyarrow.lib:ChunkedArray", "pyarrow.lib:Array")
def _arrow_array_fact(array: Any, ctx: Context) -> Fact:
    import pyarrow as pa

    chunked = array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])
    kind = str(array.type)
    return _arrow_fact(
        "arrow array", kind, chunked.chunks, kind.encode(), lambda: pa.table({"a": chunked})
    )


@register("pyarrow.lib:Buffer")
def _buffer_fact(buffer: Any, ctx: Context) -> Fact:
    return Fact("arrow buffer", (buffer.to_pybytes(),))


@register("pyarrow.lib:DataType", "pyarrow.lib:Schema", "pyarrow.lib:Field")
def _arrow_type_fact(obj: Any, ctx: Context) -> Fact:
    return Fact("arrow type", (type(obj).__name__, str(obj), _metadata(obj)))


def _metadata(obj: Any) -> Any:
    found = getattr(obj, "metadata", None)
    return tuple(sorted(found.items())) if found else None


@register("polars.dataframe.frame:DataFrame", "polars.series.series:Series")
def _polars_fact(obj: Any, ctx: Context) -> Fact:
    return Fact(
        "polars", (type(obj).__name__, getattr(obj, "name", None), obj.to_arrow()), mutable=True
    )
