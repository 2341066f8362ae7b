"""Facts for objects that use the memory of arrays without being arrays or tables: images, trees of points."""

from __future__ import annotations

import ctypes
from typing import Any

from nbrewind.fingerprint.objects import _reduce_fact
from nbrewind.fingerprint.walker import FOREIGN, Context, Fact, register


class _ArrowArray(ctypes.Structure):
    """The beginning of `struct ArrowArray` of arrow's interface for C."""

    _fields_ = (
        ("length", ctypes.c_int64),
        ("null_count", ctypes.c_int64),
        ("offset", ctypes.c_int64),
        ("n_buffers", ctypes.c_int64),
        ("n_children", ctypes.c_int64),
        ("buffers", ctypes.POINTER(ctypes.c_void_p)),
        ("children", ctypes.POINTER(ctypes.c_void_p)),
    )


def _first_address(capsule: Any) -> int | None:
    """Where the values begin that such an interface gives."""
    pointer_in = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_in.restype, pointer_in.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    array = _ArrowArray.from_address(pointer_in(capsule, b"arrow_array"))
    while array.n_children:
        array = _ArrowArray.from_address(array.children[0])
    return array.buffers[array.n_buffers - 1] if array.n_buffers else None


def memory_of_image(image: Any) -> tuple[int, int] | None:
    """Address and length of memory that an image was made over: it copies that before it writes, the other one not."""
    core = getattr(image, "_im", None) or getattr(image, "im", None)
    if not getattr(image, "readonly", 0) or core is None:
        return None
    try:
        address = _first_address(image.__arrow_c_array__()[1])
    except (AttributeError, ValueError, OSError):
        # Of a kind, or of a version, of which nobody can tell.
        return None
    n_bytes = image.width * image.height * len(image.getbands())
    return None if address is None else (address, n_bytes)


@register("PIL.Image:Image")
def _image_fact(image: Any, ctx: Context) -> Fact:
    fact = _reduce_fact(image, ctx)
    memory = memory_of_image(image)
    if memory is not None:
        fact.buffers = [(*memory, FOREIGN)]
    return fact


@register("scipy.spatial._ckdtree:cKDTree")
def _tree_fact(tree: Any, ctx: Context) -> Fact:
    fact = _reduce_fact(tree, ctx)
    # Its pickle would give a copy.
    fact.buffers = [(tree.data.__array_interface__["data"][0], tree.data.nbytes, FOREIGN)]
    return fact
