"""Lazy values: Dask collections and futures as content, and as something that can be stored.

A lazy collection is its expression: classes, operands, functions with the names that they read when the collection
is computed. The files at its leaves are not part of the fingerprint; they are named in `Fact.files` and looked at
again at every use. A persisted collection is the fingerprints of its tasks, and is stored as references to task
records: it comes back to life on whatever cluster is there.

Arrays, bags and delayed values are their graphs: functions and arguments by content, references by position, and no
keys but for what people gave them as names.
"""

from __future__ import annotations

import contextlib
import functools
import operator
import os
import re
import sys
import weakref
from typing import Any

from nbrewind.fingerprint import (
    Context,
    Fact,
    is_importable,
    is_library_module,
    path_digest,
    register,
)
from nbrewind.tasks import beside
from nbrewind.tasks.content import curried_attributes, literal_of
from nbrewind.tasks.fingerprint import is_container
from nbrewind.tasks.graph import Graph, Node, build, kinds

# Operands that only remember what was found at the leaves.
_CACHED_OPERANDS = frozenset({"_dataset_info_cache", "_pq_length_stats"})


def _cache() -> Any:
    from nbrewind import tasks

    return tasks.current_cache()


def _paths_in(value: Any, depth: int = 4) -> list[str]:
    """Strings and paths inside an operand that could name files."""
    if isinstance(value, str):
        return [value] if value and len(value) < 4096 and "\n" not in value else []
    if isinstance(value, os.PathLike):
        return [os.fspath(value)]
    if depth and isinstance(value, list | tuple | set | frozenset):
        return [path for item in value for path in _paths_in(item, depth - 1)]
    if depth and isinstance(value, dict):
        return [path for item in value.items() for path in _paths_in(item, depth - 1)]
    return []


# Worked out when somebody asks for it, and kept: storing an expression asks for tokens.
_WORKED_OUT = frozenset({"_is_coro", "_repr", "_token"})


@register("dask._task_spec:GraphNode")
def _node_fact(node: Any, ctx: Context) -> Fact:
    """A task or container of a graph, as keyword arguments of `map_partitions` are."""
    slots = [name for name in type(node).get_all_slots() if name not in _WORKED_OUT]
    parts = tuple((name, getattr(node, name)) for name in slots if hasattr(node, name))
    return Fact("graph node", (type(node), parts))


def _is_persisted(expr: Any) -> bool:
    return type(expr).__name__ == "FromGraph"


@register("dask._expr:Expr", "dask.dataframe.dask_expr._core:Expr")
def _expr_fact(expr: Any, ctx: Context) -> Fact:
    if _is_persisted(expr):
        layer = expr.operand("layer")
        parts = tuple(layer.get(key) for key in expr.operand("keys"))
        return Fact("persisted", (expr.operand("_meta"), expr.operand("divisions"), parts))
    names = list(type(expr)._parameters)
    operands = list(expr.operands)
    named = list(zip(names, operands, strict=False)) + [
        (str(i), value) for i, value in enumerate(operands[len(names) :])
    ]
    kept = tuple((name, value) for name, value in named if name not in _CACHED_OPERANDS)
    files: dict[str, str] = {}
    opaque = None
    if not expr.dependencies():
        for path in _paths_in([value for _, value in kept]):
            if "://" in path and not path.startswith("file://"):
                opaque = f"{path} is remote: its version is not known yet"
            local = path.removeprefix("file://")
            if os.path.exists(local):
                files[local] = path_digest(local) or "too large"
            elif any(mark in local for mark in "*?["):
                opaque = f"the pattern {local} may match other files later"
    return Fact("expression", (type(expr), kept), files=files or None, opaque=opaque)


@register("dask.dataframe.dask_expr._collection:FrameBase")
def _frame_fact(frame: Any, ctx: Context) -> Fact:
    return Fact("lazy frame", (type(frame), frame.expr), mutable=True)


# More than this takes too long to be looked at before and after every cell: in one graph, or in all that one walk
# meets (in a list of values that are each made of the one before, the graphs grow with the square of its length).
_MAX_NODES = 10_000
# Packages whose values are content, and large.
_NAME_NO_FILES = frozenset({"numpy", "pandas", "pyarrow", "polars", "scipy"})
_NAMELESS = frozenset({bool, bytes, complex, float, int, type(None)})
_TOKEN = re.compile(
    r"-?(?:[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$"
)


@register(
    "dask.array.core:Array", "dask.bag.core:Bag", "dask.bag.core:Item", "dask.delayed:Delayed"
)
def _graph_fact(value: Any, ctx: Context) -> Fact:
    from dask.core import flatten

    graph = value.__dask_graph__()
    keys = list(flatten([value.__dask_keys__()]))
    ctx.n_lazy_nodes += len(graph)
    if ctx.n_lazy_nodes > _MAX_NODES:
        return Fact("lazy", opaque=f"lazy values of more than {_MAX_NODES} tasks", mutable=True)
    nodes, files, opaque = _nodes_of(value, graph, keys)
    head: list[Any] = [type(value)]
    for name in ("chunks", "dtype", "npartitions", "_nout", "_pure", "_length"):
        head.append(getattr(value, name, None) if hasattr(type(value), name) else None)
    meta = getattr(value, "_meta", None)
    head.append((type(meta), str(getattr(meta, "dtype", None))))
    return Fact("lazy", (tuple(head), nodes), mutable=True, files=files or None, opaque=opaque)


