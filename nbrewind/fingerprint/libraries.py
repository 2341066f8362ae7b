"""Facts for classes of libraries whose own reduction says too much (addresses, counters) or too little."""

from __future__ import annotations

import copy
import sys
from typing import Any

from nbrewind.fingerprint.arrays import _polars_fact
from nbrewind.fingerprint.objects import _reduce_fact, held_fact
from nbrewind.fingerprint.walker import Context, Fact, register


def by_value(value: Any, *, is_ordered: bool = True) -> Any:
    """Lists and dicts as tuples: what counts is what they hold, not which of them are one object.

    For containers that a library hands from object to object, or copies when it pickles.
    """
    if type(value) is list:
        return ("list", *(by_value(item, is_ordered=is_ordered) for item in value))
    if type(value) is tuple:
        return tuple(by_value(item, is_ordered=is_ordered) for item in value)
    if type(value) is dict:
        items = value.items() if is_ordered else sorted(value.items(), key=lambda item: item[0])
        return ("dict", *((key, by_value(item, is_ordered=is_ordered)) for key, item in items))
    return value


@register("sklearn.utils._bunch:Bunch")
def _bunch_fact(obj: Any, ctx: Context) -> Fact:
    # Its own pickling keeps the items and drops a table of deprecation warnings.
    return Fact("bunch", (tuple(obj.items()),), mutable=True)


@register("matplotlib.transforms:TransformNode")
def _transform_fact(node: Any, ctx: Context) -> Fact:
    # `_parents` maps addresses to who must be told of a change; `_invalid` and the like are caches of the tree below.
    caches = {
        "_parents",
        "_invalid",
        "_inverted",
        "_mtx",
        "_affine",
        "_transformed_path",
        "_transformed_points",
    }
    state = tuple((name, value) for name, value in sorted(vars(node).items()) if name not in caches)
    # Of all other nodes the matrix is computed from what they hold, or belongs to the class.
    own = node._mtx if type(node).__name__ == "Affine2D" else None
    return Fact("transform", (type(node), state, own), mutable=True)


@register("xarray.backends.locks:SerializableLock", "dask.utils:SerializableLock")
def _serializable_lock_fact(lock: Any, ctx: Context) -> Fact:
    # Who waits for whom is no content, and what it is called is drawn.
    return Fact("lock", (type(lock).__name__,))


@register("xarray.backends.locks:CombinedLock")
def _combined_lock_fact(lock: Any, ctx: Context) -> Fact:
    # A set of locks, in an order of its own in each process.
    return Fact("locks", lock.locks, unordered=True)


@register("matplotlib.cbook:CallbackRegistry")
def _callbacks_fact(registry: Any, ctx: Context) -> Fact:
    # Callbacks are numbered by process-wide counters; matplotlib's own pickling drops most of them.
    return Fact(
        "callbacks",
        (type(registry), tuple(sorted(str(name) for name in registry.callbacks))),
        mutable=True,
    )


@register("matplotlib.colors:Colormap")
def _colormap_fact(colormap: Any, ctx: Context) -> Fact:
    # The table of colours is made on first use; it may have been written to since.
    if not colormap._isinit:
        colormap = copy.copy(colormap)
        colormap._init()
    return _artist_fact(colormap, ctx)


@register("matplotlib.artist:Artist", "matplotlib.ticker:Formatter")
def _artist_fact(obj: Any, ctx: Context) -> Fact:
    # What comes from rcParams is one list in all artists, and all copies of a map share its colours.
    fact = _reduce_fact(obj, ctx)
    func, args, state, *rest = fact.parts
    if type(state) is dict:
        settings = ("_path_effects", "_powerlimits", "colors", "_segmentdata")
        state = {
            name: by_value(value) if name in settings else value
            for name, value in state.items()
            # Whether pyplot has it open is no part of a figure: `nbrewind.kernel.figures` looks after that. And what is
            # loaded has to be drawn anew, whether it was drawn before or not.
            if name not in {"_restore_to_pylab", "_stale"}
        }
    fact.parts = (func, args, state, *rest)
    return fact


@register("matplotlib.path:Path", "jinja2.environment:Template")
def _perhaps_held_fact(obj: Any, ctx: Context) -> Fact:
    return held_fact(obj) or _reduce_fact(obj, ctx)


@register("plotly.basedatatypes:BaseFigure", "plotly.basedatatypes:BasePlotlyType")
def _plotly_fact(obj: Any, ctx: Context) -> Fact:
    # Its pickling copies everything, in an order of its own.
    _, args, *_ = obj.__reduce__()
    whole = whole_of(obj)
    return Fact(
        "plotly",
        (type(obj), by_value(args, is_ordered=False), whole is obj),
        mutable=True,
        # All that has something of a figure shares it.
        buffers=[(id(whole), 1, 0)],
    )


