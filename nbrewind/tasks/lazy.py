"""Lazy values: Dask collections and futures as content, and as something that can be stored.

A lazy collection is its expression: classes, operands, functions with the names that they read when the collection
is computed. The files at its leaves are not part of the fingerprint; they are named in `Fact.files` and looked at
again at every use. A persisted collection is the fingerprints of its tasks, and is stored as references to task
records: it comes back to life on whatever cluster is there.

Collections that are not expressions of `dask.dataframe` (arrays, bags, delayed) have no fingerprint yet: cells that
read them execute, and only their tasks are replayed.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from nbrewind.fingerprint import Context, Fact, path_digest, register

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


@register(
    "dask.array.core:Array", "dask.bag.core:Bag", "dask.bag.core:Item", "dask.delayed:Delayed"
)
def _graph_fact(value: Any, ctx: Context) -> Fact:
    return Fact(
        "lazy", opaque=f"a lazy {type(value).__name__} has no fingerprint yet", mutable=True
    )


@register("distributed.client:Future")
def _future_fact(future: Any, ctx: Context) -> Fact:
    cache = _cache()
    fp = cache.fingerprint_of_future(future.key) if cache is not None else None
    if fp is None:
        return Fact("future", opaque="a future whose task has no fingerprint")
    return Fact("future", (fp,))


# --- Pickling -----------------------------------------------------------------------------------------------------


def _rebuild_expr(kind: Any, operands: tuple[Any, ...], token: str, cached: dict[str, Any]) -> Any:
    expr = kind(*operands, _determ_token=token)
    expr.__dict__.update(cached)
    return expr


def _revive(fp: str) -> Any:
    cache = _cache()
    if cache is None:
        raise RuntimeError("a persisted collection can be restored only with the task cache on")
    return cache.load_future(fp)


def reduce_lazy(obj: Any) -> Any:
    """Reductions for expressions and futures; NotImplemented for anything else."""
    module = sys.modules.get("dask._expr")
    if module is not None and isinstance(obj, module.Expr):
        names = list(type(obj)._parameters)
        operands = tuple(
            None if index < len(names) and names[index] in _CACHED_OPERANDS else value
            for index, value in enumerate(obj.operands)
        )
        # Without the schema, loading would have to look at the leaves, which may be on another machine.
        is_leaf = not obj.dependencies()
        cached = {"_meta": obj._meta} if is_leaf or "_meta" in obj.__dict__ else {}
        return (_rebuild_expr, (type(obj), operands, obj.deterministic_token, cached))
    module = sys.modules.get("distributed.client")
    if module is not None and isinstance(obj, module.Future):
        cache = _cache()
        fp = cache.fingerprint_of_future(obj.key) if cache is not None else None
        if fp is None:
            raise TypeError("a future whose task was not recorded cannot be stored")
        return (_revive, (fp,))
    return NotImplemented
