"""Facts for classes of libraries whose own reduction says too much (addresses, counters) or too little."""

from __future__ import annotations

from typing import Any

from nbrewind.fingerprint.walker import Context, Fact, register


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
    own = getattr(node, "_mtx", None) if not _is_derived(node) else None
    return Fact("transform", (type(node), state, own), mutable=True)


def _is_derived(node: Any) -> bool:
    """True when the matrix is computed from other nodes."""
    return type(node).__name__ not in {"Affine2D", "IdentityTransform"}


@register("matplotlib.cbook:CallbackRegistry")
def _callbacks_fact(registry: Any, ctx: Context) -> Fact:
    # Callbacks are numbered by process-wide counters; matplotlib's own pickling drops most of them.
    return Fact(
        "callbacks",
        (type(registry), tuple(sorted(str(name) for name in registry.callbacks))),
        mutable=True,
    )