# Of a graph whose tasks are the very objects that they were, the parts are what they were: arguments are walked anew
# each time, and nothing changes tasks. By the id of the collection: these have an equality of their own.
_kept: dict[int, tuple[Any, list[Any], list[Any], Any, tuple[Any, ...]]] = {}


def _nodes_of(value: Any, graph: Any, keys: list[Any]) -> tuple[Any, dict[str, str], str | None]:
    """The graph as parts of a fact; files; why it has no content."""
    tasks = _tasks_of(graph)
    names = [*keys, *tasks] if tasks is not None else []
    objects = list(tasks.values()) if tasks is not None else []
    known = _kept.get(id(value))
    if (
        known is not None
        and known[0]() is value
        and names == known[1]
        and len(objects) == len(known[2])
        and all(map(operator.is_, objects, known[2]))
    ):
        return known[3], _files_in(known[4]), None
    flat = _Flat(keys)
    nodes, opaque = flat.flatten(build(graph, keys))
    literals = tuple(flat.literals)
    if tasks is not None and not flat.is_fleeting and opaque is None:
        with contextlib.suppress(TypeError):
            place = id(value)
            gone = weakref.ref(value, lambda _: _kept.pop(place, None))
            _kept[place] = (gone, names, objects, nodes, literals)
    return nodes, _files_in(literals), opaque


def _files_in(literals: tuple[Any, ...]) -> dict[str, str]:
    """The files that arguments name, as they are now."""
    return literal_of(literals).files if literals else {}


def _tasks_of(graph: Any) -> dict[Any, Any] | None:
    """Every task of a graph by its key; None where some are made only when asked for, or are not Dask's own."""
    from dask._task_spec import GraphNode
    from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

    found: dict[Any, Any] = {}
    if type(graph) is HighLevelGraph:
        for layer in graph.layers.values():
            if type(layer) is not MaterializedLayer:
                return None
            found.update(layer.mapping)
    elif type(graph) is dict:
        found = graph
    else:
        return None
    return found if all(isinstance(task, GraphNode) for task in found.values()) else None


class _Flat:
    """A graph as parts of a fact: functions and arguments by content, references by position.

    The files that arguments name are not among the parts, as for expressions: they are looked at
    again at every use.
    """

    def __init__(self, keys: list[Any]) -> None:
        self.keys = keys
        self.kinds = kinds()
        self.tokens: frozenset[str] = frozenset()
        self.positions: dict[int, int] = {}
        self.literals: list[Any] = []
        self.opaque: str | None = None
        # Something besides tasks and arguments decides about the parts: what a cluster holds, or what is in a part.
        self.is_fleeting = False

    def flatten(self, graph: Graph) -> tuple[tuple[Any, ...], str | None]:
        """One part per node and the outputs; why it has no content."""
        self.tokens = graph.tokens
        # What only stands for another node is none: a future that was loaded has another key than the one before.
        nodes = [node for node in graph.nodes if node.target is None]
        self.positions = {node.idx: at for at, node in enumerate(nodes)}
        parts = tuple(map(self.part, nodes))
        outputs = tuple(
            (_TOKEN.sub("", _text(key)), self.position(graph.outputs[key])) for key in self.keys
        )
        self.is_fleeting = any(node.kind in {"external", "fused"} for node in graph.nodes)
        return (parts, outputs), self.opaque

    def position(self, node: Node) -> int:
        return self.positions[node.resolved().idx]

    def part(self, node: Node) -> Any:
        if node.kind == "external":
            fact = _future(node.key)
            self.opaque = self.opaque or fact.opaque
            return fact
        spec = node.spec
        if node.kind == "data":
            return Fact("value", (self.argument(spec.value, node, False),))
        return self.call(spec, node)

    def call(self, spec: Any, node: Node) -> Fact:
        container = is_container(spec)
        is_library = not container and is_library_module(
            getattr(spec.func, "__module__", None) or type(spec.func).__module__
        )
        arguments = tuple(self.argument(value, node, is_library) for value in spec.args)
        if container:
            return Fact(type(spec).__name__, arguments, unordered=type(spec).__name__ == "Set")
        named = tuple(
            (name, self.argument(spec.kwargs[name], node, is_library))
            for name in sorted(spec.kwargs)
        )
        rest = vars(spec.spec) if hasattr(spec, "spec") else None
        if rest is not None:
            self.opaque = self.opaque or "the inside of a shuffle"
        return Fact("call", (spec.func, arguments, named))

    def argument(self, value: Any, node: Node, is_library: bool) -> Any:
        kinds = self.kinds
        if isinstance(value, kinds.ref):
            return Fact("ref", (self.position(node.refs[value.key]),))
        if isinstance(value, kinds.node):
            if isinstance(value, kinds.alias):
                return Fact("ref", (self.position(node.refs[value.target]),))
            if isinstance(value, kinds.data):
                return self.argument(value.value, node, is_library)
            return self.call(value, node)
        if isinstance(value, str) and is_library and value[-32:] in self.tokens:
            return _TOKEN.sub("", value)
        if (
            type(value) not in _NAMELESS
            and type(value).__module__.partition(".")[0] not in _NAME_NO_FILES
        ):
            self.literals.append(value)
        return value