def whole_of(obj: Any) -> Any:
    """The figure of plotly that this is a part of (a trace, an axis), or that it is; None for all else."""
    base = sys.modules.get("plotly.basedatatypes")
    if base is None or not isinstance(obj, base.BaseFigure | base.BasePlotlyType):
        return None
    while (parent := vars(obj).get("_parent")) is not None:
        obj = parent
    return obj


@register("scipy.spatial.transform:Rotation", "scipy.spatial.transform._rotation:Rotation")
def _rotation_fact(rotation: Any, ctx: Context) -> Fact:
    # Every question gives a new view of a new array.
    return Fact("rotation", (rotation.single, rotation.as_quat().copy()), mutable=True)


@register("tqdm.std:tqdm")
def _bar_fact(bar: Any, ctx: Context) -> Fact:
    parts = parts_of_bar(bar)
    if parts is None:
        # Where it stands among the others that are shown is for the process to know.
        return Fact("opaque", opaque="a progress bar that is shown", mutable=True)
    return Fact("closed bar", (type(bar), *parts), mutable=True)


def parts_of_bar(bar: Any) -> tuple[dict[str, Any], Any, int] | None:
    """Of a progress bar that is closed: its state, where it was shown, and how long its line was. None for others."""
    state = dict(vars(bar))
    file, show = state.pop("fp", None), state.pop("sp", None)
    if not state.get("disable"):
        return None
    if file is None:
        # It was never shown.
        return state, None, 0
    names = getattr(getattr(show, "__code__", None), "co_freevars", ())
    if type(file).__qualname__ != "DisableOnWriteError" or "last_len" not in names:
        return None
    length = show.__closure__[names.index("last_len")].cell_contents[0]
    return state, vars(file)["_wrapped"], length


# What a graph computes when it is asked, and forgets when it changes.
_GRAPH_VIEWS = frozenset(
    "adj nodes edges degree pred succ in_edges out_edges in_degree out_degree".split()
)


@register("networkx.classes.graph:Graph")
def _graph_fact(graph: Any, ctx: Context) -> Fact:
    state = tuple(
        (name, value)
        for name, value in vars(graph).items()
        if name != "__networkx_cache__"
        and not (name in _GRAPH_VIEWS and type(value).__module__.startswith("networkx.classes."))
    )
    return Fact("graph", (type(graph), state), mutable=True)


@register("polars.dataframe.frame:DataFrame", "polars.series.series:Series")
def _polars_of_objects_fact(obj: Any, ctx: Context) -> Fact:
    dtypes = getattr(obj, "dtypes", None) or [getattr(obj, "dtype", None)]
    if any(str(dtype) == "Object" for dtype in dtypes):
        # Python objects are there by address: a change inside one would not be seen.
        return Fact("opaque", opaque="a polars column of Python objects", mutable=True)
    return _polars_fact(obj, ctx)


@register("torch:Tensor")
def _tensor_fact(tensor: Any, ctx: Context) -> Fact:
    if tensor.grad_fn is not None:
        return Fact("opaque", opaque="a tensor that remembers how it was computed", mutable=True)
    if not is_plain_tensor(tensor):
        fact = _reduce_fact(tensor, ctx)
        if fact.opaque is None and tensor.layout is not _torch().strided:
            return fact
        return Fact("opaque", opaque="a tensor of an unusual kind", mutable=True)
    parts = (
        type(tensor),
        str(tensor.dtype),
        tuple(tensor.shape),
        tensor.stride(),
        tensor.storage_offset(),
        tensor.requires_grad,
        tensor.grad,
        vars(tensor),
        tensor.untyped_storage(),
    )
    return Fact("tensor", parts, mutable=True)


def _torch() -> Any:
    import torch

    return torch


def is_plain_tensor(tensor: Any) -> bool:
    """True for tensors that are a part of a storage in main memory, and nothing more."""
    torch = _torch()
    return (
        type(tensor) in {torch.Tensor, torch.nn.Parameter}
        and tensor.layout is torch.strided
        and tensor.device.type == "cpu"
        and not tensor.is_quantized
        and not tensor.is_conj()
        and not tensor.is_neg()
        and not tensor._backward_hooks
    )


def storage_bytes(storage: Any) -> Any:
    """A storage's memory as a numpy array."""
    torch = _torch()
    return torch.empty(0, dtype=torch.uint8).set_(storage).numpy()


@register("torch.storage:UntypedStorage")
def _storage_fact(storage: Any, ctx: Context) -> Fact:
    if storage.device.type != "cpu":
        return Fact("opaque", opaque="a tensor on another device", mutable=True)
    start, n_bytes = storage.data_ptr(), storage.nbytes()
    # Named twice, as memory that no pickle keeps together with a numpy array that shares it.
    buffers = ((start, n_bytes, id(storage)), (start, n_bytes, id(storage) + 1))
    return Fact("storage", (), mutable=True, buffers=buffers, data=storage_bytes(storage))


@register("torch:dtype", "torch:layout", "torch:memory_format", "torch:device")
def _torch_constant_fact(obj: Any, ctx: Context) -> Fact:
    return Fact("torch constant", (type(obj).__name__, str(obj)))