def _text(key: Any) -> str:
    return str(key[0] if isinstance(key, tuple) and key else key)


@register("distributed.client:Future")
def _future_fact(future: Any, ctx: Context) -> Fact:
    if future.status in _WITHOUT:
        return Fact("future", opaque=f"a future that is {future.status}", mutable=True)
    return _future(future.key)


# Futures that hold nothing, and will not: what their tasks would give is another matter.
_WITHOUT = frozenset({"cancelled", "error", "lost"})


def _future(key: Any) -> Fact:
    cache = _cache()
    fp = cache.fingerprint_of_future(key) if cache is not None else None
    if fp is not None:
        return Fact("future", (fp,))
    # Where workers are threads of this process, names may have the very same object.
    held = tuple(beside.held(key))
    why = "a future whose task has no fingerprint"
    return Fact("future", held, opaque=why, mutable=bool(held))


@register(
    "distributed.actor:Actor",
    "distributed.client:as_completed",
    "distributed.core:Server",
    "distributed.core:rpc",
    "distributed.event:Event",
    "distributed.lock:Lock",
    "distributed.multi_lock:MultiLock",
    "distributed.queues:Queue",
    "distributed.semaphore:Semaphore",
    "distributed.variable:Variable",
    "asyncio.events:AbstractEventLoop",
    "tornado.ioloop:IOLoop",
)
def _live_fact(obj: Any, ctx: Context) -> Fact:
    # What it holds is on the cluster, or changes by itself. From an iterator over futures everything that the client
    # and its cluster are made of could be reached, while other threads change it.
    name = f"{type(obj).__module__.partition('.')[0]}'s {type(obj).__name__}"
    return Fact("live", opaque=f"{name} is state that changes by itself", mutable=True)


# --- Pickling -----------------------------------------------------------------------------------------------------


def _rebuild_expr(kind: Any, operands: tuple[Any, ...], token: str, cached: dict[str, Any]) -> Any:
    from dask._expr import Expr, SingletonExpr

    # Dask would give the expression that is live under the same token. That one refers to what is live now: other
    # functions than those that are being loaded, and perhaps of another content.
    is_single = kind.__new__ is SingletonExpr.__new__ and kind.__init__ is object.__init__
    make = functools.partial(Expr.__new__, kind) if is_single else kind
    expr = make(*operands, _determ_token=token)
    expr.__dict__.update(cached)
    return expr


def _revive(fp: str) -> Any:
    cache = _cache()
    if cache is None:
        raise RuntimeError("a persisted collection can be restored only with the task cache on")
    return cache.load_future(fp)


_CURRYING = frozenset({"toolz.functoolz", "cytoolz.functoolz"})


def _rebuild_curried(
    kind: Any, func: Any, args: tuple[Any, ...], keywords: Any, attributes: tuple[Any, ...]
) -> Any:
    curried = kind(func, *args, **(keywords or {}))
    for name, value in attributes:
        setattr(curried, name, value)
    return curried


def reduce_lazy(obj: Any) -> Any:
    """Reductions for expressions, futures and curried functions; NotImplemented for anything else."""
    module = sys.modules.get("dask._expr")
    if module is not None and isinstance(obj, module.Expr):
        names = list(type(obj)._parameters)
        operands = tuple(
            None if index < len(names) and names[index] in _CACHED_OPERANDS else value
            for index, value in enumerate(obj.operands)
        )
        # Without the schema, loading would have to look at the leaves, which may be on another machine.
        is_leaf = not obj.dependencies()
        cached = {}
        if is_leaf or "_meta" in obj.__dict__:
            # Leaves that only hold delayed values have none.
            with contextlib.suppress(NotImplementedError):
                cached["_meta"] = obj._meta
        return (_rebuild_expr, (type(obj), operands, obj.deterministic_token, cached))
    module = sys.modules.get("distributed.client")
    if module is not None and isinstance(obj, module.Future):
        cache = _cache()
        fp = cache.fingerprint_of_future(obj.key) if cache is not None else None
        if fp is None:
            raise TypeError("a future whose task was not recorded cannot be stored")
        return (_revive, (fp,))
    kind = type(obj)
    if kind.__name__ == "curry" and kind.__module__ in _CURRYING and not is_importable(obj.func):
        # By itself it is pickled as a name, if its function has that name: what the name means where it is loaded
        # may be something else.
        parts = (kind, obj.func, obj.args, obj.keywords, curried_attributes(obj))
        return (_rebuild_curried, parts)
    return NotImplemented
